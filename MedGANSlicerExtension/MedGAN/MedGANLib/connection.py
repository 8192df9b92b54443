"""TCP and TLS connections that can be cancelled and that fail with typed errors."""

from __future__ import annotations

import errno
import select
import socket
import ssl
import threading
import time
from typing import Any, List, Optional, Tuple

from .address import Address
from .cancel import CancelToken
from .errors import (
    LATE_HINT,
    Cancelled,
    ConnectionRefused,
    Disconnected,
    HostNotFound,
    MedGANError,
    StorageProblem,
    TimedOut,
    TLSFailed,
)

SLICE = 0.05
"""Seconds between two looks at the cancel token while connecting."""
CERTIFICATE_HINT = (
    "Ask the administrator for the certificate authority's file and choose it in the connection settings."
)
STORAGE_CODES = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EIO, errno.ENOTDIR)
START_HINT = "Start it with 'python -m monailabel_app serve', or check the port."


class Guard:
    """Breaks a connection when its call is cancelled or its deadline passes, whatever it is blocked on."""

    def __init__(self, cancel: Optional[CancelToken], deadline: Optional[float]) -> None:
        self._socket: Optional[socket.socket] = None
        self._late = False
        self._cancel = cancel or CancelToken()
        self._forget = self._cancel.on_cancel(self._break)
        self._timer = threading.Timer(deadline, self._expire) if deadline else None
        if self._timer:
            self._timer.daemon = True
            self._timer.start()

    def watch(self, connection: socket.socket) -> None:
        """Guard this socket from now on; raises when the end has come already."""
        self._socket = connection
        self.check()

    def check(self) -> None:
        """Raise `Cancelled` or `TimedOut` when the call is over."""
        self._cancel.raise_if_cancelled()
        if self._late:
            raise late()

    def release(self) -> None:
        """Stop guarding."""
        self._forget()
        if self._timer:
            self._timer.cancel()

    def _expire(self) -> None:
        self._late = True
        self._break()

    def _break(self) -> None:
        connection = self._socket
        if connection is None:
            return
        try:
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already


def late() -> TimedOut:
    """Return the error for an answer that did not come in time."""
    return TimedOut("The server did not answer in time.", LATE_HINT)


def open_socket(address: Address, timeout: float, context: Optional[ssl.SSLContext], guard: Guard) -> socket.socket:
    """Connect to a server within `timeout` seconds, and shake hands when `context` is given.

    Raises:
        HostNotFound, ConnectionRefused, TimedOut, TLSFailed, Cancelled: What went wrong.
    """
    end = time.monotonic() + timeout
    plain = _connect_any(address, _resolve(address, end, guard), end, guard)
    try:
        plain.settimeout(timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        guard.watch(plain)
        return _secure(plain, address, context, guard) if context else plain
    except BaseException:
        plain.close()
        raise


def translate(error: Exception, address: Address) -> MedGANError:
    """Turn an operating system's or TLS error into a typed one."""
    if isinstance(error, MedGANError):
        return error
    if isinstance(error, ssl.SSLError):
        return _tls_error(error, address)
    if isinstance(error, socket.timeout):
        return late()
    if isinstance(error, ConnectionRefusedError):
        return ConnectionRefused(f"No server is listening at {address}.", START_HINT)
    if isinstance(error, OSError) and error.errno in STORAGE_CODES:
        return StorageProblem(f"A file could not be read or written: {error.strerror}.", "Check the disk's free space.")
    return Disconnected(
        "The connection to the server broke.", "Check that the server is still running, then try again."
    )


def _resolve(address: Address, end: float, guard: Guard) -> List[Tuple[Any, ...]]:
    """Look a name up on a thread of its own, because the look-up can neither time out nor be cancelled."""
    found: List[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    while thread.is_alive() and time.monotonic() < end:
        guard.check()
        thread.join(SLICE)
    if not found or isinstance(found[0], Exception):
        raise HostNotFound(
            f"There is no computer called '{address.host}' in reach.", "Check the spelling and your network."
        )
    return found[0]


def _connect_any(address: Address, candidates: List[Tuple[Any, ...]], end: float, guard: Guard) -> socket.socket:
    failure: MedGANError = _unreachable(address)
    for family, kind, protocol, _, place in candidates:
        connection = socket.socket(family, kind, protocol)
        try:
            _connect(connection, place, end, guard, address)
            return connection
        except Cancelled:
            connection.close()
            raise
        except MedGANError as error:
            connection.close()
            failure = error
    raise failure


def _connect(connection: socket.socket, place: Any, end: float, guard: Guard, address: Address) -> None:
    """Connect without blocking, looking at the guard between short waits."""
    connection.setblocking(False)
    code = connection.connect_ex(place)
    while code in (errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK)):
        guard.check()
        if time.monotonic() >= end:
            raise TimedOut(f"{address.host} does not answer.", "Check the address, your network and the firewall.")
        _, writable, failed = select.select([], [connection], [connection], SLICE)
        if writable or failed:
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code == errno.ECONNREFUSED or code == getattr(errno, "WSAECONNREFUSED", errno.ECONNREFUSED):
        raise ConnectionRefused(f"No server is listening at {address}.", START_HINT)
    if code:
        raise _unreachable(address)


def _unreachable(address: Address) -> HostNotFound:
    return HostNotFound(f"{address.host} cannot be reached.", "Check the address, your network and the firewall.")


def _secure(plain: socket.socket, address: Address, context: ssl.SSLContext, guard: Guard) -> ssl.SSLSocket:
    secure = context.wrap_socket(plain, server_hostname=address.host, do_handshake_on_connect=False)
    try:
        guard.watch(secure)
        secure.do_handshake()
    except (ssl.SSLError, ConnectionResetError) as error:
        secure.close()
        guard.check()
        raise _tls_error(error, address) from error
    except BaseException:
        secure.close()
        raise
    return secure


def _tls_error(error: Exception, address: Address) -> TLSFailed:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message or "verification failed"
        return TLSFailed(f"The certificate of {address.host} is not trusted: {reason}.", CERTIFICATE_HINT)
    hint = f"If the server does not use encryption, enter http://{address.host}:{address.port}."
    return TLSFailed(f"No secure connection to {address.host} could be made.", hint)
