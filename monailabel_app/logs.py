"""Logging: a file in the data folder that others cannot read, and its text made fit for showing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from monailabel_app.config import ServerConfig

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
QUIET = ("monailabel", "filelock", "httpx", "PIL", "nibabel", "ignite")
_PATH = re.compile(r"(?<![\w:/])(?:[A-Za-z]:\\|/)(?:[\w.\-+~ ]+[/\\])+[\w.\-+~]*")


def log_config(config: ServerConfig) -> dict[str, Any]:
    """The logging configuration: warnings to the terminal, all to the log."""
    file = {
        "class": "logging.handlers.RotatingFileHandler",
        "filename": str(config.log),
        "maxBytes": 5_000_000,
        "backupCount": 5,
        "encoding": "utf-8",
        "formatter": "plain",
    }
    terminal = {"class": "logging.StreamHandler", "formatter": "plain", "level": "WARNING"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": FORMAT}},
        "handlers": {"file": file, "terminal": terminal},
        "root": {"level": "INFO", "handlers": ["file", "terminal"]},
        "loggers": {name: {"level": "WARNING"} for name in QUIET},
    }


def blank(text: str, config: ServerConfig, studies: Iterable[str]) -> str:
    """Replaces names of studies and paths in `text`."""
    for folder in (config.data, config.studies):
        text = text.replace(str(folder), "<folder>")
    text = _PATH.sub("<path>", text)
    names = sorted((re.escape(name) for name in studies), key=len, reverse=True)
    return re.sub(rf"(?<!\w)(?:{'|'.join(names)})(?!\w)", "<study>", text) if names else text
