"""Whose the data folder is: what another user writes there, the server could not read or replace."""

from __future__ import annotations

import os
from pathlib import Path

from monailabel_app.errors import MedGANError


def check_owner(data: Path) -> None:
    """Raises MedGANError `bad_request` if the data folder is another user's; one that is not there yet is nobody's."""
    if not hasattr(os, "geteuid") or not data.is_dir():
        return
    owner = data.stat().st_uid
    if owner != os.geteuid():
        hint = f"Run this as that user: sudo -u {_name(owner)} …"
        raise MedGANError("bad_request", f"The data folder {data} belongs to another user.", hint)


def _name(user: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"'#{user}'"
