"""The operator's guide, walked through in a whole instance with demo data; NEVE_TEST_PICTURES=images/pictures keeps the pictures taken here."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from fixtures.chromium import log_in, take_picture
from fixtures.processes import wait_until
from hub.people import Hub

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.fuse]

TIERS_WITHIN_S = 180
# What each page shows of the demo, which is nowhere else on it.
PAGES = {
    "overview": r"hot .*archive .*deep ",
    "restores": r"Waiting for your yes or no",
    "transfers": r"None was given up",
    "holds": r"for the paper",
    "reception": r"X-ray scattering camera",
    "projects": r"Metamorphism of the seasonal snowpack",
    "plan": r"next seven days|Next seven days|The next",
    "audit": r"hold\.placed",
    "announce": r"The store rests on Friday, 8 to 10\.",
}


@pytest.fixture(scope="module")
def lived_in(instance):
    """The worker has laid the demo's data into all tiers, and alice holds a dataset."""
    with Hub(instance).api("alice") as api:
        base = f"{instance.url}/services/archiver/api/v1"

        def found(tier: str) -> list[dict[str, object]]:
            return api.get(f"{base}/datasets", params={"tier": tier}).json()["items"]

        wait_until(lambda: found("deep"), TIERS_WITHIN_S, "datasets that lie in deep only", pause_s=1)
        until = api.get(f"{base}/datasets", params={"tier": "hot"}).json()["items"][0]
        held = api.post(f"{base}/holds", json={"dataset": str(until["id"]), "until": "2027-06-30", "reason": "for the paper"})
        assert held.status_code == 201, held.text
        yield instance
        assert api.delete(f"{base}/holds/{held.json()['id']}").is_success


def test_each_page_of_the_console_tells_of_the_archive(page, lived_in, tmp_path):
    log_in(page, lived_in, "admin", "/hub/login?next=%2Fhub%2Fhome")
    page.set_viewport_size({"width": 1200, "height": 800})
    for name, says in PAGES.items():
        page.goto(f"{lived_in.url}/services/archiver/admin{'' if name == 'overview' else '/' + name}")
        if name == "announce":  # the last: it stands at the top of all that follow
            page.get_by_role("textbox", name="What happens, and when").fill("The store rests on Friday, 8 to 10.")
            page.get_by_label("Until this day is over").fill(f"{datetime.now(UTC) + timedelta(days=5):%Y-%m-%d}")
            page.get_by_role("button", name="Announce it").click()
            page.get_by_role("button", name="Take it back").wait_for()
        page.locator("h1").wait_for()
        said = page.locator("main").inner_text()
        assert re.search(says, said, re.DOTALL), f"{name}: {said[:800]}"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        take_picture(page, f"console-{name}", tmp_path)
    page.get_by_role("button", name="Take it back").click()
    page.get_by_text("Nothing is announced.").wait_for()
