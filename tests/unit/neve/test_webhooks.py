"""`neve.verify_webhook`: what is changed, old, repeated or somebody else's is refused."""

from __future__ import annotations

import hashlib
import hmac
import json

import neve
import pytest

SECRET, NOW = "s3cret", 1_790_000_000
BODY = json.dumps({"delivery": "d1", "kind": "leaving-hot", "text": "é"}).encode()


def signed(body: bytes = BODY, stamp: str = str(NOW), secret: str = SECRET, delivery: str = "d1") -> dict[str, str]:
    digest = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Neve-Timestamp": stamp, "X-Neve-Signature": f"sha256={digest}", "X-Neve-Delivery": delivery}


@pytest.mark.parametrize("off", [-300, 0, 300])
def test_genuine_fresh_and_new(off):
    seen: set[str] = set()
    assert neve.verify_webhook(SECRET, signed(), BODY, NOW + off, seen)["text"] == "é"
    assert seen == {"d1"}
    with pytest.raises(neve.AlreadySeen):
        neve.verify_webhook(SECRET, signed(), BODY, NOW, seen)


def test_names_of_headers_in_any_case():
    assert neve.verify_webhook(SECRET, {name.lower(): value for name, value in signed().items()}, BODY, NOW)["delivery"] == "d1"


@pytest.mark.parametrize(
    ("headers", "body", "now"),
    [
        (signed(), BODY + b" ", NOW),
        (signed(secret="other"), BODY, NOW),
        (signed() | {"X-Neve-Timestamp": str(NOW + 1)}, BODY, NOW),
        (signed() | {"X-Neve-Delivery": "d2"}, BODY, NOW),
        (signed(delivery=""), BODY, NOW),
        (signed(), BODY, NOW + 301),
        (signed(), BODY, NOW - 301),
        (signed() | {"X-Neve-Signature": ""}, BODY, NOW),
        (signed() | {"X-Neve-Signature": "sha1=" + "0" * 64}, BODY, NOW),
        (signed() | {"X-Neve-Signature": "sha256=é" + "0" * 63}, BODY, NOW),
        (signed(stamp="-1"), BODY, NOW),
        (signed(stamp="١٧٩٠"), BODY, NOW),
        (signed(stamp="9" * 400), BODY, NOW),
        ({}, BODY, NOW),
        (signed(b"x"), b"x", NOW),
        (signed(b"[]"), b"[]", NOW),
        (signed(b"{}"), b"{}", NOW),
        (signed(b'{"delivery": null}'), b'{"delivery": null}', NOW),
    ],
)
def test_what_is_refused_is_not_remembered(headers, body, now):
    seen: set[str] = set()
    with pytest.raises(neve.WrongSignature):
        neve.verify_webhook(SECRET, headers, body, now, seen)
    assert seen == set()
