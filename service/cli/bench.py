"""`skeleton-prompt bench`: how fast, at what cost, and how it behaves when it is too much."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import AsJson, UsageError, console, print_json

if TYPE_CHECKING:
    from service.bench.profile import BenchmarkPlan, Profile
    from service.bench.servers import Server

SCENARIOS = "throughput,latency,overload,tenants,start"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    out: Annotated[Path, typer.Option(help="Folder for results and generated data.")] = Path("runs/bench"),
    quick: Annotated[bool, typer.Option("--quick", help="A short run with rough figures.")] = False,
    engines: Annotated[str, typer.Option("--engine", help="embedded, torchserve, or both with a comma.")] = "embedded",
    only: Annotated[str, typer.Option(help=f"Some of {SCENARIOS}.")] = SCENARIOS,
    peers: Annotated[
        Path | None, typer.Option(help="Folder of other servers to measure too, such as benchmarks/peers.")
    ] = None,
    peer: Annotated[list[str] | None, typer.Option(help="Only these of them, by folder.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds per row.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Seconds per round.")] = None,
    clients: Annotated[int | None, typer.Option(min=1, help="Concurrent clients.")] = None,
    tenants: Annotated[int | None, typer.Option(min=1, help="Number of tenants in multi-tenant runs.")] = None,
    url: Annotated[str | None, typer.Option(help="Measure this service instead of starting one.")] = None,
    key: Annotated[str | None, typer.Option(envvar="SKELETON_PROMPT_KEY", help="A tenant's key, for --url.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure throughput, CPU, latency and overload; writes JSON, tables and a plot."""
    try:
        from service.bench import report, run
        from service.bench.profile import FULL, QUICK
    except ImportError as error:
        raise UsageError(f"The server is not installed ({error}): pip install 'skeleton-prompt[server]'") from error
    profile = QUICK if quick else FULL
    profile = replace(
        profile,
        rounds=rounds or profile.rounds,
        seconds=seconds or profile.seconds,
        clients=clients or profile.clients,
        tenants=tenants or profile.tenants,
    )
    order = order_of(profile, only, engines, folders(peers, peer or []), out)
    with progress(order.steps(), quiet=as_json) as say:
        result = run.elsewhere(elsewhere(url, key), profile, say) if url else run.run(order, say)
    paths = report.write(result, out)
    if as_json:
        print_json(result)
    else:
        console().print(report.tables(result), markup=False)
        console(stderr=True).print("\n".join(str(path) for path in paths))


def folders(peers: Path | None, names: Sequence[str]) -> tuple[Path, ...]:
    """The peers that are wanted: all in a folder, or those named.

    Raises:
        UsageError: One of them is not there.
    """
    if peers is None:
        if names:
            raise UsageError("--peer: say with --peers in which folder they are, such as benchmarks/peers")
        return ()
    there = {path.parent.name: path.parent for path in sorted(peers.glob("*/peer.json"))}
    missing = [name for name in names if name not in there]
    if missing or not there:
        raise UsageError(f"--peers {peers}: no {', '.join(missing) or 'peer'}; there are: {', '.join(there) or 'none'}")
    return tuple(there[name] for name in (names or there))


def order_of(profile: Profile, only: str, engines: str, peers: tuple[Path, ...], out: Path) -> BenchmarkPlan:
    """The order for a run.

    Raises:
        UsageError: There is no such scenario or engine.
    """
    from service.bench.profile import ENGINES, SCENARIOS, BenchmarkPlan

    def some(option: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
        wanted = tuple(word.strip() for word in text.split(",") if word.strip())
        unknown = [word for word in wanted if word not in known]
        if unknown or not wanted:
            raise UsageError(f"{option} {text}: there are {', '.join(known)}")
        return wanted

    data = (out / "data").resolve()
    return BenchmarkPlan(profile, some("--only", only, SCENARIOS), some("--engine", engines, ENGINES), peers, data)


def elsewhere(url: str, key: str | None) -> Server:
    """A service that runs already.

    Raises:
        UsageError: There is no key for it.
    """
    from service.bench.servers import Server

    if key is None:
        raise UsageError("A tenant's key is needed: give --key or set SKELETON_PROMPT_KEY.")
    return Server("service", f"{url.rstrip('/')}/predict", keys=[key], forms=("json", "msgpack"))


@contextmanager
def progress(steps: int, *, quiet: bool) -> Iterator[Callable[[str], object]]:
    """A bar on stderr that moves on with each thing it is told."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task("", total=steps)
        yield lambda text: bar.update(task, advance=1, description=text)
