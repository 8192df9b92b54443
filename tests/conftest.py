"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; tests that need it skip where it is not."""
    named = os.environ.get("MEDGAN_DATA")
    if not named or not Path(named).is_dir():
        pytest.skip("MEDGAN_DATA names no folder of real images")
    return Path(named)
