"""Fixtures of the hub's tests.

| fixture      | scope   | what it gives                                                                                       |
|--------------|---------|-----------------------------------------------------------------------------------------------------|
| `hub`        | session | a real Névé by `neve-run`, notebooks as local processes, the small demo, /data where FUSE is there    |
| `containers` | session | the whole instance of the index in tests/conftest.py: notebooks in containers                         |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fixtures.instance import RunningInstance, leftovers_of, start_instance
from fixtures.processes import BIN
from hub.people import Hub


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory, port_base: Callable[..., int]) -> Iterator[Hub]:
    home = tmp_path_factory.mktemp("hub") / "home"
    running = start_instance(home, port_base(), env={"NEVE_HUB__DOCKER": "never"}, command=(BIN / "neve-run", "--demo", "small"))
    yield Hub(running)
    running.process.stop()
    assert not leftovers_of(home), running.process.tail()


@pytest.fixture(scope="session")
def containers(instance: RunningInstance) -> Hub:
    return Hub(instance)
