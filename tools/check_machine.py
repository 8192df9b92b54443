"""Says in plain words what is missing on this machine, before an install or a test fails with something obscure."""

from __future__ import annotations

import ctypes.util
import shutil
import sys

OLDEST, NEWEST = (3, 10), (3, 12)
DISK_GB = 9
# What Qt and VTK load at run time, and the Debian package that has it.
LIBRARIES = {
    "EGL": "libegl1", "GL": "libgl1", "xkbcommon": "libxkbcommon0", "fontconfig": "libfontconfig1",
    "dbus-1": "libdbus-1-3", "X11": "libx11-6", "glib-2.0": "libglib2.0-0",
}  # fmt: skip


def check_python() -> list[str]:
    """Problems with the interpreter and the disk."""
    problems = []
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        found = ".".join(map(str, sys.version_info[:2]))
        problems.append(f"Python {found} is not supported; use 3.10, 3.11 or 3.12: make PYTHON=python3.11 …")
    if shutil.disk_usage(".").free < DISK_GB * 2**30:
        problems.append(f"Less than {DISK_GB} GB of disk are free; torch and Slicer's core need them.")
    return problems


def check_libraries() -> list[str]:
    """Shared libraries that Qt and VTK need and that are not installed (Linux)."""
    if not sys.platform.startswith("linux"):
        return []
    missing = [package for name, package in LIBRARIES.items() if ctypes.util.find_library(name) is None]
    return [f"System libraries are missing: sudo apt-get install {' '.join(missing)}"] if missing else []


def main() -> int:
    """Prints problems; the exit code is 1 if the interpreter will not do, 0 for warnings."""
    if "--libraries" in sys.argv:
        for problem in check_libraries():
            print(f"Warning: {problem}", file=sys.stderr)
        return 0
    problems = check_python()
    for problem in problems:
        print(problem, file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
