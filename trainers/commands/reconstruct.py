"""`reconstruct`: an image, several images or k-space become a better image, in files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from trainers.commands.shared import Device, Mendable, console, explained, place_for_folder
from trainers.console import console_monitor
from trainers.data.kspace import SUFFIXES, read_kspace
from trainers.data.volumes import read_volume, write_volume
from trainers.files import atomic_write_json
from trainers.marks import altered_header
from trainers.tasks.reconstruction.infer import Reconstructed
from trainers.tasks.reconstruction.models import MADE, ReconstructionModel, open_model
from trainers.tasks.reconstruction.undersampled import UndersampledReconstructor
from trainers.zoo import find_model

OPTIONS = ("scale", "acceleration", "mask", "modality", "second_modality", "seed")


def reconstruct_images(
    model: Annotated[str, typer.Argument(help="Name of a model, or its folder.")],
    inputs: Annotated[
        list[Path], typer.Option("--input", help="An image or, for models of undersampling, k-space. Once for each.")
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder for image.nrrd, uncertainty.nrrd and result.json.", callback=place_for_folder),
    ],
    strength: Annotated[
        float, typer.Option(help="0: the safe weights; 1: those of the GAN; between: a blend.", min=0, max=1)
    ] = 0.0,
    option: Annotated[
        list[str] | None, typer.Option(help=f"NAME=VALUE, of the model's own: {', '.join(OPTIONS)}.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Make images finer, cleaner, of less k-space, of two modalities, or another modality."""
    with explained(), console_monitor() as monitor:
        loaded = open_model(find_model(model), device)
        try:
            result = _run(loaded, inputs, strength, _options(option or []), monitor)
        except ValueError as error:
            raise Mendable(str(error)) from error
        _write(result, out, loaded, strength)
    for warning in result.warnings:
        console.print(f"[yellow]{escape(warning)}[/yellow]")
    console.print(f"Written to {escape(str(out))}")


def _run(
    model: ReconstructionModel, inputs: list[Path], strength: float, options: dict[str, Any], monitor: Any
) -> Reconstructed:
    _check_options(model, options)
    if isinstance(model, UndersampledReconstructor) and inputs[0].suffix.lower() in SUFFIXES:
        if len(inputs) > 1 or options:
            raise Mendable("K-space is taken as it was measured: give one --input alone, without --option.")
        return model.reconstruct_kspace(read_kspace(inputs[0]), strength, monitor)
    names = [entry["name"] for entry in model.spec.inputs]
    if len(inputs) != len(names):
        wanted = ", ".join(f"{entry['name']} ({entry.get('modality', 'any')})" for entry in model.spec.inputs)
        raise Mendable(f"{model.spec.name} takes {len(names)} images, in this order: {wanted}.")
    images = {name: read_volume(path) for name, path in zip(names, inputs, strict=True)}
    return model.reconstruct(images, strength, monitor, **options)


def _check_options(model: ReconstructionModel, given: Collection[str]) -> None:
    """Raises Mendable for an option that this model has no use for."""
    wrong = [name for name in given if name not in model.options]
    if wrong:
        known = f"Its options: {', '.join(model.options)}." if model.options else "It has none."
        raise Mendable(f"{model.spec.name} has no option {wrong[0]}. {known}")


def _options(given: list[str]) -> dict[str, Any]:
    """NAME=VALUE as numbers where they are, else as text."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in OPTIONS:
            raise Mendable(f"{text!r} is no option. Give NAME=VALUE with one of {', '.join(OPTIONS)}.")
        try:
            number = float(value)
            found[name] = int(number) if number.is_integer() else number
        except ValueError:
            found[name] = value
    return found


def _write(result: Reconstructed, out: Path, model: ReconstructionModel, strength: float) -> None:
    """All volumes, marked with what made them, and what is known of the result."""
    spec = model.spec
    altered = strength > 0 or spec.preprocess.get("measurement") in MADE
    made = {"MedGAN.Model": spec.name, "MedGAN.Version": spec.version}
    mark = altered_header(spec.name, spec.version, strength) if altered else made
    assert result.uncertainty is not None
    volumes = {"image": result.image, "uncertainty": result.uncertainty, **result.beside}
    for name, volume in volumes.items():
        write_volume(out / f"{name}.nrrd", volume, mark if name == "image" else made)
    told = {
        "model": spec.name, "version": spec.version, "strength": strength, "gan_altered": altered,
        "contradiction": result.contradiction, "warnings": list(result.warnings), "files": sorted(volumes),
    }  # fmt: skip
    atomic_write_json(out / "result.json", told)
