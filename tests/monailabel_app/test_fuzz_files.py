"""Readers under files with damage: a valid result or the documented error, quickly and without much memory."""

from __future__ import annotations

import gzip
import re
from contextlib import suppress
from pathlib import Path

import pytest
from file_readers import READERS, TOLD, Reader
from fuzzing import search
from hypothesis import strategies as st
from memory import MEGABYTES, SECONDS, taken

EXAMPLES = 25
HEADER = 400  # bytes; half of the damage is done there
NUMBERS = [b"0", b"-1", b"1", b"3", b"255", b"65536", b"2147483648", b"1e308", b"nan", b"inf", b"-0.0", b"1e-320", b""]
BYTES = [bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x00\x00\x80\x7f", b"\x00\x00\xc0\x7f", b"\x00\x80"]

Edit = tuple[str, float, bytes]
WHERE = st.floats(0, 1, exclude_max=True)
EDITS = st.lists(
    st.tuples(st.sampled_from(["head", "any"]), WHERE, st.binary(min_size=1, max_size=4) | st.sampled_from(BYTES))
    .map(lambda e: ("put in " + e[0], e[1], e[2]))
    | st.tuples(st.just("number"), WHERE, st.sampled_from(NUMBERS))
    | st.tuples(st.just("flip"), WHERE, st.binary(min_size=1, max_size=1))
    | st.tuples(st.sampled_from(["cut", "insert", "remove"]), WHERE, st.binary(min_size=1, max_size=16)),
    min_size=1,
    max_size=4,
)  # fmt: skip


def damaged(data: bytes, edits: list[Edit]) -> bytes:
    """A file's content after some edits: bytes changed, put in or taken out, the rest cut off, or another number."""
    for kind, share, new in edits:
        place = int(share * (min(len(data), HEADER) if kind == "put in head" else len(data)))
        if kind == "number":
            data = _other_number(data, share, new)
        elif kind == "flip":
            data = data[:place] + bytes(byte ^ new[0] for byte in data[place : place + 1]) + data[place + 1 :]
        elif kind == "cut":
            data = data[:place]
        elif kind == "insert":
            data = data[:place] + new + data[place:]
        elif kind == "remove":
            data = data[:place] + data[place + len(new) :]
        else:
            data = data[:place] + new + data[place + len(new) :]
    return data


def _other_number(data: bytes, share: float, new: bytes) -> bytes:
    """Another number in the text that a file begins with."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:2048]))
    if not found:
        return data
    chosen = found[int(share * len(found))]
    return data[: chosen.start()] + new + data[chosen.end() :]


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_damaged_file_is_read_or_told(reader: Reader, tmp_path: Path) -> None:
    path = reader.make(tmp_path)
    whole = path.read_bytes()
    reader.read(path)  # the one that is not damaged

    def check(edits: list[Edit]) -> None:
        changed = damaged(gzip.decompress(whole), edits) if reader.packed else damaged(whole, edits)
        path.write_bytes(gzip.compress(changed, 1) if reader.packed else changed)
        found = taken(lambda: _read(reader, path))
        assert found.megabytes < MEGABYTES
        assert found.seconds < SECONDS

    search(EDITS, check, EXAMPLES)


def _read(reader: Reader, path: Path) -> None:
    with suppress(*TOLD):
        reader.read(path)
