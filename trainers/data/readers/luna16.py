"""LUNA16: chest CT in `subset*/*.mhd`, nodules and candidates in tables, https://luna16.grand-challenge.org.

Setio et al. 2017, Medical Image Analysis 42:1-13. One scan a patient, so the series is the patient. Coordinates in the
tables are ITK's, LPS mm; everything that leaves this file is in RAS mm.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from trainers.data.cases import CasesError, hash_fraction
from trainers.data.readers.patches import Patch, read_patch
from trainers.data.sets import DataSet, Entry

CLASSES = ("non-nodule", "nodule")
NODULES = "annotations.csv"
SCANS = "*.[mM][hH][dD]"
CANDIDATES = ("candidates_V2.csv", "candidates.csv")  # the better one first
POINT = ("seriesuid", "coordX", "coordY", "coordZ")


@dataclass(frozen=True)
class Row:
    """A line of a table: a point (RAS mm) in a series, an index into CLASSES, and a nodule's diameter if it is told."""

    line: int
    series: str
    center: tuple[float, float, float]
    target: int
    diameter_mm: float | None


def recognise(path: Path) -> bool:
    """Tells whether there are LUNA16's tables and scans in `.mhd`."""
    return any(_table(path, name) for name in (NODULES, *CANDIDATES)) and bool(_scans(path))


def open_luna16(
    path: Path | str,
    patch: Sequence[int] = (64, 64, 64),
    patch_mm: Sequence[float] | None = None,
    non_nodules: int | None = 10_000,
) -> DataSet:
    """Opens patches (HU) around nodules and around other candidates. Works with some of the ten subsets alone.

    Nodules are the rows of `annotations.csv`, with `diameter_mm` in the details; non-nodules the candidates of class 0.
    Where there is no `annotations.csv`, nodules are the candidates of class 1. The set's parts are the subsets.

    Args:
        path: the folder with `subset*` and the tables.
        patch: size in voxels of the scan, whose spacing differs from scan to scan.
        patch_mm: size in mm instead.
        non_nodules: at most so many of the half million candidates, chosen by hash; None takes all.

    Raises:
        FileNotFoundError: no table, or no scan that a table names. CasesError: a table that cannot be read.
    """
    folder = Path(path)
    tables = _tables(folder)
    scans = _scans(folder)
    found, missing = _rows(tables, scans)
    if not any(found):
        raise FileNotFoundError(
            f"None of the {missing} rows in {', '.join(t.name for t in tables)} has its scan below {folder}. "
            "Expected subset0/SERIES.mhd with SERIES.raw beside it, …"
        )
    boxes = _sizes(patch, patch_mm)
    chosen = sorted(found[0], key=lambda row: hash_fraction(f"{row.series} {row.line}"))[:non_nodules]
    rows = [*found[1], *sorted(chosen, key=lambda row: row.line)]
    entries = [_entry(row, scans[row.series], boxes) for row in rows]
    return DataSet(
        name=folder.resolve().name,
        entries=entries,
        classes=CLASSES,
        units="HU",
        parts=_parts(entries),
        notes=_notes(missing, len(scans), len(found[0]) - len(chosen)),
    )


def _tables(folder: Path) -> list[Path]:
    nodules = _table(folder, NODULES)
    candidates = next((found for name in CANDIDATES if (found := _table(folder, name))), None)
    if nodules is None and candidates is None:
        raise FileNotFoundError(
            f"There is neither {NODULES} nor {CANDIDATES[0]} in {folder}. Put LUNA16's CSV files there."
        )
    return [table for table in (nodules, candidates) if table]


def _table(folder: Path, name: str) -> Path | None:
    """A table in the folder, or one folder deeper (`CSVFILES`, `evaluationScript/annotations`)."""
    return next((p for pattern in (name, f"*/{name}", f"*/*/{name}") for p in sorted(folder.glob(pattern))), None)


def _scans(folder: Path) -> dict[str, Path]:
    """Scans by series: in `subset*`, however deep an archive program has put them, or in the folder itself."""
    files = chain(folder.glob(SCANS), *(subset.rglob(SCANS) for subset in sorted(folder.glob("subset*"))))
    return {file.stem: file for file in files if not file.name.startswith(".")}


def _rows(tables: list[Path], scans: dict[str, Path]) -> tuple[tuple[list[Row], list[Row]], int]:
    """Rows whose scan is on the disk, of class 0 and of class 1, and the number of those whose scan is not."""
    found: tuple[list[Row], list[Row]] = ([], [])
    missing = 0
    for row in chain.from_iterable(_read(table) for table in tables):
        if row.target == 1 and row.diameter_mm is None and tables[0].name == NODULES:
            continue  # a candidate that hits a nodule of the other table
        if row.series in scans:
            found[row.target].append(row)
        else:
            missing += 1
    return found, missing


def _read(table: Path) -> Iterator[Row]:
    last = "diameter_mm" if table.name == NODULES else "class"
    with table.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        columns = next(lines, [])
        lacking = [name for name in (*POINT, last) if name not in columns]
        if lacking:
            raise CasesError(f"{table} has no column {', '.join(lacking)}. Expected: {', '.join((*POINT, last))}.")
        places = [columns.index(name) for name in (*POINT, last)]
        for number, line in enumerate(lines, 2):
            if line:
                yield _row(table, number, line, places)


def _row(table: Path, number: int, line: list[str], places: list[int]) -> Row:
    try:
        series, x, y, z, value = (line[place].strip() for place in places)
        center = (-float(x), -float(y), float(z))
        if table.name == NODULES:
            return Row(number, series, center, 1, float(value))
        return Row(number, series, center, {"0": 0, "1": 1}[value], None)
    except (IndexError, ValueError, KeyError) as error:
        raise CasesError(
            f"{table}, line {number} cannot be read: {','.join(line)[:120]}. "
            "Expected a series, three coordinates, and a diameter or a class 0 or 1. Download it again."
        ) from error


def _sizes(patch: Sequence[int], patch_mm: Sequence[float] | None) -> Patch:
    size = patch if patch_mm is None else patch_mm
    if len(size) != 3 or min(size) <= 0:
        raise CasesError(f"A patch's size must be three numbers above 0, not {tuple(size)}.")
    if patch_mm is not None:
        return Patch((0, 0, 0), None, (float(patch_mm[0]), float(patch_mm[1]), float(patch_mm[2])))
    return Patch((0, 0, 0), (int(patch[0]), int(patch[1]), int(patch[2])))


def _entry(row: Row, scan: Path, boxes: Patch) -> Entry:
    details: dict[str, Any] = {"center": row.center}
    if row.diameter_mm is not None:
        details["diameter_mm"] = row.diameter_mm
    read = partial(read_patch, scan, replace(boxes, center=row.center))
    return Entry(f"{row.series}_{CLASSES[row.target]}_{row.line:06d}", row.series, read, row.target, details, (scan,))


def _parts(entries: list[Entry]) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for entry in entries:
        subset = next((parent.name for parent in entry.files[0].parents if parent.name.startswith("subset")), None)
        if subset:
            parts.setdefault(subset, []).append(entry.id)
    return dict(sorted(parts.items()))


def _notes(missing: int, scans: int, dropped: int) -> tuple[str, ...]:
    notes = []
    if missing:
        notes.append(f"{missing} rows of the tables have no scan here; {scans} scans are. Add subsets to use them.")
    if dropped:
        notes.append(f"{dropped} candidates that are no nodules were left out; non_nodules sets how many are taken.")
    return tuple(notes)
