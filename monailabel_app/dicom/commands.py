"""The commands `pull` and `push`: studies from an archive, and results back to it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

from monailabel_app.config import SHIPPED_MODELS, ServerConfig, default_data
from monailabel_app.dicom.export import Exporter, Options, described, pack
from monailabel_app.dicom.provenance import FOLDER
from monailabel_app.dicom.pull import MOST, Pulled, parse_query
from monailabel_app.dicom.pull import pull as pull_series
from monailabel_app.dicom.web import PASSWORD, USER, Archive
from monailabel_app.errors import MedGANError
from monailabel_app.owner import check_owner
from trainers.data.volumes import VolumeError

console = Console()

Studies = Annotated[Path, typer.Option(exists=True, file_okay=False, help="The server's folder of studies.")]
Data = Annotated[Path | None, typer.Option(help="The server's data folder; default STUDIES/.medgan.")]
Url = Annotated[str, typer.Option(help=f"The archive, e.g. http://host:8042/dicom-web; {USER} and {PASSWORD} open it.")]


def pull(
    studies: Studies,
    dicomweb: Url,
    series: Annotated[list[str] | None, typer.Option(help="SeriesInstanceUID; can be repeated.")] = None,
    query: Annotated[list[str] | None, typer.Option(help="KEYWORD=VALUE, e.g. Modality=MR; can be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="More series than this are refused.")] = MOST,
    data: Data = None,
) -> None:
    """Makes studies of series in a DICOMweb archive; also while the server runs."""
    with _reported(), Progress(console=console, transient=True) as progress:
        bars: dict[str, TaskID] = {}

        def report(name: str, done: int, total: int) -> None:
            bars.setdefault(name, progress.add_task(escape(name), total=total) if name not in bars else bars[name])
            progress.update(bars[name], completed=done)

        config = _config(studies, data)
        check_owner(config.data)
        config.prepare()
        pulled = pull_series(config, Archive.of(dicomweb), parse_query(query or []), series or (), limit, report)
    _print(pulled)


def push(
    studies: Studies,
    image: Annotated[str, typer.Option(help="The study's id.")],
    dicomweb: Annotated[str, typer.Option(help="The archive to store it in.")] = "",
    tag: Annotated[str, typer.Option(help="Which label.")] = "final",
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="An image that a model made of the study.")
    ] = None,
    model: Annotated[str, typer.Option(help="That model, if the file's header does not tell it.")] = "",
    out: Annotated[Path | None, typer.Option(help="Write a zip instead of storing it.")] = None,
    deidentify: Annotated[bool | None, typer.Option(help="Hide the patient; default only with --out.")] = None,
    burned_in: Annotated[bool, typer.Option(help="The voxels were looked at: no text is in them.")] = False,
    data: Data = None,
    models: Annotated[Path, typer.Option(help="Folder of MODEL/VERSION.")] = SHIPPED_MODELS,
) -> None:
    """Stores a study's label as DICOM-SEG, or an image as a derived series; also while the server runs."""
    if bool(out) == bool(dicomweb) and not (out and deidentify is False):
        raise _failure("Give either --dicomweb, to store it, or --out, for a zip.")
    options = Options(bool(out) if deidentify is None else deidentify, burned_in)
    with (
        _reported(),
        _exporter(_config(studies, data, models), dicomweb) as exporter,
        _made(exporter, image, tag, file, model, options) as files,
    ):
        told = _packed(files, out) if out else exporter.send(files)
    hidden = "de-identified" if told["deidentified"] else "with the patient's identity"
    text = f"{told['modality']}, {told['instances']} instances, {hidden}: series {told['series']}"
    console.print(escape(text), soft_wrap=True)


def _made(
    exporter: Exporter, image: str, tag: str, file: Path | None, model: str, options: Options
) -> AbstractContextManager[list[Path]]:
    return exporter.image(image, file, {"model": model}, options) if file else exporter.label(image, tag, options)


def _packed(files: Sequence[Path], out: Path) -> dict[str, Any]:
    pack(files, out)
    return described(files)


@contextmanager
def _exporter(config: ServerConfig, dicomweb: str) -> Iterator[Exporter]:
    from monailabel_app.datastore import StudyDatastore
    from monailabel_app.registry import Registry

    check_owner(config.data)
    if not (config.data / FOLDER).is_dir():
        raise _failure(f"{config.data} knows of no study from DICOM. Give --studies or --data as in `serve`.")
    store = StudyDatastore(config.studies, config.data / "backups")
    registry = Registry(config.models, config.data / "models")
    with tempfile.TemporaryDirectory(dir=config.data / FOLDER) as folder:
        archive = Archive.of(dicomweb) if dicomweb else None
        yield Exporter(store, config.data, Path(folder), registry, archive)


def _config(studies: Path, data: Path | None, models: Path = SHIPPED_MODELS) -> ServerConfig:
    folder = (data or default_data(studies)).expanduser().resolve()
    return ServerConfig(studies=studies.expanduser().resolve(), data=folder, models=models)


def _print(pulled: Pulled) -> None:
    """One line a series; ends with an error if one was refused."""
    lines = [f"[green]new[/green] {escape(name)}" for name in pulled.new]
    lines += [f"known {escape(name)}" for name in pulled.known]
    lines += [f"[red]left out[/red] {escape(f'{uid}: {why}')}" for uid, why in pulled.refused.items()]
    _say(lines or ["No series matches."])
    if pulled.refused:
        raise typer.Exit(1)


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except (MedGANError, VolumeError) as error:
        raise _failure(str(error)) from error


def _failure(message: str) -> typer.Exit:
    Console(stderr=True).print(f"[red]{escape(message)}[/red]", soft_wrap=True)
    return typer.Exit(2)
