"""`train segmentation` and `evaluate segmentation`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trainers.commands.shared import (
    HIGHEST_SEED,
    Device,
    Json,
    Model,
    Out,
    PatientPattern,
    Threads,
    command_line,
    console,
    explained,
    finite,
    warn,
    write_report,
)
from trainers.console import console_monitor
from trainers.data.cases import Case
from trainers.monitor import Monitor
from trainers.recipes import RECIPES
from trainers.spec import ModelSpec
from trainers.tasks.segmentation.evaluate import Report, evaluate, jsonable
from trainers.tasks.segmentation.infer import Segmenter
from trainers.tasks.segmentation.interaction import click_report, quality_report
from trainers.tasks.segmentation.train import Part, choose_cases, train, warnings_of
from trainers.zoo import find_model

Data = Annotated[
    Path, typer.Option(help="Folder with images/ and labels/, same file names.", exists=True, file_okay=False)
]


def train_segmentation(
    data: Data,
    out: Out,
    model: Annotated[str, typer.Option(help="Recipe to train.")] = "hippocampus_segmentation",
    patient_pattern: PatientPattern = "",
    steps: Annotated[
        int,
        typer.Option(
            help="Training steps, of a recipe of several stages those of the first; 0 takes the recipe's.", min=0
        ),
    ] = 0,
    cases: Annotated[int, typer.Option(help="Use only this many training patients; 0 takes all.", min=0)] = 0,
    adversarial: Annotated[
        float | None,
        typer.Option(help="Weight of the adversarial term, 0 has no discriminator; the recipe's if not given.", min=0),
    ] = None,
    learning_rate: Annotated[
        float,
        typer.Option(
            help="Highest learning rate, of a recipe of several stages that of the first; 0 takes the recipe's.",
            min=0,
            callback=finite,
        ),
    ] = 0.0,
    threads: Threads = 0,
    seed: Annotated[int, typer.Option(help="Seed of weights, batches and augmentation.", min=0, max=HIGHEST_SEED)] = 0,
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
        if not patient_pattern:
            warn(data.name, ["No patient_pattern is given, so each image is taken for a patient."])
        report = train(recipe, data, out, cases, monitor, command_line(), patient_pattern)
    if report:
        _show(report, out)


def evaluate_segmentation(
    model: Model,
    data: Data,
    json: Json = None,
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
        spec = ModelSpec.load(folder)
        cases = choose_cases(data, spec, part)
        if part is Part.all:
            warn(data.name, warnings_of(spec, cases))
        report = evaluate(folder, cases, monitor, test_time_augmentation, device)
        told = _interaction(Segmenter(folder, device), cases, clicks, spoil, quality, monitor)
    _show(report, folder)
    _show_interaction(told)
    write_report(json, {"model": str(model), "part": part.value, **report.as_dict(), **jsonable(told)})


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
        for name in ("untouched", "all", "corrected"):
            if name not in told["quality"]:
                continue
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
