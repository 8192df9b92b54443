"""What a trained anomaly model can do: figures, a picture and the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.card import write_card
from trainers.data.sets import Entry
from trainers.files import atomic_write_json
from trainers.monitor import Monitor
from trainers.spec import ModelSpec
from trainers.tasks.anomaly.evaluate import evaluate
from trainers.tasks.anomaly.lesions import measure_lesions
from trainers.tasks.anomaly.methods import MEDGAN
from trainers.tasks.anomaly.picture import PICTURE_FILE, save_examples

FIGURES_FILE = "figures.json"
LESIONS = 30  # healthy images that get lesions
SHOWN = 3
LEFT_OUT = {
    "unknown_class": "of unknown class",
    "known_normal": "normal, of patients whom the model learned from or was calibrated with",
    "known_abnormal": "abnormal, of patients whom the model learned from or was calibrated with",
}
"""Why images are not measured on."""


def finish(
    spec: ModelSpec,
    out: Path,
    normal: Sequence[Entry],
    abnormal: Sequence[Entry],
    monitor: Monitor = Monitor(),
    left_out: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Measures a model in `out`, and writes its figures, picture, spec and card.

    Args:
        spec: the model.
        out: its folder, with spec and weights.
        normal: healthy images that it did not learn from.
        abnormal: none, if the set has only healthy ones: then simulated lesions are all that is found.
        monitor: hears `stage` and `progress`; may cancel.
        left_out: how many other images there were, by the names of `LEFT_OUT`.
    """
    monitor.report(stage="measuring")
    report: dict[str, Any] = {"lesions": measure_lesions(out, normal[:LESIONS], monitor)}
    if len(abnormal) > 1:
        report |= evaluate(out, normal, abnormal, monitor)
    report["left_out"] = dict(left_out or {})
    atomic_write_json(out / FIGURES_FILE, report)
    measured = spec.replace(metrics=card_metrics(report))
    measured.save(out)
    save_examples(out / PICTURE_FILE, out, normal[:SHOWN], abnormal[:SHOWN])
    write_card(measured, out, sections(report, "mm" if spec.dimensions == 3 else "pixels"), PICTURE_FILE)
    return report


def card_metrics(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of the default method as a spec keeps them, the others' beside them."""
    found = {}
    known = report.get("methods", {})
    for figure in known.get(MEDGAN, {}).get("images", {}):
        beside = {name: method["images"][figure] for name, method in known.items()}
        cases = f"{report['normal']} normal and {report['abnormal']} abnormal images not trained on"
        if beside[MEDGAN]["value"] is not None:
            found[figure] = _metric(beside, cases)
    lesions = report["lesions"][0]
    for figure in ("auroc", "best_dice", "calibrated_dice"):
        beside = {name: method[figure] for name, method in lesions["methods"].items() if figure in method}
        if beside.get(MEDGAN, {}).get("value") is not None:
            found[f"lesion_{figure}"] = _metric(beside, f"{lesions['images']} simulated lesions")
    return found


def sections(report: Mapping[str, Any], unit: str) -> dict[str, list[str]]:
    """More for the card: calibration, and lesions by kind, size and contrast."""
    promised = [
        f"{row['of']}: promised {row['promised']:g}, found {short(row['found'])}"
        for row in report.get("methods", {}).get(MEDGAN, {}).get("calibration", [])
    ]
    lesions = [
        f"{row['kind']}, radius {row['radius']:g} {unit}, contrast {row['contrast']:g} deviations: "
        + ", ".join(f"{name} {method['best_dice']['value']:.2f}" for name, method in row["methods"].items())
        for row in report["lesions"][1:]
    ]
    return {
        "False positives of unseen healthy patients": promised,
        "Best Dice of simulated lesions": lesions,
        "Images that were left out of the measurement": left_out_lines(report),
    }


def left_out_lines(report: Mapping[str, Any]) -> list[str]:
    """`3 of unknown class`, for each reason that there are any."""
    return [f"{count} {LEFT_OUT[why]}" for why, count in report.get("left_out", {}).items() if count]


def short(figure: Mapping[str, float | None]) -> str:
    """`0.93 (0.91 to 0.95)`, or a dash for what is not known."""
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None:
        return "–"
    return f"{value:.3g}" if low is None or high is None else f"{value:.3g} ({low:.3g} to {high:.3g})"


def _metric(beside: Mapping[str, Mapping[str, float | None]], cases: str) -> dict[str, Any]:
    own = beside[MEDGAN]
    others = "; ".join(f"{name} {short(figure)}" for name, figure in beside.items() if name != MEDGAN)
    value = own["value"]
    assert value is not None
    note = f"95 % {short(own).partition('(')[2].rstrip(')')}; {cases}; {others}"
    return {"value": float(f"{value:.4g}"), "higher_is_better": True, "note": note}
