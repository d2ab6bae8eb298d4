"""Errors a person or a program may see.

Law: only the text of a `PublicError` ever reaches a user, and it always says what to do next. Everything else is a fault
of ours: it is logged with its traceback and shown as `internal`.

Each error has a stable `code` (for programs), a sentence `detail`, the `next_step`, an HTTP `status` and a CLI `exit_code`
(1: something failed, 2: wrong use), so that API, pages and CLI say the same.
"""

from __future__ import annotations

from typing import Any, ClassVar


class PublicError(Exception):
    """Base of every error that may be shown.

    `detail`: one sentence, what is wrong. `next_step`: one sentence, what to do now. `extra`: JSON-ready members for programs.
    """

    code: ClassVar[str] = "failed"
    title: ClassVar[str] = "The request failed"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, detail: str, next_step: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.next_step = next_step
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.detail} {self.next_step}".strip()

    def problem(self) -> dict[str, Any]:
        """The error as an RFC 9457 problem document (application/problem+json)."""
        return {
            "type": f"urn:neve:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "next_step": self.next_step,
            **self.extra,
        }


class WrongUse(PublicError):
    """The caller asked for something that makes no sense as asked."""

    code = "wrong-use"
    title = "The request is not right"
    status = 422
    exit_code = 2


class WrongSetting(WrongUse):
    """A setting is unknown, of the wrong type, or contradicts another."""

    code = "wrong-setting"
    title = "A setting is wrong"
    status = 500


class WrongPolicy(WrongUse):
    """A policy to be tried out has a setting that is unknown, of the wrong type, or contradicts another."""

    code = "wrong-policy"
    title = "The policy has an error"


class NotSignedIn(PublicError):
    """No token, or one that nobody knows."""

    code = "not-signed-in"
    title = "Nobody is signed in"
    status = 401


class NotAllowed(PublicError):
    """Known, but without the scope or role that this needs."""

    code = "not-allowed"
    title = "Not allowed"
    status = 403


class NotFound(PublicError):
    """No such thing, or none that this person may know of (another project's data answers the same)."""

    code = "not-found"
    title = "Not found"
    status = 404


class Ambiguous(PublicError):
    """A bare dataset name that more than one instrument uses."""

    code = "ambiguous"
    title = "More than one fits"
    status = 409
    exit_code = 2


class Conflict(PublicError):
    """The thing is in a state in which this cannot be done."""

    code = "conflict"
    title = "Not in this state"
    status = 409


class ColdData(PublicError):
    """Only a copy that must be brought back first is left."""

    code = "cold-data"
    title = "It must be brought back first"
    status = 409


class TooMany(PublicError):
    """More at once than one user may have."""

    code = "too-many"
    title = "Too many at once"
    status = 429


class OverQuota(PublicError):
    """More would be restored or held at once than a user or project may."""

    code = "over-quota"
    title = "Over the quota"
    status = 409


class NoRoom(PublicError):
    """More is asked for than fast storage could hold if it held nothing else."""

    code = "no-room"
    title = "Larger than fast storage"
    status = 409


class QuoteExpired(PublicError):
    """A quote that is too old: what it said may not be so any more."""

    code = "quote-expired"
    title = "The quote is too old"
    status = 409


class QuoteChanged(PublicError):
    """What was quoted would mean more by now than was said."""

    code = "quote-changed"
    title = "The quote no longer holds"
    status = 409


class SourceChanged(PublicError):
    """A file changed while it was read; nothing of it counts as received."""

    code = "source-changed"
    title = "The file changed while it was read"
    status = 409


class ForeignObject(PublicError):
    """Something that the ledger does not know stands where a file should go; it is left alone."""

    code = "foreign-object"
    title = "The place is taken"
    status = 409


class ChecksumMismatch(PublicError):
    """What arrived, or shall be sent, is not what the sender's checksum says."""

    code = "checksum-mismatch"
    title = "A checksum does not fit"
    status = 422


class TooLarge(PublicError):
    """A file over the limit."""

    code = "too-large"
    title = "The file is too large"
    status = 413


class ReceptionFull(PublicError):
    """There is no room for more just now; it is asked for again later."""

    code = "reception-full"
    title = "No room for more data"
    status = 507


class SnapshotInTheWay(PublicError):
    """A snapshot of a growing file stands where a file shall be; it makes way within moments."""

    code = "snapshot-in-the-way"
    title = "A snapshot makes way"
    status = 503


class UnreadableSource(PublicError):
    """A path that cannot be read: missing, no permission, not a regular file."""

    code = "unreadable-source"
    title = "The file cannot be read"
    status = 422


class StoreUnavailable(PublicError):
    """A store does not answer, refuses our key, or lacks its bucket."""

    code = "store-unavailable"
    title = "The store cannot be used"
    status = 503


class ProofFailed(PublicError):
    """Bytes read back, or the store's own checksum, differ from what was recorded."""

    code = "proof-failed"
    title = "A copy is not what it should be"
    status = 500


class AwaitsReaper(PublicError):
    """Something of ours is in the way where only the reaper ends anything."""

    code = "awaits-reaper"
    title = "The reaper comes first"
    status = 503


class LedgerUnavailable(PublicError):
    """The ledger cannot be opened, or is of another revision."""

    code = "ledger-unavailable"
    title = "The ledger cannot be used"
    status = 503


class HubUnavailable(PublicError):
    """The hub does not answer, so nobody's identity can be known."""

    code = "hub-unavailable"
    title = "The hub does not answer"
    status = 503


class PortInUse(PublicError):
    """Another program listens where ours should."""

    code = "port-in-use"
    title = "A port is taken"
    status = 500
