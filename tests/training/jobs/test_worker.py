import threading
from collections.abc import Iterator
from pathlib import Path

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Retries, TimeLimit

from service.jobs.queue import ACTOR, QUEUE, UPGRADE
from service.settings import Settings
from service.storage.records import JobState
from service.storage.store import Storage
from tests.support.polling import eventually
from tests.support.recordings import clips, open_storage, workplace
from training.jobs.worker import NoQueue, declare_actor, main


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = open_storage(tmp_path / "data")
    yield opened
    opened.close()


def test_a_message_by_name_makes_the_worker_run_the_job(storage: Storage) -> None:
    broker = StubBroker(middleware=[TimeLimit(), Retries()])
    declare_actor(broker, workplace(storage))
    tenant = storage.tenant("acme")
    job = tenant.create_job(tenant.add_clips(clips(2), source="tune"), {}).id
    broker.enqueue(dramatiq.Message(queue_name=QUEUE, actor_name=ACTOR, args=("acme", job), kwargs={}, options={}))
    worker = dramatiq.Worker(broker, worker_threads=1)
    worker.start()
    try:
        eventually(lambda: tenant.get_job(job).state.final, "the job is done")
    finally:
        worker.stop()
        broker.close()
    assert tenant.get_job(job).state == JobState.SUCCEEDED


def test_tenants_jobs_go_before_those_that_nobody_asked_for(storage: Storage) -> None:
    broker = StubBroker(middleware=[TimeLimit(), Retries()])
    declare_actor(broker, workplace(storage))
    asked, unasked = broker.get_actor(ACTOR), broker.get_actor(UPGRADE)
    assert (asked.queue_name, unasked.queue_name) == (QUEUE, UPGRADE)
    assert asked.priority < unasked.priority, "of a worker's messages the lower number goes first"


def test_a_worker_without_redis_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(NoQueue, match="SKELETON_PROMPT_REDIS_URL"):
        main(Settings(data_dir=tmp_path))


def test_the_lease_is_renewed_while_a_job_runs_and_lost_when_another_takes_it(storage: Storage) -> None:
    from service.errors import LostLease
    from training.jobs.lease import Lease

    tenant = storage.tenant("acme")
    queued = tenant.create_job(tenant.add_clips(clips(1), source="tune"), {})
    job = tenant.claim_job(queued.id, "worker-1")
    assert job is not None
    with Lease(tenant, job, lease_s=0.15, max_seconds=60, stopping=threading.Event()) as lease:
        lease.check()
        tenant.release(job.id, job.token)

        def lost() -> bool:
            try:
                lease.check()
            except LostLease:
                return True
            return False

        assert eventually(lost, "the loss is noticed")
