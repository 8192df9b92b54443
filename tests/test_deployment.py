"""The unit file, the container and the administrator's guide agree with the command line."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from typer.main import get_command

from monailabel_app.__main__ import cli
from monailabel_app.config import TOKEN_VARIABLE, ServerConfig
from monailabel_app.errors import STATUS
from monailabel_app.server import create_app

ROOT = Path(__file__).resolve().parent.parent
UNIT, CONTAINER = ROOT / "deploy" / "medgan.service", ROOT / "deploy" / "Containerfile"
GUIDE, API = ROOT / "docs" / "admin.md", ROOT / "docs" / "api.md"
PORT = "8000"


def options() -> set[str]:
    command = get_command(cli).commands["serve"]  # type: ignore[attr-defined]
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def unit() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def instructions() -> list[tuple[str, str]]:
    text = CONTAINER.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line and not line.startswith("#")]


def last(name: str) -> str:
    return [value for key, value in instructions() if key == name][-1]


def check_command(words: list[str]) -> dict[str, str]:
    """The options of a command that serves."""
    start = words.index("serve")
    assert words[start - 3 : start] == [words[start - 3], "-m", "monailabel_app"]
    given = dict(zip(words[start + 1 :: 2], words[start + 2 :: 2], strict=True))
    assert set(given) <= options(), set(given) - options()
    return given


def test_the_unit_starts_the_server_as_it_can_be_started() -> None:
    given = check_command(shlex.split(unit()["ExecStart"][0]))
    assert given["--port"] == PORT and given["--host"] == "127.0.0.1"
    assert given["--studies"] in unit()["ReadWritePaths"][0].split()
    assert given["--data"] == f"/var/lib/{unit()['StateDirectory'][0]}"
    assert unit()["EnvironmentFile"] == ["/etc/medgan/medgan.env"]
    assert TOKEN_VARIABLE in UNIT.read_text(encoding="utf-8")
    assert "--token" not in given, "what is on the command line, everybody on the computer can read"


def test_the_unit_is_confined_and_comes_back() -> None:
    expected = {
        "NoNewPrivileges": "yes", "ProtectSystem": "strict", "PrivateTmp": "yes", "Restart": "on-failure",
        "User": "medgan", "CapabilityBoundingSet": "", "RestartPreventExitStatus": "2",
    }  # fmt: skip
    assert {key: unit()[key][0] for key in expected} == expected
    assert re.fullmatch(r"\d+G", unit()["MemoryMax"][0])


def test_the_container_starts_the_server_as_it_can_be_started() -> None:
    given = check_command(json.loads(last("ENTRYPOINT")))
    assert given["--port"] == PORT == last("EXPOSE")
    assert {given["--studies"], given["--data"]} == set(json.loads(last("VOLUME")))
    assert f"127.0.0.1:{PORT}/health" in last("HEALTHCHECK")
    assert last("USER") == "medgan" and "useradd --uid 10001" in last("RUN")
    assert last("FROM") == "python:3.11-slim"


def test_the_container_takes_small_wheels_and_what_the_repository_has() -> None:
    assert last("ARG") == "TORCH_INDEX=https://download.pytorch.org/whl/cpu"
    assert "--index-url ${TORCH_INDEX}" in CONTAINER.read_text(encoding="utf-8")
    copied = [
        word for key, value in instructions() if key == "COPY" and "--from" not in value for word in value.split()[:-1]
    ]
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in copied:
        assert (ROOT / name).exists() and f"!{name}" in kept


def test_the_guide_names_options_codes_figures_and_files_that_there_are(tmp_path: Path) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    commands: list[str] = re.findall(
        r"(?<![\w-])(--[a-z][a-z-]+)", re.sub(r"```(?:nginx|yaml)\n.*?```", "", text, flags=re.S)
    )
    others = {"--file", "--tag", "--build-arg", "--publish", "--env-file", "--volume", "--system", "--home-dir",
              "--shell", "--now", "--constraint", "--unit", "--read-only", "--tmpfs", "--force", "--help",
              "--series", "--format", "--health-cmd"}  # fmt: skip
    assert set(commands) <= options() | others, set(commands) - options() - others
    for code in re.findall(r"^\| `(\w+)` \|", text, flags=re.M):
        assert code in STATUS, code
    served = create_app(ServerConfig(tmp_path, tmp_path / "data")).openapi()["paths"]
    for path in re.findall(r"`(?:GET|PUT|POST|DELETE) (/[^`?]*)`", text):
        assert path in served, path
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (GUIDE.parent / link).exists(), link


def test_figures_in_documents_are_measured() -> None:
    source = (ROOT / "monailabel_app" / "metrics.py").read_text(encoding="utf-8")
    named = set(re.findall(r"`(medgan_[a-z_]+)", GUIDE.read_text(encoding="utf-8")))
    named |= set(re.findall(r"`(medgan_[a-z_]+)`", API.read_text(encoding="utf-8"))) - {"medgan_scores"}
    assert len(named) > 10
    for name in named:
        assert f'"{name.removesuffix("_total")}"' in source, name


def test_the_backup_of_the_guide_can_be_made_every_night(tmp_path: Path) -> None:
    (script,) = re.findall(r"```sh\n(#!/bin/sh\n.*?VACUUM.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.S)
    data, target = tmp_path / "backups", tmp_path / "kept"
    for folder in (data, target):
        folder.mkdir()
    for said, here in (("/var/lib/medgan/backups", data), ("/opt/medgan/.venv/bin/python", sys.executable)):
        assert said in script
        script = script.replace(said, str(here))
    script = script.replace("/backup/", f"{target}/")
    for night in range(2):
        with closing(sqlite3.connect(data / "studies-1.sqlite3")) as base:
            base.execute("CREATE TABLE IF NOT EXISTS night (number)")
            base.execute("INSERT INTO night VALUES (?)", (night,))
            base.commit()
        subprocess.run(["/bin/sh", "-c", script], check=True)
        with closing(sqlite3.connect(target / "studies-1.sqlite3")) as copy:
            assert copy.execute("SELECT count(*) FROM night").fetchone() == (night + 1,)
    (data / "studies-1.sqlite3").write_bytes(b"no database at all, " * 100)
    assert subprocess.run(["/bin/sh", "-c", script], check=False, stderr=subprocess.DEVNULL).returncode != 0
    assert [path.name for path in target.iterdir() if not path.name.endswith(".new")] == ["studies-1.sqlite3"]


def test_every_error_code_is_documented() -> None:
    text = API.read_text(encoding="utf-8")
    assert {code for code in STATUS if f"`{code}`" not in text} == set()
