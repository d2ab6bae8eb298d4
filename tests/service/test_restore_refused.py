"""A restore that is refused, by quota or by an admin: what the scientist's `neve` says of the archiver's real answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import neve
import pytest
from fixtures.archive import START
from fixtures.door import Door
from fixtures.site import ALL
from neve import client as neve_client

from archiver import restore


@pytest.fixture
def lab(doors: Callable[..., Door], monkeypatch) -> Door:
    """alice, in snow; saxs/old lies in deep only. Whatever she asks for waits for an admin."""
    door = doors(policy="approval_above_bytes = 1\n", deep={"recall": "always"})
    bench = door.bench
    bench.now = START - timedelta(days=900)
    bench.ingest("old", {"scan.dat": b"1 2\n" * 1000})
    bench.now = START
    bench.settle()
    bench.turn(hours=2)
    bench.settle()
    monkeypatch.setenv("NEVE_API_URL", door.url)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", door.hub.add("alice", "snow", scopes=ALL))
    yield door
    neve_client.disconnect()


def test_an_admin_says_no(lab: Door):
    asked = neve.restore("saxs/old")
    assert (asked.status, asked.promised_by) == ("awaiting_approval", None)
    restore.deny(lab.bench.archive, "root", asked.id, "The beamline needs the room until Friday.")
    with pytest.raises(neve.RestoreFailed, match="An admin denied the restore of saxs/old") as refused:
        asked.wait(timeout=20, progress=False)
    assert refused.value.reasons == ("The beamline needs the room until Friday.",)
    with pytest.raises(neve.ColdDataError):
        neve.catalog()["saxs/old"].read()


def test_the_quota_is_used_up(lab: Door):
    with lab.bench.archive.ledger.begin("root") as tx:
        tx.set_quota("user", "alice", 100)
    assert not neve.quote("saxs/old").fits
    assert "more than your quota" in str(neve.quote("saxs/old"))
    with pytest.raises(neve.OverQuota) as refused:
        neve.restore("saxs/old")
    assert "the limit is 100." in refused.value.detail
    assert refused.value.next_step
    assert neve_client.connect().my_restores() == []
    card = neve.restore_button("saxs/old")
    card.press()
    card._worker.join(20)
    assert (card.state, card.error, card.button_text) == ("error", str(refused.value), "Try again")
    card.close()
