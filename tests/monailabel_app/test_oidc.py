"""Tokens of an identity provider: only those that it really signed, for this server, now."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from identity import AUDIENCE, ISSUER, ROLE, Identity

from monailabel_app.errors import MedGANError
from monailabel_app.oidc import (
    COOLDOWN,
    LIFESPAN,
    OLDEST,
    Provider,
    ProviderKeys,
    check_address,
    read_keys,
    roles_of,
    usable_keys,
)


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def provider_of(identity: Identity, clock: Any = Clock()) -> Provider:
    keys = ProviderKeys(lambda: read_keys(ISSUER, str(identity.file)), clock)
    return Provider(ISSUER, AUDIENCE, keys, ROLE)


def refusal(provider: Provider, token: str) -> str:
    with pytest.raises(MedGANError) as caught:
        provider.user(token)
    assert caught.value.code == "token_required"
    return caught.value.message


def test_a_token_names_the_person_and_the_role(identity: Identity) -> None:
    user = provider_of(identity).user(identity.token("ada", name="  Ada   Lovelace "))
    assert (user.subject, user.name, user.admin) == ("ada", "Ada Lovelace", False)
    assert provider_of(identity).user(identity.token("bob", admin=True)).admin


def test_keys_of_elliptic_curves_are_taken(identity: Identity) -> None:
    identity.rotate("curve", curve=True)
    assert provider_of(identity).user(identity.token()).subject == "ada"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"aud": "another"}, "another service"),
        ({"aud": None}, "cannot be verified"),
        ({"iss": "https://evil.example"}, "another provider"),
        ({"iss": None}, "cannot be verified"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "cannot be verified"),
        ({"nbf": 2**33}, "cannot be verified"),
        ({"sub": None}, "cannot be verified"),
        ({"sub": ""}, "cannot be verified"),
        ({"sub": "x" * 300}, "cannot be verified"),
    ],
)
def test_what_a_token_must_say(identity: Identity, change: dict[str, Any], reason: str) -> None:
    assert reason in refusal(provider_of(identity), identity.token(**change))


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_no_algorithm_is_no_signature(identity: Identity) -> None:
    for name in ("none", "None", "NONE", ""):
        head = part({"alg": name, "typ": "JWT", "kid": identity.name})
        refusal(provider_of(identity), f"{head}.{part(identity.claims(admin=True))}.")


@pytest.mark.parametrize("secret", ["pem", "jwk"])
def test_the_public_key_is_no_shared_secret(identity: Identity, secret: str) -> None:
    """HS256 with the provider's public key as the secret, by hand: the library refuses to make such a token."""
    key = identity.public_pem() if secret == "pem" else json.dumps(identity.document()["keys"][0]).encode()
    text = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': identity.name})}.{part(identity.claims(admin=True))}"
    signature = base64.urlsafe_b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).rstrip(b"=").decode()
    refusal(provider_of(identity), f"{text}.{signature}")


def test_a_forged_or_altered_token(identity: Identity, tmp_path: Path) -> None:
    provider = provider_of(identity)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    refusal(provider, jwt.encode(identity.claims(), other, "RS256", headers={"kid": identity.name}))
    head, _, signature = identity.token().split(".")
    refusal(provider, f"{head}.{part(identity.claims(admin=True))}.{signature}")
    refusal(provider, jwt.encode(identity.claims(), identity.key, "RS512", headers={"kid": identity.name}))
    refusal(provider, jwt.encode(identity.claims(), identity.key, "RS256"))
    for text in ("", "x", "a.b.c", "é.é.é", "x" * 100_000, f"{part([1])}..", f"{part({'kid': 1})}.x.y"):
        refusal(provider, text)


def test_a_key_inside_the_token_is_not_believed(identity: Identity) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = jwt.get_algorithm_by_name("RS256").to_jwk(other.public_key(), as_dict=True)  # type: ignore[attr-defined]
    headers = {"kid": identity.name, "jwk": public, "jku": "https://evil.example/keys", "x5u": "https://evil.example"}
    refusal(provider_of(identity), jwt.encode(identity.claims(), other, "RS256", headers=headers))


def test_a_rotated_key_is_found_and_the_old_one_forgotten(identity: Identity) -> None:
    clock = Clock()
    provider = provider_of(identity, clock)
    old = identity.token()
    provider.user(old)
    identity.rotate("second")
    refusal(provider, identity.token())  # the keys have just been read
    clock.now += COOLDOWN
    assert provider.user(identity.token()).subject == "ada"
    refusal(provider, old)


def test_a_key_that_is_withdrawn_counts_no_longer_than_the_cache_lives(identity: Identity) -> None:
    clock = Clock()
    provider, old = provider_of(identity, clock), identity.token()
    provider.user(old)
    identity.rotate("second")
    clock.now += LIFESPAN - 1
    provider.user(old)
    clock.now += 2
    refusal(provider, old)


def test_the_provider_is_asked_seldom_whatever_tokens_come(identity: Identity) -> None:
    clock, asked = Clock(), []

    def read() -> Any:
        asked.append(clock.now)
        return identity.document()

    keys = ProviderKeys(read, clock)
    for number in range(500):
        assert keys.get(f"unknown-{number}") is None
    clock.now += COOLDOWN
    assert keys.get("unknown") is None
    assert asked == [0.0, COOLDOWN]


def test_while_the_provider_is_away_its_keys_are_trusted_for_an_hour(identity: Identity) -> None:
    clock = Clock()
    provider, token = provider_of(identity, clock), identity.token()
    provider.user(token)
    identity.file.unlink()
    clock.now += OLDEST - 1
    assert provider.user(token).subject == "ada"
    clock.now += 2 + COOLDOWN
    with pytest.raises(MedGANError) as caught:
        provider.user(token)
    assert (caught.value.code, caught.value.status_code) == ("login_not_available", 503)


def test_only_public_keys_for_signatures_are_used(identity: Identity) -> None:
    good = identity.document()["keys"][0]
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    short = jwt.get_algorithm_by_name("RS256").to_jwk(weak.public_key(), as_dict=True)  # type: ignore[attr-defined]
    private = jwt.get_algorithm_by_name("RS256").to_jwk(identity.key, as_dict=True)  # type: ignore[attr-defined]
    bad: list[Any] = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"},
        {**good, "kid": "b", "use": "enc"},
        {**good, "kid": "c", "alg": "HS256"},
        {**good, "kid": "d", "alg": "none"},
        {**short, "kid": "e"},
        {**private, "kid": "f"},
        {key: value for key, value in good.items() if key != "kid"},
        {"kty": "RSA", "kid": "g"},
        "text",
        None,
    ]
    assert list(dict(usable_keys({"keys": [*bad, good]}))) == [identity.name]


def test_roles_of_the_usual_providers() -> None:
    for claims in ({"roles": ["r"]}, {"groups": ["r"]}, {"realm_access": {"roles": ["r"]}},
                   {"resource_access": {AUDIENCE: {"roles": ["r"]}}}):  # fmt: skip
        assert roles_of(claims, AUDIENCE) == {"r"}
    for claims in (
        {},
        {"roles": "r"},
        {"roles": [1]},
        {"realm_access": "r"},
        {"resource_access": {"x": {"roles": "r"}}},
    ):
        assert roles_of(claims, AUDIENCE) == set()


@pytest.mark.parametrize("address", ["http://login.example", "file:///etc/passwd", "ftp://x", "login.example", ""])
def test_keys_come_over_a_connection_that_nobody_can_change(address: str) -> None:
    with pytest.raises(MedGANError):
        check_address(address)


def test_the_provider_tells_where_its_keys_are(identity: Identity) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            root = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
            about = {"issuer": root if "wrong" not in self.path else "x", "jwks_uri": f"{root}/keys"}
            answers = {"/.well-known/openid-configuration": about, "/keys": identity.document()}
            self.send_response(200 if self.path in answers else 302)
            self.send_header("Location", f"{root}/keys")
            self.end_headers()
            self.wfile.write(json.dumps(answers.get(self.path, {})).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}"
    try:
        assert list(dict(usable_keys(read_keys(root)))) == [identity.name]
        assert read_keys("unused", f"{root}/keys") == identity.document()
        with pytest.raises(ValueError, match="another name"):
            read_keys(f"{root}/")
        with pytest.raises(OSError):
            read_keys("unused", f"{root}/elsewhere")
    finally:
        server.shutdown()
        server.server_close()
