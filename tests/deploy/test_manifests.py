"""The manifests are what their schemas ask for, safe by default, and agree with the sidecar's settings and routes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sidecar.settings import Settings

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
WAYS = sorted(path.parent.name for path in K8S.glob("*/kustomization.yaml"))
# the oldest with sidecar containers on by default, and the newest that is known
VERSIONS = ("1.30", kubernetes_validate.latest_version())
LIVE, READY = "/_sidecar/health/live", "/_sidecar/health/ready"
SECRETS = {"SIDECAR_SECRET_KEY", "SIDECAR_ELASTICSEARCH_API_KEY", "SIDECAR_ELASTICSEARCH_PASSWORD"}
MERGED_BY_NAME = {"containers", "initContainers", "volumes"}

Resource = dict[str, Any]


def rendered(way: str) -> list[Resource]:
    """The resources of one kustomization with its patches applied."""
    folder = K8S / way
    kustomization = load(folder / "kustomization.yaml")
    resources = [part for name in kustomization["resources"] for part in load_all(folder / name)]
    for patch in kustomization.get("patches", []):
        change = load(folder / patch["path"])
        targets = [one for one in resources if identity(one) == identity(change)]
        assert len(targets) == 1, f"{patch['path']} changes {identity(change)}, which is not among the resources"
        resources[resources.index(targets[0])] = merged(targets[0], change)
    return resources


def merged(base: Any, change: Any) -> Any:
    """`change` laid over `base` as Kubernetes' strategic merge does: named lists element by element."""
    if not (isinstance(base, dict) and isinstance(change, dict)):
        return change
    result = dict(base)
    for key, value in change.items():
        if key in MERGED_BY_NAME:
            by_name = {item["name"]: item for item in base.get(key, [])}
            by_name |= {item["name"]: merged(by_name.get(item["name"]), item) for item in value}
            result[key] = list(by_name.values())
        else:
            result[key] = merged(base.get(key), value)
    return result


def load(path: Path) -> Resource:
    (resource,) = load_all(path)
    return resource


def load_all(path: Path) -> list[Resource]:
    return [part for part in yaml.safe_load_all(path.read_text()) if part]


def identity(resource: Resource) -> tuple[str, str]:
    return resource["kind"], resource["metadata"]["name"]


def pod_of(way: str) -> Resource:
    (pod,) = (one["spec"]["template"]["spec"] for one in rendered(way) if "template" in one.get("spec", {}))
    return dict(pod)


def containers_of(pod: Resource) -> list[Resource]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def sidecar_of(pod: Resource) -> Resource:
    (container,) = (one for one in containers_of(pod) if one["name"] == "sidecar")
    return dict(container)


def settings_of(way: str) -> dict[str, Any]:
    """The variables of the sidecar's container; those out of a Secret have the name of its key as value."""
    container = sidecar_of(pod_of(way))
    maps = {one["metadata"]["name"]: one["data"] for one in rendered(way) if one["kind"] == "ConfigMap"}
    values: dict[str, Any] = {}
    for source in container.get("envFrom", []):
        values |= maps[source["configMapRef"]["name"]]
    for variable in container.get("env", []):
        values[variable["name"]] = variable.get("value") or variable["valueFrom"]["secretKeyRef"]["key"]
    return values


def probed_path(probe: Resource) -> str:
    if "httpGet" in probe:
        return str(probe["httpGet"]["path"])
    found = re.search(r"http://127\.0\.0\.1:9800(/[^\"]+)", " ".join(probe["exec"]["command"]))
    assert found is not None, probe
    return found[1]


def test_there_is_a_manifest_for_each_way_of_running() -> None:
    assert WAYS == ["beside-application", "beside-elasticsearch", "standalone"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", WAYS)
def test_resources_fit_the_schema_of_kubernetes(way: str, version: str) -> None:
    resources = rendered(way)
    assert resources
    for resource in resources:
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_schema_check_notices_a_misspelt_field() -> None:
    (deployment,) = (one for one in rendered("standalone") if one["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


@pytest.mark.parametrize("way", WAYS)
def test_every_file_belongs_to_its_kustomization(way: str) -> None:
    kustomization = load(K8S / way / "kustomization.yaml")
    named = {*kustomization["resources"], *(patch["path"] for patch in kustomization.get("patches", []))}
    assert named == {path.name for path in (K8S / way).iterdir()} - {"kustomization.yaml"}


@pytest.mark.parametrize("way", WAYS)
def test_selectors_find_their_pods(way: str) -> None:
    resources = rendered(way)
    (workload,) = (one for one in resources if "template" in one.get("spec", {}))
    labels = workload["spec"]["template"]["metadata"]["labels"].items()
    for resource in resources:
        selector = resource.get("spec", {}).get("selector", {})
        assert selector.get("matchLabels", selector).items() <= labels
    ports = {port["name"] for one in containers_of(pod_of(way)) for port in one.get("ports", [])}
    services = [one for one in resources if one["kind"] == "Service"]
    assert {port["targetPort"] for one in services for port in one["spec"]["ports"]} <= ports


@pytest.mark.parametrize("way", WAYS)
def test_the_sidecar_is_probed_and_ends_in_time(way: str) -> None:
    pod = pod_of(way)
    container = sidecar_of(pod)
    assert probed_path(container["startupProbe"]) == LIVE
    assert probed_path(container["livenessProbe"]) == LIVE
    assert probed_path(container["readinessProbe"]) == READY
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    in_flight = Settings.model_fields["shutdown_timeout"].default
    assert pod["terminationGracePeriodSeconds"] > pause + in_flight


@pytest.mark.parametrize("way", WAYS)
def test_a_listener_on_loopback_is_probed_from_inside(way: str) -> None:
    container = sidecar_of(pod_of(way))
    probes = [container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    inside = settings_of(way)["SIDECAR_HOST"] == "127.0.0.1"
    assert all(("exec" in probe) == inside for probe in probes)


@pytest.mark.parametrize("way", WAYS)
def test_containers_are_confined_and_have_resources(way: str) -> None:
    pod = pod_of(way)
    shared = pod.get("securityContext", {})
    for container in containers_of(pod):
        context = {**shared, **container["securityContext"]}
        assert context["runAsNonRoot"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
    assert sidecar_of(pod)["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("way", WAYS)
def test_what_the_sidecar_writes_is_a_volume(way: str) -> None:
    pod = pod_of(way)
    mounts = {mount["mountPath"]: mount["name"] for mount in sidecar_of(pod)["volumeMounts"]}
    assert {settings_of(way)["SIDECAR_DATA_DIR"], "/tmp"} <= mounts.keys()
    assert set(mounts.values()) <= {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("way", WAYS)
def test_variables_are_settings_and_secrets_come_from_a_secret(way: str) -> None:
    values = settings_of(way)
    assert_settings(values)
    literal = {one["name"] for one in sidecar_of(pod_of(way)).get("env", []) if "value" in one}
    assert not SECRETS & literal
    assert values["SIDECAR_SECRET_KEY"] == "secret-key"
    # the names of a Service would otherwise come as SIDECAR_PORT=tcp://... and the like
    assert pod_of(way)["enableServiceLinks"] is False


@pytest.mark.parametrize("way", WAYS)
def test_images_are_pinned(way: str) -> None:
    assert all(is_pinned(container["image"]) for container in containers_of(pod_of(way)))


def compose() -> Resource:
    return load(ROOT / "docker-compose.yml")


def compose_services() -> Iterator[tuple[str, Resource]]:
    yield from compose()["services"].items()


def test_compose_has_elasticsearch_the_sidecar_and_a_one_shot() -> None:
    services = dict(compose_services())
    assert services.keys() == {"elasticsearch", "sidecar", "fill-demo"}
    assert services["fill-demo"]["restart"] == "no"
    assert services["fill-demo"]["image"] == services["sidecar"]["image"]
    assert (ROOT / services["sidecar"]["build"] / "Dockerfile").is_file()


def test_compose_services_wait_for_what_they_need() -> None:
    services = dict(compose_services())
    image_checks_itself = "HEALTHCHECK" in dockerfile()
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services
            assert needed != name
            assert how["condition"] == "service_healthy"
            assert "healthcheck" in services[needed] or ("build" in services[needed] and image_checks_itself)


def test_compose_publishes_on_loopback_only() -> None:
    published = [port for _, service in compose_services() for port in service.get("ports", [])]
    assert published
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)


def test_compose_images_are_pinned_and_volumes_declared() -> None:
    declared = set(compose()["volumes"])
    for _, service in compose_services():
        assert is_pinned(service["image"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in declared


def test_compose_variables_are_settings() -> None:
    for name, service in compose_services():
        if name != "elasticsearch":
            assert_settings(service["environment"])


def dockerfile() -> str:
    """The Dockerfile with its continued lines joined."""
    return (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


def instructions(name: str) -> list[str]:
    lines = dockerfile().splitlines()
    return [line.strip().removeprefix(f"{name} ") for line in lines if line.strip().startswith(f"{name} ")]


def final_stage() -> str:
    return re.split(r"(?m)^FROM ", dockerfile())[-1]


def test_the_image_is_built_in_two_stages_from_slim_python() -> None:
    stages = instructions("FROM")
    assert len(stages) == 2
    assert all(re.match(r"python:3\.\d+-slim\b", stage) for stage in stages)
    assert "pip install" not in final_stage()


def test_the_image_runs_as_an_ordinary_user_given_as_a_number() -> None:
    (user,) = instructions("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert final_stage().index("USER ") < final_stage().index("ENTRYPOINT ")


def test_the_image_checks_its_readiness_and_keeps_its_data_in_a_volume() -> None:
    (check,) = instructions("HEALTHCHECK")
    assert READY in check
    values = dict(part.split("=", 1) for part in shlex.split(" ".join(instructions("ENV"))))
    sidecar = {name: value for name, value in values.items() if name.startswith("SIDECAR_")}
    assert_settings(sidecar)
    assert sidecar["SIDECAR_HOST"] == "0.0.0.0"
    assert instructions("VOLUME") == [sidecar["SIDECAR_DATA_DIR"]]
    assert instructions("EXPOSE") == [sidecar["SIDECAR_PORT"]]


def test_the_build_sees_no_more_than_the_package() -> None:
    rules = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in rules
    assert {"!pyproject.toml", "!README.md", "!sidecar"} <= set(rules)
    assert not {"!.env", "!.git", "!.venv", "!data"} & set(rules)


def assert_settings(values: dict[str, Any]) -> None:
    known = {f"SIDECAR_{name.upper()}" for name in Settings.model_fields}
    assert values.keys() <= known
    plain = {name.removeprefix("SIDECAR_").lower(): value for name, value in values.items() if name not in SECRETS}
    Settings(**{"_env_file": None, **plain})


def is_pinned(image: str) -> bool:
    tag = image.rpartition(":")[2]
    return tag not in {image, "latest"}
