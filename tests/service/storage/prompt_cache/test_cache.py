import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.errors import BackboneMismatch, EngineUnavailable, VersionNotFound
from service.storage.blobs.filesystem import BlobStore
from service.storage.blobs.paths import prompt_blob
from service.storage.prompt_cache.cache import PromptCache, plain_loader, redis_key
from skeleton_prompt.model.prompt_file import PromptRef, digest, load_prompt
from tests.support.storage_fixtures import prompt_file


class Shelf(BlobStore):
    """A store that counts what is read from it."""

    def __init__(self, folder) -> None:
        super().__init__(str(folder))
        self.reads: list[str] = []

    def read(self, name: str) -> bytes:
        self.reads.append(name)
        return super().read(name)

    def put(self, tenant: str = "acme", version: int = 1, seed: int = 0) -> PromptRef:
        data = prompt_file(tenant, version, seed)
        ref = PromptRef(tenant, version, digest(data))
        self.write(prompt_blob(ref), data)
        return ref


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "blobs")


def test_a_prompt_comes_from_the_store_first_and_from_memory_then(shelf):
    cache, ref = PromptCache(shelf, None), shelf.put()
    first, layer = cache.get(ref)
    assert layer == "store"
    assert cache.get(ref) == (first, "memory")
    assert cache.peek(ref) is first
    assert len(shelf.reads) == 1


def test_the_prompt_used_longest_ago_leaves_when_there_are_too_many(shelf):
    cache = PromptCache(shelf, None, max_entries=2)
    a, b, c = (shelf.put(version=n) for n in (1, 2, 3))
    held, _ = cache.get(a)
    cache.get(b)
    cache.get(a)
    cache.get(c)
    assert cache.peek(b) is None
    assert cache.peek(a) is held
    assert cache.peek(c) is not None


def test_memory_is_bounded_in_bytes_and_a_prompt_given_out_stays_whole(shelf):
    refs = [shelf.put(version=n) for n in range(1, 6)]
    size = plain_loader(shelf.read(prompt_blob(refs[0])), refs[0]).nbytes
    cache = PromptCache(shelf, None, max_bytes=2 * size)
    held = [cache.get(ref)[0] for ref in refs]
    assert [cache.peek(ref) is not None for ref in refs] == [False, False, False, True, True]
    assert held[0].tensors["linear.weight"].shape == (2, 4)


def test_many_who_want_the_same_prompt_at_once_load_it_once(shelf):
    started, go, loads = threading.Event(), threading.Event(), []

    def slow(data: bytes, ref: PromptRef):
        loads.append(ref)
        started.set()
        assert go.wait(10)
        return plain_loader(data, ref)

    cache, ref = PromptCache(shelf, None, loader=slow), shelf.put()
    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(cache.get, ref)
        assert started.wait(10)
        rest = [pool.submit(cache.get, ref) for _ in range(15)]
        go.set()
        found = {id(future.result(10)[0]) for future in [first, *rest]}
    assert len(found) == 1
    assert len(loads) == 1


def test_one_who_fails_to_load_fails_all_who_wait_and_nobody_after(shelf):
    cache, ref = PromptCache(shelf, None), PromptRef("acme", 1, digest(prompt_file("acme", 1)))
    with pytest.raises(VersionNotFound):
        cache.get(ref)
    assert shelf.put() == ref
    assert cache.get(ref)[1] == "store"


def test_a_damaged_file_is_refused_and_the_repaired_one_is_used(shelf):
    cache, ref = PromptCache(shelf, None), shelf.put()
    sound = shelf.read(prompt_blob(ref))
    for damaged in (sound[:50], b"", sound[:-1] + bytes([sound[-1] ^ 1]), prompt_file("acme", 1, seed=5)):
        shelf.write(prompt_blob(ref), damaged)
        with pytest.raises(EngineUnavailable, match="damaged"):
            cache.get(ref)
    shelf.write(prompt_blob(ref), sound)
    assert cache.get(ref)[1] == "store"


def test_a_file_of_another_tenant_or_version_is_refused_though_its_hash_is_right(shelf):
    cache = PromptCache(shelf, None)
    data = prompt_file("acme", 1)
    for ref in (PromptRef("other", 1, digest(data)), PromptRef("acme", 2, digest(data))):
        shelf.write(prompt_blob(ref), data)
        with pytest.raises(EngineUnavailable):
            cache.get(ref)


def test_a_prompt_of_another_backbone_is_said_to_be_one(shelf):
    def strict(data: bytes, ref: PromptRef):
        return load_prompt(data, sha256=ref.sha256, backbone_sha256="f" * 64)

    with pytest.raises(BackboneMismatch):
        PromptCache(shelf, None, loader=strict).get(shelf.put())


def test_forgetting_a_tenant_drops_its_prompts_and_keeps_the_others(shelf):
    cache = PromptCache(shelf, None)
    mine, other = [shelf.put("acme", n) for n in (1, 2)], shelf.put("acme-2", 1)
    for ref in [*mine, other]:
        cache.get(ref)
    assert cache.forget("acme") == 2
    assert [cache.peek(ref) for ref in mine] == [None, None]
    assert cache.peek(other) is not None
    cache.erase([other])
    assert cache.peek(other) is None


def test_no_two_addresses_share_a_key_in_redis():
    sha = "a" * 64
    addresses = [("a", 11), ("a1", 1), ("a:1", 1), ("a:1:1", 1), ("1:a", 1), ("a", 1), ("b", 1)]
    keys = {redis_key(PromptRef(tenant, version, sha)) for tenant, version in addresses}
    keys.add(redis_key(PromptRef("a", 1, "b" * 64)))
    assert len(keys) == len(addresses) + 1
    assert all(key.startswith("sp:prompt:") and len(key) == 10 + 64 for key in keys)
