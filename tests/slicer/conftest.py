"""Fixtures for the Slicer module's library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from MedGANLib.client import MedGANClient

from .fake_server import INFO, FakeServer, running


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server that answers /info/ and nothing else."""
    with running(FakeServer()) as fake:
        fake.reply("GET", "/info/", INFO)
        yield fake


@pytest.fixture
def client(server: FakeServer, tmp_path: Path) -> MedGANClient:
    """A client of it."""
    return MedGANClient(server.url, timeout=10, infer_timeout=10, cache_dir=tmp_path / "studies", client_id="me")


@pytest.fixture
def hasty(server: FakeServer) -> MedGANClient:
    """A client of it that soon gives up waiting for an ordinary answer."""
    return MedGANClient(server.url, timeout=0.6, infer_timeout=10)
