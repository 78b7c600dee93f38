"""A flood of one connector and one call of another, round by round of the event loop."""

import asyncio
from collections.abc import Callable

from frontend.listeners.turns import Turns


def call_in_rounds(cost: int, spend: Callable[[], None] = lambda: None) -> list[tuple[int, str]]:
    """Return the round and the connector of each call as its turn came: 40 of "flood", then one of "one".

    ``cost``: bytes of a call; ``spend``: done in each turn.
    """
    came: list[tuple[int, str]] = []

    async def scenario() -> None:
        turns, rounds = Turns(), 0

        async def call(name: str) -> None:
            await turns.wait(name, cost)
            spend()
            came.append((rounds, name))

        tasks = [asyncio.create_task(call(name)) for name in ["flood"] * 40 + ["one"]]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            rounds += 1

    asyncio.run(scenario())
    return came
