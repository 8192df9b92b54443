"""`python -m demo`: plays the whole loop and writes demo/report.html."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from demo.folder import FolderInUse, empty_folder
from demo.studies import TooFewPatients, make_studies
from trainers.zoo import SHIPPED, versions

HERE = Path(__file__).parent
MODEL = "hippocampus_segmentation"
console = Console(highlight=False, soft_wrap=True)


def main(
    out: Annotated[
        Path, typer.Option(help="Folder for studies, pictures and logs; an earlier demo's is emptied.")
    ] = HERE / "out",
    report: Annotated[Path, typer.Option(help="The report.")] = HERE / "report.html",
    corrected: Annotated[int, typer.Option(min=4, help="Studies to correct and submit.")] = 8,
    held_out: Annotated[int, typer.Option(min=1, help="Cases to measure on, never submitted.")] = 6,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the retraining.")] = 8,
) -> None:
    """Start a server, segment, correct, submit, retrain, measure, and report."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from demo.clinician import Clinician
    from demo.report import write_report
    from demo.server import running_server
    from demo.story import Step, Story

    started = time.monotonic()
    try:
        empty_folder(out)
        studies = make_studies(out, versions(SHIPPED / MODEL)[-1], corrected, held_out)
    except (FolderInUse, TooFewPatients) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    console.print(f"[bold]Studies[/bold]: {studies.origin}")
    made = Step("Make the studies", time.monotonic() - started, f"{corrected} to correct, {held_out} held out, 1 head")
    starting = time.monotonic()
    with running_server(studies.folder, out / "server.log") as url, Clinician(url, MODEL) as clinician:
        ready = Step("Start the server and connect", time.monotonic() - starting, clinician.report.message)
        console.print(f"[bold]Server[/bold]: {url}, ready after {ready.seconds:.1f} s")
        story = Story(clinician, studies, out, console.print)
        story.found.steps += [made, ready]
        found = story.play(epochs)
    write_report(found, studies.origin, time.monotonic() - started, report)
    console.print(f"Mean Dice on held-out cases {found.before['mean']:.4f} → {found.after['mean']:.4f}.")
    console.print(f"[bold green]Report[/bold green]: {report} ({time.monotonic() - started:.0f} s in all)")


if __name__ == "__main__":
    typer.run(main)
