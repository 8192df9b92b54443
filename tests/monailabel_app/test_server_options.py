"""Options: what the schema allows passes, all else is named."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monailabel_app.errors import MedGANError
from monailabel_app.options import points, roi, switch, validate

SCHEMA = {
    "type": "object",
    "properties": {
        "points": points("p", most=2),
        "roi": roi("r"),
        "mirror": switch("Mirror", "m", True),
        "steps": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "strength": {"type": "number", "minimum": 0, "maximum": 1},
        "mode": {"type": "string", "enum": ["fast", "slow"]},
    },
}


def test_defaults_are_filled_in() -> None:
    assert validate({}, SCHEMA) == ({"mirror": True, "steps": 3}, [])


def test_given_values_win_and_keys_of_stock_clients_are_let_be() -> None:
    values, others = validate({"mirror": False, "device": "cuda", "client_id": None, "steps": 9}, SCHEMA)
    assert values == {"mirror": False, "steps": 9}
    assert others == ["device", "client_id"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("mirror", 1),
        ("mirror", "true"),
        ("steps", 0),
        ("steps", 10),
        ("steps", 2.5),
        ("steps", True),
        ("strength", math.nan),
        ("strength", math.inf),
        ("strength", 10**400),
        ("strength", "1"),
        ("mode", "medium"),
        ("mode", 3),
        ("points", [[1, 2]]),
        ("points", [[1, 2, "x"]]),
        ("points", [[0, 0, 0]] * 3),
        ("points", {"a": 1}),
        ("roi", {"center": [0, 0, 0]}),
        ("roi", {"center": [0, 0, 0], "size": [1, 2, -3]}),
        ("roi", {"center": [0, 0, 0], "size": [9, 9, 9], "extra": 1}),
        ("roi", [1]),
    ],
)
def test_a_bad_value_is_refused_by_name(option: str, value: object) -> None:
    with pytest.raises(MedGANError, match=option) as caught:
        validate({option: value}, SCHEMA)
    assert (caught.value.code, caught.value.status_code) == ("bad_option", 400)


def test_a_misspelt_option_is_refused_with_a_proposal() -> None:
    with pytest.raises(MedGANError, match="Did you mean 'points'"):
        validate({"point": [[1, 2, 3]]}, SCHEMA)


words = st.text("abc é", max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(list(SCHEMA["properties"])), json_values))
def test_any_json_is_either_taken_or_refused(params: dict[str, object]) -> None:
    try:
        values, _ = validate(params, SCHEMA)
    except MedGANError as error:
        assert error.code == "bad_option"
    else:
        assert all(values[key] == params[key] for key in params if params[key] is not None)
