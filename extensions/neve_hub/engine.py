"""The Docker engine of this machine, as far as notebooks need it: whether it answers, their image, and their network.

Law: the network and the containers carry this instance's id and are removed by it; homes are volumes and stay.
"""

from __future__ import annotations

import time

import docker
import psutil
from docker.errors import DockerException, ImageNotFound, NotFound

from neve_hub.instance import LABEL, Instance


class NoEngineError(Exception):
    """Why containers are not possible here, in words for people."""


class NoImageError(NoEngineError):
    """An engine answers, but has no notebook image yet."""


def engine() -> docker.DockerClient:
    """The engine that DOCKER_HOST names, else the local one. Raises `NoEngineError`."""
    try:
        client = docker.from_env(timeout=10)
        client.ping()
    except (DockerException, OSError) as error:
        raise NoEngineError("no Docker engine answers") from error
    return client


def bridge(here: Instance) -> str:
    """Make sure of the notebooks' network, on which they cannot reach each other; the address at which they reach us.

    Raises `NoEngineError` or `NoImageError`.
    """
    client = engine()
    try:
        client.images.get(here.settings.hub.image)
    except ImageNotFound:
        raise NoImageError(f"the Docker engine has no image {here.settings.hub.image}") from None
    try:
        network = client.networks.get(here.network)
    except NotFound:
        options = {"com.docker.network.bridge.enable_icc": "false", "com.docker.network.bridge.name": here.network}
        network = client.networks.create(here.network, driver="bridge", options=options, labels={LABEL: here.id})
    network.reload()
    gateway = str(network.attrs["IPAM"]["Config"][0]["Gateway"])
    deadline = time.monotonic() + 5
    while gateway not in {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}:
        if time.monotonic() > deadline:
            raise NoEngineError("the Docker engine is on another machine, whose containers cannot reach this one")
        time.sleep(0.1)
    return gateway


def remove_containers(here: Instance, *, network: bool = True) -> None:
    """Remove what carries this instance's label; homes (volumes) stay. Without an engine there is nothing to remove."""
    try:
        client = engine()
    except NoEngineError:
        return
    labels = {"label": f"{LABEL}={here.id}"}
    for container in client.containers.list(all=True, filters=labels):
        try:
            container.remove(force=True)
        except NotFound:
            continue  # it was on its way out
    if network:
        for net in client.networks.list(filters=labels):
            net.remove()
