from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from server_world import Server, make_models, make_studies, make_synthesis, serving

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shipped models: a small one that segments, two that make images. Not to be changed."""
    return make_synthesis(make_models(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one live server of the test session."""
    studies = make_studies(tmp_path_factory.mktemp("studies"))
    with serving(studies, models, tmp_path_factory.mktemp("output") / "server.txt") as live:
        yield live


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    """A client of the live server."""
    with server.client() as client:
        yield client
