"""What all commands share: options, the console, and mistakes that a user can mend told in one line."""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from trainers.data.cases import CasesError
from trainers.data.readers import READERS, open_data, takes
from trainers.data.readers.sequences import open_aligned
from trainers.data.sets import DataSet
from trainers.data.volumes import VolumeError
from trainers.devices import DeviceError
from trainers.files import atomic_write_json
from trainers.fit import CheckpointMismatch
from trainers.known import PATTERN, classes_of, pattern_of
from trainers.spec import ModelNotAvailable, ModelSpec
from trainers.tasks.synthesis.generate import NotEmpty

HIGHEST_SEED = 2**62  # torch takes 64 bits, and the images that follow have higher ones
console = Console()
errors = Console(stderr=True, soft_wrap=True)
MENDABLE = (
    OSError, VolumeError, ModelNotAvailable, CasesError, CheckpointMismatch, FloatingPointError, NotEmpty, DeviceError,
)  # fmt: skip


class Mendable(Exception):
    """A mistake of the user's, with what to do."""


def place_for_file(file: Path | None) -> Path | None:
    """An option's callback: refuses what no file can be written to, before any work is done."""
    if file is not None:
        if file.is_dir():
            raise typer.BadParameter(f"{file} is a folder. Give the name of a file.")
        _check_folder(file.parent)
    return file


def place_for_folder(folder: Path) -> Path:
    """An option's callback: refuses what can be no folder with new files, before any work is done."""
    _check_folder(folder)
    return folder


def above_zero(value: float) -> float:
    """An option's callback: refuses 0, what is below it, and what is no number."""
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{value:g} is no size. Give a number above 0.")
    return value


def finite(value: float) -> float:
    """An option's callback: refuses infinity and what is no number."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value:g} is no number that one can count with.")
    return value


Kind = Annotated[str, typer.Option(help=f"Layout of the data: auto, {', '.join(READERS)}.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, … or auto.")]
Model = Annotated[str, typer.Option(help="Name of a model, or a folder with spec.json and model.safetensors.")]
PatientPattern = Annotated[
    str,
    typer.Option(
        help="Regular expression whose match in a file's name, or its first group, is the patient; of plain folders. "
        "Give the same to train and to evaluate."
    ),
]
KnownPattern = Annotated[
    str | None,
    typer.Option(help="As for train; by default that of the model's training. Empty takes each file for a patient."),
]
Classes = Annotated[
    bool | None,
    typer.Option(
        "--classes/--patients",
        help="Whether the sub-folders of a folder of images are classes or patients; by default their names tell.",
    ),
]
Out = Annotated[
    Path,
    typer.Option(help="Folder for weights, spec and card; a stopped run there goes on.", callback=place_for_folder),
]
Json = Annotated[Path | None, typer.Option(help="File for the measurements.", callback=place_for_file)]
BatchSize = Annotated[int, typer.Option(help="Images a step; 0 takes the recipe's.", min=0)]
LearningRate = Annotated[
    float, typer.Option(help="Highest learning rate; 0 takes the recipe's.", min=0, callback=finite)
]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 takes the recipe's.", min=0)]


class explained:  # noqa: N801 - reads as a statement
    """Turns what a user can mend into one line and exit code 2."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (*MENDABLE, Mendable)):
            errors.print(f"[red]{escape(_told(error))}[/red]")
            raise typer.Exit(2) from error


def open_told(path: Path, kind: str, patient_pattern: str = "", classes: bool | None = None) -> DataSet:
    """Opens a data set, and tells what people should know of how it was read; raises as `open_data`."""
    given: dict[str, Any] = {"patient_pattern": patient_pattern} if patient_pattern else {}
    data = open_data(path, kind, **given, **({} if classes is None else {"classes": classes}))
    warn(data.name, data.notes)
    return data


@contextmanager
def known_pattern(spec: ModelSpec, given: str | None) -> Iterator[str]:
    """The pattern by which to name patients so that a model's own are known again: `given`, else that of its training.

    The latter is told, for elsewhere it may give other patients the same names.

    Raises:
        CasesError: the latter does not fit; with a hint.
    """
    pattern = pattern_of(spec) if given is None else given
    if pattern and given is None:
        warn(
            spec.name,
            [f"Patients are told by the pattern of its training, {pattern!r}; --patient-pattern changes that."],
        )
    try:
        yield pattern
    except CasesError as error:
        if given is None and PATTERN in str(error):
            hint = "The pattern is that of the model's training; --patient-pattern gives another, or an empty one none."
            raise CasesError(f"{error} {hint}") from error
        raise


def known_classes(spec: ModelSpec, given: bool | None, path: Path, kind: str) -> bool | None:
    """Whether sub-folders are classes: as `given`, else as was said at a model's training, where that is an option."""
    known = classes_of(spec) if given is None else given
    return known if given is not None or known is None or takes(path, kind, "classes") else None


def open_aligned_told(folders: Sequence[Path], kind: str, patient_pattern: str = "") -> DataSet:
    """Opens folders with equal file names, and tells how they were read; raises as `open_aligned`.

    Raises:
        Mendable: a kind, of which such folders have none.
    """
    if kind != "auto":
        raise Mendable("--kind is the layout of --data; leave it out with --inputs.")
    data = open_aligned(folders, patient_pattern or None)
    warn(data.name, data.notes)
    return data


def warn(name: str, notes: Iterable[str]) -> None:
    """Shows notes on something in yellow, a line each."""
    for note in notes:
        errors.print(f"[yellow]{escape(f'{name}: {note}')}[/yellow]")


def write_report(file: Path | None, report: Any) -> None:
    """Writes measurements, if a file was asked for; tells it in a line if the system refuses."""
    if file is not None:
        with explained():
            atomic_write_json(file, report)


def command_line() -> str:
    """The command line without the places on this machine."""
    words, hide = [], False
    for word in sys.argv[1:]:
        option, equals, _ = word.partition("=")
        place = option in ("--data", "--out")
        words.append("DIR" if hide else f"{option}=DIR" if place and equals else word)
        hide = place and not equals and not hide
    return "python -m trainers " + shlex.join(words)


def _check_folder(folder: Path) -> None:
    """Raises BadParameter unless a folder is there to be written to, or can be made."""
    above = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not above.is_dir():
        raise typer.BadParameter(f"{above} is a file, so nothing can be written into it. Give a folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise typer.BadParameter(f"{above} cannot be written to. Give another folder, or change its permissions.")


def _told(error: BaseException) -> str:
    """What an error says; of the system's own, what it could not do with which file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename2 or error.filename or 'A file'} cannot be read or written: {error.strerror}."
    return str(error)
