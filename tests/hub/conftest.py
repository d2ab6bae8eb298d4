"""Fixtures of the hub's tests.

| fixture      | scope   | what it gives                                                                                       |
|--------------|---------|-----------------------------------------------------------------------------------------------------|
| `hub`        | session | a real Névé by `neve-run`, notebooks as local processes, homes of 1 GB, the small demo, /data by FUSE  |
| `containers` | session | the whole instance of the index in tests/conftest.py: notebooks in containers                         |
| `image`      | module  | a tag of the module's own, which can be given to any image; at first it is the notebook's             |
| `bare_hub`   | module  | `bare_hub(NAME="value", …)`: notebooks in containers, no /data, no demo, with these settings of [hub], or NEVE_… |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fixtures.engine import Engine
from fixtures.instance import RunningInstance, leftovers_of, start_instance
from fixtures.processes import BIN
from hub.people import Hub


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory, port_base: Callable[..., int]) -> Iterator[Hub]:
    home = tmp_path_factory.mktemp("hub") / "home"
    running = start_instance(
        home, port_base(), env={"NEVE_HUB__DOCKER": "never", "NEVE_HUB__HOME_QUOTA": "1GB"}, command=(BIN / "neve-run", "--demo", "small")
    )
    yield Hub(running)
    running.process.stop()
    assert not leftovers_of(home), running.process.tail()


@pytest.fixture(scope="session")
def containers(instance: RunningInstance) -> Hub:
    return Hub(instance)


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest, docker_engine: Engine, singleuser_image: str) -> Iterator[str]:
    name = f"{singleuser_image}-{request.module.__name__.rpartition('_')[2]}"
    docker_engine.docker("tag", singleuser_image, name)
    yield name
    docker_engine.docker("rmi", "-f", name, check=False)


@pytest.fixture(scope="module")
def bare_hub(
    tmp_path_factory: pytest.TempPathFactory, port_base: Callable[..., int], docker_engine: Engine, singleuser_image: str
) -> Iterator[Callable[..., Hub]]:
    with ExitStack() as started:

        def start(**hub: str) -> Hub:
            home = tmp_path_factory.mktemp("bare") / "home"
            settings = {"IMAGE": singleuser_image, "DOCKER": "always", "MOUNTS": "never", **hub}
            env = {**docker_engine.env, **{name if name.startswith("NEVE_") else f"NEVE_HUB__{name}": value for name, value in settings.items()}}
            running = start_instance(home, port_base(), env=env, command=(BIN / "neve-run", "--demo", "none"))
            started.callback(lambda: docker_engine.remove_volumes(f"neve-{(home / 'instance-id').read_text().strip()}-"))
            started.callback(running.process.stop)
            return Hub(running)

        yield start
