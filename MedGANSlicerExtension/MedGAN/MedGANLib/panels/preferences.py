"""What is remembered in Slicer's settings: addresses, a name, the servers that may receive images. Never tokens."""

from __future__ import annotations

from typing import Any, List

import slicer

from .. import client
from ..state import RAW, RESULT, SHAPE, VOLUME

ADDRESSES = "MedGAN/Addresses"
TIMEOUT = "MedGAN/Timeout"
AUTHOR = "MedGAN/Author"
DEFAULT_ADDRESS = "http://127.0.0.1:8000"
KEPT = 5
CONSENTS = {
    (VOLUME, False): "MedGAN/ConsentRun",
    (VOLUME, True): "MedGAN/ConsentStored",
    (SHAPE, False): "MedGAN/ConsentShapeRun",
    (SHAPE, True): "MedGAN/ConsentShapeStored",
    (RAW, False): "MedGAN/ConsentRawRun",
    (RESULT, False): "MedGAN/ConsentResultRun",
}
"""Where agreements are kept, by what is sent and whether the server keeps it."""


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


def has_consent(server: str, stored: bool, kind: str = VOLUME) -> bool:
    """Whether the user allowed for good that something is sent to this server.

    Args:
        server: The server's address.
        stored: Whether it is kept there.
        kind: What is sent; see `ConsentRequest`.
    """
    return server in _list(CONSENTS[kind, stored])


def remember_consent(server: str, stored: bool, kind: str = VOLUME) -> None:
    """Keeps the user's agreement for one server."""
    if not has_consent(server, stored, kind):
        _store(CONSENTS[kind, stored], [*_list(CONSENTS[kind, stored]), server])


def forget_consents() -> None:
    """Takes every agreement back: the next upload to any server is asked for again."""
    for key in CONSENTS.values():
        _store(key, [])


def has_consents() -> bool:
    """Whether any agreement is remembered."""
    return any(_list(key) for key in CONSENTS.values())


def _settings() -> Any:
    return slicer.app.userSettings()


def _list(key: str) -> List[str]:
    text = str(_settings().value(key) or "")
    return [line for line in text.split(" ") if line]


def _store(key: str, entries: List[str]) -> None:
    _settings().setValue(key, " ".join(entries))
