"""The command line: `python -m trainers train | evaluate | list`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trainers.console import console_monitor
from trainers.data.cases import CasesError
from trainers.data.volumes import VolumeError
from trainers.files import atomic_write_json
from trainers.fit import CheckpointMismatch
from trainers.recipes import RECIPES
from trainers.spec import ModelNotAvailable, ModelSpec
from trainers.tasks.segmentation.evaluate import Report, evaluate
from trainers.tasks.segmentation.train import Part, choose_cases, train
from trainers.zoo import find_model, model_folders, versions

app = typer.Typer(help="Train, measure and list MedGAN's models.", no_args_is_help=True, add_completion=False)
train_app = typer.Typer(help="Train a model from its recipe.", no_args_is_help=True)
evaluate_app = typer.Typer(help="Measure a model on labelled cases.", no_args_is_help=True)
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
console = Console()
errors = Console(stderr=True, soft_wrap=True)
MENDABLE = (FileNotFoundError, VolumeError, ModelNotAvailable, CasesError, CheckpointMismatch, FloatingPointError)

Data = Annotated[
    Path, typer.Option(help="Folder with images/ and labels/, same file names.", exists=True, file_okay=False)
]


@train_app.command("segmentation")
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
    with _explained(), console_monitor() as monitor:
        report = train(recipe, data, out, cases, monitor)
    if report:
        _show(report, out)


@evaluate_app.command("segmentation")
def evaluate_segmentation(
    model: Annotated[str, typer.Option(help="Name of a model, or a folder with spec.json and model.safetensors.")],
    data: Data,
    json: Annotated[Path | None, typer.Option(help="File for the measurements.")] = None,
    part: Annotated[Part, typer.Option(help="All, or the model's own test or validation patients.")] = Part.all,
    test_time_augmentation: Annotated[bool, typer.Option(help="Average over mirrored and resized views.")] = True,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, … or auto.")] = "auto",
) -> None:
    """Dice and HD95 of each label and case, and seconds a case."""
    with _explained(), console_monitor() as monitor:
        folder = find_model(model)
        cases = choose_cases(data, ModelSpec.load(folder), part)
        report = evaluate(folder, cases, monitor, test_time_augmentation, device)
    _show(report, folder)
    if json:
        atomic_write_json(json, {"model": str(model), "part": part.value, **report.as_dict()})


@app.command("list")
def list_models() -> None:
    """Models that are here, and recipes that can be trained."""
    table = Table("model", "version", "task", "Dice or other metrics", "data")
    for folder in model_folders():
        for version in versions(folder):
            table.add_row(*map(escape, _row(version)))
    console.print(table)
    console.print("Recipes: " + ", ".join(RECIPES))


def _row(version: Path) -> tuple[str, ...]:
    """A version's line in the list; a damaged one is shown as such."""
    try:
        spec = ModelSpec.load(version)
    except ModelNotAvailable as error:
        return version.parent.name, version.name, "damaged", "", str(error)
    metrics = ", ".join(f"{name} {m['value']}" for name, m in list(spec.metrics.items())[:3])
    return spec.name, version.name, spec.task, metrics, spec.data


class _explained:  # noqa: N801 - reads as a statement
    """Turns what a user can mend into one line and exit code 2."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, MENDABLE):
            errors.print(f"[red]{escape(str(error))}[/red]")
            raise typer.Exit(2) from error


def _show(report: Report, model: Path) -> None:
    table = Table("label", "Dice", "HD95 mm", title=f"{escape(str(model))} on {len(report.per_case)} cases")
    distance = report.mean("hd95_mm")
    for name, value in report.dice.items():
        table.add_row(escape(name), f"{value:.4f}", f"{distance[name]:.2f}")
    table.add_row("mean", f"{report.dice_mean:.4f}", f"{report.hd95_mean:.2f}", style="bold")
    console.print(table)
    console.print(f"{report.seconds:.2f} s a case (median)")


if __name__ == "__main__":
    app()
