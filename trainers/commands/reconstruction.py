"""`train reconstruction` and `evaluate reconstruction`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trainers.commands.shared import Device, Kind, Model, command_line, console, explained
from trainers.console import console_monitor
from trainers.data.cases import CasesError
from trainers.data.readers import open_data
from trainers.files import atomic_write_json
from trainers.known import split_known
from trainers.recipes import RECONSTRUCTION_RECIPES
from trainers.tasks.reconstruction.evaluate import Report, evaluate
from trainers.tasks.reconstruction.infer import Reconstructor
from trainers.tasks.reconstruction.train import train
from trainers.zoo import find_model


def train_reconstruction(
    data: Annotated[Path, typer.Option(help="Folder of clean volumes.", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder for weights, spec and card; a stopped run there goes on.")],
    model: Annotated[str, typer.Option(help=f"Recipe: {', '.join(RECONSTRUCTION_RECIPES)}.")] = "mr_super_resolution",
    kind: Kind = "auto",
    steps: Annotated[int, typer.Option(help="Steps of the L1 weights; 0 takes the recipe's.")] = 0,
    adversarial_steps: Annotated[int, typer.Option(help="Steps of the adversarial weights; 0 takes the recipe's.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Images a step; 0 takes the recipe's.")] = 0,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate; 0 takes the recipe's.")] = 0.0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes the recipe's.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
) -> None:
    """Train a reconstruction model, then measure it on patients kept away. Several GPUs: start with torchrun."""
    recipe = RECONSTRUCTION_RECIPES.get(model)
    if recipe is None:
        raise typer.BadParameter(f"There is no recipe {model!r}. Known: {', '.join(RECONSTRUCTION_RECIPES)}.")
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
        report = train(recipe, open_data(data, kind), out, command_line(), monitor)
    if report:
        _show(report, out)


def evaluate_reconstruction(
    model: Model,
    data: Annotated[
        Path, typer.Option(help="Clean volumes; they are made worse as the model's spec says.", exists=True)
    ],
    json: Annotated[Path | None, typer.Option(help="File for the measurements.")] = None,
    kind: Kind = "auto",
    seed: Annotated[int, typer.Option(help="Seed of masks and noise.", min=0)] = 0,
    device: Device = "auto",
) -> None:
    """PSNR, SSIM and texture of both ends of the slider, beside what one has without a network.

    Patients in --data that the model learned from, or that were watched meanwhile, are left out.
    """
    with explained(), console_monitor() as monitor:
        folder = find_model(model)
        reconstructor = Reconstructor(folder, device)
        opened = open_data(data, kind)
        entries, _ = split_known(reconstructor.spec, opened.entries)
        if not entries:
            raise CasesError(f"The model learned from all patients in {data}. Give others.")
        report = evaluate(reconstructor, entries, monitor, seed, opened.channels)
    _show(report, folder)
    if json:
        spec = reconstructor.spec
        atomic_write_json(json, {"model": spec.name, "version": spec.version, **report.as_dict()})


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
