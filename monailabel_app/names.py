"""Names that come from outside: ids, tags, sessions, jobs, versions. Nothing that could be a path passes."""

from __future__ import annotations

import re

from monailabel_app.errors import MedGANError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FORBIDDEN = re.compile(r"[/\\\x00-\x1f]|^\.|^[A-Za-z]:")


def check_lookup(kind: str, name: str) -> str:
    """Returns `name` if it can be the name of something that exists. Raises MedGANError `bad_name` if it has a path."""
    if not is_lookup(name):
        raise MedGANError("bad_name", f"{name[:80]!r} is not a {kind}.", "A name without a path is needed.")
    return name


def is_lookup(name: str) -> bool:
    """Whether `name` can be the name of something that exists: no path in it, and text that JSON can carry."""
    return 0 < len(name) <= 255 and not _FORBIDDEN.search(name) and is_text(name)


def is_text(text: str) -> bool:
    """False for the halves of characters that file names that are not UTF-8, and JSON escapes, can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_new(kind: str, name: str) -> str:
    """Returns `name` if something new may be called so. Raises MedGANError `bad_name`."""
    if not _NAME.fullmatch(name) or ".." in name:
        hint = "Use up to 128 letters, digits, '.', '-' and '_', beginning with a letter or digit."
        raise MedGANError("bad_name", f"{name[:80]!r} cannot be a {kind}.", hint)
    return name
