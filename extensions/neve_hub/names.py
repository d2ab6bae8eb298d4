"""From any user name to the names of what belongs to that user: container, volume, folder.

Law: two users never share one. A plain name stands as it is; any other becomes a readable slug, `--`, and the start of its
SHA-256. A plain name has no `--`, so the two kinds never meet.
"""

from __future__ import annotations

import hashlib
import re

_PLAIN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_PLAIN = 30


def safe_name(user: str, server: str = "") -> str:
    """Lower-case letters, digits and hyphens only, at most 47 characters; injective over (user, server)."""
    if not server and len(user) <= _LONGEST_PLAIN and _PLAIN.fullmatch(user):
        return user
    digest = hashlib.sha256(f"{user}\0{server}".encode()).hexdigest()[:20]
    slug = re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-")[:24].strip("-")
    return f"{slug or 'u'}--{digest}"
