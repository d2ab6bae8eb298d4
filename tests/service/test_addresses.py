"""Addresses that cannot be abused: what is no e-mail address, and webhooks that go to named public hosts only."""

from __future__ import annotations

import pytest
from fixtures.place import Place

from archiver import addresses
from archiver.addresses import UnsafeAddress
from archiver.errors import WrongUse


@pytest.mark.parametrize(
    "email",
    [
        "", "alice", "@lab.example", "alice@", "alice@lab", "a b@lab.example", "alice@lab.example\n", "alice@lab.example\r\nBcc: eve@evil.example",
        "alice@lab.example,eve@evil.example", "alice@lab.example;eve@evil.example", "Alice <alice@lab.example>",
        '"a b"@lab.example', "alice@[127.0.0.1]",
        "alice@lab..example", ".alice@lab.example", "alice@-lab.example", "é@lab.example", "alice@lab.example\x00", "a" * 65 + "@lab.example",
        "alice@" + "a" * 300 + ".example", "alice@lab.example\u2028x",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_and_changes_nothing(place: Place, email):
    place.address("alice", "good@lab.example")
    with pytest.raises(WrongUse, match="email"):
        place.address("alice", email)
    assert addresses.of(place.archive, "alice").email == "good@lab.example"


ALLOWED = ["hooks.lab.example", "127.0.0.1", "::1"]


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/", "http://hooks.lab.example/", "ftp://hooks.lab.example/", "hooks.lab.example", "https://", "https:///x",
        "https://a:b@hooks.lab.example/", "https://hooks.lab.example@evil.example/", "https://evil.example#@hooks.lab.example/",
        "https://hooks.lab.example/#x", "https://hooks.lab.example:0/", "https://hooks.lab.example:99999/", "https://hooks.lab.example\\@evil.example/",
        "https://hooks.lab.example/\r\nX: y", "https://hooks.lab.example /", "https://hooks.lab.example.evil.example/", "https://2130706433/",
        "https://127.1/", "https://169.254.169.254/", "https://[::ffff:127.0.0.1]/",
        "https://hóoks.lab.example/", "https://hooks.lab.example/" + "x" * 1000,
        "javascript:1", "file:///etc/passwd", "https://localhost/",
    ],
)  # fmt: skip
def test_a_webhook_goes_to_named_hosts_only(url):
    with pytest.raises(WrongUse, match="webhook_url"):
        addresses.target(url, ALLOWED)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::",
        "fe80::1", "fd00:ec2::254", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "2002:a00:1::", "198.18.0.1",
    ],
)  # fmt: skip
def test_a_named_host_at_a_private_address_is_refused(monkeypatch, address):
    known = ["93.184.216.34", address]
    monkeypatch.setattr("archiver.addresses.socket.getaddrinfo", lambda *_a, **_k: [(2, 1, 6, "", (known[n], 443)) for n in (0, 1)])
    with pytest.raises(UnsafeAddress, match=r"hooks\.lab\.example"):
        addresses.target("https://hooks.lab.example/x", ["hooks.lab.example"])
    assert addresses.target("https://hooks.lab.example/x", ["hooks.lab.example", address]).host == "hooks.lab.example"


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(monkeypatch):
    answers = iter([[(2, 1, 6, "", ("93.184.216.34", 8443))], [(2, 1, 6, "", ("127.0.0.1", 8443))]])
    monkeypatch.setattr("archiver.addresses.socket.getaddrinfo", lambda *_a, **_k: next(answers))
    target = addresses.target("https://hooks.lab.example:8443/x?y=1", ["hooks.lab.example"])
    assert (target.url, target.host) == ("https://93.184.216.34:8443/x?y=1", "hooks.lab.example:8443")


def test_a_literal_loopback_may_be_plain():
    assert addresses.target("http://127.0.0.1:8080/x", ALLOWED).url == "http://127.0.0.1:8080/x"
    assert addresses.target("http://[::1]:8080/x", ALLOWED).url == "http://[::1]:8080/x"
