"""What somebody with a shell in a notebook's container tries, one function for each: whether they got there.

Law: this file is run as it stands inside a container (standard library, httpx and botocore), or, as a control, by those who may. It is given what the
attacker has found out about the target: names, numbers, addresses, keys of objects. An answer that is neither a yes nor a refusal is no answer.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

Facts = dict[str, Any]
PROBES: dict[str, Callable[[Facts], bool]] = {}
REFUSED = {400, 401, 403, 404, 405, 409, 410, 422}


def probe(channel: str, target: str, who: str = "member") -> Callable[[Callable[[Facts], bool]], Callable[[Facts], bool]]:
    """`who` may: a `member` of the project (or whose server it is), the same from `outside` by token, an `admin` by token, or the `host`'s root."""

    def add(function: Callable[[Facts], bool]) -> Callable[[Facts], bool]:
        PROBES[f"{channel} | {target} | {function.__name__.strip('_').replace('_', ' ')} | {who}"] = function
        return function

    return add


def client(base: str, token: str | None = None) -> Any:
    import httpx

    token = os.environ["JUPYTERHUB_API_TOKEN"] if token is None else token
    return httpx.Client(base_url=base, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=30)


def yes(answer: Any) -> bool:
    """A success; a refusal is False. Anything else is a failure of what was attacked, and of the test."""
    if answer.status_code in REFUSED:
        return False
    if answer.is_success or answer.status_code in (302, 303, 307):
        return True
    raise RuntimeError(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:300]}")


def api(method: str, path: str, **more: Any) -> Any:
    with client(os.environ["NEVE_API_URL"]) as archiver:
        return archiver.request(method, f"/api/v1/{path}", **more)


def hub(method: str, path: str, **more: Any) -> Any:
    with client(os.environ["JUPYTERHUB_API_URL"]) as theirs:
        return theirs.request(method, path, **more)


def s3(keys: Any) -> Any:
    from botocore.config import Config
    from botocore.session import get_session

    return get_session().create_client(
        "s3",
        endpoint_url=os.environ["NEVE_S3_URL"],
        region_name="us-east-1",
        aws_access_key_id=keys["access_key_id"],
        aws_secret_access_key=keys["secret_access_key"],
        aws_session_token=keys["session_token"],
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, request_checksum_calculation="when_required"),
    )


def allowed(action: Callable[[], Any]) -> bool:
    from botocore.exceptions import ClientError

    try:
        action()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (403, 404):
            raise
        return False
    return True


def own_keys(facts: Facts, purpose: str = "data") -> Any:
    """Keys of a project that is one's own: a member's is the target."""
    answer = api("POST", "credentials", json={"project": facts["own"], "for": purpose})
    answer.raise_for_status()
    return answer.json()


def opens(path: str) -> bool:
    try:
        return any(Path(path).iterdir())
    except OSError:
        return False


def on_host(facts: Facts) -> bool:
    """Whether this is the control, outside of any container."""
    return Path(facts["home"]).is_dir()


def knocks(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), 3):
            return True
    except OSError:
        return False


def runs(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except OSError:
        return False


# ── The mount ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@probe("mount", "other project")
def folder(facts: Facts) -> bool:
    return opens(f"/data/{facts['project']}")


@probe("mount", "other project")
def beside_its_own(facts: Facts) -> bool:
    return opens(f"/data/{facts['own']}/../{facts['project']}")


@probe("mount", "other project")
def through_a_symlink(facts: Facts) -> bool:
    link = Path.home() / "link-to-data"
    if not link.is_symlink():
        link.symlink_to(f"/data/{facts['project']}")
    return opens(str(link))


@probe("mount", "other project")
def through_proc(facts: Facts) -> bool:
    return opens(f"/proc/1/root/data/{facts['project']}") or opens(f"/proc/1/cwd/../../data/{facts['project']}")


@probe("mount", "other project", "host")
def where_the_host_mounts_it(facts: Facts) -> bool:
    return opens(f"{facts['home']}/data/projects/{facts['project']}")


@probe("mount", "host", "host")
def write_where_data_is(facts: Facts) -> bool:
    place = Path(facts["home"] if on_host(facts) else "/") / "data" / "hostile"
    try:
        place.mkdir()
        place.rmdir()
    except OSError:
        return False
    return True


# ── What members share ───────────────────────────────────────────────────────────────────────────────────────────────────


def shared(facts: Facts, *parts: str) -> Path:
    return Path(f"{facts['home']}/shared" if on_host(facts) else "/shared", *parts)


def does(action: Callable[[], Any]) -> bool:
    try:
        action()
    except OSError:
        return False
    return True


def by_a_link(name: str, leads_to: str, target: str = "other project", who: str = "member") -> None:
    """A link in the folder that one shares with others, to what one does not: read through it."""

    def ask(facts: Facts) -> bool:
        link, there = shared(facts, facts["own"], "hostile-link"), Path(leads_to.format(**facts))
        link.unlink(missing_ok=True)
        link.symlink_to(there)
        return opens(str(link)) or does(link.read_bytes)

    ask.__name__ = f"by_a_link_to_{name}"
    probe("/shared", target, who)(ask)


by_a_link("what they share", "/shared/{project}")
by_a_link("their data", "/data/{project}")
by_a_link("a home", "{home_of_user}", "other user's home", "host")
by_a_link("the passwords", "/etc/shadow", "host", "host")
by_a_link("the secrets", "{home}/secrets", "host", "host")


@probe("/shared", "other project")
def open_what_they_share(facts: Facts) -> bool:
    return opens(f"/shared/{facts['project']}")


@probe("/shared", "other project")
def step_out_of_its_own(facts: Facts) -> bool:
    return opens(f"/shared/{facts['own']}/../{facts['project']}")


@probe("/shared", "other project")
def what_they_share_through_proc(facts: Facts) -> bool:
    return opens(f"/proc/1/root/shared/{facts['project']}")


@probe("/shared", "other project")
def write_there(facts: Facts) -> bool:
    return does(lambda: Path(f"/shared/{facts['project']}/hostile.txt").write_text("hostile"))


@probe("/shared", "other project")
def make_a_folder_there(facts: Facts) -> bool:
    return does(lambda: Path(f"/shared/{facts['project']}/hostile").mkdir(parents=True, exist_ok=True))


@probe("/shared", "other project")
def move_something_there(facts: Facts) -> bool:
    mine = Path(f"/shared/{facts['own']}/hostile-moved")
    mine.write_text("hostile")
    return does(lambda: mine.rename(f"/shared/{facts['project']}/hostile-moved-there"))


@probe("/shared", "other project")
def take_a_hard_link(facts: Facts) -> bool:
    mine = Path(f"/shared/{facts['own']}/hostile-hard")
    mine.unlink(missing_ok=True)
    return does(lambda: mine.hardlink_to(f"/shared/{facts['project']}/hers.txt"))


@probe("/shared", "other project", "host")
def where_the_host_keeps_it(facts: Facts) -> bool:
    return opens(f"{facts['home']}/shared/{facts['project']}")


@probe("/shared", "host", "host")
def put_a_folder_beside_them(facts: Facts) -> bool:
    place = shared(facts, "hostile")
    return does(place.mkdir) and does(place.rmdir)


@probe("/shared", "host", "host")
def make_a_device_in_it(facts: Facts) -> bool:
    place = shared(facts, facts["own"], "hostile-device")
    return does(lambda: os.mknod(place, 0o20600, os.makedev(1, 3))) and does(place.unlink)


@probe("/shared", "host", "host")
def open_a_device_that_lies_there(facts: Facts) -> bool:
    place = shared(facts, facts["own"], "left-device")
    if on_host(facts) and os.statvfs(place).f_flag & os.ST_NODEV:
        return True  # this disk has none in any case
    return does(lambda: place.write_bytes(b"hostile"))


@probe("/shared", "host", "host")
def become_root_by_a_program_that_lies_there(facts: Facts) -> bool:
    program, may = os.open(shared(facts, facts["own"], "left-setuid"), os.O_PATH), os.getuid() == 0
    if on_host(facts) and os.fstatvfs(program).f_flag & os.ST_NOSUID:
        return True
    done = subprocess.run([f"/proc/self/fd/{program}", "-u"], pass_fds=[program], user=65534 if may else None, capture_output=True, check=True)
    return done.stdout == b"0\n"


@probe("mount", "lost project")
def open_what_was_lost(facts: Facts) -> bool:
    return opens(f"/data/{facts['lost']}")


@probe("/shared", "lost project")
def open_what_they_still_share(facts: Facts) -> bool:
    return opens(f"/shared/{facts['lost']}")


@probe("/shared", "lost project")
def write_on_through_what_was_held_open(facts: Facts) -> bool:
    """Ask the process that has held the folder open since it was one's own."""
    with socket.socket(socket.AF_UNIX) as holder:
        return does(lambda: holder.connect(facts["holder"])) and holder.recv(10) == b"written"


# ── S3 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@probe("S3 profile", "other project")
def get_keys(facts: Facts) -> bool:
    return yes(api("POST", "credentials", json={"project": facts["project"]}))


@probe("S3 profile", "other project")
def read_with_its_own_keys(facts: Facts) -> bool:
    keys = s3(own_keys(facts))
    return allowed(lambda: keys.get_object(Bucket=facts["bucket"], Key=facts["key"]))


@probe("S3 profile", "other project")
def list_with_its_own_keys(facts: Facts) -> bool:
    keys = s3(own_keys(facts))
    return allowed(lambda: keys.list_objects_v2(Bucket=facts["bucket"], Prefix=f"{facts['project']}/"))


@probe("S3 profile", "other project")
def get_keys_of_team_notebooks(facts: Facts) -> bool:
    return yes(api("POST", "credentials", json={"project": facts["project"], "for": "team"}))


@probe("team notebooks", "other project")
def write_with_its_own_keys(facts: Facts) -> bool:
    keys = s3(own_keys(facts, "team"))
    return allowed(lambda: keys.put_object(Bucket=facts["team_bucket"], Key=f"{facts['project']}/hostile.ipynb", Body=b"{}"))


@probe("team notebooks", "other project")
def read_team_with_its_own_keys(facts: Facts) -> bool:
    keys = s3(own_keys(facts, "team"))
    return allowed(lambda: keys.list_objects_v2(Bucket=facts["team_bucket"], Prefix=f"{facts['project']}/"))


@probe("presigned URL", "other project")
def ask_for_links(facts: Facts) -> bool:
    return yes(api("GET", f"datasets/{facts['dataset']}/links"))


@probe("presigned URL", "other project", "outside")
def another_key_in_ones_own(facts: Facts) -> bool:
    """Of a link to data of one's own, only the path is exchanged; for a member it stays the same one."""
    url = urlsplit(api("GET", f"datasets/{facts['own_dataset']}/links", params={"limit": 1}).raise_for_status().json()["items"][0]["url"])
    with client("", "") as http:
        return yes(http.get(urlunsplit(url._replace(path=f"/{facts['bucket']}/{facts['key']}"))))


@probe("presigned URL", "other project", "outside")
def one_that_was_overheard_for_longer(facts: Facts) -> bool:
    """A link that somebody found in a log, with its end moved; for a member as it was."""
    url = facts["overheard"] if facts["own"] == facts["project"] else facts["overheard"].replace("X-Amz-Expires=", "X-Amz-Expires=9")
    with client("", "") as http:
        return yes(http.get(url))


# ── The API, by number ───────────────────────────────────────────────────────────────────────────────────────────────────


def request(channel: str, name: str, method: str, path: str, body: Any = None, target: str = "other project", who: str = "member") -> None:
    """A probe that is one request: whoever may gets a 2xx, and nobody else."""

    def ask(facts: Facts) -> bool:
        said = {key: value.format(**facts) if isinstance(value, str) else value for key, value in (body or {}).items()}
        return yes(api(method, path.format(**facts), json=said if body else None))

    ask.__name__ = name.replace(" ", "_")
    probe(channel, target, who)(ask)


_ADMIN: Any = {"target": "admin actions", "who": "admin"}
_JOBS: Any = {"target": "other user's jobs"}
request("API id", "read a dataset", "GET", "datasets/{dataset}")
request("API id", "read its files", "GET", "datasets/{dataset}/files")
request("API id", "read its history", "GET", "datasets/{dataset}/events")
request("API id", "read what it comes from", "GET", "datasets/{dataset}/lineage")
request("API id", "read its comments", "GET", "datasets/{dataset}/comments")
request("API id", "read its snapshots", "GET", "datasets/{dataset}/snapshots")
request("API id", "see a preview", "GET", "files/{file}/preview")
request("API id", "read a receipt", "GET", "files/{file}/receipt")
request("API id", "read a file", "GET", "files/{file}/content")
request("API id", "take a ZIP", "GET", "datasets/{dataset}/download")
request("API id", "comment on it", "POST", "datasets/{dataset}/comments", {"text": "hostile"})
request("API id", "tag a dataset", "PATCH", "datasets/{dataset}", {"tags": ["hostile"]})
request("holds", "hold it", "POST", "holds", {"dataset": "{dataset}", "until": "{day}", "reason": "hostile"})
request("holds", "read a hold", "GET", "holds/{hold}", **_JOBS)
request("holds", "end a hold", "DELETE", "holds/{hold}", **_JOBS)
request("uploads", "open a dataset there", "POST", "datasets", {"name": "hostile", "project": "{project}", "instrument": "saxs"})
request("uploads", "see what comes", "GET", "datasets/{open}/uploads")
request("uploads", "read its receipts", "GET", "datasets/{open}/receipts")
request("uploads", "send a file there", "POST", "datasets/{open}/uploads", {"files": [{"path": "a.txt", "size_bytes": 1, "mark": "1:1"}]})
request("restores", "ask what it would cost", "POST", "quotes", {"dataset": "{cold}", "days": 5})
request("restores", "ask for it", "POST", "restores", {"dataset": "{cold}", "days": 5})
request("restores", "look at one", "GET", "restores/{restore}", **_JOBS)
request("restores", "prolong it", "POST", "restores/{restore}/extend", {"days": 1}, **_JOBS)
request("restores", "take it back", "POST", "restores/{restore}/cancel", **_JOBS)
request("API id", "see every transfer", "GET", "transfers", **_ADMIN)
request("API id", "see erasures", "GET", "erasures", **_ADMIN)
request("API id", "see the plan of all", "GET", "plan", **_ADMIN)
request("API id", "simulate a policy", "POST", "simulations", {"tiers": {"hot": {"keep": "P50D"}}}, **_ADMIN)
request("API id", "erase a dataset", "POST", "erasures", {"dataset": "{dataset}", "reason": "hostile"}, **_ADMIN)


@probe("search", "other project")
def find_by_a_word(facts: Facts) -> bool:
    return bool(api("GET", "datasets", params={"q": facts["word"]}).raise_for_status().json()["items"])


@probe("search", "other project")
def count_by_project(facts: Facts) -> bool:
    said = api("GET", "datasets", params={"project": facts["project"]}).raise_for_status().json()
    return bool(said["items"] or said.get("total"))


@probe("search", "other project")
def a_facet_that_names_it(facts: Facts) -> bool:
    return facts["project"] in api("GET", "datasets/facets").raise_for_status().text


@probe("search", "other project")
def a_facet_that_counts_its_words(facts: Facts) -> bool:
    said = api("GET", "datasets/facets", params={"q": facts["word"]}).raise_for_status().json()
    return any(value["count"] for values in said.values() if isinstance(values, list) for value in values)


@probe("search", "other project")
def be_completed(facts: Facts) -> bool:
    return facts["name"] in api("GET", "datasets/complete", params={"prefix": facts["word"]}).raise_for_status().text


# ── The widget ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@probe("widget", "other project")
def what_the_widget_asks_when_it_is_told_to(facts: Facts) -> bool:
    """The messages of a widget end in this client, with this token: a message can be forged, the token not."""
    return runs(sys.executable, "-c", "import sys, neve; neve.quote(sys.argv[1])", facts["cold_name"])


# ── The hub ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@probe("hub API", "other user")
def read_somebody(facts: Facts) -> bool:
    return yes(hub("GET", f"/users/{facts['user']}"))


@probe("hub API", "admin actions", "admin")
def make_somebody_a_token(facts: Facts) -> bool:
    return yes(hub("POST", f"/users/{facts['user']}/tokens", json={"expires_in": 60}))


@probe("hub API", "admin actions", "admin")
def list_users(facts: Facts) -> bool:
    return yes(hub("GET", "/users"))


@probe("hub API", "admin actions", "admin")
def join_a_project(facts: Facts) -> bool:
    return yes(hub("POST", f"/groups/{facts['project']}/users", json={"users": [facts["joiner"]]}))


@probe("hub API", "admin actions", "admin")
def become_an_admin(facts: Facts) -> bool:
    return yes(hub("PATCH", f"/users/{facts['joiner']}", json={"admin": facts["joiner_is_admin"]}))


@probe("hub API", "admin actions", "admin")
def read_every_group(facts: Facts) -> bool:
    return yes(said := hub("GET", "/groups")) and facts["project"] in [group["name"] for group in said.json()]


@probe("hub API", "admin actions", "admin")
def look_at_services(facts: Facts) -> bool:
    return yes(said := hub("GET", "/services")) and "archiver" in said.json()


# ── Other containers ─────────────────────────────────────────────────────────────────────────────────────────────────────


@probe("other container", "other user's home")
def knock_at_its_server(facts: Facts) -> bool:
    return knocks(facts["address"], 8888)


@probe("other container", "other user's home", "outside")
def list_its_files_through_the_proxy(facts: Facts) -> bool:
    with client(facts["url"]) as http:
        return yes(http.get(f"/user/{facts['user']}/api/contents"))


@probe("other container", "other user's jobs", "outside")
def see_its_kernels_through_the_proxy(facts: Facts) -> bool:
    with client(facts["url"]) as http:
        return yes(http.get(f"/user/{facts['user']}/api/kernels"))


@probe("other container", "other user's jobs", "outside")
def start_a_terminal_through_the_proxy(facts: Facts) -> bool:
    with client(facts["url"]) as http:
        return yes(http.post(f"/user/{facts['user']}/api/terminals"))


# ── This machine ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def port_of(name: str) -> None:
    def ask(facts: Facts) -> bool:
        host, port = facts["ports"][name]
        return knocks("127.0.0.1" if on_host(facts) else host, port)

    ask.__name__ = f"knock_at_{name}"
    probe("ports", "host", "host")(ask)


for _name in ("archiver", "hub", "proxy", "store_master", "store_volume", "store_filer", "store_s3"):
    port_of(_name)


def beside(name: str) -> None:
    def ask(facts: Facts) -> bool:
        return knocks(facts[name], 8080)

    ask.__name__ = f"knock_at_{name}"
    probe("network", name.replace("_", " "), "host")(ask)


for _name in ("metadata_address", "private_network", "neighbour"):
    beside(_name)


@probe("files", "host", "host")
def the_hubs_database(facts: Facts) -> bool:
    return Path(facts["home"], "hub", "jupyterhub.sqlite").exists()


@probe("files", "host", "host")
def secrets(facts: Facts) -> bool:
    return opens(f"{facts['home']}/secrets")


@probe("files", "host", "host")
def the_engines_socket(facts: Facts) -> bool:
    path = facts["engine"].removeprefix("unix://")
    with socket.socket(socket.AF_UNIX) as door:
        for place in (path, "/var/run/docker.sock", "/run/docker.sock"):
            try:
                door.connect(place)
            except OSError:
                continue
            return True
    return False


@probe("kernel", "host", "host")
def mount_something(facts: Facts) -> bool:
    with tempfile.TemporaryDirectory() as place:
        return runs("mount", "-t", "tmpfs", "none", place) and runs("umount", place)


@probe("kernel", "host", "host")
def a_namespace_of_its_own(facts: Facts) -> bool:
    return runs("unshare", "--map-root-user", "--mount", "true")


@probe("kernel", "host", "host")
def look_at_the_hosts_processes(facts: Facts) -> bool:
    return any(f"NEVE_HOME={facts['home']}".encode() in _environment(process) for process in Path("/proc").glob("[0-9]*"))


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


@probe("kernel", "host", "host")
def become_root(facts: Facts) -> bool:
    try:
        os.setuid(0)
    except OSError:
        return False
    return True


@probe("kernel", "host", "host")
def make_a_device(facts: Facts) -> bool:
    with tempfile.TemporaryDirectory() as place:
        try:
            os.mknod(f"{place}/null", 0o20600, os.makedev(1, 3))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    said: dict[str, bool | str] = {}
    for name in given["probes"]:
        try:
            said[name] = PROBES[name](given["facts"])
        except Exception as error:  # noqa: BLE001 - each is told, and none of them is a refusal
            said[name] = f"{type(error).__name__}: {error}"
    sys.stdout.write(json.dumps(said))
