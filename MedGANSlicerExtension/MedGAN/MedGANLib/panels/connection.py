"""Connect to a server; every failure has its own message in the status line."""

from __future__ import annotations

from typing import Optional

import qt

from ..address import parse_address
from ..errors import BadAddress
from ..records import ConnectionReport
from ..state import counted
from ..workflow import State
from . import preferences
from .look import allow, dots, put_text, safe
from .shared import Shared

IN_SETTINGS = ("token_required", "tls_failed", "timed_out")
"""Codes of failures that a change of the connection settings may help."""
CONNECT_TIP = "Tests the connection and reads what the server offers"
LEAVE_TIP = "Cancels what is under way and connects to the server that is typed in"
FORGET_TIP = "Takes back what you agreed to: before the next upload to any server you are asked again"


class ConnectionPanel:
    """Address, token, certificate, the clinician's name, and what answered."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._ui = ui = shared.ui
        self._remembered = ""
        self._given = ("", "")
        self._reported: Optional[ConnectionReport] = None
        ui.addressBox.insertPolicy = qt.QComboBox.NoInsert
        for address in preferences.addresses():
            ui.addressBox.addItem(address)
        ui.timeoutSpin.value = preferences.timeout()
        ui.accessFrame.setVisible(False)
        ui.authorEdit.text = shared.workflow.author = preferences.author()
        ui.authorEdit.connect("textChanged(QString)", self._name_author)
        ui.connectButton.connect("clicked()", self.connect)
        ui.addressBox.lineEdit().connect("returnPressed()", self.connect)
        ui.addressBox.lineEdit().connect("textChanged(QString)", lambda text: self._allow(shared.state))
        ui.accessButton.connect("toggled(bool)", ui.accessFrame.setVisible)
        ui.forgetButton.connect("clicked()", self._forget)

    def connect(self) -> None:
        """Tests the connection with what is typed in; another server is connected to whatever is under way."""
        ui = self._ui
        if self._shared.idle or self._elsewhere():
            address, authority = ui.addressBox.currentText.strip(), ui.certificateEdit.currentPath or None
            token = self._token(address)
            preferences.remember_timeout(ui.timeoutSpin.value)
            self._shared.workflow.connect(address, token, authority, float(ui.timeoutSpin.value))

    def _token(self, address: str) -> Optional[str]:
        """Returns the token that is typed in; one that was for another server is let go of, and not sent there."""
        token, server = str(self._ui.tokenEdit.text).strip(), _server_at(address)
        if token and token == self._given[1] and server != self._given[0]:
            self._ui.tokenEdit.text = token = ""
        self._given = (server, token)
        return token or None

    def _name_author(self, name: str) -> None:
        preferences.remember_author(name)
        self._shared.workflow.author = name.strip()

    def _forget(self) -> None:
        preferences.forget_consents()
        self._shared.workflow.consents.forget()
        self.show(self._shared.state)

    def show(self, state: State) -> None:
        """Draws the connection."""
        self._allow(state)
        agreed = preferences.has_consents() or self._shared.workflow.consents.given
        allow(self._ui.forgetButton, agreed, FORGET_TIP, "You have agreed to nothing.")
        put_text(self._ui.serverLabel, self._server_text(state))
        self._open_settings(state.report)
        if state.connected and state.address != self._remembered:
            self._remembered = state.address
            preferences.remember_address(state.address)

    def _allow(self, state: State) -> None:
        elsewhere = state.job is not None and self._elsewhere()
        busy = "Busy. Cancel, or enter another server's address."
        allow(self._ui.connectButton, state.job is None or elsewhere, LEAVE_TIP if elsewhere else CONNECT_TIP, busy)

    def _elsewhere(self) -> bool:
        """Whether the address of another server is typed in than of the one that is at work, or is tried."""
        typed = self._ui.addressBox.currentText.strip()
        return bool(typed) and _server_at(typed) != self._given[0]

    def _open_settings(self, report: Optional[ConnectionReport]) -> None:
        """Opens the settings, once for each report, when it asks for a change of them."""
        if report is not self._reported and report is not None and report.code in IN_SETTINGS:
            self._ui.accessButton.checked = True
        self._reported = report

    @staticmethod
    def _server_text(state: State) -> str:
        server = state.server
        if not state.connected or server is None:
            return ""
        name = "MedGAN" if server.is_medgan else "MONAI Label"
        studies = (
            f"{counted(server.studies, 'study', 'studies')}, {server.labelled} labelled"
            if server.studies
            else "no studies yet"
        )
        first = dots([f"<b>{safe(name)} {safe(server.version)}</b>", counted(len(server.models), "model"), studies])
        notes = state.report.notes if state.report else ()
        return "<br>".join([first, *[safe(n) for n in notes]])


def _server_at(address: str) -> str:
    """Returns an address in one way of writing; as it is when it is none."""
    try:
        return str(parse_address(address))
    except BadAddress:
        return address
