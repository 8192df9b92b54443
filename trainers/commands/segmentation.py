"""`train segmentation` and `evaluate segmentation`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trainers.commands.shared import Device, Model, console, explained
from trainers.console import console_monitor
from trainers.data.cases import Case
from trainers.files import atomic_write_json
from trainers.monitor import Monitor
from trainers.recipes import RECIPES
from trainers.spec import ModelSpec
from trainers.tasks.segmentation.evaluate import Report, evaluate
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.interaction import click_report, quality_report
from trainers.tasks.segmentation.train import Part, choose_cases, train
from trainers.zoo import find_model

Data = Annotated[
    Path, typer.Option(help="Folder with images/ and labels/, same file names.", exists=True, file_okay=False)
]


def train_segmentation(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for weights, spec and card; a stopped run there goes on.")],
    model: Annotated[str, typer.Option(help="Recipe to train.")] = "hippocampus_segmentation",
    steps: Annotated[int, typer.Option(help="Training steps; 0 takes the recipe's.")] = 0,
    cases: Annotated[int, typer.Option(help="Use only this many training patients; 0 takes all.")] = 0,
    adversarial: Annotated[
        float | None,
        typer.Option(help="Weight of the adversarial term, 0 has no discriminator; the recipe's if not given."),
    ] = None,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate; 0 takes the recipe's.")] = 0.0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes the recipe's.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and augmentation.")] = 0,
) -> None:
    """Train a segmentation model, then measure it on the patients kept away. Start with torchrun for several GPUs."""
    recipe = RECIPES.get(model)
    if recipe is None:
        raise typer.BadParameter(f"There is no recipe {model!r}. Known: {', '.join(RECIPES)}.")
    changes: dict[str, Any] = {"steps": steps, "learning_rate": learning_rate, "threads": threads}
    fit = replace(recipe.fit, **{k: v for k, v in changes.items() if v})
    weight = recipe.config.adversarial if adversarial is None else adversarial
    recipe = replace(recipe, fit=fit, config=replace(recipe.config, adversarial=weight, seed=seed))
    with explained(), console_monitor() as monitor:
        report = train(recipe, data, out, cases, monitor)
    if report:
        _show(report, out)


def evaluate_segmentation(
    model: Model,
    data: Data,
    json: Annotated[Path | None, typer.Option(help="File for the measurements.")] = None,
    part: Annotated[Part, typer.Option(help="All, or the model's own test or validation patients.")] = Part.all,
    test_time_augmentation: Annotated[bool, typer.Option(help="Average over mirrored and resized views.")] = True,
    clicks: Annotated[int, typer.Option(min=0, help="Also correct each case by so many simulated clicks.")] = 0,
    spoil: Annotated[
        float, typer.Option(min=0, max=1, help="How much images are spoiled before they are corrected.")
    ] = 0.0,
    quality: Annotated[bool, typer.Option(help="Also compare the expected Dice with the true one.")] = False,
    device: Device = "auto",
) -> None:
    """Dice and HD95 of each label and case, and seconds a case."""
    with explained(), console_monitor() as monitor:
        folder = find_model(model)
        cases = choose_cases(data, ModelSpec.load(folder), part)
        report = evaluate(folder, cases, monitor, test_time_augmentation, device)
        told = _interaction(Segmenter(folder, device), cases, clicks, spoil, quality, monitor)
    _show(report, folder)
    _show_interaction(told)
    if json:
        atomic_write_json(json, {"model": str(model), "part": part.value, **report.as_dict(), **told})


def _interaction(
    segmenter: Segmenter, cases: list[Case], clicks: int, spoil: float, quality: bool, monitor: Monitor
) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if clicks:
        told["corrections"] = click_report(segmenter, cases, clicks, spoil, monitor)
    if quality:
        told["quality"] = quality_report(segmenter, cases, monitor=monitor)
    return told


def _show_interaction(told: dict[str, Any]) -> None:
    if "corrections" in told:
        found = told["corrections"]
        table = Table(
            "clicks", f"Dice of {found['cases']} cases", f"of {found['poor_cases']} poor ones", title="Corrections"
        )
        for count, value in enumerate(found["dice"]):
            table.add_row(str(count), f"{value:.3f}", f"{found['poor'][count]:.3f}" if found["poor"] else "-")
        console.print(table)
        console.print(f"{found['seconds']:.2f} s a look (median)")
    if "quality" in told:
        table = Table("images", "labels", "correlation", "mean error", "within interval", title="Expected Dice")
        for name in ("untouched", "all"):
            f = told["quality"][name]
            table.add_row(name, str(f["labels"]), *(f"{f[k]:.3f}" for k in ("correlation", "mean_error", "within")))
        console.print(table)


def _show(report: Report, model: Path) -> None:
    table = Table("label", "Dice", "HD95 mm", title=f"{escape(str(model))} on {len(report.per_case)} cases")
    distance = report.mean("hd95_mm")
    for name, value in report.dice.items():
        table.add_row(escape(name), f"{value:.4f}", f"{distance[name]:.2f}")
    table.add_row("mean", f"{report.dice_mean:.4f}", f"{report.hd95_mean:.2f}", style="bold")
    console.print(table)
    console.print(f"{report.seconds:.2f} s a case (median)")
