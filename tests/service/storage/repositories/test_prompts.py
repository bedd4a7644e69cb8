import threading

import pytest

from service.errors import InvalidRequest, LostLease, NoActivePrompt, StorageUnavailable, VersionActive, VersionNotFound
from service.storage.blobs.paths import prompt_blob
from service.storage.records import JobState
from skeleton_prompt.model.prompt_file import digest, load_prompt
from tests.support.storage_fixtures import BACKBONE, LABELS, claimed, prompt_file, publish, teach


def test_a_published_version_is_read_back_as_it_was_written(mine):
    ref = teach(mine)
    data = mine.prompt_bytes(ref.version)
    assert digest(data) == ref.sha256
    assert load_prompt(data, sha256=ref.sha256).tenant == mine.tenant
    record = mine.get_prompt(ref.version)
    assert (record.labels, record.backbone_sha256, record.bytes, record.active) == (LABELS, BACKBONE, len(data), True)
    assert mine.get_report(ref.version) == {"note": "made by a test"}
    assert record.metrics == {"accuracy": 0.9}


def test_publishing_twice_gives_one_version_and_one_file(storage, mine):
    job = claimed(mine)
    version = mine.next_version(job.id, job.token)
    assert publish(mine, job, version) == publish(mine, job, version)
    assert len(mine.list_prompts().items) == 1
    assert len(storage.blobs.names(f"tenants/{mine.tenant}/prompts")) == 1


def test_a_second_attempt_replaces_what_an_attempt_that_died_before_its_canary_left(storage, mine):
    job = claimed(mine)
    version = mine.next_version(job.id, job.token)
    publish(mine, job, version, prompt_file(mine.tenant, version, seed=1))
    second = publish(mine, job, version, prompt_file(mine.tenant, version, seed=2))
    assert [record.sha256 for record in mine.list_prompts().items] == [second.sha256]
    assert len(storage.blobs.names(f"tenants/{mine.tenant}/prompts")) == 1


def test_an_active_version_is_never_replaced(mine):
    job = claimed(mine)
    version = mine.next_version(job.id, job.token)
    first = publish(mine, job, version, prompt_file(mine.tenant, version, seed=1))
    mine.activate(version, job_id=job.id, token=job.token)
    publish(mine, job, version, prompt_file(mine.tenant, version, seed=2))
    assert mine.active_prompt().sha256 == first.sha256


def test_a_publication_that_crossed_an_erasure_leaves_no_file(storage, mine, monkeypatch):
    job = claimed(mine)
    version = mine.next_version(job.id, job.token)
    write = storage.blobs.write

    def erase_then_write(name: str, data: bytes) -> None:
        storage.admin.delete_tenant(mine.tenant)
        write(name, data)

    monkeypatch.setattr(storage.blobs, "write", erase_then_write)
    with pytest.raises(LostLease):
        publish(mine, job, version)
    assert storage.blobs.names(f"tenants/{mine.tenant}") == []


def test_rollback_goes_back_one_activation_at_a_time(mine):
    first, second, third = (teach(mine).version for _ in range(3))
    mine.activate(first)
    for expected in (third, second, first):
        mine.rollback()
        assert mine.active_prompt().version == expected
    with pytest.raises(NoActivePrompt):
        mine.rollback()
    assert mine.active_prompt().version == first


def test_rollback_skips_versions_that_were_deleted(mine):
    first, second, third = (teach(mine).version for _ in range(3))
    mine.delete_prompt(second)
    mine.rollback()
    assert mine.active_prompt().version == first
    assert third in [record.version for record in mine.list_prompts().items]


def test_activating_the_active_version_again_does_not_lose_the_one_before(mine):
    first, second = teach(mine).version, teach(mine).version
    mine.activate(second)
    mine.activate(second)
    mine.rollback()
    assert mine.active_prompt().version == first


def test_the_active_version_cannot_be_deleted_and_another_one_can(storage, mine):
    first, second = teach(mine), teach(mine)
    with pytest.raises(VersionActive):
        mine.delete_prompt(second.version)
    mine.delete_prompt(first.version)
    with pytest.raises(VersionNotFound):
        mine.get_prompt(first.version)
    assert storage.blobs.names(f"tenants/{mine.tenant}/prompts") == [prompt_blob(second)]


def test_a_version_number_is_never_given_twice_even_after_a_deletion(mine):
    teach(mine)
    last = teach(mine, activate=False)
    mine.delete_prompt(last.version)
    assert teach(mine).version == last.version + 1


def test_nothing_can_be_done_with_a_version_that_is_not_there(mine, other):
    foreign = teach(other).version + 5
    for _ in range(5):
        teach(other)
    assert other.get_prompt(foreign).version == foreign
    said = []
    for version in (foreign, 10**6):
        for act in (mine.get_prompt, mine.get_report, mine.activate, mine.delete_prompt, mine.prompt_bytes):
            with pytest.raises(VersionNotFound) as refused:
                act(version)
            said.append(refused.value.problem("same"))
    assert all(words == said[0] for words in said)
    assert mine.active_prompt() is None


def test_versions_are_paged_newest_first(mine):
    made = [teach(mine).version for _ in range(5)]
    page = mine.list_prompts(limit=3)
    rest = mine.list_prompts(limit=3, after=page.next)
    assert [record.version for record in page.items + rest.items] == made[::-1]
    assert [record.active for record in page.items + rest.items] == [True, False, False, False, False]
    with pytest.raises(InvalidRequest):
        mine.list_prompts(after="newest")


def test_a_version_whose_file_is_missing_says_so(storage, mine):
    ref = teach(mine)
    storage.blobs.delete(prompt_blob(ref))
    with pytest.raises(StorageUnavailable, match="missing"):
        mine.prompt_bytes(ref.version)


def test_the_pointer_moves_at_once_for_every_reader(storage, mine):
    first, second = teach(mine).version, teach(mine).version
    _, secret = mine.create_key()
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            found = storage.admin.resolve_prediction(secret).ref
            if found.sha256 != shas[found.version]:
                wrong.append(found)

    shas = {version: mine.get_prompt(version).sha256 for version in (first, second)}
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(30):
        version = first if n % 2 else second
        mine.activate(version)
        assert storage.admin.resolve_prediction(secret).ref.version == version
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_ended_badly_after_publishing_leaves_no_version_and_no_file(storage, mine, state):
    before = teach(mine)
    job = claimed(mine)
    publish(mine, job, mine.next_version(job.id, job.token))
    mine.finish_job(job.id, job.token, state, error="the canary differed")
    assert mine.get_job(job.id).version is None
    assert [record.version for record in mine.list_prompts().items] == [before.version]
    assert storage.blobs.names(f"tenants/{mine.tenant}") == [prompt_blob(before)]


def test_a_version_that_predicts_already_stays_whatever_its_job_comes_to(mine):
    job = claimed(mine)
    version = mine.next_version(job.id, job.token)
    publish(mine, job, version)
    mine.activate(version, job_id=job.id, token=job.token)
    mine.finish_job(job.id, job.token, JobState.FAILED, error="lost its disk")
    assert mine.active_prompt().version == version
    assert mine.prompt_bytes(version)
