"""`python -m benchmarks`, `python -m benchmarks labels` or one by name; needs real patients in MEDGAN_DATA."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from trainers.console import ConsoleMonitor
from trainers.files import atomic_write_json

app = typer.Typer(help="Measure the figures of docs/measured.md.", no_args_is_help=False, add_completion=False)
WIDTH = 140  # of tables in a file or a pipe
console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
Out = Annotated[Path, typer.Option(help="Folder for measurements and what is made on the way.")]
OUT = Path("build") / "benchmarks"


@app.callback(invoke_without_command=True)
def everything(context: typer.Context) -> None:
    """The benchmarks of minutes, one after the other, if none is named; those of longer are called by name."""
    if context.invoked_subcommand is None:
        for run in (segmentation, finetune, server, speed, crowd, presets, privacy_audit, reconstruction):
            run()


@app.command()
def segmentation(out: Out = OUT) -> None:
    """The shipped model on patients that it was not trained on, with and without its options."""
    from benchmarks.segmentation import measure

    _tell("Hippocampus segmentation on patients not trained on", measure(hippocampus()), out / "segmentation.json")


@app.command()
def clicks(out: Out = OUT) -> None:
    """What corrections by clicks are worth on patients that the shipped model was not trained on; ten minutes."""
    from benchmarks.clicks import measure, plot

    with ConsoleMonitor() as monitor:
        rows = measure(hippocampus(), monitor=monitor)
    plot(rows, out / "clicks.png")
    _tell("Dice after clicks of a simulated clinician", rows, out / "clicks.json")


@app.command()
def finetune(out: Out = OUT) -> None:
    """A deliberately weak version, ten corrections through the server, and poisoned corrections."""
    from benchmarks.finetune import measure

    _tell("Learning from ten corrections, through the server", measure(hippocampus(), out), out / "finetune.json")


@app.command()
def server(out: Out = OUT) -> None:
    """Latency of the server: two organs in a large volume."""
    from benchmarks.server import measure

    _tell("A large volume", measure(out), out / "server.json")


@app.command()
def speed(out: Out = OUT) -> None:
    """The same networks behind stock MONAI Label and behind this server: seconds and memory; some minutes."""
    from benchmarks.beside_stock import measure

    _tell("A volume of 512 x 512 x 200, beside stock MONAI Label", measure(out / "speed"), out / "speed.json")


@app.command()
def crowd(out: Out = OUT) -> None:
    """Many users: /info/ while 16 clients infer and a training runs, turns, refusals, and a client that leaves."""
    from benchmarks.crowd import measure

    _tell("Many users at once", measure(hippocampus(), out), out / "crowd.json")


@app.command()
def fuzz(minutes: Annotated[float, typer.Option(min=0, help="How long, in all.")] = 30.0) -> None:
    """Searches for requests and damaged files that the server does not answer as it should."""
    from benchmarks.fuzz import search

    raise typer.Exit(search(minutes))


@app.command()
def presets(out: Out = OUT) -> None:
    """Each kind of GAN on real chest X-rays, by falling KID; ten to twenty minutes."""
    from benchmarks.presets import measure

    with ConsoleMonitor() as monitor:
        rows = measure(real("pneumoniamnist", "pneumoniamnist/*.npz"), monitor)
    _tell("KID of each preset on chest X-rays", rows, out / "presets.json")


@app.command("audit")
def privacy_audit(out: Out = OUT) -> None:
    """The privacy audit's false alarms on real patients, and the leaks that it finds; about fifteen minutes."""
    from benchmarks.audit import measure

    with ConsoleMonitor() as monitor:
        rows = measure(hippocampus(), monitor)
    _tell("Audits that refuse images of other patients, with leaks planted", rows, out / "audit.json")


@app.command()
def reconstruction(out: Out = OUT, threads: Annotated[int, typer.Option(help="CPU threads.")] = 2) -> None:
    """Time and memory of super-resolution up to 512 x 512 x 512, and the seams of its tiles; about ten minutes."""
    from benchmarks.reconstruction import measure

    _tell("Super-resolution of large volumes", measure(threads), out / "reconstruction.json")


@app.command()
def anomaly(out: Out = OUT) -> None:
    """The shipped anomaly model on lesions of multiple sclerosis in a brain that it was not made for."""
    from benchmarks.anomaly import measure

    rows = measure(real("ms_lesion_mni", "ms_lesion_mni/patient19") / "patient19")
    _tell("Lesions of multiple sclerosis, boxes of a T1-weighted MR", rows, out / "anomaly.json")


@app.command()
def labels(
    out: Out = OUT,
    sizes: Annotated[str, typer.Option(help="Numbers of labelled patients.")] = "4,8,16,32",
    seeds: Annotated[int, typer.Option(help="How often, with other patients each time.")] = 3,
    arms: Annotated[str, typer.Option(help="Ways to learn.")] = "alone,classical,pairs,adversarial",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    kept: Annotated[
        Path | None, typer.Option(help="Folder with rows of earlier runs, which are not done again.")
    ] = None,
    train: Annotated[bool, typer.Option(help="Do the runs that are missing; else they are left out.")] = True,
) -> None:
    """Segmentation with few labels: alone, augmented, with GAN pairs, with adversarial learning. Takes hours."""
    from benchmarks.synthetic_labels import Bench, Effort, plot, summary

    with ConsoleMonitor() as monitor:
        bench = Bench(hippocampus(), out / "synthetic_labels", Effort(threads=threads), monitor, kept)
        rows = summary(bench.measure([int(n) for n in sizes.split(",")], range(seeds), arms.split(","), train))
    plot(rows, out / "synthetic_labels.png")
    _tell("Few labels: Dice on 30 patients not trained on", rows, out / "synthetic_labels.json")


@app.command()
def retrain(
    out: Out = OUT, strategies: Annotated[str, typer.Option(help="Ways to choose.")] = "hybrid,foreground"
) -> None:
    """Ten studies that the server chose are labelled and submitted; how long until a better version serves."""
    from benchmarks.retrain import measure

    rows = measure(hippocampus(), out, strategies.split(","))
    keys = [key for key in rows[0] if key != "strategy"]
    told = [{"what": key, **{row["strategy"]: row[key] for row in rows}} for key in keys]
    _tell("From ten labels to a better version, through the server", told, out / "retrain.json")


@app.command("active_learning")
def active_learning(
    out: Out = OUT,
    seeds: Annotated[int, typer.Option(help="How often, with other first patients each time.")] = 3,
    strategies: Annotated[
        str, typer.Option(help="Ways to choose.")
    ] = "foreground,entropy,stratified,realism,diversity,hybrid",
    steps: Annotated[int, typer.Option(help="Training steps of each network.")] = 800,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    kept: Annotated[
        Path | None, typer.Option(help="Folder with rounds of earlier runs, which are not done again.")
    ] = None,
    rare: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of patients that come as another sequence; 0.1 is one in ten.")
    ] = 0.0,
    sizes: Annotated[str, typer.Option(help="Numbers of labelled patients.")] = "2,4,8",
) -> None:
    """Dice against the number of labelled patients for every strategy that chooses them. Takes an hour or more."""
    from benchmarks.active_learning import Bench, Effort, plot, summary
    from trainers.data.cases import CasesError
    from trainers.tasks.segmentation.choosing import STRATEGIES

    ways, counts = strategies.split(","), [int(n) if n.strip().isdigit() else 0 for n in sizes.split(",")]
    unknown = [way for way in ways if way not in STRATEGIES]
    if unknown:
        raise typer.BadParameter(f"There is no way to choose {unknown[0]!r}. Known: {', '.join(STRATEGIES)}.")
    name = "active_learning_two_sequences" if rare else "active_learning"
    with ConsoleMonitor() as monitor:
        bench = Bench(hippocampus(), out / name, Effort(steps, threads=threads), monitor, kept, rare)
        try:
            rows = summary(bench.measure(range(seeds), ways, counts))
        except CasesError as error:
            raise typer.BadParameter(str(error)) from error
    plot(rows, out / f"{name}.png")
    both = ", each as both sequences" if rare else ""
    _tell(f"Which study next: Dice on 30 patients not trained on{both}", rows, out / f"{name}.json")


@app.command()
def studies(out: Out = OUT, count: Annotated[int, typer.Option(min=20, help="How many.")] = 5000) -> None:
    """The datastore with thousands of studies: seconds to open, to note a score, to store a label."""
    from benchmarks.studies import measure

    _tell(f"{count} studies", measure(out / "studies", count), out / "studies.json")


@app.command()
def soak(
    out: Out = OUT,
    kills: Annotated[int, typer.Option(min=2, help="How often a process is killed.")] = 200,
    servers: Annotated[int, typer.Option(min=0, help="How many of these kills hit the whole server.")] = 15,
    seed: Annotated[int, typer.Option(help="Of chance.")] = 0,
) -> None:
    """Kills at random moments: what was acknowledged is there, and everything opens. About half an hour."""
    from benchmarks import soak, soak_server

    logging.disable(logging.CRITICAL)
    tally = soak.measure(kills - servers, out / "soak" / "process", seed)
    if servers:
        soak_server.measure(servers, out / "soak" / "server", seed, tally)
    _tell(f"{kills} kills (SIGKILL) at random moments", tally.rows(), out / "soak.json")
    for text in tally.lost:
        console.print(f"lost {text}", markup=False)
    raise typer.Exit(1 if tally.lost else 0)


def hippocampus() -> Path:
    """The folder of real patients with hippocampi."""
    return real("hippocampus", "hippocampus/images and labels")


def real(name: str, files: str) -> Path:
    """A folder of real images; ends with an explanation if there is none."""
    folder = Path(os.environ.get("MEDGAN_DATA", "../shared/data")) / name
    if not folder.is_dir():
        console.print(f"There is no {folder}. Set MEDGAN_DATA to a folder with {files}.")
        raise typer.Exit(2)
    return folder


def _tell(title: str, rows: list[dict[str, Any]], path: Path) -> None:
    """Prints rows as a table and keeps them as JSON."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    console.print(table)
    atomic_write_json(path, rows)


if __name__ == "__main__":
    app()
