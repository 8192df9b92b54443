"""One typed exception for each way in which work with a MedGAN server or the scene can fail.

Every exception carries a `message` (what happened), a `hint` (what to do) and, when the server gave them, the `code`
and `id` of its error contract, so that an administrator can find the cause in the server's log.
"""

from __future__ import annotations

LATE_HINT = "It may be overloaded; try again in a minute, or give it more time in the connection settings."


class MedGANError(Exception):
    """The base of all failures that the library reports.

    Attributes:
        message: What happened, in one sentence for a clinician.
        hint: What to do about it; may be empty.
        code: Machine-readable code, from the server's contract when it sent one.
        id: The server's reference to its log entry; empty for failures found on this side.
        status: HTTP status, or 0 when there was none.
    """

    code = "error"

    def __init__(self, message: str, hint: str = "", *, code: str = "", id: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or type(self).code
        self.id = id
        self.status = status

    def text(self) -> str:
        """Return message, hint and reference as one line for a log or a dialog."""
        reference = f" (reference {self.id})" if self.id else ""
        return " ".join(part for part in (self.message, self.hint) if part) + reference


class BadAddress(MedGANError):
    """The text given as the server's address is not one."""

    code = "bad_address"


class ConnectionRefused(MedGANError):
    """The computer answered, but nothing listens on that port."""

    code = "connection_refused"


class HostNotFound(MedGANError):
    """The name of the computer is unknown, or it cannot be reached."""

    code = "host_not_found"


class TimedOut(MedGANError):
    """No answer came in time."""

    code = "timed_out"


class TLSFailed(MedGANError):
    """No secure connection could be made, for example because the certificate is not trusted."""

    code = "tls_failed"


class NotAMedGANServer(MedGANError):
    """Something answered that does not speak this interface."""

    code = "not_a_medgan_server"


class ServerTooOld(MedGANError):
    """The server does not offer what was asked, for example a MONAI Label server without MedGAN's routes."""

    code = "server_too_old"


class TokenRequired(MedGANError):
    """The server wants an access token, or a different one."""

    code = "token_required"


class BadRequest(MedGANError):
    """The server could not read the request (400)."""

    code = "bad_request"


class NotFound(MedGANError):
    """There is no such image, model, version, job … (404)."""

    code = "not_found"


class Conflict(MedGANError):
    """The request conflicts with the state of the server (409)."""

    code = "conflict"


class Busy(Conflict):
    """A run is going on already (409), too many wait (503; code `busy` both), or this client asks too often (429)."""

    code = "busy"


class TooLarge(MedGANError):
    """The file or volume is over the server's limit (413)."""

    code = "too_large"


class NotAnImage(MedGANError):
    """The file is not a readable medical image (415)."""

    code = "not_an_image"


class CannotProcess(MedGANError):
    """An image, but not one that this request can use (422)."""

    code = "cannot_process"


class ModelNotAvailable(MedGANError):
    """The model has no usable weights (503)."""

    code = "model_not_available"


class ServerFailure(MedGANError):
    """The server failed (500 and other unexpected answers)."""

    code = "server_failure"


class Disconnected(MedGANError):
    """The connection broke before the answer was complete, or the answer was damaged."""

    code = "disconnected"


class StorageProblem(MedGANError):
    """A file on this computer could not be read or written."""

    code = "storage_problem"


class Cancelled(MedGANError):
    """The work was cancelled, here or on the server."""

    code = "cancelled"


class SceneProblem(MedGANError):
    """The scene is not in a state that allows the action; nothing was changed."""

    code = "scene_problem"


class TransformedVolume(SceneProblem):
    """The volume is under a transform that cannot be hardened without resampling."""

    code = "transformed_volume"


class WrongGrid(SceneProblem):
    """Two images that must lie on one voxel grid do not."""

    code = "wrong_grid"


class OutsideImage(SceneProblem):
    """A correction was clicked outside of the image."""

    code = "outside_image"


class NothingToSubmit(SceneProblem):
    """No segment of the segmentation carries one of the model's labels."""

    code = "nothing_to_submit"


class ConsentDeclined(MedGANError):
    """The user did not agree that the volume leaves this computer."""

    code = "consent_declined"
