"""Connecting: every failure says what is wrong and what to do, and leaves the button alive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest

from tests.host import fake_server
from tests.host.user import User


@contextmanager
def _encrypted_to_plain() -> Iterator[str]:
    with fake_server.answering(fake_server.HTML) as address:
        yield address.replace("http:", "https:")


FAILURES: dict[str, tuple[Callable[[], AbstractContextManager[str]], str]] = {
    "connection_refused": (lambda: nullcontext(fake_server.closed_port()), "connection_refused"),
    "host_not_found": (lambda: nullcontext("http://no-such-computer.invalid:8000"), "host_not_found"),
    "bad_address": (lambda: nullcontext("http://:port"), "bad_address"),
    "tls_failed": (_encrypted_to_plain, "tls_failed"),
    "not_http": (lambda: fake_server.answering(b"220 mail.example.org ESMTP ready\r\n"), "not_http"),
    "timed_out": (lambda: fake_server.answering(None), "timed_out"),
    "not_a_medgan_server": (lambda: fake_server.answering(fake_server.HTML), "not_a_medgan_server"),
}


def test_starts_with_one_thing_to_do(user: User) -> None:
    assert user.ui.connectButton.enabled
    assert not user.ui.serverSection.collapsed
    for name in ("studySection", "runSection", "correctSection", "trainSection", "versionsSection"):
        section = getattr(user.ui, name)
        assert section.collapsed
        assert not section.enabled
        assert "Connect" in section.toolTip
    user.picture("start")


@pytest.mark.parametrize("kind", FAILURES)
def test_each_failure_has_its_own_message(user: User, kind: str) -> None:
    make, code = FAILURES[kind]
    user.ui.timeoutSpin.value = 1
    with make() as address:
        user.connect(address)
    assert user.state.report.code == code
    assert not user.state.connected
    assert user.state.message.kind == "error"
    assert user.state.message.hint, "a failure must say what to do"
    assert user.state.report.message.split(".")[0] in user.says.replace("&#x27;", "'")
    assert user.ui.connectButton.enabled
    user.picture(f"failure-{kind}")


def test_messages_differ(user: User) -> None:
    said = []
    user.ui.timeoutSpin.value = 1
    for make, _ in FAILURES.values():
        with make() as address:
            user.connect(address)
        said.append(user.state.report.message)
    assert len(set(said)) == len(said)


def test_the_same_button_works_after_a_failure(user: User, server: Any) -> None:
    user.connect(fake_server.closed_port())
    assert not user.state.connected
    user.connect(server.url)
    assert user.state.connected
    assert user.ui.runSection.enabled
    assert user.ui.serverSection.collapsed, "what is done makes room"


def test_a_server_that_never_answers_can_be_left(user: User) -> None:
    with fake_server.answering(None) as address:
        user.ui.addressBox.setEditText(address)
        user.press("connectButton")
        user.until(lambda: user.state.job is not None)
        assert user.ui.cancelButton.isVisibleTo(user.module.panel)
        user.picture("connecting")
        user.press("cancelButton")
        user.idle(3)
    assert user.ui.connectButton.enabled
    assert user.longest_gap < 0.6, "the interface stood still"


def test_a_silent_server_is_given_up_after_the_time_out_that_was_set(user: User) -> None:
    from MedGANLib.panels import preferences

    user.ui.timeoutSpin.value = 1
    with fake_server.answering(None) as address:
        begun = time.monotonic()
        user.connect(address)
        waited = time.monotonic() - begun
    assert 0.9 < waited < 2.5
    assert "did not answer in time" in user.says
    assert "give it more time" in user.says
    assert user.ui.connectButton.enabled
    assert user.ui.accessButton.checked, "where the time-out is"
    assert preferences.timeout() == 1, "it is remembered"
    assert user.longest_gap < 0.6, "the interface stood still"


def test_another_server_s_versions_are_not_shown(user: User, server: Any) -> None:
    from MedGANLib.testing.server import TestServer
    from MedGANLib.testing.world import Version

    server.world.versions.append(Version("v0002", "fine-tuned", "published", 0.9, "v0001"))
    user.connect(server.url)
    user.ui.versionsSection.collapsed = False
    user.until(lambda: user.ui.versionsTable.rowCount == 2, "the versions")
    with TestServer() as second:
        user.connect(second.url)
        user.until(lambda: user.ui.versionsTable.rowCount == 1, "the versions of the second server")


def test_token(user: User, server: Any) -> None:
    server.world.token = "open-sesame"
    user.connect(server.url)
    assert user.state.report.code == "token_required"
    assert user.ui.accessFrame.isVisibleTo(user.ui.serverSection), "the field for the token opens by itself"
    user.picture("failure-token_required")
    user.ui.accessButton.checked = False
    user.module.widget._redraw()
    assert not user.ui.accessButton.checked, "what the user closes stays closed"
    user.connect(server.url, token="open-sesame")
    assert user.state.connected


def test_token_is_never_stored(user: User, server: Any) -> None:
    import qt

    user.connect(server.url, token="my-secret")
    settings = qt.QSettings()
    assert all("my-secret" not in str(settings.value(k)) for k in settings.allKeys())


def test_zero_address_is_replaced_and_said(user: User, server: Any) -> None:
    user.connect(server.url.replace("127.0.0.1", "0.0.0.0"))
    assert user.state.connected
    assert "0.0.0.0" in user.ui.serverLabel.text


def test_enter_connects_and_the_address_is_remembered(user: User, server: Any) -> None:
    from MedGANLib.panels import preferences

    user.ui.addressBox.setEditText(server.url)
    user.ui.addressBox.lineEdit().returnPressed.emit()
    user.idle()
    assert user.state.connected
    assert preferences.addresses()[0] == server.url


def test_says_what_the_server_is(user: User, server: Any) -> None:
    user.connect(server.url)
    user.open_only("serverSection", "studySection", "runSection")
    assert "MedGAN" in user.ui.serverLabel.text
    assert "3 studies" in user.ui.serverLabel.text
    assert user.ui.modelBox.currentText == "Hippocampus segmentation"
    assert "Dice: 0.82" in user.ui.modelLabel.text
    user.picture("connected")


def test_a_token_is_not_sent_to_another_server(user: User, server: Any) -> None:
    from MedGANLib.testing.server import TestServer

    server.world.token = "open-sesame"
    user.connect(server.url, token="open-sesame")
    with TestServer() as other:
        other.world.token = "open-sesame"
        user.ui.addressBox.setEditText(other.url)
        user.press("connectButton")
        user.idle()
        assert user.state.report.code == "token_required" and user.ui.tokenEdit.text == ""
        user.connect(other.url, token="open-sesame")
        assert user.state.connected, "typed again, it is meant"
        user.ui.addressBox.setEditText(other.url.replace("http://", "") + "/")
        user.press("connectButton")
        user.idle()
        assert user.state.connected, "the same server in other words"
