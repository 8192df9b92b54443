"""Command line of the server: `python -m monailabel_app serve --studies DIR`."""

from __future__ import annotations

import enum
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monailabel_app.config import LOOPBACK, SHIPPED_MODELS, TOKEN_VARIABLE, ServerConfig, default_data
from monailabel_app.devices import AUTO, compute_devices
from monailabel_app.dicom import commands
from monailabel_app.dicom.pull import parse_query
from monailabel_app.dicom.web import check_url
from monailabel_app.errors import MedGANError
from monailabel_app.network import check_certificate, check_origins, usable_port
from monailabel_app.oidc import check_address, is_address, read_keys, usable_keys
from monailabel_app.owner import check_owner
from monailabel_app.registry import Registry
from trainers.data.cases import find_cases
from trainers.spec import ModelNotAvailable

ADMIN_ROLE, RATE_LIMIT = ServerConfig.admin_role, f"{ServerConfig.rate_limit:g}/s"
MAX_QUEUE, TRAIN_NICE = ServerConfig.max_queue, ServerConfig.train_nice
RECENT = ServerConfig.recent_mb

cli = typer.Typer(help="MedGAN's server for 3D Slicer and MONAI Label clients.", no_args_is_help=True)
console = Console()


class LogFormat(str, enum.Enum):
    """How the log is written."""

    text = "text"
    json = "json"


Studies = Annotated[Path, typer.Option(help="Folder of NIfTI or NRRD images, or of folders with DICOM series.")]
Data = Annotated[Path | None, typer.Option(help="Where versions, runs and logs are kept; default STUDIES/.medgan.")]
Models = Annotated[Path, typer.Option(help="Folder of MODEL/VERSION; default those that ship with MedGAN.")]
Model = Annotated[str, typer.Argument(help="The model's name.")]


@cli.command()
def serve(
    studies: Studies,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than this computer need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    data: Data = None,
    token: Annotated[str, typer.Option(envvar=TOKEN_VARIABLE, help="What clients must present.")] = "",
    validation: Annotated[
        Path | None, typer.Option(help="Trusted images/ and labels/ that the gate also uses.")
    ] = None,
    replay: Annotated[Path | None, typer.Option(help="Pairs images/ and labels/ mixed into every training.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of a training run.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, help="Inferences computed at once on each device.")] = 1,
    max_queue: Annotated[int, typer.Option(min=1, help="Inferences that may wait for a device.")] = MAX_QUEUE,
    devices: Annotated[
        str, typer.Option(help="Where models compute: auto (every GPU, else cpu), or e.g. cuda:0,cuda:1.")
    ] = AUTO,
    train_device: Annotated[str, typer.Option(help="Where training runs compute: auto, cpu or e.g. cuda:1.")] = AUTO,
    train_nice: Annotated[
        int, typer.Option(min=0, max=19, help="How far a training run stands back for the processor.")
    ] = TRAIN_NICE,
    max_upload_mb: Annotated[int, typer.Option(min=1, help="Largest file that is taken.")] = 1024,
    recent_mb: Annotated[int, typer.Option(min=0, help="Memory for images of recent requests; 0 keeps none.")] = RECENT,
    preload: Annotated[bool, typer.Option(help="Load models at the start, not with the first request.")] = True,
    cors: Annotated[list[str] | None, typer.Option(help="Web origin that may call; can be repeated.")] = None,
    patient_pattern: Annotated[str, typer.Option(help="Regular expression: the patient's part of a study's id.")] = "",
    dice_tolerance: Annotated[float, typer.Option(min=0, max=1, help="Mean Dice that a new version may lose.")] = 0.0,
    label_tolerance: Annotated[float, typer.Option(min=0, max=1, help="Dice that any label of it may lose.")] = 0.02,
    reference_tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Mean Dice that it may lose on the cases that ship with the model.")
    ] = 0.10,
    synthetic_ratio: Annotated[
        float, typer.Option(min=0, max=10, help="Synthetic studies to learn from, at most, for each acquired one.")
    ] = 1.0,
    auto_train: Annotated[
        int, typer.Option(min=0, help="Train a model after so many new labels of it; 0 waits to be asked.")
    ] = 0,
    background_scoring: Annotated[
        bool, typer.Option(help="Look at studies in spare time, to know which to label next.")
    ] = True,
    models: Models = SHIPPED_MODELS,
    ssl_certfile: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Certificate, to serve https.")
    ] = None,
    ssl_keyfile: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Its key.")] = None,
    oidc_issuer: Annotated[str, typer.Option(help="Identity provider whose tokens (JWT) are taken.")] = "",
    oidc_audience: Annotated[str, typer.Option(help="This server's name in those tokens.")] = "",
    oidc_jwks: Annotated[str, typer.Option(help="File or address of its keys; default: it is asked.")] = "",
    admin_role: Annotated[str, typer.Option(help="Role in those tokens that makes an administrator.")] = ADMIN_ROLE,
    rate_limit: Annotated[str, typer.Option(help="Requests of one client, N/s; 0 sets no limit.")] = RATE_LIMIT,
    log_format: Annotated[LogFormat, typer.Option(help="How the log is written.")] = LogFormat.text,
    dicomweb: Annotated[str, typer.Option(help="DICOMweb archive that results can be stored in.")] = "",
    dicomweb_query: Annotated[
        list[str] | None, typer.Option(help="KEYWORD=VALUE: series to fetch from it at start; can be repeated.")
    ] = None,
) -> None:
    """Serves the models to 3D Slicer and other clients until Ctrl+C."""
    from monailabel_app.start import run

    config = ServerConfig(
        studies=_folder(studies, "studies"),
        data=(data or default_data(studies)).expanduser().resolve(),
        host=host,
        port=port or _port(host, 0),
        token=token.strip(),
        validation=_pairs(validation, "validation") if validation else None,
        replay=_pairs(replay, "replay") if replay else None,
        threads=threads,
        concurrency=concurrency,
        max_queue=max_queue,
        devices=_devices(devices),
        train_device=_devices(train_device)[0],
        train_nice=train_nice,
        max_upload_mb=max_upload_mb,
        recent_mb=recent_mb,
        preload=preload,
        cors=tuple(cors or ()),
        patient_pattern=_pattern(patient_pattern),
        dice_tolerance=dice_tolerance,
        label_tolerance=label_tolerance,
        reference_tolerance=reference_tolerance,
        synthetic_ratio=synthetic_ratio,
        auto_train=auto_train,
        background_scoring=background_scoring,
        models=_folder(models, "models"),
        oidc_issuer=oidc_issuer.strip(),
        oidc_audience=oidc_audience.strip(),
        oidc_jwks=oidc_jwks.strip(),
        admin_role=admin_role.strip(),
        rate_limit=_rate(rate_limit),
        log_format=log_format.value,
        dicomweb=dicomweb.strip(),
        dicomweb_query=tuple(dicomweb_query or ()),
    )
    _check_provider(config)
    _check_archive(config)
    _check_address(config)
    _refused(check_origins, config.cors)
    _refused(check_certificate, ssl_certfile, ssl_keyfile)
    _check_writable(config)
    run(config, ssl_certfile, ssl_keyfile)


cli.command()(commands.pull)
cli.command()(commands.push)


@cli.command()
def versions(model: Model = "", studies: Studies = Path(), data: Data = None, models: Models = SHIPPED_MODELS) -> None:
    """Lists the versions of a model, or of all."""
    registry = _registry(studies, data, models)
    for name in [model] if model else registry.models():
        _print_versions(registry, name)


@cli.command()
def rollback(
    model: Model,
    version: Annotated[str, typer.Argument(help="Version to serve; default the one before the present.")] = "",
    studies: Studies = Path(),
    data: Data = None,
    models: Models = SHIPPED_MODELS,
    force: Annotated[bool, typer.Option(help="Serve it even if the gate refused it.")] = False,
) -> None:
    """Serves another version from the next request on, also while the server runs."""
    registry = _registry(studies, data, models)
    try:
        check_owner(data or default_data(studies))
        chosen = registry.serve(model, version or _before_present(registry, model), force)
    except (MedGANError, ModelNotAvailable) as error:
        raise _failure(str(error)) from error
    console.print(escape(f"{model} {chosen.name} serves now."))


@cli.command()
def seal(
    model: Model,
    version: Annotated[str, typer.Argument(help="The version.")],
    models: Models = SHIPPED_MODELS,
) -> None:
    """Records the checksum of a version that is to be shipped, so that damage to it is noticed."""
    try:
        sealed = Registry(models, models / ".none").seal(model, version)
    except (MedGANError, ModelNotAvailable) as error:
        raise _failure(str(error)) from error
    console.print(escape(f"{model} {version}: {sealed.record.checksum}"))


def _registry(studies: Path, data: Path | None, models: Path) -> Registry:
    folder = data or default_data(studies)
    if not folder.is_dir():
        raise _failure(f"There is no data folder {folder}. Give --studies or --data as in `serve`.")
    return Registry(models, folder / "models")


def _before_present(registry: Registry, model: str) -> str:
    usable = [v.name for v in registry.versions(model) if v.record.state == "published"]
    try:
        present = registry.current(model).name
    except ModelNotAvailable:
        return usable[-1] if usable else ""
    earlier = [name for name in usable if name < present]
    if not earlier:
        raise MedGANError("unknown_version", f"{model} has no published version before {present}.")
    return earlier[-1]


def _print_versions(registry: Registry, model: str) -> None:
    try:
        rows = registry.versions(model)
    except MedGANError as error:
        raise _failure(str(error)) from error
    try:
        present = registry.current(model).name
    except ModelNotAvailable as error:
        present = ""
        console.print(f"[red]{escape(str(error))}[/red]")
    table = Table("", "version", "state", "made", "from", "why", title=escape(model))
    for row in rows:
        mark = "serves" if row.name == present else ""
        record = row.record
        told = (row.name, record.state, record.created or record.origin, record.parent, record.reason)
        table.add_row(mark, *(escape(text or "") for text in told))
    console.print(table)


def _folder(path: Path, name: str) -> Path:
    if not path.is_dir():
        raise _failure(f"The {name} folder {path} does not exist. Make it, or give another with --{name}.")
    return path.expanduser().resolve()


def _pairs(path: Path, name: str) -> Path:
    """A folder with `images/` and `labels/`; better refused now than by the first training."""
    try:
        find_cases(_folder(path, name))
    except FileNotFoundError as error:
        raise _failure(f"--{name}: {error}") from error
    return path.expanduser().resolve()


def _devices(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    try:
        compute_devices(names)
    except ValueError as error:
        raise _failure(str(error)) from error
    return names


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise _failure(f"--patient-pattern {text!r} is not a regular expression: {error}.") from error
    return text


def _rate(text: str) -> float:
    """`50/s` or `50`."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)(/s)?", text.strip())
    if not found:
        raise _failure(f"--rate-limit {text!r} is not a number of requests each second, like 50/s.")
    return float(found[1])


def _check_provider(config: ServerConfig) -> None:
    """Refuses settings with which nobody, or anybody, could log in."""
    given = (config.oidc_issuer, config.oidc_audience)
    if not any((*given, config.oidc_jwks)):
        return
    if not all(given):
        raise _failure("--oidc-issuer and --oidc-audience are needed together.")
    if not config.admin_role:
        raise _failure("--admin-role must not be empty.")
    try:
        _check_keys(config)
    except (MedGANError, OSError, ValueError, KeyError, TypeError) as error:
        raise _failure(f"The identity provider's keys cannot be used: {error}.") from error


def _check_keys(config: ServerConfig) -> None:
    """A file is read now; an address must be one whose answers nobody can forge."""
    source = config.oidc_jwks
    if not source or is_address(source):
        check_address(source or config.oidc_issuer)
    elif not dict(usable_keys(read_keys("", source))):
        raise ValueError(f"{source} has no public key for signatures")


def _check_archive(config: ServerConfig) -> None:
    """Refuses an address that cannot be one. The archive itself may be away: it is only needed later."""
    try:
        parse_query(config.dicomweb_query)
        if config.dicomweb or config.dicomweb_query:
            check_url(config.dicomweb)
    except MedGANError as error:
        raise _failure(f"--dicomweb: {error}") from error


def _check_writable(config: ServerConfig) -> None:
    for folder in (config.studies, config.data):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            hint = "Labels are kept in the studies folder, all else in the data folder (--data)."
            raise _failure(f"The server cannot write to {folder}: {error.strerror}. {hint}") from error


def _check_address(config: ServerConfig) -> None:
    if config.host not in LOOPBACK and not (config.token or config.oidc_issuer):
        raise _failure(
            f"Others could reach the server on {config.host}, so it needs a token. "
            f"Set one, e.g. {TOKEN_VARIABLE}=$(openssl rand -hex 16), or an identity provider with --oidc-issuer, "
            "or leave --host at 127.0.0.1."
        )
    _port(config.host, config.port)


def _port(host: str, port: int) -> int:
    try:
        return usable_port(host, port)
    except ValueError as error:
        raise _failure(str(error)) from error


def _refused(check: Callable[..., None], *settings: object) -> None:
    try:
        check(*settings)
    except ValueError as error:
        raise _failure(str(error)) from error


def _failure(message: str) -> typer.Exit:
    Console(stderr=True).print(f"[red]{escape(message)}[/red]", soft_wrap=True)
    return typer.Exit(2)


if __name__ == "__main__":
    cli()
