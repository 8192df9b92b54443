"""Where the server listens and for whom, whose its files are: what cannot work ends with code 2 and one sentence."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from server_world import MODEL
from typer.testing import CliRunner

from monailabel_app import start
from monailabel_app.__main__ import cli
from monailabel_app.config import ServerConfig
from monailabel_app.network import check_certificate, check_origins, usable_port


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [str(a) for a in arguments], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def certified(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of this computer and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder(who, who, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    certificate, secret = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(key.private_bytes(*form))
    return certificate, secret


def test_certificates_that_cannot_be_used_are_refused_at_start(tmp_path: Path) -> None:
    (certificate, key), (_, others) = certified(tmp_path, "a"), certified(tmp_path, "b")
    serve = ("serve", "--studies", tmp_path, "--port", 0)
    code, text = run(*serve, "--ssl-keyfile", key)
    assert code == 2 and "--ssl-keyfile needs --ssl-certfile" in text
    code, text = run(*serve, "--ssl-certfile", certificate, "--ssl-keyfile", others)
    assert code == 2 and "cannot be used" in text and "MISMATCH" in text
    code, text = run(*serve, "--ssl-certfile", certificate)
    assert code == 2 and "no --ssl-keyfile" in text


def test_certificates_that_can_be_used(tmp_path: Path) -> None:
    certificate, key = certified(tmp_path, "a")
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    for given in ((None, None), (certificate, key), (both, None)):
        check_certificate(*given)


@pytest.mark.parametrize("host", ["nonsense.invalid", "a..b", "203.0.113.1"])
@pytest.mark.parametrize("port", [0, 18765])
def test_an_address_that_is_not_of_this_computer(tmp_path: Path, host: str, port: int) -> None:
    code, text = run("serve", "--studies", tmp_path, "--host", host, "--port", port, "--token", "x" * 32)
    assert code == 2
    assert host in text and "cannot be used" in text


def test_a_free_port_is_one_that_can_be_used() -> None:
    port = usable_port("127.0.0.1", 0)
    assert port > 0 and usable_port("127.0.0.1", port) == port


@pytest.mark.parametrize(
    "origin",
    ["*", "viewer.example", "https://viewer.example/", "https://viewer.example/ohif", "https://Viewer.example",
     "https://viewer.example:443", "http://viewer.example:80", "https://*.example", "https://a@viewer.example", "null"],
)  # fmt: skip
def test_what_is_no_web_origin_is_refused_at_start(tmp_path: Path, origin: str) -> None:
    code, text = run("serve", "--studies", tmp_path, "--port", 0, "--cors", origin)
    assert code == 2
    assert f"--cors '{origin}' is no web origin" in text


def test_web_origins() -> None:
    check_origins(["https://viewer.example", "http://viewer.example:8080", "http://[::1]:3000", "http://10.0.0.7"])


@pytest.mark.parametrize("name", ["none[/abc]", "none[red]x", "[/]"])
def test_names_are_shown_as_they_are(tmp_path: Path, name: str) -> None:
    code, text = run("serve", "--studies", tmp_path / name)
    assert code == 2 and f"{tmp_path / name}" in text
    code, text = run("versions", name, "--data", tmp_path)
    assert code == 2 and name in text
    assert run("rollback", name, "--data", tmp_path)[0] == 2


@pytest.mark.parametrize("name", ["none[/abc]", "none[red]x"])
def test_the_greeting_shows_names_as_they_are(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = ServerConfig(tmp_path / name, tmp_path / "data", oidc_issuer=f"https://{name}", token="x")
    info = {"models": {name: {"medgan": {"version": "v0001"}}}, "datastore": {"total": 1, "completed": 0}}
    start.Console().print(start._greeting("http://a", config, info), highlight=False, soft_wrap=True)
    text = capsys.readouterr().out
    assert text.count(name) == 3 and "[bold]" not in text


def test_reasons_in_the_table_of_versions_are_shown_as_they_are(models: Path, tmp_path: Path) -> None:
    from monailabel_app.registry import Registry

    registry = Registry(models, tmp_path / "models")
    with registry.staging(MODEL, "r") as folder:
        for file in (models / MODEL / "v0001").iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        made = registry.add(MODEL, folder, "v0001", "r")
    registry.judge(made, True, "Dice of [/a] rose.", [])
    code, text = run("versions", MODEL, "--data", tmp_path, "--models", models)
    assert code == 0 and "Dice of [/a]" in text


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of studies whose data folder is another user's."""
    (tmp_path / ".medgan" / "models").mkdir(parents=True)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    return tmp_path


ASKED: list[Callable[[Path], tuple[object, ...]]] = [
    lambda studies: ("rollback", MODEL, "v0001", "--studies", studies),
    lambda studies: ("pull", "--studies", studies, "--dicomweb", "http://127.0.0.1:1/", "--series", "1.2"),
    lambda studies: ("push", "--studies", studies, "--image", "a", "--out", studies / "a.zip"),
]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users are another thing there")
@pytest.mark.parametrize("asked", ASKED)
def test_commands_that_write_are_the_owners(elsewhere: Path, asked: Callable[[Path], tuple[object, ...]]) -> None:
    before = sorted(elsewhere.rglob("*"))
    code, text = run(*asked(elsewhere))
    assert code == 2 and "belongs to another user" in text and "sudo -u " in text
    assert sorted(elsewhere.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users are another thing there")
def test_an_owner_without_a_name_is_told_by_number(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    code, text = run(*ASKED[0](elsewhere))
    assert code == 2 and f"sudo -u '#{elsewhere.stat().st_uid}'" in text
