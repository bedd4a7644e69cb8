"""Price of work: windows of up to 10 seconds times people, known from a clip's size before anything is computed."""

from __future__ import annotations

import math

from starlette.requests import Request

from service import errors
from service.gateway.state.context import GatewayContext, run_in_predict_pool
from service.gateway.state.rate_limit import RateStatus
from skeleton_prompt.clips.clip import Clip
from skeleton_prompt.clips.normalise import WINDOW_SECONDS


def windows_of(seconds: float, people: int) -> int:
    """Windows that a clip of this length is cut into, over all its people."""
    return max(1, math.ceil(seconds / WINDOW_SECONDS - 1e-9)) * people


def clip_windows(clip: Clip) -> int:
    """Windows of a clip as it is."""
    return windows_of(clip.seconds, clip.people)


def taught_windows(clip: Clip) -> int:
    """Windows of what a clip teaches: of its segments, where it has any."""
    if not clip.segments:
        return clip_windows(clip)
    return sum(windows_of(segment.end - segment.start, clip.people) for segment in clip.segments)


def window_problem(clip: Clip, limit: int) -> str | None:
    """What is wrong with the size of a clip, or None.

    Segments may overlap, so they are counted as well; each of them may take one window beyond the limit.
    """
    found = clip_windows(clip)
    if found <= limit and taught_windows(clip) <= limit + len(clip.segments) * clip.people:
        return None
    found = max(found, taught_windows(clip))
    length = f"{clip.seconds:.6g} s and {clip.people} {'person' if clip.people == 1 else 'people'}"
    return (
        f"{found} windows of {WINDOW_SECONDS:g} s ({length}); max_windows is {limit}: send fewer frames or people, "
        "check fps, or use /predict/segments for a long clip of one person"
    )


def require_few_windows(clip: Clip, limit: int, prefix: str = "") -> None:
    """Refuse a clip that takes too many windows.

    Raises:
        TooLarge: It does.
    """
    message = window_problem(clip, limit)
    if message is not None:
        loc = f"{prefix}.keypoints" if prefix else "keypoints"
        row = {"loc": loc, "rule": "too_many_windows", "message": message}
        raise errors.TooLarge(f"{loc}: {message}", errors=[row])


async def admit(request: Request, gateway: GatewayContext, tenant: str) -> None:
    """Charge a request one unit of its tenant's rate; the answer's ``RateLimit`` header says what is left.

    Raises:
        RateLimited: Nothing is left.
    """
    limiter = gateway.rate_limits
    if not limiter.enabled:
        return
    try:
        request.state.rate = await run_in_predict_pool(limiter.check, tenant)
    except errors.RateLimited as error:
        request.state.rate = limiter.exhausted(error.retry_after or 1.0)
        raise


async def charge(request: Request, gateway: GatewayContext, tenant: str, windows: int) -> None:
    """Charge an admitted request what it costs beyond the unit that ``admit`` has charged."""
    if windows > 1 and gateway.rate_limits.enabled:
        status: RateStatus | None = await run_in_predict_pool(gateway.rate_limits.charge, tenant, windows - 1)
        request.state.rate = status
