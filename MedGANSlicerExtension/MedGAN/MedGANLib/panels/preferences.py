"""What is remembered in Slicer's settings: addresses, and the servers that may receive images. Never tokens."""

from __future__ import annotations

from typing import Any, List

import slicer

from .. import client

ADDRESSES = "MedGAN/Addresses"
TIMEOUT = "MedGAN/Timeout"
DEFAULT_ADDRESS = "http://127.0.0.1:8000"
KEPT = 5


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


def has_consent(server: str, stored: bool) -> bool:
    """Whether the user allowed for good that images are sent to this server (`stored`: and kept there)."""
    return server in _list(_consent_key(stored))


def remember_consent(server: str, stored: bool) -> None:
    """Keeps the user's agreement for one server."""
    if not has_consent(server, stored):
        _store(_consent_key(stored), [*_list(_consent_key(stored)), server])


def forget_consents() -> None:
    """Takes every agreement back: the next upload to any server is asked for again."""
    for stored in (False, True):
        _store(_consent_key(stored), [])


def has_consents() -> bool:
    """Whether any agreement is remembered."""
    return bool(_list(_consent_key(False)) or _list(_consent_key(True)))


def _consent_key(stored: bool) -> str:
    return f"MedGAN/Consent{'Stored' if stored else 'Run'}"


def _settings() -> Any:
    return slicer.app.userSettings()


def _list(key: str) -> List[str]:
    text = str(_settings().value(key) or "")
    return [line for line in text.split(" ") if line]


def _store(key: str, entries: List[str]) -> None:
    _settings().setValue(key, " ".join(entries))
