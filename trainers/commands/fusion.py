"""What `evaluate reconstruction` does with a fusion model, and how its figures are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from trainers.commands.shared import Mendable, console, open_aligned_told, open_told, write_report
from trainers.data.cases import CasesError
from trainers.data.sets import DataSet
from trainers.known import all_known, split_known
from trainers.monitor import Monitor
from trainers.tasks.fusion.evaluate import FIGURES, MAXIMUM, Report, evaluate
from trainers.tasks.fusion.infer import Fuser
from trainers.tasks.fusion.windows import GREY, MODALITIES


@dataclass(frozen=True)
class Images:
    """What to measure on, as it is told on the command line.

    Attributes:
        data: a folder of patients. inputs: instead of it, a folder an image, with equal file names.
        kind: of the layout of `data`. modalities: of the channels. patient_pattern: see `PatientPattern`.
    """

    data: Path | None
    inputs: Sequence[Path] = ()
    kind: str = "auto"
    modalities: Sequence[str] = ()
    patient_pattern: str = ""

    def open(self) -> DataSet:
        """The data set. Raises Mendable unless it is told in one way, and in full."""
        wrong = [name for name in self.modalities if name not in (*MODALITIES, GREY)]
        if wrong:
            raise Mendable(f"There is no modality {wrong[0]!r}. Known: {', '.join((*MODALITIES, GREY))}.")
        if self.data is not None and not self.inputs:
            return open_told(self.data, self.kind, self.patient_pattern)
        if self.data is not None or len(self.inputs) < 2:
            raise Mendable("Give --data, or --inputs for each of at least two folders with equal file names.")
        return open_aligned_told(self.inputs, self.kind, self.patient_pattern)


def evaluate_fusion(folder: Path, images: Images, json: Path | None, device: str, monitor: Monitor) -> list[Report]:
    """Measures a fusion model on patients that it did not learn from; see `tasks.fusion.evaluate`."""
    fuser, data = Fuser(folder, device), images.open()
    entries, _ = split_known(fuser.spec, data.entries)
    if not entries:
        raise CasesError(all_known(fuser.spec, data.entries, "images", data.name))
    reports = evaluate(fuser, data, entries, images.modalities, monitor)
    found: dict[str, Any] = {"model": fuser.spec.name, "version": fuser.spec.version, "data": data.name}
    write_report(json, {**found, "pairs": [report.as_dict() for report in reports]})
    return reports


def show_fusion(reports: Sequence[Report], name: str) -> None:
    """A table for each pair of images."""
    for report in reports:
        title = f"{escape(name)} on {escape(report.pair)}, {len(report.per_patient)} patients, 95 % intervals"
        table = Table("", *FIGURES, "ahead", title=title)
        for method in report.methods:
            ahead = "" if method == MAXIMUM else f"{len(report.ahead(method))} of {len(FIGURES)}"
            table.add_row(escape(method), *(_cell(report, method, figure) for figure in FIGURES), ahead)
        console.print(table)


def _cell(report: Report, method: str, figure: str) -> str:
    known = report.estimates[method][figure]
    interval = f"\n{known['low']:.3g} to {known['high']:.3g}" if "low" in known else ""
    return f"{known['value']:.4g}{interval}"
