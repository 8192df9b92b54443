"""`train anomaly` and `evaluate anomaly`."""

from __future__ import annotations

from collections.abc import Mapping
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
    open_told,
    write_report,
)
from trainers.console import console_monitor
from trainers.data.cases import CasesError
from trainers.known import classes_of
from trainers.recipes import ANOMALY_RECIPES
from trainers.spec import ModelSpec
from trainers.tasks.anomaly.data import Examined, open_examined, unknown_to
from trainers.tasks.anomaly.evaluate import evaluate
from trainers.tasks.anomaly.lesions import measure_lesions
from trainers.tasks.anomaly.report import left_out_lines, short
from trainers.tasks.anomaly.train import train
from trainers.zoo import find_model

Normal = Annotated[str, typer.Option(help="Class of the healthy images; empty looks for a usual name.")]


def train_anomaly(
    data: Annotated[Path, typer.Option(help="The data set: healthy images, or classes one of which is.", exists=True)],
    out: Out,
    model: Annotated[str, typer.Option(help=f"Recipe: {', '.join(ANOMALY_RECIPES)}.")] = "hippocampus_anomaly",
    kind: Kind = "auto",
    normal: Normal = "",
    patient_pattern: PatientPattern = "",
    classes: Classes = None,
    steps: Annotated[int, typer.Option(help="Steps of restorer and judge; 0 takes the recipe's.", min=0)] = 0,
    batch_size: BatchSize = 0,
    learning_rate: LearningRate = 0.0,
    threads: Threads = 0,
    reference: Annotated[bool, typer.Option(help="Train f-AnoGAN as well, to compare with.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.", min=0, max=HIGHEST_SEED)] = 0,
) -> None:
    """Learn what healthy images look like, calibrate, and measure on patients kept away. Several GPUs: torchrun."""
    if model not in ANOMALY_RECIPES:
        raise typer.BadParameter(f"There is no recipe {model!r}. Known: {', '.join(ANOMALY_RECIPES)}.")
    recipe = ANOMALY_RECIPES[model]
    changes = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "threads": threads}
    recipe = replace(
        recipe,
        fit=replace(recipe.fit, **{k: v for k, v in changes.items() if v}),  # type: ignore[arg-type]
        reference=recipe.reference if reference else None,
        normal=normal or recipe.normal,
    ).seeded(seed)
    with explained(), console_monitor() as monitor:
        report = train(recipe, open_told(data, kind, patient_pattern, classes), out, command_line(), monitor)
    if report:
        _show(report, out)


def evaluate_anomaly(
    model: Model,
    data: Annotated[
        Path,
        typer.Option(help="Folder with normal/, abnormal/ and perhaps masks/, or a set with classes.", exists=True),
    ],
    json: Json = None,
    kind: Kind = "auto",
    normal: Normal = "",
    patient_pattern: KnownPattern = None,
    classes: Classes = None,
    lesions: Annotated[
        int, typer.Option(help="Put simulated lesions into so many of the normal images as well.", min=0)
    ] = 0,
    device: Device = "auto",
) -> None:
    """AUROC, AUPRC and sensitivity of images, voxel figures where masks are known; all methods side by side.

    Patients that the model learned from, or was calibrated with, are left out, and images of unknown class.
    """
    with explained(), console_monitor() as monitor:
        folder = find_model(model)
        spec = _anomaly_spec(folder)
        examined = unknown_to(spec, _opened(spec, data, kind, normal, patient_pattern, classes))
        unknown, left_out = examined.normal, {"left_out": dict(examined.left_out)}
        if len(unknown) < 2:
            raise CasesError(f"The model knows all but {len(unknown)} of the healthy patients in {data}. Give others.")
        try:
            report = evaluate(folder, unknown, examined.abnormal, monitor, device) | left_out
        except ValueError as error:
            told = [f"{line} were left out." for line in left_out_lines(left_out)]
            raise Mendable(" ".join([str(error), *told])) from error
        if lesions:
            monitor.report(stage="simulated lesions")
            report["lesions"] = measure_lesions(folder, unknown[:lesions], monitor, device)
    _show(report, folder)
    write_report(json, report)


def _anomaly_spec(folder: Path) -> ModelSpec:
    spec = ModelSpec.load(folder)
    if spec.task != "anomaly":
        raise CasesError(f"{spec.name} is a model for {spec.task}, not for anomaly detection.")
    return spec


def _opened(spec: ModelSpec, data: Path, kind: str, normal: str, pattern: str | None, classes: bool | None) -> Examined:
    """The images, with patients named as they were for the training unless another pattern is given."""
    with known_pattern(spec, pattern) as learned_with:
        normal = normal or str(spec.training.get("normal", ""))
        said = classes_of(spec) if classes is None else classes
        return open_examined(data, kind, normal, learned_with, said)


def _show(report: Mapping[str, Any], folder: Path) -> None:
    methods = report.get("methods", {})
    if methods:
        title = f"{folder} on {report['normal']} normal and {report['abnormal']} abnormal images, 95 % intervals"
        _table(title, {name: method["images"] for name, method in methods.items()})
        if report["marked"]:
            told = {name: _estimates(method["voxels"]) for name, method in methods.items()}
            _table(f"{folder} voxel by voxel, {report['marked']} images with masks", told)
        for row in next(iter(methods.values()))["calibration"]:
            console.print(f"false positives by {row['of']}: promised {row['promised']:g}, found {short(row['found'])}")
    for line in left_out_lines(report):
        console.print(f"left out: {line}")
    if "lesions" in report:
        row = report["lesions"][0]
        told = {name: _estimates(figures) for name, figures in row["methods"].items()}
        _table(f"{folder}: {row['images']} simulated lesions", told)


def _estimates(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if isinstance(value, Mapping)}


def _table(title: str, methods: Mapping[str, Mapping[str, Any]]) -> None:
    figures = list(dict.fromkeys(figure for method in methods.values() for figure in method))
    table = Table("", *figures, title=escape(title))
    for name, method in methods.items():
        table.add_row(escape(name), *(short(method[figure]) if figure in method else "" for figure in figures))
    console.print(table)
