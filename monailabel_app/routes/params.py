"""The JSON that requests carry, checked so far that all of it can be stored and told again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from monailabel_app.activelearning.scores import SCORES
from monailabel_app.activelearning.strategies import RESERVED
from monailabel_app.datastore import SUBMITTED, VERDICTS
from monailabel_app.errors import MedGANError
from monailabel_app.names import is_text
from monailabel_app.synthetic import KEY as SYNTHETIC
from monailabel_app.users import OWNER

DEEPEST = 32
BYTES = "application/octet-stream"
LONGEST_NAME = 200
ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
JSON_ERRORS: dict[int | str, dict[str, Any]] = {"default": {"description": "An error", "content": ERROR}}
"""For the description of routes that answer with something else than JSON: it would take their errors for that, too."""
SERVERS = frozenset({"ts", "name", "checksum", "checksum_of", RESERVED, SCORES, SUBMITTED, SYNTHETIC, VERDICTS, OWNER})


def answers(*types: str) -> dict[int | str, dict[str, Any]]:
    """What a route's description says of an answer that is a file, or JSON, of one of several media types."""
    file = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": "A file", "content": {of: {} if of == "application/json" else file for of in types}}}


def json_object(text: str, name: str = "params") -> dict[str, Any]:
    """Parses a JSON object. Raises MedGANError `bad_params`."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise MedGANError("bad_params", f"The part {name!r} is not JSON: {str(error)[:120]}.") from error
    if not isinstance(value, dict):
        raise MedGANError("bad_params", f"The part {name!r} must be a JSON object.")
    check_json(value, name)
    return value


def client_info(text: str, name: str = "info") -> dict[str, Any]:
    """What a client tells of a study or label, without what the server itself keeps there. Raises as `json_object`."""
    return {key: value for key, value in json_object(text, name).items() if key not in SERVERS}


def author_of(params: Mapping[str, Any] | None, *names: str) -> str:
    """The name that a client tells of the person who uses it; empty if it tells none.

    Args:
        params: of the request.
        names: keys to look at, the first that is not empty counts; by default `author` alone.

    Raises:
        MedGANError: `bad_params`, for one that is no text or too long.
    """
    told = params or {}
    name = next((told[key] for key in names or ("author",) if told.get(key)), "")
    if not isinstance(name, str) or not is_text(name) or len(name) > LONGEST_NAME:
        raise MedGANError("bad_params", f"The author must be text of up to {LONGEST_NAME} characters.")
    return " ".join(name.split())


def check_json(value: Any, name: str, depth: int = 0) -> None:
    """Raises MedGANError `bad_params` for what only Python takes for JSON: NaN, infinity, halves of characters."""
    if depth > DEEPEST:
        raise MedGANError("bad_params", f"The part {name!r} is nested more than {DEEPEST} deep.")
    if isinstance(value, dict | list):
        items = [*value, *value.values()] if isinstance(value, dict) else value
        for item in items:
            check_json(item, name, depth + 1)
    elif (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, str) and not is_text(value)):
        raise MedGANError("bad_params", f"The part {name!r} has numbers or text that JSON does not know.")
