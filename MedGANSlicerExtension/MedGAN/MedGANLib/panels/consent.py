"""The questions that only the user can answer; the module's only pop-ups."""

from __future__ import annotations

from typing import Any, Sequence
from urllib.parse import urlsplit

import qt
import slicer

from ..consents import ConsentBook
from ..label_import import KEEP, REPLACE
from ..state import RAW, RESULT, SHAPE, VOLUME, counted
from ..workflow import ConsentRequest
from . import preferences
from .look import safe

CAPTIONS = {VOLUME: "Volume", SHAPE: "Shape", RAW: "File", RESULT: "Result"}
LOCAL = ("127.0.0.1", "localhost", "::1")


def ask_consent(request: ConsentRequest) -> bool:
    """Asks whether something may leave this computer; remembers a yes for this server if the user wants that."""
    if preferences.has_consent(request.server, request.stored, request.kind):
        return True
    title = f"{'Keep' if request.stored else 'Send'} this {request.kind} {'on' if request.stored else 'to'} the server?"
    box = _question(title, consent_text(request))
    remember = qt.QCheckBox("Remember it for this server, also after Slicer is closed")
    box.setCheckBox(remember)
    send = box.addButton("Send", qt.QMessageBox.AcceptRole)
    box.setDefaultButton(box.addButton("Do not send", qt.QMessageBox.RejectRole))
    box.exec_()
    agreed = bool(box.clickedButton() == send)
    if agreed and remember.checked:
        preferences.remember_consent(request.server, request.stored, request.kind)
    return agreed


def consent_text(request: ConsentRequest) -> str:
    """Returns the rich text of the question: server, what is sent, what is not, and whether it travels in the clear."""
    size = f"{request.megabytes:.1f} MB"
    lines = [
        f"Server: <b>{safe(request.server)}</b>",
        f"{CAPTIONS[request.kind]}: <b>{safe(request.volume_name)}</b> ({size})",
        _with_bold_start(request.sent),
        _with_bold_start(request.not_sent),
    ]
    lines.append(f"<b>Send</b> is a yes to every {safe(request.kind)} sent there in this way until Slicer is closed.")
    if _in_the_clear(request.server):
        lines.append("<b>The connection is not encrypted.</b> Others on the network could read the images.")
    return "<p>" + "</p><p>".join(lines) + "</p>"


def when_sent(consents: ConsentBook, server: str, stored: bool) -> str:
    """Returns the end of a sentence on a volume that is about to be sent: whether there will be a question before."""
    agreed = consents.covers(server, stored) or preferences.has_consent(server, stored)
    return "as you agreed, without another question" if agreed else "after you agree"


def _with_bold_start(sentence: str) -> str:
    start, colon, rest = sentence.partition(":")
    return f"<b>{safe(start)}:</b>{safe(rest)}" if colon else safe(sentence)


def _in_the_clear(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname not in LOCAL


def ask_edited(names: Sequence[str]) -> str:
    """Asks what becomes of segments corrected since the last run; returns `KEEP` or `REPLACE`."""
    listed = ", ".join(safe(n) for n in names)
    box = _question(
        "Keep your corrections?",
        f"<p>You corrected: <b>{listed}</b>.</p><p><b>Keep</b> leaves them as they are; the new result counts for the "
        "other labels only. <b>Replace</b> puts the new result in their place; <i>Undo</i> brings them back.</p>",
    )
    replace = box.addButton("Replace", qt.QMessageBox.DestructiveRole)
    keep = box.addButton("Keep", qt.QMessageBox.AcceptRole)
    box.setDefaultButton(keep)
    box.setEscapeButton(keep)
    box.exec_()
    return REPLACE if box.clickedButton() == replace else KEEP


def ask_force(version: str, reason: str) -> bool:
    """Asks whether a version that the server refused shall serve all the same."""
    box = _question("Serve a refused version?", f"<p><b>{safe(version)}</b> was refused:</p><p>{safe(reason)}</p>")
    serve = box.addButton("Serve it anyway", qt.QMessageBox.DestructiveRole)
    box.setDefaultButton(box.addButton("Leave it", qt.QMessageBox.RejectRole))
    box.exec_()
    return bool(box.clickedButton() == serve)


def ask_discard(count: int) -> bool:
    """Asks whether accepted samples that were not added to the training studies shall make room for new ones."""
    box = _question(
        "Let go of accepted samples?",
        f"<p>{counted(count, 'accepted sample is', 'accepted samples are')} not among the training studies yet. "
        "New samples take the place of all that are here.</p>",
    )
    discard = box.addButton("Generate new ones", qt.QMessageBox.DestructiveRole)
    box.setDefaultButton(box.addButton("Keep them", qt.QMessageBox.RejectRole))
    box.exec_()
    return bool(box.clickedButton() == discard)


def ask_archive(what: str, name: str) -> bool:
    """Asks whether a result shall go into the archive, where others see it and from where this module takes nothing.

    Args:
        what: What it is, `label of` or `image`.
        name: The study's id, or what the image is called.
    """
    box = _question(
        "Send it to the archive?",
        f"<p>The {safe(what)} <b>{safe(name)}</b> becomes a new series of the patient's study in the hospital's "
        "archive, under the patient's name. It is marked as AI-generated; it is no diagnosis.</p>"
        "<p>Only the archive's own staff can remove it again.</p>",
    )
    send = box.addButton("Send to the archive", qt.QMessageBox.AcceptRole)
    box.setDefaultButton(box.addButton("Do not send", qt.QMessageBox.RejectRole))
    box.exec_()
    return bool(box.clickedButton() == send)


def ask_no_text(reason: str) -> bool:
    """Asks whether somebody has looked at the voxels of an image that may have the patient's name written into them."""
    box = _question(
        "Is there text in the image?",
        f"<p>{safe(reason)}</p><p>Look at all slices. Save it only if no name, number or date can be read in them.</p>",
    )
    save = box.addButton("I looked: there is none", qt.QMessageBox.AcceptRole)
    box.setDefaultButton(box.addButton("Do not save", qt.QMessageBox.RejectRole))
    box.exec_()
    return bool(box.clickedButton() == save)


def _question(title: str, text: str) -> Any:
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.windowTitle = "MedGAN"
    box.text = f"<h3>{title}</h3>"
    box.informativeText = text
    return box
