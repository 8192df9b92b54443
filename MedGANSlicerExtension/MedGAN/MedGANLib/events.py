"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): their data, as it arrives."""

from __future__ import annotations

import codecs
import re
from typing import Iterable, Iterator, List

from .errors import NotAMedGANServer

MEDIA_TYPE = "text/event-stream"
MAX_EVENT = 4 * 1024 * 1024
"""Characters that an event may have; more is not from a server of ours."""
_LINE = re.compile(r"\r\n|\r(?!$)|\n")  # a return at the end of what has come may be half of an end of a line


def event_data(blocks: Iterable[bytes]) -> Iterator[str]:
    """Yield the data of each event; comments, and fields beside the data, are passed over.

    Raises:
        NotAMedGANServer: An event is far too long.
    """
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    rest: str = ""
    data: List[str] = []
    for block in blocks:
        *lines, rest = _LINE.split(rest + decode(block))
        if len(rest) + sum(map(len, data)) > MAX_EVENT:
            raise NotAMedGANServer("An event is far too long for a MedGAN server.", "Check the address.")
        for line in lines:
            if line:
                data += _data_of(line)
            elif data:
                yield "\n".join(data)
                data = []


def _data_of(line: str) -> List[str]:
    name, _, value = line.partition(":")
    return [value[1:] if value.startswith(" ") else value] if name == "data" else []
