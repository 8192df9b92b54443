"""Who asks: the person behind a request, and what only administrators may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from monailabel_app.errors import MedGANError

OWNER = "owner"  # in what is known of a label: the subject of the person who submitted it
AUTHOR = "author"


@dataclass(frozen=True)
class User:
    """Who asks.

    Attributes:
        subject: what the identity provider calls the person, never given to another one; empty for those who are only
            known to have the shared token, or to be on this computer.
        name: of the person, for labels and runs; empty likewise.
        admin: whether the person may do what administrators may.
    """

    subject: str = ""
    name: str = ""
    admin: bool = True

    def owns(self, owner: str) -> bool:
        """Whether the person may change what belongs to `owner`; what is nobody's belongs to administrators."""
        return self.admin or bool(owner and owner == self.subject)

    def check_owner(self, owner: str, what: str) -> None:
        """Raises MedGANError `admin_required` if `what` belongs to somebody else."""
        if not self.owns(owner):
            hint = "Ask that person, or an administrator."
            raise MedGANError("admin_required", f"{what} is not yours.", hint)

    def signed(self, info: Mapping[str, Any]) -> dict[str, Any]:
        """What a client tells, with the person whom the identity provider knows in place of whom the client names."""
        return {**info, AUTHOR: self.name or self.subject, OWNER: self.subject} if self.subject else dict(info)


EVERYBODY = User()


def caller(request: Request) -> User:
    """The person who asks, whom the guard at the door let in."""
    found: User = request.state.user
    return found


def host_of(request: Request) -> str:
    """The address that a request comes from."""
    return request.client.host if request.client else ""


def administrator(request: Request) -> User:
    """The person who asks, an administrator. Raises MedGANError `admin_required`."""
    found = caller(request)
    if not found.admin:
        raise MedGANError("admin_required", "Only an administrator may do that.", "Ask one, or log in as one.")
    return found


Caller = Annotated[User, Depends(caller)]
Admin = Annotated[User, Depends(administrator)]
