"""The module in the strict host, a test server, and a user at the panel."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host import Host, LoadedModule, install
from tests.host.user import User


@pytest.fixture
def host(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Host]:
    """The stand-in application with an empty scene; fails the test when an error was swallowed.

    PythonQt swallows those inside slots; the module's own signal and job queue log those of their listeners.
    """
    installed = install(tmp_path)
    yield installed
    errors = list(installed.slot_errors)
    records = [r for when in ("setup", "call") for r in caplog.get_records(when)]
    errors += [
        f"{r.message} {r.exc_info}" for r in records if r.name.startswith("MedGAN") and r.levelno >= logging.ERROR
    ]
    installed.close()
    assert not errors, "\n".join(errors)


@pytest.fixture
def module(host: Host) -> Iterator[LoadedModule]:
    """The MedGAN module, opened."""
    loaded = host.load_module()
    loaded.widget._pollTimer.interval = 20  # the test server moves with every question, and tests have no time
    loaded.widget._pumpTimer.interval = 10
    loaded.enter()
    yield loaded
    loaded.unload()


@pytest.fixture
def user(host: Host, module: LoadedModule, tmp_path: Path) -> User:
    """A user at the panel; pictures go to the folder MEDGAN_PICTURES if it is set."""
    folder = Path(os.environ.get("MEDGAN_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return User(host, module, folder)


@pytest.fixture
def server(host: Host) -> Iterator[Any]:
    """A MedGAN server with three synthetic studies."""
    from MedGANLib.testing.server import TestServer

    with TestServer() as running:
        running.world.add_phantoms(3)
        yield running
