"""The whole service in one command: lock, socket, Redis, database, workers, gateway, and the way back down."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING

import structlog

from service.embedded.data_dir_lock import DataDirLock
from service.embedded.private_redis import PrivateDir, RedisDir, redis_child, wait_for_redis
from service.logs import configure_logging
from service.process.child import Child
from service.process.cores import limit_native_threads
from service.process.heartbeat import HeartbeatMonitor
from service.process.supervisor import Supervisor

if TYPE_CHECKING:
    import uvicorn

    from service.inference import InferenceEngine
    from service.inference.local.process_pool import EngineProcessPool
    from service.settings import Secrets, Settings

log = structlog.get_logger(__name__)

SERVER_FILE = "server.json"
MIN_STALE_S = 10.0  # without a heartbeat a busy worker lives that long
CHILDREN_GRACE_S = 4.0  # on top of shutdown_seconds (25): together under the 30 s that container runtimes grant


class CannotServe(RuntimeError):
    """The service cannot start; the message says why and what to do."""


def listen(host: str, port: int) -> socket.socket:
    """Bind the port before anything is started, so that a taken port costs nothing and leaves nothing behind.

    Raises:
        CannotServe: The address is taken, not ours, or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Uvicorn listens later, when the gateway is ready; listening here already makes a second bind fail.
        listener.listen(1024)
    except OSError as error:
        listener.close()
        reasons = {
            errno.EADDRINUSE: f"Port {port} on {host} is in use by another program",
            errno.EACCES: f"Port {port} needs more rights than this user has",
            errno.EADDRNOTAVAIL: f"{host} is not an address of this machine",
        }
        reason = reasons.get(error.errno or 0, f"Cannot listen on {host}:{port} ({error.strerror or error})")
        raise CannotServe(f"{reason}. Choose another with SKELETON_PROMPT_PORT, or --port and --host.") from error
    return listener


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment that makes a child's `Settings()` equal to these, without secrets that are not there already.

    Generated secrets travel as files in the data folder; an environment can be read out of /proc.
    """
    values = settings.model_dump(mode="json", exclude={"admin_key", "secret", "metrics_key"}, exclude_none=True)
    env = dict(os.environ)
    for name, value in values.items():
        env[f"SKELETON_PROMPT_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    # `python -m` would otherwise look for `training` in the current folder first, and users have folders of that name.
    env["PYTHONSAFEPATH"] = "1"
    return env


def worker_children(settings: Settings, folder: Path) -> list[Child]:
    """The training workers, not yet started.

    Args:
        settings: Of the service.
        folder: For the files that show that a worker lives; a worker that hangs is replaced.
    """
    # A worker authenticates nobody. Stand-ins, because without any it would make secrets of its own in the data folder.
    env = child_environment(settings)
    env.pop("SKELETON_PROMPT_METRICS_KEY", None)
    env |= {f"SKELETON_PROMPT_{name}": token_urlsafe(32) for name in ("ADMIN_KEY", "SECRET")}
    limit_native_threads(env)
    stale_s = max(MIN_STALE_S, settings.job_lease_seconds)
    children = []
    for number in range(1, settings.workers + 1):
        beat = folder / f"worker-{number}.heartbeat"
        command = [sys.executable, "-m", "training.jobs.worker", "--heartbeat", str(beat)]
        children.append(Child(f"worker-{number}", command, env=env, heartbeat=HeartbeatMonitor(beat, stale_s)))
    return children


def serve(settings: Settings) -> None:
    """Run the service until SIGTERM or Ctrl-C.

    Raises:
        CannotServe: The port is taken or Redis does not start.
        DatabaseUnusable: PostgreSQL cannot be used.
        DataDirBusy: Another process serves this data folder.
    """
    from service.settings import ensure_secrets

    configure_logging(settings.log_level, as_json=settings.log_json)
    settings = settings.resolved()
    data_dir = Path(settings.data_dir).resolve()
    with contextlib.closing(listen(settings.host, settings.port)) as listener, DataDirLock(data_dir), _stop_signals():
        log.info("starting", data_dir=str(data_dir), backbone=settings.backbone)
        secrets = ensure_secrets(settings)
        _prepare_database(settings)
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(RedisDir()) if settings.redis_url is None else None
            room = stack.enter_context(PrivateDir()) if _is_local_torchserve(settings) else None
            workers: list[Child] = []
            supervisor = Supervisor()
            supervisor.start()
            stack.callback(lambda: supervisor.stop(*workers, grace_s=CHILDREN_GRACE_S))
            processes = _start_engine_processes(settings)
            if processes is not None:
                stack.callback(processes.close)
            if folder is not None:
                settings = settings.model_copy(update={"redis_url": folder.url})
            # What takes long goes on side by side: TorchServe's archive and Java, Redis, and the gateway's modules.
            with ThreadPoolExecutor(1, thread_name_prefix="torchserve") as beside:
                starting = None if room is None else beside.submit(_start_torchserve, supervisor, settings, room)
                if folder is not None:
                    _start_redis(supervisor, folder)
                importlib.import_module("service.gateway.app")
                engine = None if starting is None else starting.result()
            workers += worker_children(settings, stack.enter_context(PrivateDir()).path)

            def on_ready() -> None:
                _announce(settings, secrets, listener, stack)
                # Workers come after the gateway: it has brought the database up to date, and on a small machine two
                # processes that load torch at once would both be late.
                for worker in workers:
                    supervisor.add(worker, timeout_s=0.0)

            _run_gateway(settings, engine, processes, listener, on_ready, on_drain=lambda: supervisor.retire(*workers))


def _prepare_database(settings: Settings) -> None:
    """Before anything is started, so that a database that cannot be used costs one line and leaves nothing behind."""
    from service.storage.store import Storage

    if str(settings.database_url).startswith("sqlite"):
        return  # the gateway makes it
    storage = Storage.open(settings)
    try:
        storage.prepare(settings.database_wait_seconds)
    finally:
        storage.close()
    log.info("database", place=storage.database_name)


def _start_redis(supervisor: Supervisor, folder: RedisDir) -> None:
    supervisor.add(redis_child(folder))
    if not wait_for_redis(folder.socket):
        raise CannotServe(f"The private Redis did not start: {folder.log_tail() or 'it said nothing'}")


def _start_engine_processes(settings: Settings) -> EngineProcessPool | None:
    """The embedded engine's processes, which load torch and the model while this one loads everything else."""
    from service.inference.local.process_pool import EngineProcessPool
    from skeleton_prompt.model.backbone_files import backbone_path

    if settings.engine != "embedded" or not settings.engine_processes:
        return None
    try:
        backbone_path(settings.backbone)
    except FileNotFoundError as error:
        raise CannotServe(f"{error} (SKELETON_PROMPT_BACKBONE)") from error
    processes = EngineProcessPool.of(settings)
    processes.start()
    return processes


def _is_local_torchserve(settings: Settings) -> bool:
    return settings.engine == "torchserve" and settings.engine_url is None


def _start_torchserve(supervisor: Supervisor, settings: Settings, folder: PrivateDir) -> InferenceEngine:
    """An engine on a local TorchServe, which is stopped after the gateway has drained."""
    from service.embedded.local_torchserve import NoTorchServe, local_torchserve
    from service.inference.torchserve.archive import ArchiveError
    from service.inference.torchserve.engine import TorchServeEngine

    try:
        local = local_torchserve(
            folder,
            child_environment(settings),
            backbone=settings.backbone,
            batch_size=settings.max_batch_size,
            queue_size=settings.max_queue_rows,
        )
    except (NoTorchServe, ArchiveError, FileNotFoundError) as error:
        raise CannotServe(str(error)) from error
    supervisor.add(local.child)
    return TorchServeEngine(
        [local.url],
        queue_size=settings.max_queue_rows,
        queue_seconds=settings.max_queue_wait_seconds,
        management_url=local.management_url,
    )


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that a stop during start-up also takes the children down in order.

    While uvicorn runs it has handlers of its own; after its drain it raises the signal again, which then lands here.
    """

    def stop(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_gateway(
    settings: Settings,
    engine: InferenceEngine | None,
    processes: EngineProcessPool | None,
    listener: socket.socket,
    on_ready: Callable[[], None],
    on_drain: Callable[[], None],
) -> None:
    import uvicorn
    from uvicorn.config import STARTUP_FAILURE

    from service.gateway.app import create_app
    from service.gateway.http.protocol import bounded

    class Server(uvicorn.Server):
        """Uvicorn that says when it is ready and when it begins to drain."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            log.info("draining", seconds=settings.shutdown_seconds)
            on_drain()
            await super().shutdown(sockets)

    config: uvicorn.Config = uvicorn.Config(
        create_app(settings, engine=engine, processes=processes),
        loop="uvloop",
        http=bounded(settings),
        log_config=None,  # its loggers propagate into ours
        access_log=False,
        server_header=False,
        # Longer than clients keep an idle connection (httpx: 5 s): else both may close and use it in the same moment.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.shutdown_seconds),
    )
    server = Server(config)
    try:
        server.run(sockets=[listener])
    except SystemExit as end:
        if end.code != STARTUP_FAILURE:
            raise
    if not server.started:
        failure = None if processes is None else processes.failure
        raise CannotServe(str(failure or "The gateway did not start; its log above says why."))


def _announce(settings: Settings, secrets: Secrets, listener: socket.socket, stack: contextlib.ExitStack) -> None:
    """Tell people on stderr, and other commands by a file in the data folder, where the service is."""
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # only read, to print a usable address
    url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    data_dir = Path(settings.data_dir).resolve()
    server_file = data_dir / SERVER_FILE
    server_file.write_text(json.dumps({"url": url, "pid": os.getpid(), "started": time.time()}))
    stack.callback(server_file.unlink, missing_ok=True)
    lines = [
        "",
        f"  Skeleton-Prompt is ready at  {url}",
        f"  console                      {url}/",
        f"  data                         {data_dir}",
        f"  admin key                    {data_dir / 'admin_key'}" if settings.admin_key is None else "",
        f"  shown this once              {secrets.admin_key.get_secret_value()}" if secrets.admin_key_generated else "",
        "  stop                         Ctrl-C",
        "",
    ]
    print(
        "\n".join(line for line in lines if line or line is lines[0] or line is lines[-1]), file=sys.stderr, flush=True
    )
