"""Profiles: what a person may choose when a notebook starts, and that its limits hold in the container."""

from __future__ import annotations

import json
import re
import subprocess

import httpx
import pytest
from fixtures.chromium import take_picture
from hub.lab import Lab
from hub.people import spawn, stop, xsrf

pytestmark = pytest.mark.docker
SMALL = {"MEMORY_LIMIT": "300M", "CPU_LIMIT": "0.5", "DESCRIPTION": "For <reading> & plots"}
EAT = "x = b'a' * 10**9"
# What the kernel says, by either version of its control groups.
LIMIT = """
from pathlib import Path
files = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
print(next(file.read_text() for file in files if file.exists()))
"""


@pytest.fixture(scope="module")
def lab(bare_hub, image):
    small = {f"PROFILES__SMALL__{name}": value for name, value in SMALL.items()}
    return bare_hub(**small, PROFILES__OWN__IMAGE=image, PROFILES__GRAPHICS__GPUS="1")


@pytest.fixture(scope="module")
def api(lab):
    """What a test leaves running serves the next one that wants the same."""
    with lab.api("admin") as api:
        yield api
        stop(api, "admin")


@pytest.fixture
def stopped(api):
    stop(api, "admin")


def start(api: httpx.Client, profile: object) -> httpx.Response:
    answer = api.post("/users/admin/server", json={"profile": profile})
    if answer.is_success:
        spawn(api, "admin")
    return answer


def have(api: httpx.Client, profile: str) -> None:
    """A server of this profile runs."""
    runs = api.get("/users/admin").json()["servers"].get("")
    if not runs or runs["user_options"].get("profile") != profile:
        stop(api, "admin")
        assert start(api, profile).is_success


def test_the_form_tells_them_and_what_is_chosen_is_started(lab, docker_engine, api):
    with lab.person("admin") as client:
        page = client.get("/hub/spawn")
        for words in (
            'value="small" checked',
            "For &lt;reading&gt; &amp; plots · 0.5 CPUs · 300M memory",
            'value="own"',
            "2 CPUs · 4G memory · 1 GPUs",
        ):
            assert words in page.text, page.text
        assert not api.get("/users/admin").json()["servers"], "the form starts nothing"
        answer = client.post("/hub/spawn/admin", data={"profile": "small", "_xsrf": xsrf(client, page)})
        assert answer.status_code == 200, answer.text
        spawn(api, "admin")
    config = json.loads(docker_engine.docker("inspect", lab.container("admin")))[0]
    host = config["HostConfig"]
    assert host["Memory"] == 300 * 2**20 and host["CpuQuota"] == host["CpuPeriod"] // 2
    assert f"MEM_LIMIT={300 * 2**20}" in config["Config"]["Env"] and "CPU_LIMIT=0.5" in config["Config"]["Env"]
    assert host["CapDrop"] == ["ALL"] and not host["DeviceRequests"]


def test_the_lab_is_told_what_is_used_and_the_profiles_limits(lab, api):
    have(api, "small")
    answer = httpx.get(f"{lab.url}/user/admin/api/metrics/v1", headers={"Authorization": api.headers["Authorization"]}, timeout=30)
    used = answer.raise_for_status().json()
    assert used["limits"]["memory"]["rss"] == 300 * 2**20 and used["limits"]["cpu"]["cpu"] == 0.5
    assert 20 * 2**20 < used["pss"] < 300 * 2**20 and used["cpu_percent"] >= 0


def test_the_lab_shows_it(lab, api, page, tmp_path):
    have(api, "small")
    Lab(page, lab.running, "admin").enter()
    page.get_by_text(re.compile(r"^\d+ / 300 MB$")).wait_for(timeout=60_000)
    page.get_by_text(re.compile(r"^\d+%$")).wait_for(timeout=60_000)
    take_picture(page, "notebook-usage", tmp_path)


def test_its_memory_ends_where_it_says(lab, docker_engine, api):
    have(api, "small")
    assert docker_engine.docker("exec", lab.container("admin"), "python", "-c", LIMIT).strip() == str(300 * 2**20)
    eaten = subprocess.run(
        ["docker", "-H", docker_engine.host, "exec", lab.container("admin"), "python", "-c", EAT], check=False, capture_output=True
    )
    assert eaten.returncode == 137, eaten
    assert api.get("/users/admin").json()["servers"][""]["ready"]
    stop(api, "admin")
    assert start(api, "own").is_success
    assert docker_engine.docker("exec", lab.container("admin"), "python", "-c", EAT + "; print('eaten')") == "eaten"


def test_without_a_choice_it_is_the_last_one_and_at_first_the_first(lab, docker_engine, api):
    have(api, "own")
    stop(api, "admin")
    spawn(api, "admin")
    assert json.loads(docker_engine.docker("inspect", lab.container("admin")))[0]["HostConfig"]["Memory"] == 4 * 2**30
    stop(api, "admin")
    assert api.post("/users/admin/server", json={"user_options": {}}).is_success
    spawn(api, "admin")
    assert json.loads(docker_engine.docker("inspect", lab.container("admin")))[0]["HostConfig"]["Memory"] == 300 * 2**20


def test_an_unknown_profile_is_refused_and_starts_nothing(lab, docker_engine, api, stopped):
    for name in ("huge", "Small", "../own", 5, ["small"], {"image": "x"}):
        answer = start(api, name)
        assert answer.status_code == 400, name
        said = answer.json()["message"]
        assert said.startswith("There is no notebook profile") and "There are: small, own, graphics." in said, name
        assert not docker_engine.docker("ps", "-aq", "--filter", f"name={lab.container('admin')}"), name
    spawn(api, "admin")  # none is remembered
    assert json.loads(docker_engine.docker("inspect", lab.container("admin")))[0]["HostConfig"]["Memory"] == 300 * 2**20


def test_an_image_of_ones_own_is_refused(lab, docker_engine, api, stopped, singleuser_image):
    assert api.post("/users/admin/server", json={"profile": "own", "image": singleuser_image}).status_code == 400
    assert not docker_engine.docker("ps", "-aq", "--filter", f"name={lab.container('admin')}")


def test_a_gpu_that_is_not_there_is_said(lab, docker_engine, api, stopped):
    answer = start(api, "graphics")
    if answer.is_success:
        assert json.loads(docker_engine.docker("inspect", lab.container("admin")))[0]["HostConfig"]["DeviceRequests"][0]["Count"] == 1
        return
    assert answer.status_code == 503 and "This machine has no GPU for notebooks." in answer.json()["message"]
    stop(api, "admin")
    assert start(api, "small").is_success, "the next choice is without it"


def test_new_content_of_a_tag_is_a_new_container(lab, docker_engine, api, singleuser_image, image):
    have(api, "own")
    old = json.loads(docker_engine.docker("inspect", lab.container("admin")))[0]
    made = docker_engine.docker("create", singleuser_image)
    number = docker_engine.docker("commit", "--change", "ENV NEVE_TEST_NEW=1", made, image)
    docker_engine.docker("rm", made)
    try:
        stop(api, "admin")
        spawn(api, "admin")
        new = json.loads(docker_engine.docker("inspect", lab.container("admin")))[0]
        assert new["Image"] == number != old["Image"] and "NEVE_TEST_NEW=1" in new["Config"]["Env"]
        stop(api, "admin")
    finally:
        docker_engine.docker("tag", singleuser_image, image)
        docker_engine.docker("rmi", "-f", number, check=False)
