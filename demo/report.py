"""The demo's report: one HTML file that needs nothing beside it."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape

from demo.pictures import as_data_url
from demo.story import Findings
from trainers.files import atomic_write_text


def write_report(found: Findings, origin: str, seconds: float, path: Path) -> None:
    """Writes the report.

    Args:
        found: what the demo found.
        origin: a sentence on where the images come from.
        seconds: of the whole run.
        path: the HTML file.
    """
    environment = Environment(loader=PackageLoader("demo"), autoescape=select_autoescape())
    pictures = {name: as_data_url(file) for name, file in found.pictures.items()}
    rows = [(name, found.before[name], found.after[name]) for name in found.before]
    page = environment.get_template("report.html").render(
        found=found, pictures=pictures, rows=rows, origin=origin, seconds=seconds
    )
    atomic_write_text(path, page)
