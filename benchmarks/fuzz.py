"""The fuzz tests for longer than the test suite has time: other examples each time round."""

from __future__ import annotations

import os
import subprocess
import sys

from demo.server import ROOT

TESTS = {"HTTP": "tests/monailabel_app/test_fuzz_http.py", "files": "tests/monailabel_app/test_fuzz_files.py"}
LEAST_SECONDS = 5.0  # of each search


def search(minutes: float) -> int:
    """Runs all searches, for about so many minutes in all. Returns pytest's exit code: 0 if nothing was found."""
    command = [sys.executable, "-m", "pytest", "--timeout", "0", *TESTS.values()]
    asked = subprocess.run([*command, "--collect-only"], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds = max(LEAST_SECONDS, 60 * minutes / max(1, asked.stdout.count("::")))
    environment = {**os.environ, "MEDGAN_FUZZ_SECONDS": f"{seconds:.1f}"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
