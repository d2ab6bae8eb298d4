"""Who starts when many come at once: so many at a time, in their order, and a start that fails or is given up holds up nobody."""

import asyncio

import pytest
from neve_hub.starting import Turns


def test_they_go_in_the_order_they_came_and_know_their_place():
    async def seminar() -> tuple[list[int], list[int | None]]:
        turns, go, order = Turns(2), asyncio.Event(), []

        async def start(who: int) -> None:
            async with turns.taken(who):
                order.append(who)
                await go.wait()

        started = [asyncio.create_task(start(who)) for who in range(5)]
        await asyncio.sleep(0)
        seen = [turns.before(who) for who in range(5)]
        go.set()
        await asyncio.gather(*started)
        return order, [*seen, *(turns.before(who) for who in range(5))]

    order, places = asyncio.run(seminar())
    assert order == [0, 1, 2, 3, 4]
    assert places == [None, None, 0, 1, 2] + [None] * 5


@pytest.mark.parametrize("how", ["fails", "is given up while it waits"])
def test_one_that_comes_to_nothing_leaves_its_turn_to_the_next(how):
    async def seminar() -> list[str]:
        turns, done = Turns(1), []

        async def fail() -> None:
            async with turns.taken("first"):
                await asyncio.sleep(0.01)
                raise RuntimeError("no notebook")

        async def start(who: str) -> None:
            async with turns.taken(who):
                done.append(who)

        tasks = [asyncio.create_task(fail()), asyncio.create_task(start("second")), asyncio.create_task(start("third"))]
        await asyncio.sleep(0)
        if how != "fails":
            tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [*done, *(who for who in ("second", "third") if turns.before(who) is not None)]

    assert asyncio.run(seminar()) == (["second", "third"] if how == "fails" else ["third"])
