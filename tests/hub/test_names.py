"""Any user name → names of container, volume and folder: legal everywhere, and never the same for two."""

import re

from hypothesis import example, given
from hypothesis import strategies as st
from neve_hub.names import safe_name

LEGAL = re.compile(r"[a-z0-9][a-z0-9-]{0,46}")
USERS = st.text(min_size=1, max_size=200)


@given(USERS)
@example("Foo@lab.fr")
@example("é" * 200)
@example("--")
def test_is_legal_everywhere(user):
    assert LEGAL.fullmatch(safe_name(user))


@given(USERS, USERS)
@example("foo_bar", "foo-bar")
@example("Foo@lab.fr", "foo@lab.fr")
@example("foo", "foo ")
@example("a" * 31, "a" * 32)
def test_two_users_never_share(one, other):
    assert (safe_name(one) == safe_name(other)) == (one == other)


def test_nobody_can_choose_another_ones_hashed_name():
    hashed = safe_name("foo_bar")
    assert safe_name(hashed) != hashed


def test_a_plain_name_stands_as_it_is():
    assert safe_name("alice") == "alice"
    assert safe_name("alice", "gpu") != safe_name("alice")
