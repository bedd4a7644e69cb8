"""Every reader of bodies takes time and memory that grow linearly with the body, whatever the body is."""

import asyncio
import contextlib
import time
import tracemalloc

import pytest

from service.errors import ServiceError
from service.gateway.http import request_body
from service.gateway.operations.prediction import prepare_clip
from skeleton_prompt.clips.clip import ClipLimits
from tests.badinput.readers import HOSTILE, Hostile
from tests.service.gateway.http.test_request_body import request

LIMIT = 64 << 20
SIZES = (512 << 10, 4 << 20)  # the second is eight times the first
SECONDS_PER_MIB = 1.0  # ten times what the slowest takes; the quadratic ones took minutes
BYTES_PER_BYTE = 40
FREE_BYTES = 4 << 20


async def collect(pieces) -> int:
    return sum([len(piece) async for piece in pieces])


def read(hostile: Hostile, body: bytes) -> None:
    """Do with a body what the gateway does with it."""
    with contextlib.suppress(ServiceError):
        if hostile.reader == "gzip":
            asyncio.run(collect(request_body.chunks(request(body, 1 << 16, content_encoding="gzip"), LIMIT, "test")))
        elif hostile.reader == "lines":
            asyncio.run(collect(request_body.lines(request(body, 1 << 16), LIMIT, "test", 8 << 20)))
        else:
            media_type = request_body.JSON if hostile.reader == "json" else request_body.MSGPACK
            prepare_clip(request_body.decode_clip(body, media_type, 16), ClipLimits())


def seconds(hostile: Hostile, body: bytes) -> float:
    """CPU time of the faster of two tries."""
    tries = []
    for _ in range(2):
        began = time.process_time()
        read(hostile, body)
        tries.append(time.process_time() - began)
    return min(tries)


def peak(hostile: Hostile, body: bytes) -> int:
    tracemalloc.start()
    try:
        read(hostile, body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: f"{hostile.reader}: {hostile.name}")
def test_time_grows_no_faster_than_the_body(hostile):
    took = [seconds(hostile, hostile.make(size)) for size in SIZES]
    # Eight times the body: a quadratic reader takes 64 times the time. Times below 30 ms are noise.
    assert took[-1] <= 24 * max(took[0], 0.03), took
    assert took[-1] <= SECONDS_PER_MIB * SIZES[-1] / 2**20, took


@pytest.mark.slow
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: f"{hostile.reader}: {hostile.name}")
def test_memory_is_bounded_by_the_size_of_the_body(hostile):
    size = 1 << 20
    assert peak(hostile, hostile.make(size)) <= FREE_BYTES + BYTES_PER_BYTE * size
