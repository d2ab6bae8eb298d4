"""What can go wrong for a scientist, as types.

Law: every error says in one sentence what is wrong (`detail`) and in another what to do now (`next_step`); `code` is the same word as in
the archiver's answers. No token or key ever stands in one. Reading never ends in a bare OSError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from neve.wording import duration_text, tier_text


class NeveError(Exception):
    """Base of all errors of `neve`. `extra` holds further members of the archiver's answer, for programs."""

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, detail: str, next_step: str = "", **extra: Any) -> None:
        super().__init__(detail, next_step)
        self.detail = detail
        self.next_step = next_step
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.detail} {self.next_step}".strip()


class WrongUse(NeveError):
    """Asked for something that makes no sense as asked."""

    code = "wrong-use"
    exit_code = 2


class NotConfigured(NeveError):
    """Nobody said where the archiver is."""

    code = "not-configured"
    exit_code = 2


class NotSignedIn(NeveError):
    """No token, or one that the hub does not know (any more)."""

    code = "not-signed-in"


class NotAllowed(NeveError):
    """Known, but without the right to do this."""

    code = "not-allowed"


class NotFound(NeveError, KeyError):
    """No such thing, or none that you may know of. `nearest`: up to three dataset names that look like the one asked for."""

    code = "not-found"

    def __init__(self, detail: str, next_step: str = "", nearest: Iterable[str] = (), **extra: Any) -> None:
        super().__init__(detail, next_step, **extra)
        self.nearest = tuple(nearest)


class Ambiguous(NeveError):
    """A bare dataset name that several instruments use. `candidates`: the full names."""

    code = "ambiguous"
    exit_code = 2

    def __init__(self, detail: str, next_step: str = "", candidates: Iterable[str] = (), **extra: Any) -> None:
        super().__init__(detail, next_step, **extra)
        self.candidates = tuple(candidates)


class Conflict(NeveError):
    """The thing is in a state in which this cannot be done."""

    code = "conflict"


class OverQuota(Conflict):
    """More would be restored or held at once than you, or your project, may. `extra`: `quota`, and in `end` what could be ended."""

    code = "over-quota"


class TooLarge(NeveError):
    """A file is over the largest size that is received. The sentence names both."""

    code = "too-large"


class ChecksumMismatch(WrongUse):
    """Bytes are not what their checksum says. The sentence names both sums."""

    code = "checksum-mismatch"
    exit_code = 1


class NoRoom(Conflict):
    """More is asked for than fast storage could hold if it held nothing else."""

    code = "no-room"


class QuoteExpired(Conflict):
    """The quote is too old: what it said may not be so any more."""

    code = "quote-expired"


class QuoteChanged(Conflict):
    """What was quoted would mean more by now. `extra["now"]`: what it would mean."""

    code = "quote-changed"


class ServiceUnavailable(NeveError):
    """The archiver does not answer, or not in a way that can be understood."""

    code = "service-unavailable"


class StoreUnavailable(NeveError):
    """The data's bytes cannot be reached now, neither at their path nor in the store. `reasons`: what each place said."""

    code = "store-unavailable"

    def __init__(self, detail: str, next_step: str = "", reasons: Iterable[str] = (), **extra: Any) -> None:
        super().__init__(detail, next_step, **extra)
        self.reasons = tuple(reasons)


class StillArriving(NeveError):
    """The dataset, or the file asked for, has not been received in full."""

    code = "still-arriving"


class UnreadableData(NeveError):
    """The bytes are here, but nothing here can make arrays of them."""

    code = "unreadable-data"


class ColdDataError(NeveError):
    """Only a copy that must be brought back first is left.

    `dataset`: full name; `tier`: where it lies; `back_within_s` and `back_within`: the promise, in seconds and in words; `ask`: the line of
    Python that asks for it back.
    """

    code = "cold-data"

    def __init__(self, dataset: str, tier: str, back_within_s: int, running: str | None = None) -> None:
        self.dataset = dataset
        self.tier = tier
        self.back_within_s = back_within_s
        self.back_within = duration_text(back_within_s)
        self.ask = f'neve.restore("{dataset}").wait()'
        promise = f" and can be back within {self.back_within}" if back_within_s > 0 else ""
        detail = f"{dataset} lies only in the {tier_text(tier)}{promise}."
        then = f"It is on its way ({running}); this line waits for it: {self.ask}" if running else f"This line asks for it back: {self.ask}"
        super().__init__(detail, then)

    def _render_traceback_(self) -> list[str]:
        """What IPython shows for this: the sentence, and in a notebook the card whose button brings the data back."""
        from neve.progress import in_notebook  # noqa: PLC0415 - only in IPython

        if in_notebook():
            from IPython.display import display  # noqa: PLC0415

            from neve.widget import restore_button  # noqa: PLC0415

            display(restore_button(self.dataset))  # type: ignore[no-untyped-call]
        return [f"{type(self).__name__}: {self}"]


class RestoreFailed(NeveError):
    """A restore ended without its files. `reasons`: one per file, as "path: reason"."""

    code = "restore-failed"

    def __init__(self, detail: str, next_step: str = "", reasons: Iterable[str] = (), **extra: Any) -> None:
        super().__init__(detail, next_step, **extra)
        self.reasons = tuple(reasons)

    def __str__(self) -> str:
        return "\n  ".join([super().__str__(), *self.reasons])


class PartlyRestored(RestoreFailed):
    """Some files are back, others are not: `reasons` says which and why."""

    code = "partly-restored"


class NotReadyInTime(NeveError, TimeoutError):
    """`wait(timeout=…)` ended first; the restore itself goes on."""

    code = "not-ready-in-time"


_OF_THE_ARCHIVER: tuple[type[NeveError], ...] = (
    WrongUse, NotSignedIn, NotAllowed, NotFound, Ambiguous, Conflict, OverQuota, NoRoom, QuoteExpired, QuoteChanged, StoreUnavailable,
    TooLarge, ChecksumMismatch,
)  # fmt: skip
_BY_CODE = {kind.code: kind for kind in _OF_THE_ARCHIVER}
_BY_STATUS: dict[int, type[NeveError]] = {400: WrongUse, 401: NotSignedIn, 403: NotAllowed, 404: NotFound, 409: Conflict, 422: WrongUse}


def from_problem(status: int, problem: Mapping[str, Any]) -> NeveError:
    """The error that an application/problem+json answer stands for."""
    known = {"type", "title", "status", "code", "detail", "next_step"}
    extra = {str(key): value for key, value in problem.items() if key not in known}
    fallback = ServiceUnavailable if status >= 500 else _BY_STATUS.get(status, NeveError)
    if problem.get("code") == ColdDataError.code and {"dataset", "tier", "back_within_s"} <= extra.keys():
        return ColdDataError(str(extra["dataset"]), str(extra["tier"]), int(extra["back_within_s"]))
    kind = _BY_CODE.get(str(problem.get("code")), fallback)
    detail = str(problem.get("detail") or problem.get("title") or f"The archiver answered {status}.")
    return kind(detail, str(problem.get("next_step") or ""), **extra)
