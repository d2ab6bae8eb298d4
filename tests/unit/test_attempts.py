"""Who guesses passwords waits, and shuts nobody out."""

from __future__ import annotations

import pytest
from neve_hub.attempts import Attempts


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempts(clock: Clock) -> Attempts:
    return Attempts(clock)


def guess(attempts: Attempts, clock: Clock, name: str, address: str, hours: float) -> int:
    """How many passwords somebody can try in so long who never rests."""
    end, tried = clock.now + hours * 3600, 0
    while clock.now < end:
        wait = attempts.wait_s(name, address)
        if wait:
            clock.now += wait
            continue
        attempts.wrong(name, address)
        tried += 1
    return tried


def test_five_are_free_then_each_wait_is_twice_the_last(attempts: Attempts, clock: Clock):
    waits = []
    for _ in range(16):
        waits.append(attempts.wait_s("alice", "a"))
        clock.now += waits[-1]
        attempts.wrong("alice", "a")
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]


def test_a_day_of_guessing_is_a_hundred_tries(attempts: Attempts, clock: Clock):
    assert guess(attempts, clock, "alice", "a", 24) < 110


def test_an_address_that_tries_many_names_waits_too(attempts: Attempts, clock: Clock):
    tried = 0
    for number in range(1000):
        if attempts.wait_s(f"user{number}", "a") == 0:
            attempts.wrong(f"user{number}", "a")
            tried += 1
    assert tried == 30
    assert attempts.wait_s("someone", "b") == 0


def test_a_name_that_is_tried_from_many_addresses_waits_but_not_where_its_owner_works(attempts: Attempts, clock: Clock):
    attempts.wrong("alice", "home")
    attempts.right("alice", "home")
    tried = 0
    for number in range(1000):
        if attempts.wait_s("alice", f"address{number}") == 0:
            attempts.wrong("alice", f"address{number}")
            tried += 1
    assert tried == 50
    assert attempts.wait_s("alice", "elsewhere") > 0
    assert attempts.wait_s("alice", "home") == 0


def test_people_behind_one_address_do_not_use_it_up(attempts: Attempts):
    for number in range(500):
        assert attempts.wait_s(f"user{number}", "lab") == 0
        attempts.wrong(f"user{number}", "lab")
        attempts.right(f"user{number}", "lab")


def test_a_right_one_ends_the_waiting_and_an_hour_forgets(attempts: Attempts, clock: Clock):
    for _ in range(5):
        attempts.wrong("alice", "a")
    attempts.right("alice", "a")
    assert [attempts.wait_s("alice", "a") for _ in range(4) if attempts.wrong("alice", "a") is None] == [0, 0, 0, 0]
    for _ in range(9):
        attempts.wrong("bob", "b")
    assert attempts.wait_s("bob", "b") == 16
    clock.now += 3601
    attempts.wrong("bob", "b")
    assert attempts.wait_s("bob", "b") == 0


def test_memory_is_bounded(attempts: Attempts):
    for number in range(50_000):
        attempts.wrong("alice", f"address{number}")
        attempts.right(f"user{number}", "a")
    assert len(attempts._wrong) <= 20_000 and len(attempts._home) <= 20_000
