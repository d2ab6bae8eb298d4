"""A home outlives its container, and what people install with it; a nearly full one is told of, and a full one starts the rescue server only."""

from __future__ import annotations

import asyncio
import html
import json
import re
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fixtures.chromium import take_picture
from fixtures.processes import BIN, wait_until
from fixtures.requirements import require_command
from hub.lab import Lab
from hub.people import Hub, spawn, stop, xsrf
from neve_hub import home_backup
from neve_hub.instance import Instance
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from archiver.config import load

pytestmark = pytest.mark.docker
MEASURED_WITHIN_S = 90
# The environment has no registry here: it takes ipykernel from the image, as a person's own would bring it.
OWN = """
set -e
pip install --quiet --no-index --user /tmp/tiny-1-py3-none-any.whl
python -m venv ~/env
~/env/bin/pip install --quiet --no-index /tmp/tiny-1-py3-none-any.whl
echo /opt/neve/lib/python3.*/site-packages > $(echo ~/env/lib/python3.*/site-packages)/borrowed.pth
~/env/bin/python -m ipykernel install --user --name mine > /dev/null
echo 'import sys, tiny; print(sys.prefix, tiny.__file__.startswith(sys.prefix), tiny.WORD)' > ~/asks.py
"""


@pytest.fixture(scope="module")
def lab(bare_hub, image):
    for command in ("restic", "bwrap"):
        require_command(command, what="backups")
    return bare_hub(IMAGE=image, HOME_QUOTA="200MB", NEVE_BACKUP__BUCKET="neve-homes")


@pytest.fixture(scope="module")
def api(lab):
    with lab.api("admin") as api:
        yield api
        stop(api, "admin")


def test_what_people_install_is_there_in_a_new_container_of_a_new_image(lab, api, docker_engine, image, singleuser_image, tmp_path):
    wheel = tmp_path / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("tiny.py", "WORD = 'snow'\ndef main():\n    print(WORD)\n")
        packed.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        packed.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr("tiny-1.dist-info/entry_points.txt", "[console_scripts]\ntiny-says = tiny:main\n")
        packed.writestr("tiny-1.dist-info/RECORD", "")
    spawn(api, "admin")
    docker_engine.docker("cp", str(wheel), f"{lab.container('admin')}:/tmp/")
    docker_engine.docker("exec", lab.container("admin"), "bash", "-c", OWN)
    before = docker_engine.docker("inspect", "-f", "{{.Id}} {{.Image}}", lab.container("admin")).split()
    stop(api, "admin")

    made = docker_engine.docker("create", singleuser_image)
    number = docker_engine.docker("commit", "--change", "ENV NEVE_TEST_NEW=1", made, image)
    docker_engine.docker("rm", made)
    try:
        spawn(api, "admin")
        after = docker_engine.docker("inspect", "-f", "{{.Id}} {{.Image}}", lab.container("admin")).split()
        assert after[0] != before[0] and after[1] == number != before[1]

        def says(*command: str) -> str:
            return docker_engine.docker("exec", lab.container("admin"), *command)

        assert says("tiny-says") == "snow"
        assert says("python", "asks.py") == "/opt/neve False snow"
        assert says("env/bin/python", "asks.py") == "/home/jovyan/env True snow"
        assert says("jupyter", "run", "--kernel=mine", "asks.py") == "/home/jovyan/env True snow"
        stop(api, "admin")
    finally:
        docker_engine.docker("tag", singleuser_image, image)
        docker_engine.docker("rmi", "-f", number, check=False)


def test_nothing_of_ones_own_takes_the_place_of_what_the_lab_runs_on(lab, api, docker_engine):
    spawn(api, "admin")
    shadow = "mkdir -p ~/.local/bin; echo exit 9 > ~/.local/bin/neve-singleuser; chmod +x ~/.local/bin/neve-singleuser; command -v neve-singleuser"
    assert docker_engine.docker("exec", lab.container("admin"), "sh", "-c", shadow) == "/opt/neve/bin/neve-singleuser"
    order = "import sys, numpy, site; print(sys.path.index(site.getusersitepackages()) > sys.path.index(numpy.__path__[0].removesuffix('/numpy')))"
    assert docker_engine.docker("exec", lab.container("admin"), "python", "-c", order) == "True"


def test_a_home_is_saved_while_it_is_worked_in_and_comes_back(lab, api, docker_engine, tmp_path):
    """The home is a volume; its server runs since the test before."""

    def backup(*words: str | Path) -> str:
        command = [BIN / "neve-run", "--config", lab.home / "neve.toml", "backup", *words]
        return subprocess.run(command, env=lab.running.env, check=True, capture_output=True, text=True).stdout

    wait_until(lambda: home_backup.status(Instance(load(lab.home / "neve.toml"))).done_at, 60, "the first night, which is made up for at the start")
    docker_engine.docker("exec", lab.container("admin"), "sh", "-c", "echo mine > ~/mine.txt; chmod 640 ~/mine.txt; ln -s /etc/passwd ~/theirs")
    assert backup("now") == "saved 1 folders, and checked\n"
    docker_engine.docker("exec", lab.container("admin"), "sh", "-c", "rm ~/mine.txt ~/theirs")
    assert "/homes/admin" in backup("list", "--user", "admin")
    backup("restore", "--user", "admin", tmp_path / "back")
    status = (tmp_path / "back" / "mine.txt").stat()
    assert (tmp_path / "back" / "mine.txt").read_text() == "mine\n" and (oct(status.st_mode), status.st_uid) == ("0o100640", 1000)
    assert str((tmp_path / "back" / "theirs").readlink()) == "/etc/passwd"


def server(lab: Hub, api: httpx.Client) -> httpx.Client:
    """The notebook's own API."""
    return httpx.Client(base_url=f"{lab.url}/user/admin", headers={"Authorization": api.headers["Authorization"]}, timeout=60)


def text(page: httpx.Response) -> str:
    return " ".join(html.unescape(re.sub(r"<script.*?</script>|<[^>]+>", " ", page.text, flags=re.DOTALL)).split())


def fill(docker_engine, lab: Hub, path: str, megabytes: int) -> None:
    docker_engine.docker("exec", lab.container("admin"), "sh", "-c", f'mkdir -p "$(dirname ~/{path})" && fallocate -l {megabytes}MB ~/{path}')


def test_a_home_that_is_nearly_full_is_told_of_on_the_hubs_pages_and_in_the_lab(lab, api, docker_engine, page, tmp_path):
    spawn(api, "admin")
    with lab.person("admin") as client, server(lab, api) as notebook:
        docker_engine.docker("exec", lab.container("admin"), "sh", "-c", "rm -rf ~/env")
        wait_until(lambda: notebook.get("/neve/room").json() == {"warning": ""}, 30, "the word that all is well")
        assert "Your home holds" not in client.get("/hub/home").text
        fill(docker_engine, lab, "raw/much", 150)
        fill(docker_engine, lab, ".local/share/Trash/files/old", 15)
        wait_until(lambda: "Your home holds" in client.get("/hub/home").text, MEASURED_WITHIN_S, "a measuring")
        said = notebook.get("/neve/room").json()["warning"]
        assert re.match(r"Your home holds 1[6-9]\d MB of the 200 MB it may\. Its largest folders: raw \(15\d MB\), \.local \(\d+\.?\d* MB\), ", said)
        assert (
            "15.0 MB are files in the trash; in a terminal, rm -rf ~/.local/share/Trash ends them." in said and "Once it is full no notebook" in said
        )
        assert said in text(client.get("/hub/home"))
    Lab(page, lab.running, "admin").enter()
    notice = page.locator(".Toastify")
    notice.get_by_text("Your home holds").wait_for(timeout=60_000)
    assert "…" not in notice.inner_text(), "whole sentences only, where the lab cuts"
    take_picture(page, "home-nearly-full", tmp_path)
    with page.context.expect_page() as opened:
        notice.get_by_text("Read the rest").click()
    opened.value.locator("#home-warning").get_by_text("Once it is full no notebook starts").wait_for()


def test_a_full_home_starts_no_notebook_and_a_running_one_goes_on(lab, api, docker_engine):
    spawn(api, "admin")
    fill(docker_engine, lab, "raw/more", 200)
    fill(docker_engine, lab, ".local/share/Trash/files/old", 15)
    with lab.person("admin") as client:
        wait_until(lambda: "It is full: no notebook starts" in client.get("/hub/home").text, MEASURED_WITHIN_S, "a measuring")
        assert docker_engine.docker("exec", lab.container("admin"), "cat", "/run/neve-home/home.json")
        assert api.get("/users/admin").json()["servers"][""]["ready"]
        stop(api, "admin")
        answer = api.post("/users/admin/server")
        assert answer.status_code == 503 and "It is full, so no notebook starts. Start the rescue server" in answer.json()["message"]
        assert not docker_engine.docker("ps", "-aq", "--filter", f"name={lab.container('admin')}")
        shown = client.get("/hub/spawn")
        assert "Your home is full Your home holds" in text(shown) and "“Start” starts the rescue server." in text(shown)
        assert 'id="home-warning"' not in shown.text, "it is said once"
        answer = client.post("/hub/spawn/admin", data={"rescue": "1", "_xsrf": xsrf(client, shown)})
        assert answer.status_code == 200, answer.text
    spawn(api, "admin")


def test_the_rescue_server_can_delete_and_nothing_else(lab, api, docker_engine):
    config = json.loads(docker_engine.docker("inspect", lab.container("admin")))[0]
    assert {"Name": "fsize", "Soft": 0, "Hard": 0} in config["HostConfig"]["Ulimits"] and config["HostConfig"]["Memory"] == 768 * 2**20
    assert {mount["Destination"]: mount["RW"] for mount in config["Mounts"]} == {"/home/jovyan": True, "/run/neve-home": False}
    with server(lab, api) as notebook:
        assert notebook.get("/lab").status_code == 200
        assert notebook.get("/neve/room").json()["warning"].startswith("This is the rescue server: delete what you can spare")
        assert notebook.get("/api/kernelspecs").json()["kernelspecs"] == {}
        assert notebook.post("/api/kernels", json={"name": "python3"}).status_code >= 400 and notebook.get("/api/kernels").json() == []
        new = {"type": "file", "format": "text", "content": "x" * 10}
        assert notebook.put("/api/contents/new.txt", json=new).status_code >= 400
        assert notebook.delete("/api/contents/raw").status_code == 204, "a folder with something in it"
        assert notebook.get("/api/contents/.local/share/Trash/files?content=1").json()["content"][0]["name"] == "old"
        terminal = notebook.post("/api/terminals").json()["name"]
    line = "head -c 5 /dev/zero >> ~/asks.py; stat -c 'new %s' ~/new.txt; rm -rf ~/.local/share/Trash; ls -A ~; echo e''nd"
    with ThreadPoolExecutor(1) as other:  # the browser's tests leave a loop running in this one
        said = other.submit(asyncio.run, typed(lab, api, terminal, line)).result()
    assert "File too large" in said or "File size limit exceeded" in said, said
    assert not re.search(r"new [1-9]", said) and "asks.py" in said and "raw" not in said.rpartition("rm -rf")[2]
    stop(api, "admin")


async def typed(lab: Hub, api: httpx.Client, terminal: str, line: str) -> str:
    """Type a line into a terminal that ends by printing `end`; what stands there then."""
    url = f"{lab.url.replace('http', 'ws', 1)}/user/admin/terminals/websocket/{terminal}"
    socket = await websocket_connect(HTTPRequest(url, headers={"Authorization": api.headers["Authorization"]}))
    await socket.write_message(json.dumps(["stdin", f"{line}\n"]))
    said = ""
    while "\nend" not in said.replace("\r", ""):
        message = await asyncio.wait_for(socket.read_message(), 30)
        assert message, said
        kind, *words = json.loads(message)
        said += words[0] if kind == "stdout" else ""
    socket.close()
    return said


def test_when_there_is_room_again_the_next_start_is_a_notebooks_at_once(lab, api, docker_engine):
    spawn(api, "admin")
    host = json.loads(docker_engine.docker("inspect", lab.container("admin")))[0]["HostConfig"]
    assert not host["Ulimits"] and host["Memory"] == 4 * 2**30
    with server(lab, api) as notebook:
        assert "python3" in notebook.get("/api/kernelspecs").json()["kernelspecs"]
        assert notebook.get("/neve/room").json() == {"warning": ""}
    assert docker_engine.docker(
        "exec", lab.container("admin"), "sh", "-c", "ls ~/raw ~/.local/share/Trash 2>&1; echo written > ~/w; cat ~/w"
    ).endswith("written")
