"""Index of fixtures (each in a module of tests/fixtures; everything real, on free ports, with a deadline for readiness).

| fixture            | scope   | what it gives                                                                  | module       |
|--------------------|---------|--------------------------------------------------------------------------------|--------------|
| `port_base`        | session | `port_base()`: base for an instance; `port_base(STORE)`: for a store            | ports        |
| `free_port`        | session | `free_port()`: one free port                                                    | ports        |
| `run_process`      | test    | starts programs, ends them after the test                                       | processes    |
| `store`            | session | SeaweedFS: endpoint, keys, `buckets()` makes versioned ones                     | store        |
| `bench`            | test    | an archive on `store` with a clock that the test turns                          | archive      |
| `bench_on`         | test    | the same with other tier settings                                               | archive      |
| `quick_clients`    | module  | S3 clients that ask again at once                                               | archive      |
| `faulty`           | module  | a proxy before a store: seeded faults, an account of what crossed it            | faulty       |
| `own_store`        | module  | a store that a test may freeze, kill and start again                            | own_store    |
| `site`             | module  | API and pages over a filled archive; the hub is a table of tokens                | site         |
| `door`             | test    | the API on a real port, an instrument's key, a worker on demand        | door         |
| `doors`            | test    | makes such doors, with settings of their own                                    | door         |
| `team_door`        | test    | a door that offers team notebooks, people of two projects, an admin's S3 client | team         |
| `labs`             | test    | starts notebook servers of those people, whose file browser shows them          | team         |
| `smtp_sink`      | test    | a mail server that keeps what it is sent                                        | smtp         |
| `place`            | test    | a ledger whose datasets have no bytes, its mail to `smtp_sink`                  | place        |
| `moto_server`      | test    | moto's S3 with Glacier classes whose restores take time                         | glacier      |
| `postgres`         | session | PostgreSQL: `database()`: URL of an empty one; `ledger()`: of one with a ledger  | postgres     |
| `fuse`             | session | /dev/fuse, s3fs and the right to mount are there                                | requirements |
| `docker_engine`    | session | a Docker engine: the one that answers, else our own                             | engine       |
| `singleuser_image` | session | the notebook image, built from this work tree                                   | engine       |
| `docker_container` | test    | list of containers to remove after the test                                     | engine       |
| `instance`         | session | a whole Névé by `neve-run`: containers, mounts, demo data, passwords             | instance     |
| `provider_modules` | session | npm's `oidc-provider`, installed                                                | provider     |
| `provider_for`     | module  | a real OpenID Connect provider for a hub; its people stand in a file            | provider     |
| `browser`          | module  | Debian's Chromium, headless, through Playwright                                 | chromium     |
| `page`             | test    | a page of it; a screenshot is kept when the test fails                          | chromium     |

A missing component skips the test and says why; with CI=true it fails (`require` and `missing` of fixtures/requirements.py, nowhere else).
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from neve.postponed import GRAMMAR, postpone
from xdist.scheduler import LoadScopeScheduling

postpone(*GRAMMAR)  # each test process would build it
settings.register_profile("neve", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # speed is judged by `make bench`
settings.load_profile("neve")

pytest_plugins = [
    "fixtures.requirements",
    "fixtures.processes",
    "fixtures.ports",
    "fixtures.store",
    "fixtures.archive",
    "fixtures.faulty",
    "fixtures.own_store",
    "fixtures.site",
    "fixtures.door",
    "fixtures.team",
    "fixtures.smtp",
    "fixtures.place",
    "fixtures.glacier",
    "fixtures.postgres",
    "fixtures.engine",
    "fixtures.chromium",
    "fixtures.instance",
    "fixtures.provider",
]


_SHARE = {
    "instance": {
        "browser": ("operators_guide", "sending", "start_here"),
        "hub": ("browsing", "containers", "hostile", "kills", "odd_names"),
    },
    "hub": {"hub": ("identity", "local_homes", "login", "mounts", "notebook", "passwords", "run", "sessions_over", "store_access", "team_notebooks")},
}
"""Modules that share a fixture which takes long to make: they stay in one process."""
_TOGETHER = {f"{folder}/test_{name}.py": fixture for fixture, folders in _SHARE.items() for folder, names in folders.items() for name in names}
_FIRST = ("instance", "hub", "docs", "browser")  # most of these start an instance of their own


def _module(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


class _Scopes(LoadScopeScheduling):
    """Several processes (make test): each module goes to whichever is free, but for those that share an instance."""

    def _split_scope(self, nodeid: str) -> str:
        return _TOGETHER.get(_module(nodeid), _module(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    return _Scopes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first; a long test has no limit."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.timeout(0))
        for fixture in _SHARE:
            if fixture in getattr(item, "fixturenames", ()) and _TOGETHER.get(_module(item.nodeid)) != fixture:
                raise pytest.UsageError(f"{_module(item.nodeid)} uses the fixture `{fixture}`: name it in _SHARE (tests/conftest.py)")
    items.sort(key=lambda item: _turn(_module(item.nodeid)))


def _turn(module: str) -> int:
    begins = _TOGETHER.get(module) or module.partition("/")[0]
    return _FIRST.index(begins) if begins in _FIRST else len(_FIRST)
