"""The library under the oldest Python that Slicer has (3.9, in Slicer 5.8), if this computer has one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2] / "MedGANSlicerExtension" / "MedGAN"
SCRIPT = """
import importlib, pathlib, socket, sys
from unittest.mock import MagicMock
sys.path.insert(0, ".")
for name in ("slicer", "slicer.util", "vtk", "vtk.util", "vtk.util.numpy_support", "qt", "ctk", "numpy"):
    sys.modules[name] = MagicMock()
for path in sorted(pathlib.Path("MedGANLib").rglob("*.py")):
    importlib.import_module(".".join(path.with_suffix("").parts))
from MedGANLib.client import MedGANClient
from MedGANLib.jobs import JobQueue
deaf, queue = socket.create_server(("127.0.0.1", 0)), JobQueue()
for scheme in ("http", "https"):
    client = MedGANClient(f"{scheme}://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.2, connect_timeout=0.2)
    print(queue.wait(queue.submit(lambda job: client.check_connection(job.token)), 10).code)
queue.close()
"""


def test_it_runs_in_python_3_9() -> None:
    """Everything can be imported, and a time-out, whose exception differs before 3.10, is recognised."""
    python = shutil.which("python3.9")
    if python is None or subprocess.run([python, "--version"], capture_output=True, timeout=30).returncode:
        pytest.skip("there is no Python 3.9")
    command = [python, "-B", "-c", SCRIPT]
    done = subprocess.run(command, cwd=MODULE, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["timed_out", "timed_out"]
