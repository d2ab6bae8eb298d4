"""A small archiver for the client's tests: a real HTTP server that speaks the API, with real bytes in a real store and below a data folder.

| fixture      | scope | what it gives                                                                                              |
|--------------|-------|------------------------------------------------------------------------------------------------------------|
| `api`        | test  | the server: `add(...)` a dataset, `script` of a restore's states, `fail` answers, `seen` requests           |
| `client`     | test  | a Client of it, signed in                                                                                   |
| `as_notebook`| test  | the same by environment, as in a notebook: $NEVE_API_URL, $JUPYTERHUB_API_TOKEN, $NEVE_DATA, $HOME          |
| `lab`        | test  | `as_notebook` with datasets in each tier, their bytes in SeaweedFS and in the data folder                   |
"""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import io
import json
import threading
import urllib.parse
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import h5py
import netCDF4
import numpy as np
import pytest

from archiver.api import catalog_routes

TOKEN = "secret-token-0123456789"
T0 = datetime(2026, 11, 1, 8, tzinfo=UTC)
BACK_WITHIN_S = {"hot": 0, "archive": 4 * 3600, "deep": 3 * 86400}


def iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


class Api:
    """The contract's API over what the test has put in."""

    def __init__(self, data, s3=None, buckets=None):
        self.data, self.s3, self.buckets = data, s3, buckets or {}
        self.datasets, self.files, self.bodies, self.restores = {}, {}, {}, {}
        self.holds, self.notices = [], []
        self.previews: dict[int, str] = {}
        self.comments: list[dict] = []
        self.edges: list[tuple[int, int]] = []
        self.ranges: dict[int, str] = {}  # of files that stand in a bundle
        self.links_at_once, self.link_life = 2, 600
        self.seen: list[tuple[str, str]] = []
        self.fail: list[tuple[int, str, bytes]] = []  # (status, content type, body) of the next answers
        self.script = ["queued", "recalling", "copying", "ready"]  # states of the next restore, one per question
        self.scripts: dict[int, list[str]] = {}
        self.quoted: dict[str, dict] = {}  # what was asked for, by the quote's id
        self.quote_says: dict[str, object] = {}  # members of the next quotes
        self.project_names = ["p1"]
        self.team_notebooks = False
        self.keys_asked: list[dict[str, str]] = []
        self.credential_life = timedelta(hours=1)
        self.endpoint_url = "http://127.0.0.1:1"
        self.keys = ("AKIA", "secret-key", "session-token")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/archiver"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def asked(self, method, part):
        return [path for how, path in self.seen if how == method and part in path]

    # What there is

    def add(self, full_name, files, tiers, *, project="p1", age_days=0.0, readable=None, state="closed", title=None):
        """`files`: {path: (bytes, format)}; `tiers`: where full copies are. Returns the dataset's id."""
        number = len(self.datasets) + 1
        instrument, _, name = full_name.partition("/")
        when = T0 - timedelta(days=age_days)
        prefix = f"{project}/{instrument}/{when:%Y}/{when:%m}/{name}"
        tier = tiers[0] if tiers else None
        self.datasets[number] = {
            "id": number, "project": project, "instrument": instrument, "name": name, "full_name": full_name, "state": state,
            "prefix": prefix, "path": f"/data/{prefix}", "title": title, "format": next((kind for _, kind in files.values() if kind), None),
            "metadata": {"sample": "silver"}, "tags": [], "size_bytes": sum(len(body) for body, _ in files.values()), "file_count": len(files),
            "received_at": iso(when), "acquired_at": iso(when), "closed_at": iso(when), "claims": [], "restore": None, "problem": None, "stub": False,
            "tier": tier, "tiers": list(tiers), "back_within_s": BACK_WITHIN_S.get(tier, 0),
            "hot_until": iso(T0 + timedelta(days=30)) if tier == "hot" else None,
            "readable": readable or {"hot": "now", "archive": "in_place", "deep": "after_restore", None: "not_yet"}[tier],
        }  # fmt: skip
        self.files[number] = []
        for at, (path, (body, kind)) in enumerate(files.items()):
            self.bodies[number, path] = body
            self.files[number].append({
                "id": number * 1000 + at, "path": path, "state": "received" if tiers else "arriving", "size_bytes": len(body), "sha256": None,
                "crc64nvme": None, "format": kind, "metadata": {}, "metadata_state": "ok", "metadata_error": None, "copies": [],
                "has_preview": False,
            })  # fmt: skip
        for each in tiers:
            self.put(number, each)
        return number

    def put(self, number, tier):
        dataset = self.datasets[number]
        for file in self.files[number]:
            body, key = self.bodies[number, file["path"]], f"{dataset['prefix']}/{file['path']}"
            version = None
            if tier in self.buckets:
                version = self.s3.put_object(Bucket=self.buckets[tier], Key=key, Body=body)["VersionId"]
            if tier == "hot":
                path = self.data / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)
            file["copies"].append({
                "tier": tier, "bucket": self.buckets.get(tier, tier), "key": key, "version_id": version, "proof": "read-back", "proven_at": iso(T0),
                "storage_class": "DEEP_ARCHIVE" if tier == "deep" else "STANDARD", "size_bytes": len(body), "offset_bytes": None,
            })  # fmt: skip

    def start_restore(self, number, glob=None, days=None):
        rid = len(self.restores) + 1
        dataset = self.datasets[number]
        self.restores[rid] = {
            "id": rid, "dataset_id": number, "dataset": dataset["full_name"], "user": "alice", "state": "requested", "files_glob": glob,
            "keep_days": days or 7, "requested_at": iso(T0), "promised_by": iso(T0 + timedelta(days=3)), "ready_at": None, "expires_at": None,
            "ended_at": None, "files_total": dataset["file_count"], "files_ready": 0, "bytes_total": dataset["size_bytes"], "bytes_ready": 0,
            "errors": [], "error": None,
        }  # fmt: skip
        self.scripts[rid] = list(self.script)
        dataset["restore"] = self.restores[rid]
        return rid

    def step(self, rid):
        restore = self.restores[rid]
        if not self.scripts[rid] or restore["ended_at"]:
            return
        restore["state"] = state = self.scripts[rid].pop(0)
        dataset = self.datasets[restore["dataset_id"]]
        if state == "copying":
            restore["bytes_ready"] = restore["bytes_total"] // 2
        if state == "ready":
            restore.update(
                bytes_ready=restore["bytes_total"], files_ready=restore["files_total"], ready_at=iso(T0), expires_at=iso(T0 + timedelta(days=7))
            )
            dataset.update(tier="hot", tiers=["hot", *dataset["tiers"]], readable="now", hot_until=restore["expires_at"])
            self.put(dataset["id"], "hot")
        if state == "partly_ready":
            restore.update(errors=[{"path": "scan.h5", "reason": "the tape is torn"}], ready_at=iso(T0), expires_at=iso(T0 + timedelta(days=7)))
        if state == "failed":
            restore.update(error="no drive was free", ended_at=iso(T0))
        if state == "denied":
            restore.update(error="too much before the maintenance", ended_at=iso(T0))
        restore["promised_by"] = None if state == "awaiting_approval" else iso(T0 + timedelta(days=3))
        if restore["ended_at"]:
            dataset["restore"] = None

    def quote(self, body):
        name = body.get("dataset") or body["datasets"][0]
        dataset = next(item for item in self.datasets.values() if item["full_name"] == name)
        absent = 0 if dataset["tier"] == "hot" else dataset["size_bytes"]
        number = f"quote-{len(self.quoted) + 1}"
        self.quoted[number] = body
        return {
            "id": number, "created_at": iso(T0), "expires_at": iso(T0 + timedelta(hours=1)), "datasets": [dataset["full_name"]],
            "files": dataset["file_count"], "size_bytes": dataset["size_bytes"], "hot_bytes": dataset["size_bytes"] - absent, "absent_bytes": absent,
            "recall_objects": 1, "recall_bytes": 2 * absent, "from_tiers": {dataset["tier"]: absent}, "days": body["days"] or 7,
            "cost": {"amount": None, "at_least": 0, "currency": "EUR", "unknown": ["tier.deep.prices.retrieval_gb"], "text": "unknown"},
            "ready": {"at_least_s": 0, "at_most_s": 3 * 86400, "learned": False, "observations": 0, "promised_within_s": 3 * 86400},
            "room": {"left_bytes": None, "fits": True},
            "quotas": [{"kind": "user", "name": "alice", "used_bytes": 0, "limit_bytes": None, "left_bytes": None, "fits": True}],
            "needs_approval": False, **self.quote_says,
        }  # fmt: skip

    # The routes

    def answer(self, method, path, query, body):  # noqa: C901, PLR0911, PLR0912, PLR0915 - a table of routes
        parts = path.removeprefix("/services/archiver/api/v1/").split("/")
        if not path.startswith("/services/archiver/api/v1/"):
            return 404, {"detail": "Not Found"}
        match method, parts:
            case "GET", ["me"]:
                return 200, {"name": "alice", "admin": False, "projects": self.project_names, "scopes": ["custom:archiver:read"],
                             "team_notebooks": self.team_notebooks}  # fmt: skip
            case "GET", ["catalog.yaml"]:
                return 200, catalog_routes._INTAKE
            case "GET", ["projects"]:
                return 200, {"items": [{"name": name, "title": name} for name in self.project_names]}
            case "GET", ["datasets"]:
                return 200, self.page(query)
            case "GET", ["datasets", "complete"]:
                return 200, self.completed(query["prefix"])
            case "GET", ["datasets", "facets"]:
                items = self.page({**query, "limit": "9999", "cursor": "0"})["items"]
                counts = {name: Counter(str(item[name]) for item in items if item[name]) for name in ("project", "instrument", "tier", "format")}
                counts |= {"tag": Counter(tag for item in items for tag in item["tags"])}
                counts |= {"year": Counter(item["acquired_at"][:4] for item in items), "month": Counter(item["acquired_at"][:7] for item in items)}
                return 200, {name: [{"value": v, "count": n, "more": False} for v, n in found.most_common()] for name, found in counts.items()}
            case "PATCH", ["datasets", number]:
                tags = self.datasets[int(number)]["tags"]
                tags += [tag for tag in body.get("add_tags", []) if tag not in tags]
                self.datasets[int(number)]["tags"] = [tag for tag in tags if tag not in body.get("remove_tags", [])]
                return 200, self.datasets[int(number)]
            case "POST", ["datasets", number, "comments"]:
                said = {"id": len(self.comments) + 1, "dataset_id": int(number), "user": "alice", "text": body["text"]}
                self.comments.append({**said, "created_at": iso(T0), "changed_at": None})
                return 201, self.comments[-1]
            case "GET", ["datasets", number, "comments"]:
                return 200, {"items": [one for one in self.comments if one["dataset_id"] == int(number)], "next_cursor": None}
            case "GET", ["datasets", number, "lineage"]:
                return 200, self.family(int(number))
            case "GET", ["datasets", number, "links"]:
                return self.links(int(number), query)
            case "GET", ["files", number, "preview"]:
                return 200, {"png_base64": self.previews[int(number)], "plot": None}
            case "GET", ["datasets", number] if int(number) in self.datasets:
                return 200, self.datasets[int(number)]
            case "GET", ["datasets", number, "files"]:
                files, start = self.files[int(number)], int(query.get("cursor", 0))
                end = start + int(query["limit"])
                return 200, {"items": files[start:end], "next_cursor": str(end) if end < len(files) else None}
            case "POST", ["quotes"]:
                return 201, self.quote(body)
            case "POST", ["restores"] if "quote" in body:
                said = self.quoted[body["quote"]]
                name = said.get("dataset") or said["datasets"][0]
                number = next(n for n, item in self.datasets.items() if item["full_name"] == name)
                return 201, {"items": [self.restores[self.start_restore(number, said["files"], said["days"])]]}
            case "POST", ["restores", rid, "extend"]:
                restore = self.restores[int(rid)]
                end = datetime.fromisoformat(restore["expires_at"] or iso(T0)) + timedelta(days=body["days"])
                restore.update(keep_days=restore["keep_days"] + body["days"], expires_at=iso(end) if restore["expires_at"] else None)
                return 200, restore
            case "POST", ["restores"]:
                found = [n for n, item in self.datasets.items() if item["full_name"] == body["dataset"]]
                for own in self.restores.values():
                    wish = (own["dataset"], own["files_glob"], own["keep_days"])
                    if wish == (body["dataset"], body["files"], body["days"] or 7) and not (own["ended_at"] or own["ready_at"]):
                        return 201, own
                return (201, self.restores[self.start_restore(found[0], body["files"], body["days"])]) if found else self.problem(404, "not-found")
            case "GET", ["restores"]:
                kept = [r for r in self.restores.values() if query.get("dataset") in {None, str(r["dataset_id"])}]
                return 200, {"items": kept}
            case "GET", ["restores", rid]:
                self.step(int(rid))
                return 200, self.restores[int(rid)]
            case "POST", ["restores", rid, "cancel"]:
                self.restores[int(rid)].update(state="cancelled", ended_at=iso(T0))
                return 200, self.restores[int(rid)]
            case "POST", ["holds"]:
                number = next(n for n, item in self.datasets.items() if item["full_name"] == body["dataset"])
                end = body["until"] if "T" in body["until"] else f"{body['until']}T23:59:59Z"
                self.holds.append({
                    "id": len(self.holds) + 1, "dataset_id": number, "dataset": body["dataset"], "user": "alice", "reason": body["reason"],
                    "files_glob": body["files"], "state": "in_force", "restore_id": None, "created_at": iso(T0), "until": end, "ended_at": None,
                })  # fmt: skip
                return 201, self.holds[-1]
            case "GET", ["holds"]:
                return 200, {"items": [h for h in self.holds if query.get("dataset") in {None, str(h["dataset_id"])}]}
            case "DELETE", ["holds", hid]:
                self.holds[int(hid) - 1]["state"] = "ended"
                return 200, self.holds[int(hid) - 1]
            case "GET", ["me", "notices", "messages"]:
                return 200, {"items": self.notices, "unseen": sum(not n["seen"] for n in self.notices)}
            case "POST", ["me", "notices", "seen"]:
                for notice in self.notices:
                    notice["seen"] = notice["seen"] or notice["id"] <= body["up_to"]
                return 200, {"items": [], "unseen": 0}
            case "POST", ["credentials"]:
                self.keys_asked.append(body)
                access, secret, session = self.keys
                end = iso(datetime.now(UTC) + self.credential_life)
                return 200, {"access_key_id": access, "secret_access_key": secret, "session_token": session, "expires_at": end,
                             "endpoint_url": self.endpoint_url, "region": "eu-west-3", "buckets": self.buckets}  # fmt: skip
        return self.problem(404, "not-found")

    def links(self, number, query):
        dataset = self.datasets[number]
        if dataset["tier"] == "deep":
            name, within = dataset["full_name"], dataset["back_within_s"]
            return self.problem(409, "cold-data", dataset=name, tier="deep", back_within_s=within)
        files = [file for file in self.files[number] if fnmatch.fnmatchcase(file["path"], query.get("path", "*"))]
        start, limit = int(query.get("cursor", 0)), min(int(query["limit"]), self.links_at_once)
        items = [
            {"file_id": file["id"], "path": file["path"], "size_bytes": file["size_bytes"], "range": self.ranges.get(file["id"]),
             "sha256": hashlib.sha256(self.bodies[number, file["path"]]).hexdigest(), "url": self.link(number, file), "expires_at": iso(T0)}
            for file in files[start : start + limit]
        ]  # fmt: skip
        return 200, {"items": items, "next_cursor": str(start + limit) if start + limit < len(files) else None}

    def family(self, number):
        """As far as `edges` go: (dataset, what it was made of)."""

        def side(near, far):
            found, front = [], [number]
            while front:
                front = [edge[far] for edge in self.edges if edge[near] in front and edge[far] not in found]
                found += dict.fromkeys(front)
            return found

        def told(one):
            return {name: self.datasets[one][name] for name in ("id", "full_name", "project", "title", "state")}

        up, down = side(0, 1), side(1, 0)
        edges = [{"dataset_id": c, "derived_from_id": p} for c, p in self.edges if {c, p} <= {number, *up, *down}]
        return {
            "dataset": told(number), "ancestors": [told(one) for one in up], "descendants": [told(one) for one in down], "edges": edges, "cut": False,
        }  # fmt: skip

    def link(self, number, file):
        copy = next(copy for copy in file["copies"] if copy["tier"] in self.buckets)
        wanted = {"Bucket": copy["bucket"], "Key": copy["key"]} | ({"VersionId": copy["version_id"]} if copy["version_id"] else {})
        return self.s3.generate_presigned_url("get_object", Params=wanted, ExpiresIn=self.link_life)

    def page(self, query):
        items = sorted(self.datasets.values(), key=lambda item: (item["acquired_at"], item["id"]), reverse=True)
        if name := query.get("name"):
            items = [item for item in items if name in {item["name"], item["full_name"]}]
        for word in query.get("q", "").split():
            items = [item for item in items if word.lower() in f"{item['full_name']} {item['title']} {item['project']}".lower()]
        items = [item for item in items if query.get("tag") is None or query["tag"] in item["tags"]]
        for key in ("project", "instrument", "tier", "state", "format"):
            items = [item for item in items if query.get(key) in {None, item[key]}]
        items = [item for item in items if query.get("from", "") <= item["acquired_at"] < query.get("to", "9")]
        start, limit = int(query.get("cursor", 0)), int(query.get("limit", 50))
        return {"items": items[start : start + limit], "total": len(items), "next_cursor": str(start + limit) if start + limit < len(items) else None}

    def completed(self, prefix):
        """As the archiver, in small: what begins so, else what looks like it."""
        items = self.datasets.values()
        names = sorted({name for item in items if (name := item["full_name" if "/" in prefix else "name"]).startswith(prefix)})
        known = {item[key]: item["full_name"] for key in ("name", "full_name") for item in items}
        near = dict.fromkeys(known[one] for one in difflib.get_close_matches(prefix, known, 6)) if not names else ()
        return {"names": names, "tags": [], "fields": [], "near": list(near)[:3]}

    @staticmethod
    def problem(status, code, **extra):
        return status, {
            "type": f"urn:neve:error:{code}",
            "title": code,
            "status": status,
            "code": code,
            "detail": f"It is {code}.",
            "next_step": "Do this.",
            **extra,
        }

    def _handler(self):
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args):
                pass

            def handle_one(self):
                split = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(split.query))
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                api.seen.append((self.command, self.path))
                if api.fail:
                    status, kind, data = api.fail.pop(0)
                else:
                    if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                        status, answer = api.problem(401, "not-signed-in")
                    else:
                        status, answer = api.answer(self.command, split.path, query, json.loads(raw or b"null"))
                    kind = "application/problem+json" if status >= 400 and "code" in answer else "application/json"
                    kind = "application/yaml" if split.path.endswith("/catalog.yaml") and status == 200 else kind
                    data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_one  # noqa: N815 - http.server calls these

        return Handler


def h5_bytes(build) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        build(file)
    return buffer.getvalue()


def saxs(frames=3) -> bytes:
    """A stack of images with its axes, as a detector writes it."""

    def build(file):
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update(NX_class="NXentry", default="data")
        entry["title"] = "silver behenate"
        data = entry.create_group("data")
        data.attrs.update(NX_class="NXdata", signal="counts", axes=["frame", "y", "x"])
        data["counts"] = np.arange(frames * 20 * 30, dtype="u4").reshape(frames, 20, 30)
        data["counts"].attrs["units"] = "counts"
        data["y"] = np.linspace(0, 1, 20)
        data["x"] = np.linspace(0, 2, 30)
        data["x"].attrs.update(units="mm", long_name="horizontal position")

    return h5_bytes(build)


def xas() -> bytes:
    """A one-dimensional scan."""

    def build(file):
        group = file.create_group("entry/plot")
        file["entry"].attrs["NX_class"] = "NXentry"
        group.attrs.update(NX_class="NXdata", signal="mu", axes=["energy"])
        group["mu"] = np.tanh(np.linspace(-3, 3, 50))
        group["energy"] = np.linspace(7000, 7200, 50)
        group["energy"].attrs["units"] = "eV"

    return h5_bytes(build)


def weather(tmp_path, kind) -> bytes:
    path = tmp_path / f"weather-{kind}.nc"
    with netCDF4.Dataset(path, "w", format=kind) as file:
        file.createDimension("time", 24)
        time = file.createVariable("time", "f8", ("time",))
        time.units = "hours since 2026-10-01 00:00:00"
        time[:] = np.arange(24)
        temperature = file.createVariable("temperature", "i2", ("time",), fill_value=-999)
        temperature.setncatts({"units": "K", "scale_factor": 0.1, "add_offset": 273.0})
        temperature[:] = 273.0 + np.arange(24) / 10
    return path.read_bytes()


@pytest.fixture
def api(tmp_path):
    server = Api(tmp_path / "data")
    server.data.mkdir()
    yield server
    server.stop()


@pytest.fixture
def client(api):
    from neve.client import Client

    connected = Client(api.url, TOKEN)
    yield connected
    connected.close()


@pytest.fixture
def as_notebook(api, tmp_path, monkeypatch):
    from neve import client

    home = tmp_path / "home"
    home.mkdir()
    for name, value in {"NEVE_API_URL": api.url, "JUPYTERHUB_API_TOKEN": TOKEN, "NEVE_DATA": str(api.data), "HOME": str(home)}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_PROFILE", "NEVE_S3_URL", "NEVE_SHARED"):
        monkeypatch.delenv(name, raising=False)
    yield api
    client.disconnect()


@pytest.fixture
def lab(as_notebook, store, tmp_path):
    """saxs/run42, weather/october and xas/old (netCDF-3) in hot, saxs/run10 in archive, xas/scan7 in deep only, saxs/live still arriving."""
    api = as_notebook
    api.s3, api.buckets = store.client(), store.buckets("hot", "archive")
    api.endpoint_url, api.keys = store.endpoint_url, (store.access_key_id, store.secret_access_key, "")
    api.add("saxs/run42", {"a.log": (b"started\n", None), "scan.h5": (saxs(), "nexus"), "scan2.h5": (saxs(1), "nexus")}, ["hot", "archive", "deep"])
    api.add("weather/october", {"day.nc": (weather(tmp_path, "NETCDF4"), "netcdf4")}, ["hot", "archive", "deep"], age_days=5, title="Weather mast")
    api.add("weather/old", {"day.nc": (weather(tmp_path, "NETCDF3_CLASSIC"), "netcdf3")}, ["archive", "deep"], age_days=90)
    api.add("saxs/run10", {"scan.h5": (saxs(), "nexus")}, ["archive", "deep"], age_days=100)
    api.add("xas/scan7", {"scan.h5": (xas(), "nexus")}, ["deep"], age_days=900)
    api.add("saxs/live", {"scan.h5": (saxs(), "nexus")}, [], age_days=-1, state="open")
    yield api
    api.s3.close()
