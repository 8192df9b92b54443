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
    """A client of it with short time-outs."""
    return MedGANClient(
        server.url, timeout=0.6, connect_timeout=0.6, infer_timeout=5, cache_dir=tmp_path / "studies", client_id="me"
    )
