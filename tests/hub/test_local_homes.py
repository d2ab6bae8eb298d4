"""A full home where notebooks are local processes: the same refusal, and a rescue server that cannot write either."""

from __future__ import annotations

import os

import httpx
import pytest
from hub.people import spawn, stop

USER = "bob"


@pytest.mark.long
def test_a_full_home_starts_the_rescue_server_only_and_then_a_notebook_again(hub):
    large = hub.home / "homes" / USER / "raw" / "large"
    with hub.api(USER) as api, hub.person(USER) as client:
        stop(api, USER)
        large.parent.mkdir(parents=True, exist_ok=True)
        with large.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 1_100_000_000)
        try:
            answer = api.post(f"/users/{USER}/server")
            assert answer.status_code == 503 and "Your home holds 1.1 GB of the 1.0 GB it may. Its largest folders: raw (1.1 GB)" in answer.text
            assert 'id="home-full"' in client.get("/hub/spawn").text
            assert api.post(f"/users/{USER}/server", json={"rescue": True}).is_success
            spawn(api, USER)
            place = f"{hub.url}/user/{USER}/api/contents"
            with httpx.Client(headers={"Authorization": api.headers["Authorization"]}, timeout=60) as notebook:
                new = {"type": "file", "format": "text", "content": "x"}
                assert notebook.put(f"{place}/new.txt", json=new).status_code >= 400
                assert notebook.delete(f"{place}/raw").status_code == 204 and not large.exists()
            stop(api, USER)
        finally:
            large.unlink(missing_ok=True)
        spawn(api, USER)
        with httpx.Client(headers={"Authorization": api.headers["Authorization"]}, timeout=60) as notebook:
            assert notebook.put(f"{place}/new.txt", json=new).status_code in (200, 201)
            assert notebook.delete(f"{place}/new.txt").status_code == 204
        stop(api, USER)
