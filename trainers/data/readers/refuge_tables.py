"""REFUGE's tables of glaucoma: JSON, CSV and, where openpyxl is installed, XLSX."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from trainers.data.cases import CasesError
from trainers.files import read_json

IMAGE_COLUMNS = ("imgname", "filename", "imagename", "image")
Rows = Iterable[Mapping[str, Any]]


def read_tables(folder: Path) -> tuple[dict[str, int], list[str]]:
    """Finds tables below a folder and reads which photograph shows glaucoma.

    A table speaks for photographs in its own folder's parent and everything below, so that `V0001.jpg` of one part is
    not taken for that of another.

    Returns:
        `FOLDER/NAME` (name in lower case) to 1 for glaucoma and 0 for none; notes on tables that could not be read.

    Raises:
        CasesError: a table is damaged, or tells of a photograph something other than 0 or 1.
    """
    found: dict[str, int] = {}
    notes: list[str] = []
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith((".", "~"))):
        if file.suffix.lower() in (".json", ".csv"):
            rows = _json(file) if file.suffix.lower() == ".json" else _csv(file)
        elif file.suffix.lower() in (".xlsx", ".xls"):
            rows = _workbook(file, notes)
        else:
            continue
        scope = file.parent if file.parent == folder else _scope(file.parent, folder)
        found.update({f"{scope}/{name}": value for name, value in _glaucoma(rows, file)})
    return found, notes


def _scope(parent: Path, folder: Path) -> Path:
    """A folder with tables alone speaks for its parent, one with pictures below it for itself."""
    has_images = any(p.suffix.lower() in (".jpg", ".jpeg") for p in parent.rglob("*"))
    return parent if has_images or parent == folder else _scope(parent.parent, folder)


def _glaucoma(rows: Rows, file: Path) -> Iterable[tuple[str, int]]:
    for row in rows:
        columns = {str(key).strip().lower().replace(" ", "").replace("_", ""): value for key, value in row.items()}
        name = next((columns[key] for key in IMAGE_COLUMNS if columns.get(key)), None)
        value = next((columns[key] for key in columns if "glaucoma" in key or key == "label"), None)
        if name is None or value is None or value == "":
            continue
        if str(value).strip() not in ("0", "1", "0.0", "1.0"):
            raise CasesError(f"{file}: glaucoma of {name} is {value!r}. Expected 0 or 1.")
        yield str(name).strip().lower(), int(float(value))


def _json(file: Path) -> Rows:
    try:
        table = read_json(file)
    except (OSError, ValueError) as error:
        raise CasesError(f"{file} is not readable JSON: {error}. Download it again.") from error
    rows = table.values() if isinstance(table, dict) else table if isinstance(table, list) else []
    return [row for row in rows if isinstance(row, dict)]


def _csv(file: Path) -> Rows:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            return list(csv.DictReader(lines))
    except (OSError, ValueError, csv.Error) as error:
        raise CasesError(f"{file} is not a readable table: {error}. Save it as CSV in UTF-8.") from error


def _workbook(file: Path, notes: list[str]) -> Rows:
    if file.suffix.lower() == ".xls":
        notes.append(f"{file} was not read: it is of an old format. Save it as .csv with a line of column names.")
        return []
    try:
        import openpyxl  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        notes.append(f"{file} was not read. Save it as .csv beside it, or install openpyxl.")
        return []
    try:
        lines = list(openpyxl.load_workbook(file, read_only=True).active.values)
    except (OSError, ValueError, KeyError, BadZipFile, openpyxl.utils.exceptions.InvalidFileException) as error:
        raise CasesError(f"{file} is not a readable workbook: {error}. Download it again.") from error
    return [dict(zip(lines[0], line, strict=False)) for line in lines[1:]]
