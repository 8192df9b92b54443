"""What is remembered in Slicer's settings: addresses, a name, the servers that may receive images. Never tokens."""

from __future__ import annotations

from typing import Any, List

import slicer

from .. import client

ADDRESSES = "MedGAN/Addresses"
TIMEOUT = "MedGAN/Timeout"
AUTHOR = "MedGAN/Author"
DEFAULT_ADDRESS = "http://127.0.0.1:8000"
KEPT = 5
CONSENTS = ("MedGAN/ConsentRun", "MedGAN/ConsentStored", "MedGAN/ConsentShapeRun", "MedGAN/ConsentShapeStored")
"""Where agreements are kept: images and then shapes, each for a run and then for keeping."""


def addresses() -> List[str]:
    """Returns the addresses used before, the last one first; never empty."""
    return _list(ADDRESSES) or [DEFAULT_ADDRESS]


def remember_address(address: str) -> None:
    """Puts an address on top of the list."""
    others = [a for a in _list(ADDRESSES) if a != address]
    _store(ADDRESSES, [address, *others][:KEPT])


def restore_addresses(kept: List[str]) -> None:
    """Puts back a list that `addresses` returned."""
    _store(ADDRESSES, kept)


def timeout() -> int:
    """Returns how many seconds a server may stay silent."""
    return int(_settings().value(TIMEOUT) or client.TIMEOUT)


def remember_timeout(seconds: int) -> None:
    """Keeps how many seconds a server may stay silent."""
    _settings().setValue(TIMEOUT, int(seconds))


def author() -> str:
    """Returns the clinician's name, as it shall stand in the history of labels; empty when it is not told."""
    return str(_settings().value(AUTHOR) or "")


def remember_author(name: str) -> None:
    """Keeps the clinician's name."""
    _settings().setValue(AUTHOR, name.strip())


def has_consent(server: str, stored: bool, shape: bool = False) -> bool:
    """Whether the user allowed for good that images are sent to this server.

    Args:
        server: The server's address.
        stored: Whether they are kept there.
        shape: Whether it is only about the shape of segments.
    """
    return server in _list(_consent_key(stored, shape))


def remember_consent(server: str, stored: bool, shape: bool = False) -> None:
    """Keeps the user's agreement for one server."""
    if not has_consent(server, stored, shape):
        _store(_consent_key(stored, shape), [*_list(_consent_key(stored, shape)), server])


def forget_consents() -> None:
    """Takes every agreement back: the next upload to any server is asked for again."""
    for key in CONSENTS:
        _store(key, [])


def has_consents() -> bool:
    """Whether any agreement is remembered."""
    return any(_list(key) for key in CONSENTS)


def _consent_key(stored: bool, shape: bool) -> str:
    return CONSENTS[2 * shape + stored]


def _settings() -> Any:
    return slicer.app.userSettings()


def _list(key: str) -> List[str]:
    text = str(_settings().value(key) or "")
    return [line for line in text.split(" ") if line]


def _store(key: str, entries: List[str]) -> None:
    _settings().setValue(key, " ".join(entries))
