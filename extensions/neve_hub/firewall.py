"""What notebooks in containers may reach: rules of this machine's firewall for all that comes off their bridge.

Law: our rules only refuse; what they let pass is still judged by the machine's own. They stand in two chains of this instance,
each reached by one line that names the bridge; nobody else's rule is touched, and a whole chain is exchanged in one step.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import socket
import subprocess
from pathlib import Path

import psutil

from archiver.errors import PublicError
from neve_hub.instance import Instance

_LOCK_S = 30
# Private, shared, local, multicast and reserved networks; and what clouds tell a machine about itself, at addresses outside of these.
_PRIVATE = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "224.0.0.0/3", "168.63.129.16/32"),
)
_METADATA = "169.254.0.0/16"  # refused before `hub.reachable` is looked at
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))  # where Docker looks


class FirewallError(PublicError):
    """The rules cannot be put up here."""

    code = "no-firewall"
    title = "No firewall for notebooks"


def put(here: Instance, gateway: str) -> None:
    """Put the rules up, or in the place of those that stand. Raises `FirewallError`, and takes none away then."""
    into, through = _chains(here)
    if not _lists("iptables", "DOCKER-USER"):
        raise FirewallError(
            f"the Docker engine's chain DOCKER-USER is not to be seen: {_words(_call('iptables', '-S', 'DOCKER-USER'))}",
            "Run as root, with an engine that sets iptables rules (its default).",
        )
    for command, rules in _wanted(here, gateway).items():
        _must(f"{command}-restore", "--noflush", text=rules)
        ways = "DOCKER-USER" if _lists(command, "DOCKER-USER") else "FORWARD"
        for hook, chain in (("INPUT", into), (ways, through)):
            if _call(command, "-C", hook, "-i", here.network, "-j", chain).returncode:
                _must(command, "-I", hook, "1", "-i", here.network, "-j", chain)


def take_away(here: Instance) -> None:
    """Remove this instance's rules, whoever left them; where this account may not look, it has put none."""
    into, through = _chains(here)
    for command in ("iptables", "ip6tables"):
        if not _path(command):
            continue
        for chain, hooks in ((into, ["INPUT"]), (through, ["DOCKER-USER", "FORWARD"])):
            if not _lists(command, chain):
                continue
            for hook in hooks:
                while not _call(command, "-C", hook, "-i", here.network, "-j", chain).returncode:
                    _must(command, "-D", hook, "-i", here.network, "-j", chain)
            _must(command, "-F", chain)
            _must(command, "-X", chain)


def look(here: Instance, gateway: str) -> str:
    """What is wanted and what stands, in one text: it changes when a network comes, or somebody takes our rules away. Raises `FirewallError`."""
    stands = [line for command in _commands() for line in _must(command, "-S").splitlines() if f"NEVE-{here.id}" in line]
    return "\n".join([*_wanted(here, gateway).values(), *stands])


def _chains(here: Instance) -> tuple[str, str]:
    """For what goes into this machine, and for what goes through it."""
    return f"NEVE-{here.id}-IN", f"NEVE-{here.id}-FWD"


def _commands() -> list[str]:
    return ["iptables", "ip6tables"] if Path("/proc/net/if_inet6").exists() else ["iptables"]


def _wanted(here: Instance, gateway: str) -> dict[str, str]:
    """The rules of each family, as iptables-restore takes them."""
    into, through = _chains(here)
    hub, answers = here.settings.hub, "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
    refused = "-j REJECT --reject-with icmp-admin-prohibited"
    names = [f"-d {server} -p {kind} --dport 53 -j RETURN" for server in _resolvers() for kind in ("udp", "tcp")] if hub.internet else []
    lines = [f"-A {into} {rule}" for rule in (answers, *names)]
    lines += [f"-A {into} -d {gateway} -p tcp --dport {port} -j RETURN" for port in (here.port, here.s3_public_port)]
    lines += [f"-A {into} {refused}"]
    lines += [f"-A {through} {rule}" for rule in (answers, *names, f"-d {_METADATA} {refused}")]
    lines += [f"-A {through} -d {network} -j RETURN" for network in hub.reachable]
    lines += [f"-A {through} -d {network} {refused}" for network in _near()]
    lines += [] if hub.internet else [f"-A {through} {refused}"]
    # The notebooks' network has no IPv6: whatever comes of it is refused.
    of_six = [f"-A {chain} -j REJECT" for chain in (into, through)]
    return {
        command: "\n".join(["*filter", f":{into} - [0:0]", f":{through} - [0:0]", *rules, "COMMIT", ""])
        for command, rules in zip(_commands(), (lines, of_six), strict=False)
    }


def _near() -> list[ipaddress.IPv4Network]:
    """Private networks, and those that this machine is on, whatever their addresses."""
    own = [
        ipaddress.IPv4Interface(f"{address.address}/{address.netmask}").network
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and address.netmask
    ]
    return list(ipaddress.collapse_addresses([*map(ipaddress.IPv4Network, _PRIVATE), *(network for network in own if network.prefixlen)]))


def _resolvers() -> list[str]:
    """Name servers of this machine, which containers ask themselves; one at a loopback address is asked by the engine."""
    found: set[str] = set()
    for file in _RESOLVERS:
        with contextlib.suppress(FileNotFoundError):  # not every system has both
            for line in file.read_text("utf-8", "replace").splitlines():
                words = line.split()
                if len(words) > 1 and words[0] == "nameserver" and _asked_directly(words[1]):
                    found.add(words[1])
    return sorted(found)


def _asked_directly(server: str) -> bool:
    try:
        return not ipaddress.IPv4Address(server).is_loopback
    except ValueError:
        return False  # IPv6, which the notebooks' network has not, or no address at all


# ── The command ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _path(command: str) -> str | None:
    """Found where the engine finds it: sbin is not on everybody's PATH."""
    return shutil.which(command, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def _call(command: str, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    path = _path(command)
    if path is None:
        raise FirewallError(f"there is no command {command}", "Install iptables.")
    try:
        return subprocess.run(
            [path, "-w", str(_LOCK_S), *words], input=text, capture_output=True, text=True, timeout=2 * _LOCK_S, check=False, env={"LC_ALL": "C"}
        )
    except subprocess.TimeoutExpired:
        raise FirewallError(f"{command} does not end", "See what holds it, and start again.") from None
    except OSError as error:
        raise FirewallError(f"{command} cannot be run: {error.strerror}", "Mend that, and start again.") from None


def _must(command: str, *words: str, text: str = "") -> str:
    done = _call(command, *words, text=text)
    if done.returncode:
        raise FirewallError(f"{command} {' '.join(words)}: {_words(done)}", "Run as root, on a kernel with conntrack and REJECT.")
    return done.stdout


def _lists(command: str, chain: str) -> bool:
    return not _call(command, "-S", chain).returncode


def _words(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or ["it gives no reason"])[-1].rstrip(".")
