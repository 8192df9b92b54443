"""`train reconstruction` and `evaluate reconstruction`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trainers.commands.fusion import Images, evaluate_fusion, show_fusion
from trainers.commands.shared import (
    HIGHEST_SEED,
    BatchSize,
    Device,
    Json,
    Kind,
    KnownPattern,
    LearningRate,
    Mendable,
    Model,
    Out,
    PatientPattern,
    Threads,
    command_line,
    console,
    explained,
    known_pattern,
    open_aligned_told,
    open_told,
    write_report,
)
from trainers.console import console_monitor
from trainers.data.cache import GIB
from trainers.data.cases import CasesError
from trainers.data.sets import DataSet
from trainers.known import all_known, split_known
from trainers.recipes import FUSION_RECIPES, RECONSTRUCTION_RECIPES
from trainers.spec import ModelSpec
from trainers.tasks.fusion.train import FusionRecipe
from trainers.tasks.fusion.train import train as train_fusion
from trainers.tasks.fusion.windows import FUSION
from trainers.tasks.reconstruction.evaluate import Report, evaluate
from trainers.tasks.reconstruction.infer import Reconstructor
from trainers.tasks.reconstruction.measurements import measurement_of
from trainers.tasks.reconstruction.train import train
from trainers.tasks.reconstruction.volumes import Room
from trainers.zoo import find_model

RECIPES = ", ".join([*RECONSTRUCTION_RECIPES, *FUSION_RECIPES])


def train_reconstruction(
    data: Annotated[Path, typer.Option(help="Clean volumes; for fusion a folder a patient, with CT, …", exists=True)],
    out: Out,
    model: Annotated[str, typer.Option(help=f"Recipe: {RECIPES}.")] = "mr_super_resolution",
    kind: Kind = "auto",
    patient_pattern: PatientPattern = "",
    steps: Annotated[int, typer.Option(help="Steps of the L1 weights; 0 takes the recipe's.", min=0)] = 0,
    adversarial_steps: Annotated[
        int, typer.Option(help="Steps of the adversarial weights; 0 takes the recipe's.", min=0)
    ] = 0,
    batch_size: BatchSize = 0,
    learning_rate: LearningRate = 0.0,
    threads: Threads = 0,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.", min=0, max=HIGHEST_SEED)] = 0,
    memory: Annotated[
        float, typer.Option(help="GiB of images kept in memory; others are read each time. Not for fusion.", min=0)
    ] = 4.0,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps prepared images, quick to read again; at most 50 GiB.")
    ] = None,
) -> None:
    """Train a reconstruction model, then measure it on patients kept away. Several GPUs: start with torchrun."""
    recipe: Any = RECONSTRUCTION_RECIPES.get(model) or FUSION_RECIPES.get(model)
    if recipe is None:
        raise typer.BadParameter(f"There is no recipe {model!r}. Known: {RECIPES}.")
    changes: dict[str, Any] = {
        "steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "threads": threads,
    }  # fmt: skip
    recipe = replace(
        recipe,
        fit=replace(recipe.fit, **{k: v for k, v in changes.items() if v}),
        steps=adversarial_steps or recipe.steps,
        config=replace(recipe.config, seed=seed),
    )
    with explained(), console_monitor() as monitor:
        opened, report, fused = open_told(data, kind, patient_pattern), None, None
        if isinstance(recipe, FusionRecipe):
            fused = train_fusion(recipe, opened, out, command_line(), monitor)
        else:
            report = train(recipe, opened, out, command_line(), monitor, Room(int(memory * GIB), cache))
    if report:
        _show(report, out)
    show_fusion(fused or [], str(out))


def evaluate_reconstruction(
    model: Model,
    data: Annotated[
        Path | None, typer.Option(help="Clean volumes; they are made worse as the model's spec says.", exists=True)
    ] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option(help="For fusion and translation, instead of --data: a folder an image.", exists=True),
    ] = None,
    target: Annotated[
        Path | None, typer.Option(help="For translation: the folder of what should come out.", exists=True)
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(help="CT, MR, PET or grey, of each of --inputs; else volumes go by name, pictures are grey."),
    ] = None,
    json: Json = None,
    kind: Kind = "auto",
    patient_pattern: KnownPattern = None,
    seed: Annotated[int, typer.Option(help="Seed of masks and noise.", min=0, max=HIGHEST_SEED)] = 0,
    device: Device = "auto",
) -> None:
    """PSNR, SSIM and texture of both ends of the slider, beside what one has without a network.

    Of fusion: EN, SD, MI, VIF, Qabf and SSIM, beside the brighter of both images at each pixel and their average.
    Patients that the model learned from, or that were watched meanwhile, are left out.
    """
    with explained():
        folder = find_model(model)
        spec = ModelSpec.load(folder)
        if spec.preprocess.get("measurement") == FUSION:
            if target:
                raise Mendable("Nobody knows the true fused image, so there is no --target for fusion.")
            with known_pattern(spec, patient_pattern) as pattern:
                _evaluate_fusion(folder, Images(data, inputs or (), kind, modality or (), pattern), json, device)
        elif modality:
            raise Mendable(f"{spec.name} has its modalities from its spec; leave --modality out.")
        else:
            with known_pattern(spec, patient_pattern) as pattern:
                opened, channels = _open(spec, data, inputs or (), target, kind, pattern)
            _evaluate(folder, opened, channels, json, seed, device)


def _evaluate_fusion(folder: Path, images: Images, json: Path | None, device: str) -> None:
    with console_monitor() as monitor:
        reports = evaluate_fusion(folder, images, json, device, monitor)
    show_fusion(reports, str(folder))


def _open(
    spec: ModelSpec, data: Path | None, inputs: Sequence[Path], target: Path | None, kind: str, patient_pattern: str
) -> tuple[DataSet, Sequence[str]]:
    """The data, and the names of their channels; none if they are those of the model in its own order.

    Raises:
        Mendable: they are not told in one way, or in a way that this model is not measured on.
    """
    if data is not None and not inputs and target is None:
        opened = open_told(data, kind, patient_pattern)
        return opened, opened.channels
    pairs = len(measurement_of(spec.preprocess).sequences) == 2
    if not pairs:
        raise Mendable(f"{spec.name} is measured on --data, and on that alone.")
    if data is not None or len(inputs) != 1 or target is None:
        raise Mendable("Give --data with a folder a patient, or --inputs and --target with equal file names.")
    return open_aligned_told([target, inputs[0]], kind, patient_pattern), ()


def _evaluate(
    folder: Path, opened: DataSet, channels: Sequence[str], json: Path | None, seed: int, device: str
) -> None:
    with console_monitor() as monitor:
        reconstructor = Reconstructor(folder, device)
        entries, _ = split_known(reconstructor.spec, opened.entries)
        if not entries:
            raise CasesError(all_known(reconstructor.spec, opened.entries, "volumes", opened.name))
        report = evaluate(reconstructor, entries, monitor, seed, channels)
    _show(report, folder)
    spec = reconstructor.spec
    write_report(json, {"model": spec.name, "version": spec.version, **report.as_dict()})


def _show(report: Report, model: Path) -> None:
    for part in (report, *report.others):
        _show_part(part, f"{model} {part.variant}".strip())


def _show_part(report: Report, name: str) -> None:
    metrics = list(dict.fromkeys(metric for method in report.methods for metric in report.per_case[0][method]))
    table = Table("", *metrics, title=f"{escape(name)} on {len(report.per_case)} volumes")
    for method in report.methods:
        values = [f"{report.mean(method, m):.4g}" if report.values(method, m) else "" for m in metrics]
        table.add_row(escape(method), *values)
    console.print(table)
    low, high = (f"{report.gain.low:+.2f}", f"{report.gain.high:+.2f}")
    told = f" (95 % {low} to {high})" if len(report.per_case) > 1 else ""
    console.print(f"L1 weights gain {report.gain.value:+.2f} dB{told} over {report.plain[-1]}.")
