"""Fixtures for the Slicer module's library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import slicer
from MedGANLib.client import MedGANClient
from MedGANLib.scene import Scene
from MedGANLib.testing.server import TestServer
from MedGANLib.workflow import Workflow

from .bench import Bench
from .clinic import Asked, Clinic, until
from .fake_server import INFO, FakeServer, running
from .scenes import GRIDS


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
    return MedGANClient(server.url, timeout=0.3, infer_timeout=10)


@pytest.fixture
def user() -> Asked:
    return Asked()


@pytest.fixture
def clinic(server: FakeServer, tmp_path: Path) -> Clinic:
    return Clinic(server, tmp_path, GRIDS["oblique"])


@pytest.fixture
def scene() -> Scene:
    return Scene(slicer.vtkMRMLScene())


@pytest.fixture
def workflow(clinic: Clinic, scene: Scene, user: Asked) -> Iterator[Workflow]:
    """A workflow that is connected."""
    one = Workflow(scene=scene, consent=user)
    one.wait(one.connect(clinic.server.url), 10)
    until(one, lambda: one._follow is not None and one._follow.finished)
    yield one
    one.close()


@pytest.fixture
def bench(scene: Scene, tmp_path: Path) -> Bench:
    return Bench(scene, tmp_path, GRIDS["oblique"])


@pytest.fixture
def served() -> Iterator[TestServer]:
    with TestServer() as running:
        running.world.add_phantoms(1)
        yield running


@pytest.fixture
def studio(served: TestServer, scene: Scene, user: Asked) -> Iterator[Workflow]:
    """A workflow that is connected to the server with the synthesis model."""
    one = Workflow(scene=scene, consent=user)
    one.wait(one.connect(served.url), 10)
    yield one
    one.close()
