"""The JSON text that multipart requests carry."""

from __future__ import annotations

import json
from typing import Any

from monailabel_app.errors import MedGANError


def json_object(text: str, name: str = "params") -> dict[str, Any]:
    """Parses a JSON object. Raises MedGANError `bad_params`."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise MedGANError("bad_params", f"The part {name!r} is not JSON: {str(error)[:120]}.") from error
    if not isinstance(value, dict):
        raise MedGANError("bad_params", f"The part {name!r} must be a JSON object.")
    return value
