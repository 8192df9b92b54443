"""`python -m benchmarks segmentation | finetune | server | all`; needs real patients in MEDGAN_DATA."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from trainers.files import atomic_write_json

app = typer.Typer(help="Measure the figures of the README.", no_args_is_help=False, add_completion=False)
console = Console(highlight=False)
Out = Annotated[Path, typer.Option(help="Folder for measurements and what is made on the way.")]
OUT = Path("build") / "benchmarks"


@app.callback(invoke_without_command=True)
def everything(context: typer.Context) -> None:
    """All benchmarks, one after the other, if none is named."""
    if context.invoked_subcommand is None:
        for run in (segmentation, finetune, server):
            run()


@app.command()
def segmentation(out: Out = OUT) -> None:
    """The shipped model on patients that it was not trained on, with and without its options."""
    from benchmarks.segmentation import measure

    _tell("Hippocampus segmentation on patients not trained on", measure(hippocampus()), out / "segmentation.json")


@app.command()
def finetune(out: Out = OUT) -> None:
    """A deliberately weak version, ten corrections through the server, and poisoned corrections."""
    from benchmarks.finetune import measure

    _tell("Learning from ten corrections, through the server", measure(hippocampus(), out), out / "finetune.json")


@app.command()
def server(out: Out = OUT) -> None:
    """Latency of the server: a large CT-sized volume, and /info/ while it is busy."""
    from benchmarks.server import measure

    _tell("The server under load", measure(out), out / "server.json")


def hippocampus() -> Path:
    """The folder of real patients; ends with an explanation if there is none."""
    folder = Path(os.environ.get("MEDGAN_DATA", "../shared/data")) / "hippocampus"
    if not folder.is_dir():
        console.print(f"There is no {folder}. Set MEDGAN_DATA to a folder with hippocampus/images and labels.")
        raise typer.Exit(2)
    return folder


def _tell(title: str, rows: list[dict[str, Any]], path: Path) -> None:
    """Prints rows as a table and keeps them as JSON."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)
    atomic_write_json(path, rows)


if __name__ == "__main__":
    app()
