"""The command line: `python -m trainers train | evaluate | generate | reconstruct | list`."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Column, Table

from trainers.commands import anomaly, reconstruct, reconstruction, segmentation, synthesis
from trainers.commands.shared import console
from trainers.recipes import ANOMALY_RECIPES, FUSION_RECIPES, RECIPES, RECONSTRUCTION_RECIPES, SYNTHESIS_RECIPES
from trainers.spec import ModelNotAvailable, ModelSpec
from trainers.tasks.synthesis.presets import PRESETS
from trainers.zoo import model_folders, versions

app = typer.Typer(help="Train, measure and list MedGAN's models.", no_args_is_help=True, add_completion=False)
train_app = typer.Typer(help="Train a model.", no_args_is_help=True)
evaluate_app = typer.Typer(help="Measure a model.", no_args_is_help=True)
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
train_app.command("segmentation")(segmentation.train_segmentation)
train_app.command("synthesis")(synthesis.train_synthesis)
evaluate_app.command("segmentation")(segmentation.evaluate_segmentation)
evaluate_app.command("synthesis")(synthesis.evaluate_synthesis)
train_app.command("reconstruction")(reconstruction.train_reconstruction)
evaluate_app.command("reconstruction")(reconstruction.evaluate_reconstruction)
train_app.command("anomaly")(anomaly.train_anomaly)
evaluate_app.command("anomaly")(anomaly.evaluate_anomaly)
app.command("generate")(synthesis.generate_images)
app.command("reconstruct")(reconstruct.reconstruct_images)


@app.command("list")
def list_models() -> None:
    """Models that are here, and recipes that can be trained."""
    table = Table(*(Column(name, no_wrap=True) for name in ("model", "version", "task")), "metrics", "data")
    for folder in model_folders():
        for version in versions(folder):
            table.add_row(*map(escape, _row(version)))
    console.print(table)
    every = [*RECIPES, *SYNTHESIS_RECIPES, *RECONSTRUCTION_RECIPES, *FUSION_RECIPES, *ANOMALY_RECIPES]
    console.print("Recipes: " + ", ".join(every))
    console.print("Presets of synthesis: " + ", ".join(PRESETS))


def _row(version: Path) -> tuple[str, ...]:
    """A version's line in the list; a damaged one is shown as such."""
    try:
        spec = ModelSpec.load(version)
    except ModelNotAvailable as error:
        return version.parent.name, version.name, "damaged", "", str(error)
    metrics = ", ".join(f"{name} {m['value']}" for name, m in list(spec.metrics.items())[:3])
    return spec.name, version.name, spec.task, metrics, spec.data


if __name__ == "__main__":
    app()
