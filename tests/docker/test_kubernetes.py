"""The Kubernetes manifests: valid, without rights they do not need, with secrets only by reference, and complete."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import Settings

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
DOCUMENTS: list[dict[str, Any]] = [
    document for name in KUSTOMIZATION["resources"] for document in yaml.safe_load_all((FOLDER / name).read_text())
]
PARTS = {"gateway", "engine", "worker"}
SECRETS = {
    "admin-key",
    "secret",
    "metrics-key",
    "database-url",
    "redis-url-gateway",
    "redis-url-engine",
    "redis-url-worker",
}


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {document["metadata"]["name"]: document for document in DOCUMENTS if document["kind"] == kind}


def pod(part: str) -> dict[str, Any]:
    spec: dict[str, Any] = of_kind("Deployment")[part]["spec"]["template"]["spec"]
    return spec


def container(part: str) -> dict[str, Any]:
    (only,) = pod(part)["containers"]
    return dict(only)


@pytest.mark.parametrize("version", ["1.30", "1.33"])
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_a_document_fits_the_schema_and_has_no_field_that_it_does_not_know(document, version):
    kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelt_field_would_be_found():
    wrong = json.loads(json.dumps(of_kind("Deployment")["gateway"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.30", strict=True)


def test_every_file_of_the_folder_is_applied_except_the_adapters_values():
    files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", "prometheus-adapter.yaml"}
    assert set(KUSTOMIZATION["resources"]) == files


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_pod_may_do_nothing_that_it_need_not(part):
    assert pod(part)["securityContext"]["runAsNonRoot"] is True
    assert pod(part)["securityContext"]["runAsUser"] == 10001
    assert pod(part)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(part)["automountServiceAccountToken"] is False
    assert container(part)["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod(part))


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_part_has_probes_resources_a_budget_an_autoscaler_and_a_policy(part):
    assert {"startupProbe", "livenessProbe"} <= set(container(part))
    assert {"cpu", "memory"} <= set(container(part)["resources"]["requests"])
    assert "memory" in container(part)["resources"]["limits"]
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        selector = of_kind(kind)[part]["spec"].get("selector") or of_kind(kind)[part]["spec"]["podSelector"]
        assert selector["matchLabels"] == {"app.kubernetes.io/name": part}
    scaler = of_kind("HorizontalPodAutoscaler")[part]["spec"]
    assert scaler["scaleTargetRef"]["name"] == part
    assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]
    assert "replicas" not in of_kind("Deployment")[part]["spec"], "it would undo the autoscaler at each apply"


@pytest.mark.parametrize("part", sorted(PARTS))
def test_the_grace_period_is_longer_than_all_that_happens_in_it(part):
    pre_stop = container(part).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    drain = {"gateway": Settings().shutdown_seconds + 4, "worker": 20.0, "engine": 5.0}[part]
    assert pod(part)["terminationGracePeriodSeconds"] >= int(pre_stop[1]) + drain


def test_every_setting_exists_and_every_secret_is_a_reference():
    config = set(of_kind("ConfigMap")["skeleton-prompt"]["data"])
    named: set[str] = set()
    for part in PARTS:
        given = {variable["name"]: variable for variable in container(part)["env"]}
        for name, variable in given.items():
            setting = name.removeprefix("SKELETON_PROMPT_").lower()
            assert setting in Settings.model_fields, name
            if name.endswith(("_KEY", "_SECRET", "_URL")) and setting != "engine_url":
                reference = variable["valueFrom"]["secretKeyRef"]
                assert reference["name"] == "skeleton-prompt"
                named.add(reference["key"])
    assert named == SECRETS
    assert {name.removeprefix("SKELETON_PROMPT_").lower() for name in config} <= set(Settings.model_fields)
    page = (FOLDER.parents[1] / "docs" / "production.md").read_text()
    assert all(f"--from-literal={key}=" in page for key in SECRETS)


def test_an_engine_knows_neither_the_database_nor_a_key_and_cannot_write_blobs():
    given = {variable["name"].removeprefix("SKELETON_PROMPT_") for variable in container("engine")["env"]}
    assert given == {"REDIS_URL"}
    assert {mount["mountPath"]: mount.get("readOnly", False) for mount in container("engine")["volumeMounts"]} == {
        "/tmp": False,  # noqa: S108
        "/blobs": True,
    }


def test_ports_and_services_lead_to_containers():
    for service in of_kind("Service").values():
        part = service["spec"]["selector"]["app.kubernetes.io/name"]
        ports = {port["name"] for port in container(part)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    urls = next(v["value"] for v in container("gateway")["env"] if v["name"] == "SKELETON_PROMPT_ENGINE_URL")
    assert {url.removeprefix("http://").partition(":")[0] for url in urls.split(",")} <= set(of_kind("Service"))


def test_all_that_is_not_named_is_forbidden():
    policy = of_kind("NetworkPolicy")["nothing-else"]["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    to_engines = of_kind("NetworkPolicy")["engine"]["spec"]["ingress"][0]["from"]
    assert to_engines == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}]


def test_the_images_are_those_of_the_compose_file():
    services = yaml.safe_load((FOLDER.parents[1] / "docker-compose.yml").read_text())["services"]
    ours = {service["image"] for service in services.values() if service["image"].startswith("skeleton-prompt/")}
    assert {container(part)["image"] for part in PARTS} == ours
    assert {f"{image['name']}:{image['newTag']}" for image in KUSTOMIZATION["images"]} == ours
