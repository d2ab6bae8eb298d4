"""Receiving Névé's messages by webhook: is this one really from it, fresh, and new?

Each message is a POST with a JSON body and three headers: `X-Neve-Timestamp` (seconds since 1970), `X-Neve-Signature` (`sha256=` and the
hexadecimal HMAC-SHA256, under the secret that was shown when the webhook was set, over `TIMESTAMP.BODY`, bytes as received) and
`X-Neve-Delivery` (a number of its own for each message, which stands in the signed body too). Answer any 2xx; all else is tried again.

Law: a message that was changed, is older than five minutes, or carries another delivery's number is refused. A message is sent at
least once: one that was handed over but whose answer got lost comes again with the same number, which `seen` must remember (30 days are enough).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping, MutableSet
from typing import Any

from neve.errors import NeveError

FRESH_S = 300
_SIGNED = re.compile(r"sha256=([0-9a-f]{64})", re.ASCII)
_STAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


class WrongSignature(NeveError):
    """Not from your Névé, changed on its way, or too old. Answer 401."""

    code = "wrong-signature"


class AlreadySeen(NeveError):
    """A message that was received before. Answer 200, and do nothing."""

    code = "already-seen"


def verify_webhook(
    secret: str, headers: Mapping[str, str], body: bytes, now: float | None = None, seen: MutableSet[str] | None = None
) -> dict[str, Any]:
    """The message, if it is genuine, fresh and new; its number is then added to `seen`.

    `headers`: as received, in any case; `body`: the bytes as received; `now`: seconds since 1970 (None: this machine's clock); `seen`: numbers
    received before (keep them where a restart does not lose them). Raises WrongSignature, AlreadySeen.
    """
    given = {name.lower(): value for name, value in headers.items()}
    stamp, delivery = given.get("x-neve-timestamp", ""), given.get("x-neve-delivery", "")
    signed = _SIGNED.fullmatch(given.get("x-neve-signature", ""))
    if signed is None or not _STAMP.fullmatch(stamp):
        raise WrongSignature("The message is not signed.", "Take messages from your Névé only.")
    expected = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, signed[1]):
        raise WrongSignature("The signature is not that of your secret.", "If it is your Névé's, renew the secret on its page “Me”.")
    if abs((time.time() if now is None else now) - int(stamp)) > FRESH_S:
        raise WrongSignature("The message is not of the last five minutes.", "See that this machine's clock is right.")
    try:
        message = json.loads(body)
        numbered = message["delivery"]
    except (ValueError, KeyError, TypeError):
        raise WrongSignature("The message cannot be read.", "Get the version of neve that fits.") from None
    if not isinstance(numbered, str) or numbered != delivery:
        raise WrongSignature("The message carries another one's number.", "Take messages from your Névé only.")
    if seen is not None:
        if delivery in seen:
            raise AlreadySeen("The message was received before.", "Answer 200; nothing has to be done.")
        seen.add(delivery)
    return dict(message)
