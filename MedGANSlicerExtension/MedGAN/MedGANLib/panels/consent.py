"""The questions that only the user can answer; the module's only pop-ups."""

from __future__ import annotations

from typing import Any, Sequence
from urllib.parse import urlsplit

import qt
import slicer

from .. import segments
from ..workflow import ConsentRequest
from . import preferences
from .look import safe

LOCAL = ("127.0.0.1", "localhost", "::1")


def ask_consent(request: ConsentRequest) -> bool:
    """Asks whether a volume may leave this computer; remembers a yes for this server if the user wants that."""
    if preferences.has_consent(request.server, request.stored, request.shape):
        return True
    thing = "shape" if request.shape else "volume"
    title = f"Keep this {thing} on the server?" if request.stored else f"Send this {thing} to the server?"
    box = _question(title, consent_text(request))
    remember = qt.QCheckBox("Do not ask again for this server")
    box.setCheckBox(remember)
    send = box.addButton("Send", qt.QMessageBox.AcceptRole)
    box.setDefaultButton(box.addButton("Do not send", qt.QMessageBox.RejectRole))
    box.exec_()
    agreed = bool(box.clickedButton() == send)
    if agreed and remember.checked:
        preferences.remember_consent(request.server, request.stored, request.shape)
    return agreed


def consent_text(request: ConsentRequest) -> str:
    """Returns the rich text of the question: server, what is sent, what is not, and whether it travels in the clear."""
    size = f"{request.megabytes:.1f} MB"
    lines = [
        f"Server: <b>{safe(request.server)}</b>",
        f"{'Shape' if request.shape else 'Volume'}: <b>{safe(request.volume_name)}</b> ({size})",
        _with_bold_start(request.sent),
        _with_bold_start(request.not_sent),
    ]
    if _in_the_clear(request.server):
        lines.append("<b>The connection is not encrypted.</b> Others on the network could read the images.")
    return "<p>" + "</p><p>".join(lines) + "</p>"


def _with_bold_start(sentence: str) -> str:
    start, colon, rest = sentence.partition(":")
    return f"<b>{safe(start)}:</b>{safe(rest)}" if colon else safe(sentence)


def _in_the_clear(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname not in LOCAL


def ask_edited(names: Sequence[str]) -> str:
    """Asks what becomes of segments corrected since the last run; returns `segments.KEEP` or `segments.REPLACE`."""
    listed = ", ".join(safe(n) for n in names)
    box = _question(
        "Keep your corrections?",
        f"<p>You corrected: <b>{listed}</b>.</p><p>The new result can replace them, or be added beside them.</p>",
    )
    replace = box.addButton("Replace", qt.QMessageBox.DestructiveRole)
    keep = box.addButton("Keep", qt.QMessageBox.AcceptRole)
    box.setDefaultButton(keep)
    box.setEscapeButton(keep)
    box.exec_()
    return segments.REPLACE if box.clickedButton() == replace else segments.KEEP


def ask_force(version: str, reason: str) -> bool:
    """Asks whether a version that the server refused shall serve all the same."""
    box = _question("Serve a refused version?", f"<p><b>{safe(version)}</b> was refused:</p><p>{safe(reason)}</p>")
    serve = box.addButton("Serve it anyway", qt.QMessageBox.DestructiveRole)
    box.setDefaultButton(box.addButton("Leave it", qt.QMessageBox.RejectRole))
    box.exec_()
    return bool(box.clickedButton() == serve)


def _question(title: str, text: str) -> Any:
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.windowTitle = "MedGAN"
    box.text = f"<h3>{title}</h3>"
    box.informativeText = text
    return box
