"""A MedGAN server for the length of a `with` block."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0


class ServerDidNotStart(RuntimeError):
    """The server ended or stayed silent; the message has the end of its output."""


@contextmanager
def running_server(studies: Path, log: Path, *more: str) -> Iterator[str]:
    """As `server_process`, for those who only need the address."""
    with server_process(studies, log, *more) as (url, _):
        yield url


@contextmanager
def server_process(
    studies: Path, log: Path, *more: str, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Starts `python -m monailabel_app serve` on a free port, yields its address, and stops all that it started.

    Args:
        studies: the server's studies.
        log: file for its output.
        more: further options of `serve`.
        environment: variables beside those of this process.

    Yields:
        The address and the process.
    """
    port = _free_port()
    command = [sys.executable, "-m", "monailabel_app", "serve", "--studies", str(studies), "--port", str(port), *more]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, log)
            yield url, process
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise ServerDidNotStart(
        f"The server did not start. Its last words:\n{_tail(log.read_text(encoding='utf-8').splitlines())}"
    )


def _tail(lines: Sequence[str]) -> str:
    return "\n".join(lines[-15:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Asks politely, then ends the whole group, so that no training process is left behind."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(15)
