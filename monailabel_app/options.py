"""A model's options: the JSON Schema that clients draw their panels from, and the check of a request against it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from monailabel_app.errors import MedGANError, choices

Schema = Mapping[str, Any]
TRIPLE: dict[str, Any] = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
SIZES: dict[str, Any] = {**TRIPLE, "items": {"type": "number", "minimum": 1.0}}
LARGEST = 1e15  # no option is; NaN and infinity are not below it


def points(description: str, most: int = 8) -> dict[str, Any]:
    """An option that takes points in RAS mm."""
    return {
        "type": "array",
        "title": "Points",
        "x-widget": "points",
        "items": TRIPLE,
        "maxItems": most,
        "description": description,
    }


def clicks(labels: Sequence[str], most: int = 256, longest: int = 1000) -> dict[str, Any]:
    """An option that takes corrections: what is at some points in RAS mm. One point is a click, more are a scribble."""
    label = {"type": "string", "enum": ["background", *labels]}
    return {
        "type": "array",
        "title": "Corrections",
        "x-widget": "clicks",
        "items": {
            "type": "object",
            "properties": {
                "label": label,
                "points": {"type": "array", "items": TRIPLE, "minItems": 1, "maxItems": longest},
            },
            "required": ["label", "points"],
        },
        "maxItems": most,
        "description": "All corrections so far: a label and where it is; one point is a click, several are a scribble.",
    }


def roi(description: str) -> dict[str, Any]:
    """An option that takes a box: centre and size in RAS mm."""
    return {
        "type": "object",
        "title": "Region of interest",
        "x-widget": "roi",
        "properties": {"center": TRIPLE, "size": SIZES},
        "required": ["center", "size"],
        "description": description,
    }


def switch(title: str, description: str, default: bool) -> dict[str, Any]:
    """An option that is on or off."""
    return {"type": "boolean", "title": title, "default": default, "description": description}


def whole_number(title: str, description: str, default: int, low: int, high: int) -> dict[str, Any]:
    """An option that is a whole number."""
    limits = {"minimum": low, "maximum": high, "default": default}
    return {"type": "integer", "title": title, **limits, "description": description}


def share(title: str, description: str, default: float) -> dict[str, Any]:
    """An option between 0 and 1, drawn as a slider."""
    limits = {"minimum": 0.0, "maximum": 1.0, "default": default}
    return {"type": "number", "title": title, "x-widget": "slider", **limits, "description": description}


def number(title: str, description: str, default: float, low: float, high: float) -> dict[str, Any]:
    """An option that is a number."""
    limits = {"minimum": low, "maximum": high, "default": default}
    return {"type": "number", "title": title, **limits, "description": description}


def choice(title: str, description: str, names: Sequence[str]) -> dict[str, Any]:
    """An option that is one of several names; no default means that it can be left open."""
    return {"type": "string", "title": title, "enum": list(names), "description": description}


def label_map(title: str, description: str) -> dict[str, Any]:
    """An option that is a segmentation; the label map itself travels as the part `label` of the request."""
    return {"type": "boolean", "title": title, "x-widget": "labelmap", "description": description}


def validate(params: Mapping[str, Any], schema: Schema) -> tuple[dict[str, Any], list[str]]:
    """Picks a model's options from a request's params.

    Args:
        params: what the client sent; keys that are not options are left alone, for stock clients send many.
        schema: the model's options.

    Returns:
        The options with defaults filled in, and the names of keys that are no options.

    Raises:
        MedGANError: `bad_option`, naming the option: a value outside its schema, or a misspelt name.
    """
    properties: Schema = schema["properties"]
    others = [key for key in params if key not in properties]
    for key in others:
        _refuse_misspelt(key, properties)
    values = {name: p["default"] for name, p in properties.items() if "default" in p}
    for name in properties:
        if params.get(name) is not None:
            check(params[name], properties[name], name)
            values[name] = params[name]
    return values, others


def _refuse_misspelt(key: str, properties: Schema) -> None:
    near = difflib.get_close_matches(key, properties, n=1, cutoff=0.8)
    if near:
        hint = f"Did you mean {near[0]!r}? Options: {choices(properties)}."
        raise MedGANError("bad_option", f"There is no option {key!r}.", hint)


def check(value: Any, schema: Schema, name: str) -> None:
    """Raises MedGANError `bad_option`, naming the option, for a value outside its schema."""
    CHECKS[schema["type"]](value, schema, name)


def _fail(name: str, wanted: str, value: Any) -> MedGANError:
    return MedGANError("bad_option", f"Option {name!r} must be {wanted}, not {str(value)[:60]!r}.")


def _boolean(value: Any, _schema: Schema, name: str) -> None:
    if not isinstance(value, bool):
        raise _fail(name, "true or false", value)


def _integer(value: Any, schema: Schema, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _fail(name, "a whole number", value)
    _number(value, schema, name)


def _number(value: Any, schema: Schema, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise _fail(name, "a number", value)
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if not low <= value <= high:
        raise _fail(name, f"between {low} and {high}", value)


def _string(value: Any, schema: Schema, name: str) -> None:
    if not isinstance(value, str):
        raise _fail(name, "text", value)
    if "enum" in schema and value not in schema["enum"]:
        raise _fail(name, f"one of {choices(schema['enum'])}", value)


def _array(value: Any, schema: Schema, name: str) -> None:
    if not isinstance(value, list):
        raise _fail(name, "a list", value)
    low, high = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    if not low <= len(value) <= high:
        raise _fail(name, f"a list of {low}" + ("" if low == high else f" to {high}") + " items", value)
    for index, item in enumerate(value):
        check(item, schema["items"], f"{name}[{index}]")


def _object(value: Any, schema: Schema, name: str) -> None:
    if not isinstance(value, dict):
        raise _fail(name, "an object", value)
    missing = [key for key in schema.get("required", ()) if key not in value]
    if missing:
        raise _fail(name, f"an object with {choices(missing)}", value)
    for key, item in value.items():
        if key not in schema["properties"]:
            raise _fail(name, f"an object of {choices(schema['properties'])} alone", value)
        check(item, schema["properties"][key], f"{name}.{key}")


CHECKS: dict[str, Callable[[Any, Schema, str], None]] = {
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "string": _string,
    "array": _array,
    "object": _object,
}
