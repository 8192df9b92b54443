"""MONAI Label's own start, with its files kept in the data folder and a greeting when the server is ready."""

from __future__ import annotations

import argparse
import json
import logging
import os
import ssl
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import typer
from filelock import FileLock, Timeout
from monailabel.config import settings
from monailabel.main import Main
from rich.console import Console
from rich.markup import escape

from monailabel_app.config import TOKEN_VARIABLE, ServerConfig
from monailabel_app.logs import JSON, log_config
from monailabel_app.storage import QUIET_SECONDS, remove_unfinished
from trainers.files import atomic_write_json, atomic_write_text

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parent.parent
MAIN = '''"""Made at every start, so that MONAI Label finds the app while its own files stay in this folder."""

from monailabel_app.main import MedGANApp

__all__ = ["MedGANApp"]
'''
READY_SECONDS = 600.0


def run(config: ServerConfig, certificate: Path | None = None, key: Path | None = None) -> None:
    """Serves until interrupted. Raises typer.Exit if another server uses the data folder."""
    config.prepare()
    try:
        with FileLock(config.data / "server.lock", timeout=0):
            remove_unfinished(config.data, QUIET_SECONDS)
            _prepare_environment(config)
            threading.Thread(target=_greet, args=(config, bool(certificate)), daemon=True).start()
            main = Main(loglevel=logging.WARNING)
            main.action_start_server(_arguments(config, certificate, key))
    except Timeout as error:
        message = f"Another MedGAN server already uses {config.data}. Stop it, or give another folder with --data."
        Console(stderr=True).print(f"[red]{escape(message)}[/red]", soft_wrap=True)
        raise typer.Exit(2) from error


def _prepare_environment(config: ServerConfig) -> None:
    """What this process and the training processes that it starts need to know."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ[TOKEN_VARIABLE] = config.token
    settings.MONAI_LABEL_SESSIONS = False
    settings.MONAI_LABEL_AUTO_UPDATE_SCORING = False
    settings.MONAI_LABEL_TRACKING_ENABLED = False
    atomic_write_text(_app_folder(config) / "main.py", MAIN)
    atomic_write_json(_logging_file(config), log_config(config))


def _arguments(config: ServerConfig, certificate: Path | None, key: Path | None) -> argparse.Namespace:
    """MONAI Label's command line: its own defaults, then ours."""
    usual = Main().args_parser().parse_args(["start_server"])
    ours = {
        "app": str(_app_folder(config)),
        "studies": str(config.studies),
        "conf": [[k, v] for k, v in config.to_conf().items()],
        "host": config.host,
        "port": config.port,
        "uvicorn_app": "monailabel_app.server:app",
        "log_config": str(_logging_file(config)),
        "log_level": "warning",
        "ssl_certfile": str(certificate) if certificate else None,
        "ssl_keyfile": str(key) if key else None,
    }
    return argparse.Namespace(**{**vars(usual), **ours})


def _app_folder(config: ServerConfig) -> Path:
    return config.data / "app"


def _logging_file(config: ServerConfig) -> Path:
    return config.log.with_name("logging.json")


def _greet(config: ServerConfig, secure: bool) -> None:
    """Waits for the server to answer, then tells the administrator what is served."""
    host = "127.0.0.1" if config.host == "0.0.0.0" else config.host
    url = f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{config.port}"
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        try:
            _get(f"{url}/health", "")
            has_access = bool(config.token or not config.oidc_issuer)
            info = _get(f"{url}/info/", config.token) if has_access else {}
        except (urllib.error.URLError, OSError, ValueError):
            time.sleep(0.3)
            continue
        if config.log_format == JSON:
            logger.info("MedGAN is ready.")
        else:
            Console().print(_greeting(url, config, info), highlight=False, soft_wrap=True)
        return


def _get(address: str, token: str) -> dict[str, Any]:
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"} if token else {})
    context = ssl._create_unverified_context() if address.startswith("https") else None
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _greeting(url: str, config: ServerConfig, info: dict[str, Any]) -> str:
    """`info` is empty if only persons whom the identity provider knows may ask for it."""
    models = [f"{n} {entry['medgan']['version'] or '(not available)'}" for n, entry in info.get("models", {}).items()]
    counts = info.get("datastore")
    told = f"{counts['total']}, {counts['completed']} labelled, in " if counts else ""
    rows = {
        "Address": f"[bold]{escape(url)}[/bold]  ({escape(_access(config))})",
        "Studies": escape(f"{told}{config.studies}"),
        **({"Models": escape(", ".join(models)) or "none"} if counts else {}),
        "Data": escape(str(config.data)),
    }
    lines = [f"  {name:9}{value}" for name, value in rows.items()]
    return "\n".join(
        ["\n[green]MedGAN is ready.[/green] In 3D Slicer, open MedGAN and connect. Ctrl+C stops it.", *lines, ""]
    )


def _access(config: ServerConfig) -> str:
    ways = [*(["a token"] if config.token else []), *([config.oidc_issuer] if config.oidc_issuer else [])]
    return f"log-in by {' or '.join(ways)}" if ways else "this computer only"
