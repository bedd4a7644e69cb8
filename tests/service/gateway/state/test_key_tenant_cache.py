import pytest

from service.gateway.state import key_tenant_cache
from service.gateway.state.key_tenant_cache import KeyTenantCache


def test_a_caller_is_known_by_the_key_that_was_good_last():
    known = KeyTenantCache()
    assert known.tenant_of("sp_a") is None
    known.remember("sp_a", "acme")
    known.remember("sp_b", "other")
    known.remember("sp_a", "moved")
    assert (known.tenant_of("sp_a"), known.tenant_of("sp_b")) == ("moved", "other")


def test_no_key_is_held_and_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(key_tenant_cache, "MAX_KEYS", 2)
    known = KeyTenantCache()
    for name in ("a", "b", "a", "c"):
        known.remember(f"sp_secret_{name}", name)
    assert [known.tenant_of(f"sp_secret_{name}") for name in "abc"] == ["a", None, "c"]
    assert "secret" not in repr(vars(known))
