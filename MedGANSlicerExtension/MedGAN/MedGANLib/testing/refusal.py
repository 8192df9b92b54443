"""How the test server says no."""

from __future__ import annotations


class Refusal(Exception):
    """An answer of 400 and above, by the error contract."""

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint = status, code, message, hint
