"""Log-in: the shared token, or a token of an identity provider."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from monailabel_app.config import ServerConfig
from monailabel_app.errors import MedGANError
from monailabel_app.oidc import Provider
from monailabel_app.users import EVERYBODY, User


@dataclass(frozen=True)
class Login:
    """What lets a request in.

    Attributes:
        token: the shared one, which makes everybody an administrator; empty for none.
        provider: checks tokens of persons; None for none.
    """

    token: str = ""
    provider: Provider | None = None

    @classmethod
    def of(cls, config: ServerConfig) -> Login:
        """The log-in of the settings."""
        return cls(config.token, Provider.of(config))

    @property
    def needed(self) -> bool:
        """Whether anybody has to log in."""
        return bool(self.token or self.provider)

    def user(self, authorization: str) -> User:
        """Who sent the header `Authorization`. It may wait for the provider. Raises MedGANError as `holder`."""
        if not self.needed:
            return EVERYBODY
        scheme, _, given = authorization.partition(" ")
        return self.holder(given.strip() if scheme.lower() == "bearer" else "")

    def holder(self, given: str) -> User:
        """Who has a token. Raises MedGANError `token_required`, `login_not_available`."""
        if self.token and same_secret(given, self.token):
            return EVERYBODY
        if self.provider and given:
            return self.provider.user(given)
        raise MedGANError("token_required", "This server needs a token.", "Ask its administrator for the token.")


def same_secret(given: str, secret: str) -> bool:
    """Compares in a time that does not tell how much was right."""
    return hmac.compare_digest(given.encode(), secret.encode())
