"""Standardised uptake values of PET from DICOM, whose files hold activity concentrations (Bq/ml).

SUV by body weight, g/ml: the concentration over the injected dose per gram, both at one time. The steps are those of
the vendor-neutral calculation of the RSNA's Quantitative Imaging Biomarkers Alliance (FDG-PET/CT profile 1.13,
appendix G); the attributes are DICOM PS3.3 C.8.9.1 (PET series), C.8.9.2 (isotope) and C.8.9.4 (PET image).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import PositronEmissionTomographyImageStorage

from trainers.data.instances import UNREADABLE

logger = logging.getLogger(__name__)

NEEDED = frozenset({"ATTN", "DECY"})  # corrections without which values are no concentrations at one time
PHILIPS = (0x7053, 0x1000)  # SUV scale factor, where Units is CNTS
SHORT_LIVED = timedelta(hours=4)  # half-life up to which the time of day tells when it was injected
MOST_HALF_LIVES = 8.0
LEAST_DOSE = 1e4  # Bq; less is a dose in MBq
WEIGHTS = (0.3, 650.0)  # kg
DAY = timedelta(days=1)
TAGS = (
    "SOPClassUID", "Units", "SUVType", "CorrectedImage", "DecayCorrection", "PatientWeight", "SeriesDate", "SeriesTime",
    "AcquisitionDate", "AcquisitionTime", "RadiopharmaceuticalInformationSequence", PHILIPS,
)  # fmt: skip


class NoSuv(ValueError):
    """Why values of a PET cannot become SUV, in one sentence."""


def series_factor(files: Sequence[Path | str]) -> float:
    """What values of a series, after their rescale slope and intercept, are multiplied with.

    Returns:
        1.0 for anything but PET, and for a PET whose headers do not tell enough, which is logged: it stays in the
        units that it has.
    """
    try:
        if str(_header(files[0], ["SOPClassUID"]).get("SOPClassUID", "")) != PositronEmissionTomographyImageStorage:
            return 1.0
        return suv_factor([_header(file, TAGS) for file in files])
    except NoSuv as error:
        logger.warning("A PET is not converted to SUV: %s", error)
    except UNREADABLE:
        logger.warning("A PET is not converted to SUV: its headers cannot be read.")
    return 1.0


def suv_factor(headers: Sequence[Dataset]) -> float:
    """Factor from rescaled values to SUV by body weight, g/ml.

    Args:
        headers: of all slices of one PET series.

    Raises:
        NoSuv: values have other units, lack a correction, or weight, dose, half-life or times are missing or absurd.
    """
    first = headers[0]
    units, philips = str(first.get("Units", "")), first.get(PHILIPS)
    if units == "GML" and str(first.get("SUVType", "") or "BW") == "BW":
        return 1.0
    if units == "CNTS" and philips is not None and float(philips.value or 0) > 0:
        return float(philips.value)
    if units != "BQML":
        raise NoSuv(f"its unit is {units or 'not told'}, not BQML.")
    if not set(first.get("CorrectedImage") or []) >= NEEDED:
        raise NoSuv("it was not corrected for attenuation and decay.")
    low, high = WEIGHTS
    weight = _number(first, "PatientWeight", low, high)
    return 1000.0 * weight / _dose(headers)


def _dose(headers: Sequence[Dataset]) -> float:
    """What is left of the injected dose at the time to which values were corrected, Bq."""
    told = headers[0].get("RadiopharmaceuticalInformationSequence") or []
    if len(told) != 1:
        raise NoSuv(f"it tells of {len(told)} radiopharmaceuticals, not one.")
    dose = _number(told[0], "RadionuclideTotalDose", LEAST_DOSE, 1e13)
    corrected = str(headers[0].get("DecayCorrection", ""))
    if corrected == "ADMIN":
        return dose
    if corrected != "START":
        raise NoSuv("it does not tell to which time its decay was corrected.")
    half_life = timedelta(seconds=_number(told[0], "RadionuclideHalfLife", 1.0, 1e8))
    return dose * 0.5 ** (_waited(told[0], _scanned(headers), half_life) / half_life)


def _waited(told: Dataset, scanned: datetime, half_life: timedelta) -> timedelta:
    """From injection to scan. Dates are often shifted where patients were made anonymous; then times of day tell."""
    injected = _moment(str(told.get("RadiopharmaceuticalStartDateTime") or ""))
    if injected and timedelta(0) <= scanned - injected <= MOST_HALF_LIVES * half_life:
        return scanned - injected
    clock = str(told.get("RadiopharmaceuticalStartTime") or "")
    if not clock and injected:
        clock = f"{injected:%H%M%S}"
    injected = _moment(f"{scanned:%Y%m%d}{clock}") if clock else None
    if injected is None or half_life > SHORT_LIVED:
        raise NoSuv("it does not tell when the dose was injected.")
    waited = (scanned - injected) % DAY
    if waited > MOST_HALF_LIVES * half_life:
        raise NoSuv("it tells that the dose was injected after the scan, or too long before.")
    return waited


def _scanned(headers: Sequence[Dataset]) -> datetime:
    """When the scan began: the series' time, but for series that were made of another one later."""
    acquired = [t for h in headers if (t := _moment_of(h, "Acquisition"))]
    begun = _moment_of(headers[0], "Series")
    known = [t for t in (begun, min(acquired, default=None)) if t]
    if not known:
        raise NoSuv("it does not tell when it was scanned.")
    return min(known)


def _moment_of(header: Dataset, event: str) -> datetime | None:
    date, clock = (str(header.get(f"{event}{part}") or "") for part in ("Date", "Time"))
    return _moment(date + clock) if date and clock else None


def _moment(text: str) -> datetime | None:
    """A DICOM date and time without its fraction and its zone; None if it is none, or a date alone."""
    digits = text.partition("+")[0].partition("-")[0].partition(".")[0]
    if len(digits) < len("YYYYMMDDHH"):
        return None
    try:
        return datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S")
    except ValueError:
        return None


def _number(header: Dataset, keyword: str, low: float, high: float) -> float:
    value = header.get(keyword)
    if value is None or not low <= float(value) <= high:
        told = "not told" if value is None else f"{float(value):g}"
        raise NoSuv(f"its {keyword} is {told}.")
    return float(value)


def _header(file: Path | str, tags: Sequence[str | tuple[int, int]]) -> Dataset:
    return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[Tag(tag) for tag in tags])
