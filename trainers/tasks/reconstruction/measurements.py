"""All measurements by name: one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from trainers.tasks.reconstruction.measurement import Measurement, Noise, SuperResolution, Undersampling
from trainers.tasks.reconstruction.paired import LowDoseCT, Translation

MEASUREMENTS: dict[str, Callable[..., Measurement]] = {
    "super_resolution": SuperResolution,
    "undersampling": Undersampling,
    "noise": Noise,
    "low_dose": LowDoseCT,
    "translation": Translation,
}


def measurement_of(settings: Mapping[str, Any]) -> Measurement:
    """Makes a measurement of a spec's `preprocess`: `{"measurement": name, **settings}`.

    Raises:
        ValueError: there is none of that name or with those settings.
    """
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    name = arguments.pop("measurement", None)
    if name not in MEASUREMENTS:
        raise ValueError(f"There is no measurement {name!r}. Known: {', '.join(MEASUREMENTS)}.")
    try:
        return MEASUREMENTS[name](**arguments)
    except TypeError as error:
        raise ValueError(f"The measurement {name!r} has other settings: {error}.") from error


def settings_of(measurement: Measurement) -> dict[str, Any]:
    """A measurement as a spec keeps it, the inverse of `measurement_of`."""
    name = next(name for name, kind in MEASUREMENTS.items() if kind is type(measurement))
    return {"measurement": name, **asdict(measurement)}  # type: ignore[call-overload]  # a dataclass
