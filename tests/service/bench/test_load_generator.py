"""The load generator against a server whose answers are known beforehand."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web

from service.bench import load_generator


class FakeServer:
    """Answers by a rule, and remembers what it saw."""

    def __init__(self, rule: Callable[[int], web.Response]) -> None:
        self.rule = rule
        self.bodies: list[bytes] = []
        self.connections: set[object] = set()
        self.together = self.most_together = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        self.connections.add(request.transport)
        self.bodies.append(await request.read())
        number = len(self.bodies) - 1
        await asyncio.sleep(0.01)
        self.together -= 1
        return self.rule(number)


def measure(
    server: FakeServer, drive: Callable[..., object], bodies: tuple[bytes, ...] = (b"a", b"b")
) -> load_generator.Run:
    async def go() -> load_generator.Run:
        app = web.Application()
        app.router.add_post("/predict", server.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/predict"
        try:
            async with load_generator.connect() as session:
                return await drive(session, [load_generator.Request(url, {}, body) for body in bodies])
        finally:
            await runner.cleanup()

    return asyncio.run(go())


def fine(_number: int) -> web.Response:
    return web.Response(body=b"{}", headers={"X-Prompt-Cache": "redis", "X-Other": "1"})


def test_a_closed_loop_sends_requests_in_turn_and_reuses_its_connections():
    server = FakeServer(fine)
    run = measure(server, lambda s, r: load_generator.closed_loop(s, r, clients=3, seconds=30, most=10))
    assert sorted(server.bodies) == [b"a"] * 5 + [b"b"] * 5
    assert len(server.connections) == server.most_together == 3
    assert run.summary()["answered"] == 10


def test_a_closed_loop_ends_with_its_time():
    run = measure(FakeServer(fine), lambda s, r: load_generator.closed_loop(s, r, clients=2, seconds=0.1))
    assert run.outcomes
    assert all(outcome.due < 0.1 for outcome in run.outcomes)


def test_errors_are_counted_by_status_and_leave_no_trace_in_the_times():
    def sometimes(number: int) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "2"}) if number % 3 == 0 else fine(number)

    run = measure(FakeServer(sometimes), lambda s, r: load_generator.closed_loop(s, r, clients=1, seconds=30, most=9))
    found = run.summary()
    assert (found["requests"], found["answered"], found["errors"]) == (9, 6, {"503": 3})
    assert found["per_second"] == pytest.approx(6 / run.seconds)
    refused = [outcome for outcome in run.outcomes if not outcome.ok]
    assert all(outcome.headers["Retry-After"] == "2" for outcome in refused)
    assert found["p50_ms"] == load_generator.percentiles([o.ms for o in run.outcomes if o.ok])["p50_ms"]


def test_only_headers_that_are_needed_are_kept():
    run = measure(FakeServer(fine), lambda s, r: load_generator.closed_loop(s, r, clients=1, seconds=30, most=1))
    assert run.outcomes[0].headers == {"X-Prompt-Cache": "redis"}


def test_no_answer_at_all_is_an_error_and_not_the_end():
    def break_off(_number: int) -> web.Response:
        raise ConnectionResetError

    async def nobody(session: object, requests: object) -> load_generator.Run:
        return await load_generator.closed_loop(
            session, [load_generator.Request("http://127.0.0.1:1/", {}, b"")], clients=1, seconds=9, most=2
        )

    run = measure(FakeServer(break_off), nobody)
    assert run.summary()["errors"] == {"0": 2}
    assert run.summary()["p50_ms"] is None


def test_an_open_loop_sends_as_many_as_were_due_whatever_the_answers_do():
    server = FakeServer(fine)
    arrivals = [0.0, 0.0, 0.0, 0.0, 0.005]
    run = measure(server, lambda s, r: load_generator.open_loop(s, r, arrivals))
    assert sorted(outcome.due for outcome in run.outcomes) == arrivals
    assert server.most_together >= 4  # nobody waited for somebody else's answer


def test_in_an_open_loop_a_request_that_is_sent_late_has_waited_since_it_was_due():
    async def late(session: object, requests: object) -> load_generator.Run:
        return await load_generator.open_loop(session, requests, [-5.0])

    assert measure(FakeServer(fine), late).outcomes[0].ms >= 5000


def test_random_arrivals_have_the_rate_that_was_asked_for_and_stay_within_the_time():
    moments = load_generator.random_arrivals(200.0, 50.0, seed=3)
    assert moments == sorted(moments)
    assert moments[0] >= 0
    assert moments[-1] < 50.0
    assert len(moments) == pytest.approx(10_000, rel=0.05)
    assert moments == load_generator.random_arrivals(200.0, 50.0, seed=3)


def test_even_arrivals_have_equal_distances():
    assert load_generator.even_arrivals(4.0, 1.0) == [0.0, 0.25, 0.5, 0.75]


def test_percentiles_lie_between_the_values():
    found = load_generator.percentiles([float(value) for value in range(101)])
    assert found == {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0, "max_ms": 100.0}
