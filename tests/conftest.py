"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares a costly fixture stays in one process when several run the tests: a live server, a trained model."""
    for item in items:
        file = item.path.relative_to(Path(__file__).parent)
        live = file.parts[0] == "monailabel_app" and "server" in getattr(item, "fixturenames", ())
        shared = live or len(file.parts) > 2
        item.add_marker(pytest.mark.xdist_group(str(file.parent if shared else file)))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; tests that need it skip where it is not."""
    named = os.environ.get("MEDGAN_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("MEDGAN_DATA names no folder of real images")
    return Path(named)
