"""What may be a user name, and from any user name the names of what belongs to that user: container, volume, folder.

Law: a name is taken exactly as it is written, and two users never share what belongs to one. There a plain name stands as it is; any other
becomes a readable slug, `--`, and the start of its SHA-256. A plain name has no `--`, so the two kinds never meet.
"""

from __future__ import annotations

import hashlib
import re

LONGEST = 200
_PLAIN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_PLAIN = 30


def is_name(text: str, longest: int = LONGEST) -> bool:
    """Whether this may be the name of a user (or a group): printable, without slash, and without blanks at its ends."""
    return 0 < len(text) <= longest and text.isprintable() and text == text.strip() and "/" not in text


class AsWritten:
    """For an authenticator: no two names fold into one."""

    def normalize_username(self, username: str) -> str:
        return username

    def validate_username(self, username: str) -> bool:
        return is_name(username) and bool(super().validate_username(username))  # type: ignore[misc]  # the authenticator's


def safe_name(user: str, server: str = "") -> str:
    """Lower-case letters, digits and hyphens only, at most 47 characters; injective over (user, server)."""
    if not server and len(user) <= _LONGEST_PLAIN and _PLAIN.fullmatch(user):
        return user
    digest = hashlib.sha256(f"{user}\0{server}".encode()).hexdigest()[:20]
    slug = re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-")[:24].strip("-")
    return f"{slug or 'u'}--{digest}"
