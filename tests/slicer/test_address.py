"""Addresses as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from MedGANLib.address import parse_address
from MedGANLib.errors import BadAddress


@pytest.mark.parametrize(
    ("typed", "used"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        (" localhost:8000/ ", "http://localhost:8000"),
        ("server", "http://server:80"),
        ("https://server.hospital.example", "https://server.hospital.example:443"),
        ("https://proxy/medgan/", "https://proxy:443/medgan"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_addresses(typed: str, used: str) -> None:
    assert str(parse_address(typed)) == used


@pytest.mark.parametrize(
    ("typed", "used"), [("http://0.0.0.0:8000", "http://127.0.0.1:8000"), ("http://[::]:8000", "http://[::1]:8000")]
)
def test_listening_address_is_replaced_with_a_note(typed: str, used: str) -> None:
    address = parse_address(typed)
    assert str(address) == used and address.local
    assert any("this computer" in note for note in address.notes)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "   ",
        "ftp://server",
        "http://",
        "http://server:port",
        "http://server:99999",
        "http://a b:80",
        "http://u:p@server",
    ],
)
def test_what_is_not_an_address(typed: str) -> None:
    with pytest.raises(BadAddress) as caught:
        parse_address(typed)
    assert "http://127.0.0.1:8000" in caught.value.hint


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except BadAddress:
        return
    assert parse_address(str(address)).host == address.host
