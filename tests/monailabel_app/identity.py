"""An identity provider for tests: real keys, real tokens."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER, AUDIENCE, ROLE = "https://login.hospital.example/realms/clinic", "medgan", "medgan-admin"


class Identity:
    """A provider with one key at a time. Its key set is a file, as `--oidc-jwks` takes it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "jwks.json"
        self.rotate("first")

    def rotate(self, name: str, curve: bool = False) -> None:
        """Makes a new key and forgets the old one."""
        self.name, self.algorithm = name, "ES256" if curve else "RS256"
        self.key: Any = (
            ec.generate_private_key(ec.SECP256R1())
            if curve
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )
        self.file.write_text(json.dumps(self.document()), encoding="utf-8")

    def document(self) -> dict[str, Any]:
        """The key set."""
        kind = jwt.get_algorithm_by_name(self.algorithm)
        public = kind.to_jwk(self.key.public_key(), as_dict=True)  # type: ignore[attr-defined]
        return {"keys": [{**public, "kid": self.name, "use": "sig"}]}

    def public_pem(self) -> bytes:
        """The public key as everybody can have it."""
        return bytes(self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def claims(self, subject: str = "ada", admin: bool = False, **more: Any) -> dict[str, Any]:
        """What a token says; None removes a claim."""
        now = int(time.time())
        roles = {"realm_access": {"roles": [ROLE]}} if admin else {}
        usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300, "name": f"Dr {subject}"}
        return {key: value for key, value in {**usual, **roles, **more}.items() if value is not None}

    def token(self, subject: str = "ada", admin: bool = False, **more: Any) -> str:
        """A token of this provider."""
        headers = {"kid": self.name}
        return jwt.encode(self.claims(subject, admin, **more), self.key, self.algorithm, headers=headers)

    def bearer(self, subject: str = "ada", admin: bool = False, **more: Any) -> dict[str, str]:
        """The header that carries it."""
        return {"Authorization": f"Bearer {self.token(subject, admin, **more)}"}
