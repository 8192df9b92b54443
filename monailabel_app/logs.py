"""Logging: a file in the data folder that others cannot read, as text or JSON, and its text made fit for showing."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from monailabel_app.config import ServerConfig
from monailabel_app.tracing import current_id

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
JSON = "json"
REQUESTS = "monailabel_app.tracing"
QUIET = ("monailabel", "filelock", "httpx", "PIL", "nibabel", "ignite")
_PATH = re.compile(r"(?<![\w:/])(?:[A-Za-z]:\\|/)(?:[\w.\-+~ ]+[/\\])+[\w.\-+~]*")
_QUOTED_PATH = re.compile(r"""(['"])(?:[A-Za-z]:\\|/)[^\n]*?\1""")
_SUFFIX = re.compile(r"(\.nii)?\.\w{2,4}$")


def log_config(config: ServerConfig) -> dict[str, Any]:
    """The logging configuration.

    As text, warnings go to the terminal and all to the log; as JSON all goes to both, with a line for each request.
    """
    as_json = config.log_format == JSON
    style = JSON if as_json else "plain"
    file = {
        "class": "logging.handlers.RotatingFileHandler",
        "filename": str(config.log),
        "maxBytes": 5_000_000,
        "backupCount": 5,
        "encoding": "utf-8",
        "formatter": style,
    }
    terminal = {"class": "logging.StreamHandler", "formatter": style, "level": "INFO" if as_json else "WARNING"}
    folders = {"studies": str(config.studies), "data": str(config.data)}
    levels = {**dict.fromkeys(QUIET, "WARNING"), **({} if as_json else {REQUESTS: "WARNING"})}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "plain": {"format": FORMAT},
            JSON: {"()": "monailabel_app.logs.JsonFormatter", **folders},
        },
        "handlers": {"file": file, "terminal": terminal},
        "root": {"level": "INFO", "handlers": ["file", "terminal"]},
        "loggers": {name: {"level": level} for name, level in levels.items()},
    }


class JsonFormatter(logging.Formatter):
    """One JSON document a line, without names of studies and paths, for a collector that others can read.

    Args:
        studies, data: the server's folders.
    """

    def __init__(self, studies: str, data: str) -> None:
        super().__init__()
        self._config = ServerConfig(Path(studies), Path(data))
        self._changed, self._names = 0, frozenset[str]()

    def format(self, record: logging.LogRecord) -> str:
        """`time`, `level`, `logger`, `message`, `request_id`; of requests `method`, `route`, `status`, `ms`, `user`."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": blank(text, self._config, self._studies()),
            "request_id": current_id(),
            **getattr(record, "request", {}),
        }
        return json.dumps({key: value for key, value in line.items() if value != ""}, ensure_ascii=True)

    def _studies(self) -> frozenset[str]:
        """Names in the folder of studies; it takes no lock of the studies, for their holder may be logging too."""
        folder = self._config.studies
        try:
            changed = folder.stat().st_mtime_ns
            if changed != self._changed:
                self._names, self._changed = study_names(folder), changed
        except OSError:
            pass
        return self._names


def study_names(folder: Path) -> frozenset[str]:
    """Names of what lies in a folder, with and without their suffixes; hidden files are the server's own."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {"labels"}
    return frozenset(names | {_SUFFIX.sub("", name) for name in names})


def blank(text: str, config: ServerConfig, studies: Iterable[str]) -> str:
    """Replaces names of studies and paths in `text`."""
    text = _QUOTED_PATH.sub("<path>", text)
    for folder in (config.data, config.studies):
        text = re.sub(rf"{re.escape(str(folder))}(?:[/\\][^\s'\"]*)?", "<folder>", text)
    text = _PATH.sub("<path>", text)
    names = sorted((re.escape(name) for name in studies), key=len, reverse=True)
    return re.sub(rf"(?<!\w)(?:{'|'.join(names)})(?!\w)", "<study>", text) if names else text
