"""Where a person wants messages: an e-mail address, a webhook. Set by that person only.

Law: an address is checked when it is set and, for a webhook, again each time it is used. A webhook goes by https to a host that
`notices.webhook_hosts` names, and never to a private, loopback or link-local address (a cloud's metadata) unless that address is named
there itself; the address that was checked is the one that is connected to.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from archiver.archive import Archive
from archiver.errors import PublicError, WrongUse
from archiver.model import Address

# Plain addr-specs only: no quotes, comments, spaces or line ends, so that none can become another header or another recipient.
_EMAIL = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class UnsafeAddress(PublicError):
    """A webhook's host resolves to where nothing may be sent."""

    code = "unsafe-address"
    title = "Not an address for messages"
    status = 422


@dataclass(frozen=True)
class Target:
    """Where a webhook goes: the address that was checked, and what the request calls the host."""

    url: str  # with the address instead of the name
    host: str  # for the Host header and TLS


def of(archive: Archive, user: str) -> Address:
    """A person's addresses; who has set none wants messages in the notebook and on the page."""
    with archive.ledger.read() as tx:
        return tx.address(user) or Address(user, None, None, None, wants=True)


def put(archive: Archive, user: str, email: str | None, webhook_url: str | None, *, wants: bool, renew_secret: bool) -> tuple[Address, str | None]:
    """Set a person's addresses; returns them, and the webhook's secret if one was just made (for another address, or as asked): it is shown once.

    Raises `WrongUse`, `UnsafeAddress`; then nothing has changed.
    """
    if email is not None and (len(email) > 254 or len(email.partition("@")[0]) > 64 or not _EMAIL.fullmatch(email)):
        raise WrongUse("`email` is not an e-mail address.", "Write it as name@example.org, without a name before it.")
    if webhook_url is not None:
        target(webhook_url, archive.settings.notices.webhook_hosts)
    with archive.ledger.begin(user) as tx:
        known = tx.address(user)
        same = known is not None and known.webhook_url == webhook_url and known.webhook_secret is not None and not renew_secret
        made = None if webhook_url is None or same else secrets.token_urlsafe(32)
        secret = made or (known.webhook_secret if known is not None and webhook_url is not None else None)
        address = Address(user, email, webhook_url, secret, wants)
        tx.set_address(address)
        return address, made


def target(url: str, allowed: Sequence[str]) -> Target:
    """The address to connect to for a webhook. Raises `WrongUse`, `UnsafeAddress`."""
    parts = _named(url, allowed)
    host = parts.hostname or ""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise UnsafeAddress(f"The host {host} is not known: {error.strerror or error}.", "Mend the webhook's address, or try later.") from None
    addresses = sorted((ipaddress.ip_address(str(text).partition("%")[0]) for text in found), key=lambda a: (a.version, int(a)))
    literal = {_ip(name) for name in allowed}
    for address in addresses:
        if not _public(address) and address not in literal:
            raise UnsafeAddress(
                f"The host {host} is at {address}, which is no public address.", "An admin can name that address in notices.webhook_hosts."
            )
    first = addresses[0]
    shown = f"[{first}]" if first.version == 6 else str(first)
    where = shown if parts.port is None else f"{shown}:{parts.port}"
    return Target(parts._replace(netloc=where).geturl(), parts.netloc)


def _named(url: str, allowed: Sequence[str]) -> SplitResult:
    """The parts of a webhook's address, if it goes to a named host in an allowed way. Raises `WrongUse`."""
    wrong = WrongUse("`webhook_url` is not an address for messages.", "It looks like https://hooks.example.org/neve, without user name or fragment.")
    if len(url) > 1000 or not url.isascii() or not url.isprintable() or any(c in url for c in " \\<>\"'"):
        raise wrong
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    host = (parts.hostname or "").rstrip(".")
    if not host or parts.username is not None or parts.password is not None or parts.fragment or port == 0:
        raise wrong
    if host not in {name.lower() for name in allowed}:
        hosts = ", ".join(allowed) or "none"
        raise WrongUse(f"`webhook_url` may not go to the host {host} (allowed: {hosts}).", "Ask an admin to name the host in notices.webhook_hosts.")
    address = _ip(host)
    if parts.scheme != "https" and not (parts.scheme == "http" and address is not None and address.is_loopback):
        raise WrongUse("`webhook_url` has to begin with https://.", "What it carries is signed, but not secret by itself.")
    return parts


def _ip(text: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _public(address: IpAddress) -> bool:
    """Whether an address, or the one that it stands for, is on the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _public(inner)
    return address.is_global and not address.is_multicast
