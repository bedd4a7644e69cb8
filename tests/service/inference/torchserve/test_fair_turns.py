"""Turns of long rows: fair among tenants, and given on whatever happens to a waiter."""

import asyncio
import time

import pytest

from service.errors import DeadlineExceeded
from service.inference.torchserve.fair_turns import FairTurns


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def test_tenants_take_turns_by_windows():
    async def work():
        turns, order = FairTurns(lambda: 1), []

        async def one(tenant, windows):
            async with turns.turn(tenant, windows):
                order.append(tenant)
                await settle()

        heavy = [asyncio.create_task(one("heavy", 4)) for _ in range(6)]
        await asyncio.sleep(0)
        light = [asyncio.create_task(one("light", 1)) for _ in range(4)]
        await asyncio.gather(*heavy, *light)
        assert order.index("light") <= 1
        assert order[:6].count("light") == 4

    asyncio.run(work())


def test_as_many_turns_at_once_as_there_are_places():
    async def work():
        turns, now, most = FairTurns(lambda: 2), set(), []

        async def one(number):
            async with turns.turn("a", 1):
                now.add(number)
                most.append(len(now))
                await settle()
                now.discard(number)

        await asyncio.gather(*map(one, range(6)))
        assert max(most) == 2

    asyncio.run(work())


def test_a_waiter_that_leaves_or_is_late_gives_its_turn_on():
    async def work():
        turns, release = FairTurns(lambda: 1), asyncio.Event()

        async def hold():
            async with turns.turn("first", 1):
                await release.wait()

        async def brief(deadline=float("inf")):
            async with turns.turn("second", 1, deadline):
                return "had it"

        holder = asyncio.create_task(hold())
        await settle()
        leaves, stays = asyncio.create_task(brief()), asyncio.create_task(brief())
        await settle()
        with pytest.raises(DeadlineExceeded):
            await brief(time.monotonic() + 0.01)
        leaves.cancel()
        await settle()
        release.set()
        assert await stays == "had it"
        await holder
        assert await brief() == "had it"

    asyncio.run(work())


def test_a_block_that_fails_gives_its_turn_back():
    async def work():
        turns = FairTurns(lambda: 1)
        for _ in range(3):
            with pytest.raises(ValueError, match="inside"):
                async with turns.turn("a", 1):
                    raise ValueError("inside")
        async with turns.turn("b", 1):
            pass

    asyncio.run(work())
