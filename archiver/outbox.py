"""Sending what was written down: mail by SMTP, webhooks by HTTPS. `waiting → sent`, or `given_up` with the reason.

Law: at least once. A crash between handing over and writing that down sends again, with the same Message-ID or delivery number, by which
the receiver knows it. A mail server that is away costs no attempt; what it refuses for good is given up. Nothing is told to an address
that is not its user's any more, or to one who wants none.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import smtplib
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Self

import httpx

from archiver import addresses
from archiver.archive import Archive
from archiver.errors import PublicError, WrongSetting
from archiver.model import Address, Notice, NoticeState
from archiver.sections import NoticeSettings

log = logging.getLogger(__name__)

MAIL, WEBHOOK = "mail", "webhook"
_BATCH = 50  # so that one pass ends soon, whatever hangs
_WITHIN_S = 10.0
_ALL = 10_000
_FIRST_PAUSE = timedelta(minutes=5)
_LONGEST_PAUSE = timedelta(hours=12)
_AWAY_AT_MOST = timedelta(days=7)


class _Refused(Exception):
    """The receiver does not want it. `for_good`: nor will it later."""

    def __init__(self, why: str, *, for_good: bool) -> None:
        super().__init__(why)
        self.for_good = for_good


def channels(settings: NoticeSettings, address: Address) -> list[str]:
    """By which ways of sending a person is told, beside the notebook."""
    by_mail = [MAIL] if address.email and settings.smtp_host else []
    return by_mail + ([WEBHOOK] if address.webhook_url and settings.webhook_hosts else [])


def deliver(archive: Archive) -> None:
    """Send what is due; what cannot be sent now is tried later."""
    with archive.ledger.read() as tx:
        due = tx.notices_due(MAIL, 1)
    if due:
        try:
            with _Post(archive.settings.notices) as office:
                _deliver(archive, MAIL, lambda notice, address: office.send(_mail(archive.settings.notices, notice, address)))
        except (OSError, smtplib.SMTPException, PublicError) as error:
            log.warning("the mail server cannot be used: %s", error)
            _put_off_all(archive, f"the mail server cannot be used: {error}")
    _deliver(archive, WEBHOOK, lambda notice, address: _post(archive, notice, address))


def _deliver(archive: Archive, channel: str, send: Callable[[Notice, Address], None]) -> None:
    with archive.ledger.read() as tx:
        due = tx.notices_due(channel, _BATCH)
    for notice in due:
        with archive.ledger.read() as tx:
            address = tx.address(notice.user)
        to = None if address is None or not address.wants else address.email if channel == MAIL else address.webhook_url
        good_until = notice.body.get("good_until")
        if address is None or to is None:
            _end(archive, notice, NoticeState.GIVEN_UP, "its user wants it no more")
        elif good_until is not None and archive.clock() > datetime.fromisoformat(good_until):
            _end(archive, notice, NoticeState.GIVEN_UP, "what it says is over")
        else:
            try:
                send(notice, address)
            except _Refused as refused:
                _again(archive, notice, refused)
            else:
                _end(archive, notice, NoticeState.SENT, None)


def _end(archive: Archive, notice: Notice, to: NoticeState, error: str | None) -> None:
    with archive.ledger.begin() as tx:
        tx.end_notice(notice, to, error)


def _again(archive: Archive, notice: Notice, refused: _Refused) -> None:
    tried = notice.attempts + 1
    if refused.for_good or tried >= archive.settings.notices.tries:
        log.warning("message %s to %s by %s is given up: %s", notice.id, notice.user, notice.channel, refused)
        _end(archive, notice, NoticeState.GIVEN_UP, str(refused))
        return
    pause = min(_FIRST_PAUSE * 2**notice.attempts, _LONGEST_PAUSE)
    with archive.ledger.begin() as tx:
        tx.put_off(notice, tx.at + pause, str(refused), attempts=tried)


def _put_off_all(archive: Archive, why: str) -> None:
    """The way itself is closed: that is no fault of any message, unless it lasts for days."""
    with archive.ledger.begin() as tx:
        for notice in tx.notices_due(MAIL, _ALL):
            if tx.at - notice.created_at > _AWAY_AT_MOST:
                tx.end_notice(notice, NoticeState.GIVEN_UP, why)
            else:
                tx.put_off(notice, tx.at + _FIRST_PAUSE, why, attempts=notice.attempts)


def delivery_of(notice: Notice) -> str:
    """A message's own number, the same each time it is sent, and another in another ledger."""
    named = f"{notice.id}|{notice.created_at.isoformat()}|{notice.user}|{notice.kind}|{notice.day}|{notice.channel}"
    return hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()[:32]


# mail


class _Post:
    """A connection to the mail server. Raises `OSError`, `smtplib.SMTPException`, `WrongSetting` when there is none."""

    def __init__(self, settings: NoticeSettings) -> None:
        self._settings = settings
        secure = ssl.create_default_context()
        host, port = settings.smtp_host or "", settings.smtp_port
        if settings.smtp_security == "tls":
            self._smtp: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=_WITHIN_S, context=secure)
        else:
            self._smtp = smtplib.SMTP(host, port, timeout=_WITHIN_S)
        try:
            if settings.smtp_security == "starttls":
                self._smtp.starttls(context=secure)
            if settings.smtp_user is not None:
                self._smtp.login(settings.smtp_user, _password(settings))
        except BaseException:
            self._smtp.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        try:
            self._smtp.quit()
        except (OSError, smtplib.SMTPException) as error:
            log.info("the mail server ended the connection first: %s", error)

    def send(self, message: EmailMessage) -> None:
        """Raises `_Refused`, or what says that the server is away."""
        try:
            self._smtp.send_message(message)
        except (smtplib.SMTPServerDisconnected, smtplib.SMTPSenderRefused):
            raise
        except smtplib.SMTPRecipientsRefused as error:
            code, said = next(iter(error.recipients.values()))
            raise _Refused(f"{code} {_plain(said)}", for_good=code >= 500) from None
        except smtplib.SMTPResponseException as error:
            raise _Refused(f"{error.smtp_code} {_plain(error.smtp_error)}", for_good=error.smtp_code >= 500) from None


def _password(settings: NoticeSettings) -> str:
    try:
        return settings.smtp_password_file.read_text("utf-8").strip() if settings.smtp_password_file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSetting(f"The mail password's file {settings.smtp_password_file} cannot be read: {error}.", "Mend its path or rights.") from None


def _mail(settings: NoticeSettings, notice: Notice, address: Address) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"] = settings.sender
    message["To"] = address.email or ""
    message["Subject"] = _one_line(notice.subject)
    message["Date"] = format_datetime(notice.created_at)
    message["Message-ID"] = f"<{delivery_of(notice)}@{settings.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_sayable(str(notice.body["text"])), cte="quoted-printable")
    return message


def _one_line(text: str) -> str:
    """Text that may stand in a header: names come from outside and may be anything."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


def _sayable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _plain(said: bytes | str) -> str:
    return _one_line(said.decode("utf-8", "replace") if isinstance(said, bytes) else said)


# webhooks


def signed(secret: str, body: bytes, delivery: str, now: datetime) -> dict[str, str]:
    """The headers of a webhook: HMAC-SHA256 over `TIMESTAMP.BODY`; `neve.verify_webhook` is the other side."""
    stamp = str(int(now.timestamp()))
    digest = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Neve-Timestamp": stamp, "X-Neve-Signature": f"sha256={digest}", "X-Neve-Delivery": delivery}


def _post(archive: Archive, notice: Notice, address: Address) -> None:
    delivery = delivery_of(notice)
    said: dict[str, Any] = {
        "delivery": delivery,
        "kind": notice.kind,
        "day": notice.day,
        "user": notice.user,
        "subject": notice.subject,
        **notice.body,
    }
    body = json.dumps(said, ensure_ascii=True).encode()
    try:
        target = addresses.target(address.webhook_url or "", archive.settings.notices.webhook_hosts)
        headers = {"Host": target.host, "Content-Type": "application/json", "User-Agent": "neve-archiver"}
        headers |= signed(address.webhook_secret or "", body, delivery, archive.wall())
        name = target.host.rpartition(":")[0] if target.host.rpartition(":")[2].isdecimal() else target.host
        with (
            httpx.Client(timeout=_WITHIN_S, follow_redirects=False, trust_env=False) as http,
            # The answer's body is not read: it may be endless.
            http.stream("POST", target.url, content=body, headers=headers, extensions={"sni_hostname": name.strip("[]")}) as answer,
        ):
            status = answer.status_code
    except PublicError as error:
        raise _Refused(str(error), for_good=False) from None
    except httpx.HTTPError as error:
        raise _Refused(f"the webhook cannot be reached: {_one_line(str(error)) or type(error).__name__}", for_good=False) from None
    if not 200 <= status < 300:
        raise _Refused(f"the webhook answered {status}", for_good=status == 410)
