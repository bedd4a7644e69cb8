"""The compose file and the images: one door, nothing as root, nothing writable, nothing without an exact version."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.inference.torchserve import codec
from service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PINNED = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9-]+)?")
VARIABLE = re.compile(r"\$\{([A-Z_]+)(:[-?][^}]*)?\}")


def every(services: dict[str, dict[str, Any]] = SERVICES) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("service", services.values(), ids=services)


def own(name: str) -> bool:
    return str(SERVICES[name]["image"]).startswith("skeleton-prompt/")


def test_every_part_is_there_and_those_that_grow_twice():
    twice = {f"{part}-{number}" for part in ("gateway", "engine", "worker") for number in (1, 2)}
    assert set(SERVICES) == twice | {"proxy", "redis", "postgres", "prometheus", "grafana"}


def test_with_cuda_engines_and_nothing_else_have_a_gpu_and_compute_there():
    added: dict[str, Any] = yaml.safe_load((DOCKER / "compose.cuda.yml").read_text())["services"]
    assert set(added) == {"engine-1", "engine-2"}
    for name, service in added.items():
        assert set(service) == {"environment", "deploy"}, "all else comes from docker-compose.yml"
        device = Settings(device=service["environment"]["SKELETON_PROMPT_DEVICE"]).device
        (reserved,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == "cuda"
        assert reserved["capabilities"] == ["gpu"]
        assert reserved["device_ids"] == ["${" + name.upper().replace("-", "_") + "_GPU:-0}"]


def test_only_the_proxy_is_published_and_to_this_machine_unless_told_otherwise():
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"proxy"}
    assert SERVICES["proxy"]["ports"] == ["${PUBLISH:-127.0.0.1:8000}:8000"]
    assert not any("network_mode" in service for service in SERVICES.values())


@every()
def test_a_service_has_no_rights_that_it_does_not_need(service):
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert int(service["user"].partition(":")[0]) > 0


@every()
def test_an_image_has_an_exact_version(service):
    assert PINNED.fullmatch(service["image"]), service["image"]


@every()
def test_a_service_is_in_named_networks_and_starts_again(service):
    assert service["networks"]
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    assert service["restart"] == "unless-stopped"


def test_only_the_proxy_and_the_gateways_have_a_way_out():
    outside = {name for name, network in COMPOSE["networks"].items() if not (network or {}).get("internal")}
    assert outside == {"front"}
    assert {name for name, service in SERVICES.items() if "front" in service["networks"]} == {
        "proxy",
        "gateway-1",
        "gateway-2",
    }


def test_the_engines_port_is_reached_by_gateways_and_the_proxy_reaches_no_store():
    assert {name.partition("-")[0] for name, s in SERVICES.items() if "engines" in s["networks"]} == {
        "gateway",
        "engine",
    }
    assert not {"data", "engines"} & set(SERVICES["proxy"]["networks"])


@every({name: service for name, service in SERVICES.items() if own(name)})
def test_every_setting_of_a_container_is_one_of_the_service(service):
    names = {name for name in service["environment"] if name.startswith("SKELETON_PROMPT_")}
    assert names
    assert {name.removeprefix("SKELETON_PROMPT_").lower() for name in names} <= set(Settings.model_fields)


def test_every_setting_of_an_image_is_one_of_the_service():
    named = set(re.findall(r"SKELETON_PROMPT_([A-Z_]+)=", (DOCKER / "Dockerfile").read_text()))
    assert named >= {"HOST", "DATA_DIR", "BLOB_URL", "ENGINE"}
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_the_engine_knows_neither_database_nor_keys_and_may_not_write_blobs():
    for name in ("engine-1", "engine-2"):
        given = SERVICES[name]["environment"]
        assert not {key for key in given if key.endswith(("_KEY", "_SECRET", "DATABASE_URL"))}
        assert SERVICES[name]["volumes"] == ["blobs:/blobs:ro"]


def test_no_secret_has_a_default_and_the_example_names_them_all():
    text = (ROOT / "docker-compose.yml").read_text()
    example = dict(
        line.split("=", 1) for line in (DOCKER / ".env.example").read_text().splitlines() if not line.startswith("#")
    )
    secret = {name for name in example if name.endswith(("_KEY", "_SECRET", "_PASSWORD"))}
    assert not any(example[name] for name in secret)
    found = VARIABLE.findall(text)
    assert {name for name, _ in found} == set(example)
    for name, rest in found:
        assert rest.startswith(":?" if name in secret else ":-"), name


def test_a_made_environment_has_a_password_of_its_own_for_everything():
    def made() -> dict[str, str]:
        output = subprocess.run([DOCKER / "make-env.sh"], check=True, capture_output=True, text=True).stdout
        return dict(line.split("=", 1) for line in output.splitlines() if not line.startswith("#"))

    first, second = made(), made()
    secrets = [value for name, value in first.items() if name.endswith(("_KEY", "_SECRET", "_PASSWORD"))]
    assert len(secrets) == len(set(secrets)) == 8
    assert all(re.fullmatch("[0-9a-f]{64}", secret) for secret in secrets)
    assert not set(secrets) & set(second.values())


def test_the_images_are_built_in_stages_on_an_exact_base_and_run_as_nobody_in_particular():
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    base = next(line for line in lines if line.startswith("ARG PYTHON_IMAGE="))
    assert PINNED.fullmatch(base.removeprefix("ARG PYTHON_IMAGE="))
    stages = [line.split()[1:] for line in lines if line.startswith("FROM ")]
    targets = {stage[-1]: stage[0] for stage in stages}
    assert {"gateway", "engine", "worker"} <= set(targets)
    assert {targets[name] for name in ("gateway", "engine", "worker")} == {"runtime"}
    assert lines.index("USER 10001:10001") > lines.index("FROM ${PYTHON_IMAGE} AS runtime")
    assert not [line for line in lines if line.startswith("USER") and "10001" not in line]


def test_nothing_that_is_not_named_goes_into_an_image():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == sources
    assert all((ROOT / source).exists() for source in sources)


def test_every_file_that_is_mounted_exists():
    mounted = [v for service in SERVICES.values() for v in service.get("volumes", ()) if v.startswith("./")]
    assert len(mounted) >= 6
    for volume in mounted:
        source, _, mode = volume.split(":")
        assert (ROOT / source).exists(), source
        assert mode == "ro"


def test_the_engines_probe_names_the_header_that_the_handler_reads_letter_by_letter():
    source = (DOCKER / "probe_engine.py").read_text()
    assert f'"{codec.PROBE}"' in source
    assert "urllib" not in source.replace("Not urllib", ""), "it would write the name with a capital"
