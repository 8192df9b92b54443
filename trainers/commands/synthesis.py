"""`train synthesis`, `evaluate synthesis` and `generate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trainers.commands.shared import (
    HIGHEST_SEED,
    BatchSize,
    Classes,
    Device,
    Json,
    Kind,
    KnownPattern,
    Mendable,
    Model,
    Out,
    PatientPattern,
    Threads,
    above_zero,
    command_line,
    console,
    explained,
    finite,
    known_classes,
    known_pattern,
    open_told,
    place_for_folder,
    warn,
    write_report,
)
from trainers.console import console_monitor
from trainers.data.cases import CasesError
from trainers.known import all_known, may_be_known, split_known
from trainers.recipes import SYNTHESIS_RECIPES
from trainers.spec import ModelSpec
from trainers.tasks.synthesis import PRESETS, SynthesisRecipe, evaluate, generate, recipe_for, with_preset
from trainers.tasks.synthesis.train import train
from trainers.zoo import find_model

UNSURE = (
    "{name} does not tell which images it learned from, and none of those that it was tested on is here: these may be "
    "training images, on which all figures are too good. Be sure that they are of other patients."
)


def train_synthesis(
    data: Annotated[Path, typer.Option(help="The data set: a folder, or a MedMNIST .npz.", exists=True)],
    out: Out,
    preset: Annotated[str, typer.Option(help=f"Kind of GAN: {', '.join(PRESETS)}.")] = "default",
    model: Annotated[
        str, typer.Option(help=f"Recipe: {', '.join(SYNTHESIS_RECIPES)}; none makes one for the data.")
    ] = "",
    kind: Kind = "auto",
    patient_pattern: PatientPattern = "",
    classes: Classes = None,
    window: Annotated[
        str, typer.Option(help="Size of the images, voxels, e.g. 64x64 or 32x48x32; empty is the recipe's.")
    ] = "",
    spacing: Annotated[
        float, typer.Option(help="Voxel size of volumes, mm; of sets without a recipe.", callback=above_zero)
    ] = 1.0,
    masks: Annotated[
        bool, typer.Option(help="Fill label maps, and learn to make them; of sets without a recipe.")
    ] = False,
    steps: Annotated[int, typer.Option(help="Training steps; 0 takes the recipe's.", min=0)] = 0,
    batch_size: BatchSize = 0,
    learning_rate: Annotated[
        float, typer.Option(help="Highest learning rate; 0 takes the preset's.", min=0, callback=finite)
    ] = 0.0,
    threads: Threads = 0,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and latents.", min=0, max=HIGHEST_SEED)] = 0,
) -> None:
    """Train a GAN, then measure it and audit its privacy on patients kept away. Several GPUs: start with torchrun."""
    with explained(), console_monitor() as monitor:
        images, size = open_told(data, kind, patient_pattern, classes), _window(window)
        recipe = _recipe(model, preset, size, lambda: recipe_for(images, preset, size, spacing, masks))
        changes: dict[str, Any] = {
            "steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "threads": threads,
        }  # fmt: skip
        recipe = with_preset(recipe, preset, **_usual(recipe, preset), **{k: v for k, v in changes.items() if v})
        recipe = replace(recipe, config=replace(recipe.config, seed=seed))
        report = train(recipe, images, out, command_line(), monitor)
    if report:
        _show(report, out)


def evaluate_synthesis(
    model: Model,
    real: Annotated[Path, typer.Option(help="Real images to compare with: a folder, or a MedMNIST .npz.", exists=True)],
    n: Annotated[int, typer.Option("--n", help="How many images to make.", min=12)] = 500,
    training: Annotated[
        Path | None, typer.Option(help="The images that it learned from, for the privacy audit, if not in --real.")
    ] = None,
    json: Json = None,
    kind: Kind = "auto",
    patient_pattern: KnownPattern = None,
    classes: Classes = None,
    seed: Annotated[int, typer.Option(help="Seed of the first image.", min=0, max=HIGHEST_SEED)] = 0,
    device: Device = "auto",
) -> None:
    """KID, FID, MMD, precision, recall, density, coverage, MS-SSIM, and the privacy audit.

    Images in --real that the model learned from are recognised by their patients and only used for the audit.
    """
    with explained(), console_monitor() as monitor:
        folder = find_model(model)
        spec = _synthesis_spec(folder)
        with known_pattern(spec, patient_pattern) as learned_with:
            entries = open_told(real, kind, learned_with, known_classes(spec, classes, real, kind)).entries
            learned = None
            if training is not None:
                said = known_classes(spec, classes, training, kind)
                learned = open_told(training, kind, learned_with, said).entries
        unknown, known = split_known(spec, entries)
        if not unknown:
            raise CasesError(all_known(spec, entries, "images", str(real)))
        if may_be_known(spec, entries):
            warn(real.name, [UNSURE.format(name=spec.name)])
        try:
            report = evaluate(folder, unknown, n, learned or known, seed, monitor, device).as_dict()
        except ValueError as error:
            raise Mendable(str(error)) from error
    report = {"model": spec.name, "version": spec.version, "made": n, "real": len(unknown), **report}
    _show(report, folder)
    write_report(json, report)


def generate_images(
    model: Annotated[str, typer.Argument(help="Name of a model, or its folder.")],
    out: Annotated[Path, typer.Option(help="A folder that is empty or not there.", callback=place_for_folder)],
    n: Annotated[int, typer.Option("--n", help="How many images.", min=1)] = 10,
    seed: Annotated[
        int, typer.Option(help="Seed of the first image; the others have those that follow.", min=0, max=HIGHEST_SEED)
    ] = 0,
    target: Annotated[
        str | None, typer.Option("--class", help="What they show; else drawn as in the training set.")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="Kind of image, of models with several; else drawn.")] = None,
    device: Device = "auto",
) -> None:
    """Write a synthetic data set: images, labels and a manifest that marks them as synthetic."""
    with explained(), console_monitor() as monitor:
        folder = find_model(model)
        _synthesis_spec(folder)
        try:
            generate(folder, n, out, seed, target, modality, monitor, device)
        except ValueError as error:
            raise Mendable(str(error)) from error
    console.print(f"{n} synthetic images in {escape(str(out))}")


def _recipe(model: str, preset: str, window: tuple[int, ...], make: Any) -> SynthesisRecipe:
    if preset not in PRESETS:
        raise CasesError(f"There is no preset {preset!r}. Known: {', '.join(PRESETS)}.")
    if not model:
        made: SynthesisRecipe = make()
        return made
    if model not in SYNTHESIS_RECIPES:
        raise CasesError(f"There is no recipe {model!r}. Known: {', '.join(SYNTHESIS_RECIPES)}.")
    recipe = SYNTHESIS_RECIPES[model]
    if len(window or recipe.preprocess.window) != recipe.spec.dimensions:
        wanted = recipe.spec.dimensions
        raise CasesError(f"{model} makes {wanted}D images; give {wanted} numbers with --window.")
    return replace(recipe, preprocess=replace(recipe.preprocess, window=window or recipe.preprocess.window))


def _usual(recipe: SynthesisRecipe, preset: str) -> dict[str, Any]:
    """A recipe's own learning rate, which was chosen for its own preset."""
    return {"learning_rate": recipe.fit.learning_rate} if recipe.config.preset == preset else {}


def _window(text: str) -> tuple[int, ...]:
    try:
        size = tuple(int(n) for n in text.lower().split("x")) if text else ()
    except ValueError as error:
        raise CasesError(f"--window {text!r} is not a size. Write it like 64x64 or 32x48x32.") from error
    if any(n < 8 for n in size):
        raise CasesError(f"--window {text!r} is too small; at least 8 voxels along each axis are needed.")
    return size


def _synthesis_spec(folder: Path) -> ModelSpec:
    spec = ModelSpec.load(folder)
    if spec.task != "synthesis":
        raise CasesError(f"{spec.name} is a model for {spec.task}, not for synthesis.")
    return spec


def _show(report: dict[str, Any], folder: Path) -> None:
    table = Table("figure", "made against real", "real against real", "better", title=escape(str(folder)))
    for name, figure in report["fidelity"]["figures"].items():
        table.add_row(name, *(f"{figure[part]['value']:.4g}" for part in ("fake", "real")), figure["better"])
    console.print(table)
    privacy = report["privacy"]
    if privacy:
        console.print(f"privacy audit {'passed' if privacy['passed'] else '[red]FAILED[/red]'}")
        for name, space in privacy["spaces"].items():
            auroc, ratio = space["membership"]["auroc"]["value"], space["synthetic"]["median"]["value"]
            console.print(f"  by {name}: membership AUROC {auroc:.3f}, memorisation ratio {ratio:.3f}")
    for note in report["notes"]:
        console.print(escape(note))
