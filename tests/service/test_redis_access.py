"""Redis with users and TLS: what each part may do there, and what is said when it may not be reached."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from service.jobs.queue import JobQueue, make_broker
from service.redis_client import connect, describe_error
from service.settings import Settings
from service.storage.prompt_cache.redis_tier import PromptEvent, RedisPromptCache, redis_key
from service.storage.prompt_cache.subscriber import PromptEventSubscriber
from skeleton_prompt.model.prompt_file import PromptRef, digest
from tests.support.polling import eventually
from tests.support.redis_server import RedisServer, redis_server
from tests.support.tls_relay import Authority, tls_relay

pytestmark = pytest.mark.services

SCRIPT = Path(__file__).parents[2] / "docker" / "redis" / "start.sh"
DATA = b"a prompt"
REF = PromptRef("acme", 3, digest(DATA))


def users() -> dict[str, str]:
    """The rules that the containers give each user, by name."""
    found = re.findall(r"^user (\w+) on #\S+ \S+ (.*)$", SCRIPT.read_text(), flags=re.M)
    return dict(found)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis whose users are those of the containers; each one's password is its name."""
    file = tmp_path_factory.mktemp("acl") / "users.acl"
    lines = [f"user {name} on >{name} resetchannels {rules}" for name, rules in users().items()]
    file.write_text("\n".join(["user default on nopass ~* &* +@all", *lines, ""]))
    with redis_server(aclfile=str(file)) as server:
        yield server


def address(server: RedisServer, user: str) -> str:
    return f"unix://{user}:{user}@{server.folder.socket}"


def test_the_containers_have_a_user_for_each_part_and_none_for_anybody_else() -> None:
    assert sorted(users()) == ["engine", "gateway", "worker"]
    assert "user default off" in SCRIPT.read_text()


def test_a_worker_publishes_what_the_engine_and_the_gateway_read(guarded: RedisServer) -> None:
    RedisPromptCache(connect(address(guarded, "worker"), 1.0)).publish(REF, DATA)
    for user in ("engine", "gateway"):
        assert RedisPromptCache(connect(address(guarded, user), 1.0)).get(REF) == DATA


def test_a_gateway_hears_what_a_worker_publishes(guarded: RedisServer) -> None:
    heard: list[PromptEvent] = []
    news = PromptEventSubscriber(address(guarded, "gateway"), heard.append)
    news.start()
    try:
        eventually(lambda: news.listening, "it listens")
        RedisPromptCache(connect(address(guarded, "worker"), 1.0)).announce(PromptEvent("acme", REF))
        eventually(lambda: heard, "it hears")
    finally:
        news.stop()
    assert heard == [PromptEvent("acme", REF)]


def test_a_gateway_sends_jobs_and_a_worker_takes_them(guarded: RedisServer) -> None:
    queue = JobQueue(address(guarded, "gateway"))
    assert queue.send("acme", "a-job")
    broker = make_broker(address(guarded, "worker"))
    consumer = broker.consume("tune", prefetch=1, timeout=1000)
    message = next(consumer)
    assert message.kwargs | {"args": message.args} == {"args": ("acme", "a-job")}
    consumer.ack(message)
    queue.close()
    broker.close()


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "sp:jobs:tune.msgs"),
        ("KEYS", "*"),
        ("PUBLISH", "sp:prompts", "x"),
        ("CONFIG", "GET", "*"),
        ("FLUSHALL",),
        ("ACL", "LIST"),
    ],
)
def test_an_engine_may_do_nothing_but_keep_prompts(guarded: RedisServer, command: tuple[str, ...]) -> None:
    client = connect(address(guarded, "engine"), 1.0)
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)


@pytest.mark.parametrize("user", ["gateway", "worker"])
@pytest.mark.parametrize("command", [("CONFIG", "GET", "*"), ("FLUSHALL",), ("ACL", "LIST"), ("GET", "another:key")])
def test_nobody_may_change_redis_or_read_what_is_not_ours(
    guarded: RedisServer, user: str, command: tuple[str, ...]
) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        connect(address(guarded, user), 1.0).execute_command(*command)


def test_a_role_that_may_only_read_prompts_is_not_asked_to_write_them(guarded: RedisServer) -> None:
    with guarded.client() as admin:
        admin.execute_command("ACL", "SETUSER", "reader", "on", ">reader", "~sp:prompt:*", "+get")
    shelf = RedisPromptCache(connect(address(guarded, "reader"), 1.0))
    assert not shelf.put(REF, DATA)
    RedisPromptCache(connect(address(guarded, "worker"), 1.0)).put(REF, DATA)
    assert shelf.get(REF) == DATA


def test_a_wrong_password_is_said_without_saying_it(guarded: RedisServer) -> None:
    client = connect(f"unix://gateway:secret-word@{guarded.folder.socket}", 1.0)
    with pytest.raises(redis.RedisError) as refused:
        client.ping()
    assert describe_error(refused.value) == "it does not accept the user and password of SKELETON_PROMPT_REDIS_URL"


def test_what_is_evicted_or_flushed_is_only_slower(guarded: RedisServer) -> None:
    shelf = RedisPromptCache(connect(address(guarded, "worker"), 1.0))
    shelf.put(REF, DATA)
    with guarded.client() as admin:
        assert 0 < admin.ttl(redis_key(REF)) <= 24 * 3600  # without an end, volatile-lru would never evict it
        admin.flushall()
    assert shelf.get(REF) is None


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def settings(port: int, authority: Authority | None = None, *, client: bool = False, **more: object) -> Settings:
    files = {"redis_ca_file": authority.ca} if authority else {}
    if authority and client:
        files |= {"redis_cert_file": authority.certificate, "redis_key_file": authority.key}
    return Settings(redis_url=f"rediss://localhost:{port}/0", **files, **more)  # type: ignore[arg-type]


def why_not(chosen: Settings) -> str:
    with pytest.raises(redis.RedisError) as refused:
        connect(str(chosen.redis_address), 5.0).ping()
    return describe_error(refused.value)


def test_with_the_authority_and_a_client_certificate_redis_answers_over_tls(
    guarded: RedisServer, authority: Authority
) -> None:
    with tls_relay(guarded.folder.socket, authority.server_context("localhost", wants_client=True)) as port:
        chosen = settings(port, authority, client=True)
        client = connect(str(chosen.redis_address), 5.0)
        assert client.ping()
        client.close()
        assert JobQueue(chosen.redis_address).send("acme", "over-tls")


def test_a_server_that_nobody_vouches_for_is_not_spoken_to(guarded: RedisServer, authority: Authority) -> None:
    with tls_relay(guarded.folder.socket, authority.server_context("localhost", wants_client=False)) as port:
        assert why_not(settings(port)).startswith("its certificate is not accepted: ")


def test_a_certificate_for_another_host_is_refused_unless_told_otherwise(
    guarded: RedisServer, authority: Authority
) -> None:
    with tls_relay(guarded.folder.socket, authority.server_context("another.test", wants_client=False)) as port:
        assert "Hostname mismatch" in why_not(settings(port, authority))
        lax = settings(port, authority, redis_check_hostname=False)
        client = connect(str(lax.redis_address), 5.0)
        assert client.ping()
        client.close()


def test_files_of_tls_are_refused_where_nothing_would_use_them(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="goes with a REDIS_URL that begins with rediss://"):
        Settings(redis_url="redis://localhost", redis_ca_file=authority.ca)
    with pytest.raises(ValueError, match="holds no certificates in PEM format"):
        settings(1, None, redis_ca_file=authority.key)
    with pytest.raises(ValueError, match="cannot be read"):
        settings(1, None, redis_ca_file=tmp_path / "absent.pem")
    with pytest.raises(ValueError, match="goes with the certificate"):
        settings(1, authority, redis_key_file=authority.key)
