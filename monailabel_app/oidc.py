"""Log-in by an identity provider: signed tokens (JWT) of OpenID Connect, checked with the provider's public keys."""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt

from monailabel_app.config import LOOPBACK, ServerConfig
from monailabel_app.errors import MedGANError
from monailabel_app.names import is_text
from monailabel_app.users import User

logger = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "ES256")
KINDS = ("RSA", "EC")
LIFESPAN = 300.0  # seconds after which keys are read again
COOLDOWN = 30.0  # seconds between attempts to read them, whatever tokens come
OLDEST = 3600.0  # seconds that keys are trusted while the provider cannot be reached
TIMEOUT = 5.0
MOST_KEYS = 32
MOST_BYTES = 1 << 20
LONGEST_TOKEN = 1 << 14
LEEWAY = 30.0  # seconds that clocks may differ
LEAST_RSA_BITS = 2048
REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.InvalidAudienceError: "it is meant for another service",
    jwt.InvalidIssuerError: "another provider issued it",
}


class ProviderKeys:
    """The public keys of a provider, read again from time to time and when a token names one that is not known.

    Args:
        read: gives the key set (a JWKS document). clock: in seconds.
    """

    def __init__(self, read: Callable[[], Any], clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock = read, clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._known, self._tried = -OLDEST, -COOLDOWN
        self._reading = threading.Lock()

    def get(self, name: str) -> jwt.PyJWK | None:
        """The key of that name (`kid`), or None. Raises MedGANError `login_not_available` if no keys are known."""
        if name not in self._fresh(LIFESPAN):
            self._renew()
        keys = self._fresh(OLDEST)
        if not keys:
            hint = "Try again in a minute; if it stays, ask the administrator."
            raise MedGANError("login_not_available", "The identity provider's keys cannot be read.", hint)
        return keys.get(name)

    def _fresh(self, seconds: float) -> dict[str, jwt.PyJWK]:
        return self._keys if self._clock() - self._known < seconds else {}

    def _renew(self) -> None:
        """Reads the keys; while one thread does, others go on with those that are known."""
        if not self._reading.acquire(blocking=not self._fresh(OLDEST)):
            return
        try:
            if self._clock() - self._tried >= COOLDOWN:
                self._tried = self._clock()
                self._keys, self._known = dict(usable_keys(self._read())), self._clock()
        except (OSError, ValueError, KeyError, TypeError, MedGANError) as error:
            logger.warning("The identity provider's keys cannot be read (%s).", type(error).__name__)
        finally:
            self._reading.release()


def usable_keys(document: Any) -> Iterator[tuple[str, jwt.PyJWK]]:
    """Name and key of the public keys for signatures with ALGORITHMS in a JWKS document; others are passed over."""
    for entry in document["keys"][:MOST_KEYS]:
        if not _is_public(entry):
            continue
        try:
            key = jwt.PyJWK(entry)
        except jwt.PyJWTError:
            continue
        if key.algorithm_name in ALGORITHMS and (key.key_type != "RSA" or key.key.key_size >= LEAST_RSA_BITS):
            yield str(entry["kid"]), key


def _is_public(entry: Any) -> bool:
    """False for other uses, and for secrets: shared ones (`oct`), and private keys (`d`) put there by mistake."""
    known = isinstance(entry, dict) and entry.get("kty") in KINDS and bool(entry.get("kid")) and "d" not in entry
    return known and entry.get("use", "sig") == "sig" and entry.get("alg", ALGORITHMS[0]) in ALGORITHMS


class Provider:
    """Checks tokens.

    Args:
        issuer, audience: what a token must say of itself. keys: of the issuer. admin_role: makes an administrator.
    """

    def __init__(self, issuer: str, audience: str, keys: ProviderKeys, admin_role: str) -> None:
        self._issuer, self._audience = issuer, audience
        self._keys, self._admin_role = keys, admin_role

    @classmethod
    def of(cls, config: ServerConfig) -> Provider | None:
        """The provider of the settings; None without one."""
        if not config.oidc_issuer:
            return None
        keys = ProviderKeys(lambda: read_keys(config.oidc_issuer, config.oidc_jwks))
        return cls(config.oidc_issuer, config.oidc_audience, keys, config.admin_role)

    def user(self, token: str) -> User:
        """The person that a token names. Raises MedGANError `token_required`, `login_not_available`."""
        try:
            return self._user(self._claims(token))
        except jwt.PyJWTError as error:
            reason = next((text for kind, text in REASONS.items() if isinstance(error, kind)), "it cannot be verified")
            logger.info("A token is refused: %s.", type(error).__name__)
            raise MedGANError("token_required", f"The token is not valid: {reason}.", "Log in again.") from None

    def _claims(self, token: str) -> dict[str, Any]:
        """What a token says, once all of it has been checked. The key decides on the algorithm, not the token."""
        if len(token) > LONGEST_TOKEN:
            raise jwt.DecodeError("too long")
        key = self._keys.get(str(jwt.get_unverified_header(token).get("kid")))
        if key is None:
            raise jwt.InvalidKeyError("unknown")
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            issuer=self._issuer,
            audience=self._audience,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        return claims

    def _user(self, claims: Mapping[str, Any]) -> User:
        subject = str(claims["sub"])
        if not 0 < len(subject) <= 255:
            raise jwt.InvalidTokenError("subject")
        names = (claims.get(key) for key in ("name", "preferred_username", "email"))
        name = next((name for name in names if isinstance(name, str) and name.strip() and is_text(name)), "")
        return User(subject, " ".join(name.split())[:200], self._admin_role in roles_of(claims, self._audience))


def roles_of(claims: Mapping[str, Any], audience: str) -> set[str]:
    """All roles that a token grants: `roles`, `groups`, and Keycloak's of the realm and of this client."""
    places = ("roles",), ("groups",), ("realm_access", "roles"), ("resource_access", audience, "roles")
    found = (_at(claims, place) for place in places)
    return {role for roles in found if isinstance(roles, list) for role in roles if isinstance(role, str)}


def _at(claims: Any, place: tuple[str, ...]) -> Any:
    for key in place:
        claims = claims.get(key) if isinstance(claims, Mapping) else None
    return claims


def read_keys(issuer: str, source: str = "") -> Any:
    """The provider's key set.

    Args:
        issuer: its address, which tells where the keys are if `source` does not.
        source: a file, or an address.

    Raises:
        OSError, ValueError, KeyError: it cannot be read. MedGANError: an address without https.
    """
    if source and not is_address(source):
        return json.loads(Path(source).read_text(encoding="utf-8"))
    return _fetch(source or _key_address(issuer))


def _key_address(issuer: str) -> str:
    about = _fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if about["issuer"] != issuer:
        raise ValueError("The provider calls itself by another name than --oidc-issuer.")
    return str(about["jwks_uri"])


def is_address(text: str) -> bool:
    """Whether it is a web address and no file."""
    return urlsplit(text).scheme in ("http", "https")


def check_address(address: str) -> str:
    """Returns an address whose answers nobody can forge. Raises MedGANError `bad_request`."""
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise MedGANError("bad_request", f"{address[:200]!r} is not an https address.")
    return address


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        """Nothing is looked for elsewhere."""


def _fetch(address: str) -> Any:
    opener = urllib.request.build_opener(_NoRedirect())
    with opener.open(check_address(address), timeout=TIMEOUT) as answer:
        return json.loads(answer.read(MOST_BYTES))
