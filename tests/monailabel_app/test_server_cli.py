"""The command line: safe defaults, clear refusals, versions and roll-back."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import httpx
import pytest
from identity import AUDIENCE, ISSUER, Identity
from server_world import MODEL, error, make_studies, serving
from typer.testing import CliRunner

from monailabel_app.__main__ import cli
from monailabel_app.config import ServerConfig
from monailabel_app.registry import Registry
from trainers.spec import WEIGHTS_FILE

TOKEN = "correct horse battery staple"


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [str(a) for a in arguments], env={"COLUMNS": "200"})
    return result.exit_code, " ".join(result.output.split())


def test_missing_studies(tmp_path: Path) -> None:
    code, text = run("serve", "--studies", tmp_path / "nothing")
    assert code == 2
    assert "studies folder" in text and "does not exist" in text


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--validation", "empty", "There is no folder"),
        ("--replay", "nothing", "does not exist"),
        ("--patient-pattern", "(", "not a regular expression"),
        ("--ssl-certfile", "nothing.pem", "does not exist"),
        ("--data", "file/below", "cannot write"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_start(tmp_path: Path, option: str, value: str, reason: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    given = value if option == "--patient-pattern" else tmp_path / value
    code, text = run("serve", "--studies", tmp_path / "empty", "--port", 0, option, given)
    assert code == 2
    assert option.strip("-") in text and reason in text


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs Linux's /proc, which nobody can write to")
def test_studies_that_cannot_be_written_to() -> None:
    code, text = run("serve", "--studies", "/proc/self", "--port", 0)
    assert code == 2
    assert "cannot write to /proc" in text


PROVIDER = ("--oidc-issuer", "https://login.example", "--oidc-audience", "medgan")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--rate-limit", "fast"), "like 50/s"),
        (("--rate-limit", "-1"), "like 50/s"),
        (("--log-format", "xml"), "--log-format"),
        (("--oidc-issuer", "https://login.example"), "needed together"),
        (("--oidc-jwks", "https://login.example/keys"), "needed together"),
        (("--oidc-issuer", "http://login.example", "--oidc-audience", "medgan"), "not an https address"),
        ((*PROVIDER, "--oidc-jwks", "http://login.example/keys"), "not an https address"),
        ((*PROVIDER, "--oidc-jwks", "nothing.json"), "cannot be used"),
        ((*PROVIDER, "--admin-role", ""), "must not be empty"),
    ],
)
def test_log_in_and_limits_that_cannot_work_are_refused_at_start(
    tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    code, text = run("serve", "--studies", tmp_path, "--port", 0, *options)
    assert code == 2
    assert reason in text


def test_a_key_set_without_public_keys_is_refused_at_start(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}]}', encoding="utf-8")
    code, text = run("serve", "--studies", tmp_path, "--port", 0, *PROVIDER, "--oidc-jwks", tmp_path / "keys.json")
    assert code == 2
    assert "no public key" in text


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_network_address_needs_a_token(tmp_path: Path, host: str) -> None:
    code, text = run("serve", "--studies", tmp_path, "--host", host)
    assert code == 2
    assert "MEDGAN_TOKEN" in text


def test_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, text = run("serve", "--studies", tmp_path, "--port", port)
    assert code == 2
    assert f"Port {port}" in text and "--port" in text


def test_settings_travel_without_the_token(tmp_path: Path) -> None:
    config = ServerConfig(
        tmp_path,
        tmp_path / "d",
        token=TOKEN,
        validation=tmp_path / "v",
        cors=("https://a",),
        threads=3,
        dice_tolerance=0.5,
        label_tolerance=0.1,
        reference_tolerance=0.3,
        auto_train=5,
        oidc_issuer="https://login.example",
        oidc_audience="medgan",
        rate_limit=7.5,
        log_format="json",
    )
    conf = config.to_conf()
    assert TOKEN not in str(conf) and TOKEN not in repr(config)
    assert ServerConfig.from_conf(tmp_path, conf, {"MEDGAN_TOKEN": TOKEN}) == config


def test_versions_and_rollback(models: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    registry = Registry(models, data / "models")
    with registry.staging(MODEL, "r") as folder:
        for name in (WEIGHTS_FILE, "spec.json"):
            shutil.copy(models / MODEL / "v0001" / name, folder)
        made = registry.add(MODEL, folder, "v0001", "r")
    registry.judge(made, True, "Dice rose.", [])
    where = ("--data", data, "--models", models)
    code, text = run("versions", MODEL, *where)
    assert code == 0 and "v0001" in text and "Dice rose." in text
    code, text = run("rollback", MODEL, *where)
    assert (code, registry.current(MODEL).name) == (0, "v0001")
    assert "v0001 serves now" in text
    code, text = run("rollback", MODEL, *where)
    assert code == 2 and "no published version before" in text
    assert run("rollback", MODEL, "v0002", *where)[0] == 0
    assert registry.current(MODEL).name == "v0002"
    code, text = run("rollback", MODEL, "v0007", *where)
    assert code == 2 and "v0007" in text
    code, text = run("versions", "nothing", *where)
    assert code == 2 and "nothing" in text


@pytest.mark.timeout(120)
def test_live_with_a_token_and_a_second_server_on_the_same_data(models: Path, tmp_path: Path) -> None:
    studies = make_studies(tmp_path / "studies", 1)
    with serving(studies, models, tmp_path / "out.txt", MEDGAN_TOKEN=TOKEN) as server:
        assert error(httpx.get(f"{server.url}/info/")) == (401, "token_required")
        assert httpx.get(f"{server.url}/auth/").json()["enabled"] is True
        assert httpx.post(f"{server.url}/auth/token", data={"username": "x", "password": "wrong"}).status_code == 401
        told = httpx.post(f"{server.url}/auth/token", data={"username": "x", "password": TOKEN}).json()
        headers = {"Authorization": f"{told['token_type']} {told['access_token']}"}
        assert httpx.get(f"{server.url}/info/", headers=headers).json()["medgan"]["token_required"] is True
        code, text = run("serve", "--studies", studies, "--port", 0)
        assert code == 2 and "already uses" in text
        log = (server.data / "logs" / "server.log").read_text(encoding="utf-8")
        assert TOKEN not in log + server.output.read_text(encoding="utf-8")
    assert "MedGAN is ready" in (tmp_path / "out.txt").read_text(encoding="utf-8")


@pytest.mark.timeout(120)
def test_live_with_persons_and_a_log_for_machines(models: Path, tmp_path: Path) -> None:
    identity, studies = Identity(tmp_path), make_studies(tmp_path / "studies", 1)
    provider = ("--oidc-issuer", ISSUER, "--oidc-audience", AUDIENCE, "--oidc-jwks", str(identity.file))
    options = (*provider, "--log-format", "json", "--rate-limit", "5/s")
    with serving(studies, models, tmp_path / "out.txt", *options) as server:
        assert error(httpx.get(f"{server.url}/info/")) == (401, "token_required")
        answer = httpx.get(f"{server.url}/info/", headers=identity.bearer("ada"))
        assert answer.json()["medgan"]["user"] == {"name": "Dr ada", "admin": False}
        assert error(httpx.get(f"{server.url}/logs/", headers=identity.bearer("ada"))) == (403, "admin_required")
        assert httpx.get(f"{server.url}/logs/", headers=identity.bearer("chief", admin=True)).status_code == 200
        assert httpx.get(f"{server.url}/ready").status_code in (200, 503)
        assert "medgan_requests_total" in httpx.get(f"{server.url}/metrics", headers=identity.bearer()).text
        assert error(httpx.get(f"{server.url}/metrics")) == (401, "token_required")
        with server.client(headers=identity.bearer("ada")) as http:
            assert 429 in {http.get("/serving").status_code for _ in range(80)}
        assert httpx.get(f"{server.url}/serving", headers=identity.bearer("bob")).status_code == 200
        text = server.output.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        told = next(line for line in lines if line.get("request_id") == answer.headers["x-request-id"])
        assert (told["route"], told["status"], told["user"]) == ("/info/", 200, "ada")
        assert any(line["message"] == "MedGAN is ready." for line in lines)
        server.process.terminate()
        assert server.process.wait(20) in (0, -15), "it ends in good order"
