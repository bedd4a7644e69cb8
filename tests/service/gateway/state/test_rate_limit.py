"""What is bounded: how often a tenant may ask, and how much the gateway remembers."""

from types import SimpleNamespace

import numpy as np
import pytest

from service.errors import RateLimited
from service.gateway.state import recent_clips
from service.gateway.state.rate_limit import RateLimiter
from service.gateway.state.recent_clips import RecentClips
from service.gateway.state.recent_key_secrets import IdempotentSecretCache
from tests.support.gateway_app import gateway, lessons, person


def small(size=10):
    return SimpleNamespace(positions=np.zeros(size, np.float32), confidence=np.zeros(size, np.float32))


def test_without_the_setting_there_is_no_limit():
    limits = RateLimiter(None)
    assert not limits.enabled
    for _ in range(1000):
        limits.check("acme")


def test_one_tenant_at_its_limit_does_not_touch_another():
    limits = RateLimiter("3/minute")
    for _ in range(3):
        limits.check("busy")
    with pytest.raises(RateLimited) as caught:
        limits.check("busy")
    assert 1 <= caught.value.retry_after <= 61
    limits.check("calm")


def test_a_limit_whose_redis_is_away_limits_nobody():
    limits = RateLimiter("1/minute", "redis://127.0.0.1:1/0")
    for _ in range(3):
        limits.check("acme")


def test_a_limited_tenant_is_told_when_to_come_back(tmp_path):
    with gateway(tmp_path, rate_limit="2/minute") as bench:
        key = bench.tenant("acme")
        bench.teach("acme")
        answers = [bench.ask("POST", "/predict", key, json=person()) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].json()["code"] == "rate_limited"
        assert int(answers[2].headers["Retry-After"]) >= 1
        assert bench.ask("POST", "/tenants/acme/tune", key, json={"clips": lessons()}).status_code == 429
        assert bench.ask("GET", "/tenants/acme/jobs", key).status_code == 200


def test_recent_clips_are_bounded_by_number_and_by_size(monkeypatch):
    monkeypatch.setattr(recent_clips, "MAX_CLIPS", 3)
    monkeypatch.setattr(recent_clips, "MAX_BYTES", 1000)
    clips = RecentClips()
    for n in range(5):
        clips.add("acme", str(n), small())
    assert [clips.get("acme", str(n)) is not None for n in range(5)] == [False, False, True, True, True]
    clips.add("acme", "large", small(100))
    assert clips.get("acme", "4") is not None
    clips.add("acme", "larger", small(1000))
    assert clips.get("acme", "larger") is None
    assert clips.get("acme", "4") is None


def test_recent_clips_are_one_tenants_own_and_forgotten_with_it():
    clips = RecentClips()
    clips.add("acme", "r", small())
    clips.add("other", "r", small())
    assert clips.get("nobody", "r") is None
    clips.forget("acme")
    assert clips.get("acme", "r") is None
    assert clips.get("other", "r") is not None


def test_a_secret_is_replayed_until_its_key_is_revoked():
    secrets = IdempotentSecretCache()
    secrets.put("id", "secret")
    assert secrets.get("id") == "secret"
    secrets.forget("id")
    assert secrets.get("id") is None
