"""Job messages through a real Redis, and the sweep that sends again what got lost."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest
import structlog

from service.jobs.queue import ACTOR, QUEUE, UPGRADE, JobQueue, make_broker
from service.jobs.requeue import RESEND_AFTER_S, LostJobRequeuer
from tests.support.redis_server import RedisServer, redis_server
from tests.support.storage_fixtures import claimed, storing, teach, tenant_of

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture
def storage(tmp_path):
    with storing(tmp_path) as opened:
        yield opened


@pytest.fixture
def queue(server):
    with server.client() as client:
        client.flushall()
    made = JobQueue(server.url)
    yield made
    made.close()


def received(server: RedisServer, queue: str = QUEUE) -> list[tuple]:
    """What a worker would get now."""
    broker = make_broker(server.url)
    consumer = broker.consume(queue, prefetch=100, timeout=50)
    found = []
    for message in consumer:
        if message is None:
            break
        assert message.actor_name == {QUEUE: ACTOR, UPGRADE: UPGRADE}[queue]
        found.append(tuple(message.args))
        consumer.ack(message)
    consumer.close()
    broker.client.close()
    return found


class Told:
    """A queue that takes notes."""

    def __init__(self, works: bool = True) -> None:
        self.works = works
        self.sent: list[tuple[str, str]] = []

    def send(self, tenant: str, job_id: str, kind: object = None) -> bool:
        if self.works:
            self.sent.append((tenant, job_id))
        return self.works


def age(storage, job_id: str, **columns: float | None) -> None:
    with storage.database.write() as connection:
        for name, value in columns.items():
            connection.exec_driver_sql(f"UPDATE jobs SET {name} = ? WHERE id = ?", (value, job_id))  # noqa: S608


def test_a_worker_receives_the_tenant_and_the_job(queue, server):
    job = uuid.uuid4().hex
    assert queue.send("acme", job)
    assert received(server) == [("acme", job)]


def test_a_job_that_nobody_asked_for_goes_to_a_queue_of_its_own(queue, server, storage):
    mine = tenant_of(storage)
    teach(mine)
    job = mine.create_backbone_upgrade(1, "c" * 64)
    assert LostJobRequeuer(storage, queue).run_once() == 1
    assert received(server) == []
    assert received(server, UPGRADE) == [(mine.tenant, job.id)]


def test_without_redis_nothing_is_sent_and_nothing_raised():
    assert not JobQueue(None).send("acme", "job")
    with structlog.testing.capture_logs() as lines:
        queue = JobQueue("unix:///tmp/there-is-no-such-socket.sock")
        assert not queue.send("acme", "job")
        queue.close()
    assert [line["log_level"] for line in lines] == ["warning"]


def test_a_redis_that_hangs_is_waited_for_no_longer_than_we_say(server):
    broker = make_broker(server.url, 0.25)
    options = broker.client.connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (0.25, 0.25)
    broker.client.close()


def test_a_job_whose_message_vanished_is_sent_again(storage, queue, server):
    mine = tenant_of(storage)
    job = mine.create_job([], {})
    queue.send(mine.tenant, job.id)
    with server.client() as client:
        client.flushall()
    sweeper = LostJobRequeuer(storage, queue)
    assert sweeper.run_once() == 0, "a young message may still be on its way"
    age(storage, job.id, sent=time.time() - RESEND_AFTER_S - 1)
    assert sweeper.run_once() == 1
    assert received(server) == [(mine.tenant, job.id)]
    assert sweeper.run_once() == 0


def test_a_job_whose_worker_fell_silent_is_sent_again(storage):
    mine, told = tenant_of(storage), Told()
    job = claimed(mine)
    sweeper = LostJobRequeuer(storage, told)
    assert sweeper.run_once() == 0
    now = time.time()
    age(storage, job.id, lease_until=now - 1, sent=now - 60)
    assert sweeper.run_once() == 1
    assert told.sent == [(mine.tenant, job.id)]
    assert sweeper.run_once() == 0
    assert mine.claim_job(job.id, "b").attempt == 2


def test_while_redis_is_away_jobs_wait_and_go_out_once_it_is_back(storage):
    mine = tenant_of(storage)
    jobs = [mine.create_job([], {}).id for _ in range(3)]
    for job_id in jobs:
        age(storage, job_id, sent=None)
    told = Told(works=False)
    sweeper = LostJobRequeuer(storage, told)
    assert sweeper.run_once() == 0
    told.works = True
    assert sweeper.run_once() == 3
    assert told.sent == [(mine.tenant, job_id) for job_id in jobs]


def test_a_finished_or_cancelled_job_is_never_sent_again(storage):
    mine, told = tenant_of(storage), Told()
    job = mine.create_job([], {})
    mine.cancel_job(job.id)
    age(storage, job.id, sent=1.0, lease_until=1.0)
    assert LostJobRequeuer(storage, told).run_once() == 0


def test_the_service_sends_to_workers_without_importing_them():
    code = "import sys, service.jobs.queue, service.jobs.requeue; "
    code += "print([m for m in sys.modules if m.startswith('training')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
