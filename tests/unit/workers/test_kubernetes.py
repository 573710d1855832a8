"""What `cashup live render --kubernetes` writes: valid objects, references that resolve, and nothing that is secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import nbformat
import pytest
import yaml

from cashup.errors import DeploymentError, UsageError
from cashup.strategies.versions import read_version
from cashup.workers.kubernetes import GRACE_SECONDS, USER, Cluster, Pod, render
from cashup.workers.supervisor import KILL_AFTER

ROOT = Path(__file__).parents[3]
OLDEST, NEWEST = "1.31", "1.37"
CLUSTER = Cluster("registry.example/trading/cashup:1.2", "trading", "http://cashup-gateway.ops.svc:8700")


@pytest.fixture
def pods(tmp_path: Path) -> list[Pod]:
    return [
        _pod(tmp_path, "trend", "12345e678901", {"resources": {"memory_mb": 1024, "disk_mb": 100}}),
        _pod(tmp_path, "1e5"),
    ]


def _pod(folder: Path, name: str, version: str = "0123456789ab", spec: dict[str, Any] | None = None) -> Pod:
    frozen, toml = folder / "versions" / version, folder / f"{name}.toml"
    (frozen / "tools").mkdir(parents=True)
    cell = nbformat.v4.new_code_cell(f"print('{name}')", id="a")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), frozen / f"{name}.ipynb")
    (frozen / "version.json").write_text("{}")
    (frozen / "tools" / "signals.py").write_text("fast = 1\n")
    toml.write_text(f'notebook = "{name}.ipynb"\n')
    return Pod(name, toml, frozen, spec or {})


def built(files: dict[str, str]) -> list[dict[str, Any]]:
    """What `kustomize build overlay` makes of the files, as far as they use it."""
    top = yaml.safe_load(files["overlay/kustomization.yaml"])
    base = yaml.safe_load(files["base/kustomization.yaml"])
    assert set(top) <= {"apiVersion", "kind", "namespace", "resources", "images"}
    assert set(base) <= {"apiVersion", "kind", "resources", "configMapGenerator", "labels"}
    objects = [yaml.safe_load(files[f"base/{path}"]) for path in base["resources"]]
    objects += [_config_map(files, generator) for generator in base["configMapGenerator"]]
    labels = base["labels"][0]["pairs"]
    for item in objects:
        item["metadata"].setdefault("labels", {}).update(labels)
        if "template" in item.get("spec", {}):
            item["spec"]["template"]["metadata"]["labels"] |= labels
            for container in item["spec"]["template"]["spec"]["containers"]:
                _set_image(container, top["images"])
    assert top["resources"][-1] == "../base"
    objects += [yaml.safe_load(files[f"overlay/{path}"]) for path in top["resources"][:-1]]
    for item in objects:
        if item["kind"] != "Namespace":
            item["metadata"]["namespace"] = top["namespace"]
    return objects


def _config_map(files: dict[str, str], generator: dict[str, Any]) -> dict[str, Any]:
    data = dict(literal.split("=", 1) for literal in generator.get("literals", []))
    data |= {Path(path).name: files[f"base/{path}"] for path in generator.get("files", [])}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}


def _set_image(container: dict[str, Any], images: list[dict[str, str]]) -> None:
    (image,) = [image for image in images if image["name"] == container["image"]]
    container["image"] = f"{image['newName']}:{image['newTag']}"


@pytest.fixture
def objects(pods: list[Pod]) -> list[dict[str, Any]]:
    return built(render(pods, CLUSTER))


def of(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}


def containers(objects: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for deployment in of(objects, "Deployment").values():
        spec = deployment["spec"]["template"]["spec"]
        for container in spec["containers"]:
            yield spec, container


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_valid_and_has_no_key_too_many(objects: list[dict[str, Any]], version: str) -> None:
    for item in objects:
        kubernetes_validate.validate(item, version, strict=True)


def test_the_validation_finds_what_is_wrong(objects: list[dict[str, Any]]) -> None:
    deployment = of(objects, "Deployment")["cashup-trend"]
    deployment["spec"]["template"]["spec"]["terminationGraceSeconds"] = 60
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, NEWEST, strict=True)


def test_what_is_named_is_there(objects: list[dict[str, Any]]) -> None:
    maps, accounts = of(objects, "ConfigMap"), of(objects, "ServiceAccount")
    for spec, container in containers(objects):
        assert spec["serviceAccountName"] in accounts
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        for volume in ("version", "live"):
            data = maps[volumes[volume]["configMap"]["name"]]["data"]
            assert {item["key"] for item in volumes[volume]["configMap"]["items"]} <= set(data)
        assert container["envFrom"] == [{"configMapRef": {"name": "cashup-gateway"}}]
        paths = {item["path"] for item in volumes["version"]["configMap"]["items"]}
        assert paths == {f"{container['args'][5]}.ipynb", "version.json", "tools/signals.py"}
        version = container["args"][container["args"].index("--version") + 1]
        (place,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "version"]
        assert place == f"/var/lib/cashup/versions/{version}"
    assert maps["cashup-gateway"]["data"] == {"CASHUP_GATEWAY_URL": CLUSTER.gateway}


def test_a_deployment_has_one_pod_at_a_time_that_may_end_in_peace(objects: list[dict[str, Any]]) -> None:
    deployments = of(objects, "Deployment")
    assert set(deployments) == {"cashup-1e5", "cashup-trend"}
    for deployment in deployments.values():
        spec, template = deployment["spec"], deployment["spec"]["template"]
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
        assert spec["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert KILL_AFTER < template["spec"]["terminationGracePeriodSeconds"] == GRACE_SECONDS
    labels = deployments["cashup-trend"]["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/version"] == "12345e678901"
    assert "app.kubernetes.io/version" not in deployments["cashup-trend"]["spec"]["selector"]["matchLabels"]


def test_a_pod_is_shut_in(objects: list[dict[str, Any]]) -> None:
    for spec, container in containers(objects):
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == USER
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        writable = [mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
        assert sorted(writable) == ["home", "tmp"]
        assert all("emptyDir" in volume for volume in spec["volumes"] if volume["name"] in writable)
        assert f"useradd --system --uid {USER}" in (ROOT / "deploy" / "Containerfile").read_text()


def test_a_pod_may_use_what_its_file_says(objects: list[dict[str, Any]]) -> None:
    limits = {spec["volumes"][0]["configMap"]["name"]: c["resources"]["limits"] for spec, c in containers(objects)}
    assert limits["cashup-trend-files"]["memory"] == "1280Mi"
    assert limits["cashup-1e5-files"]["memory"] == "768Mi"
    for _, container in containers(objects):
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}


def test_a_pod_reaches_names_and_the_gateway_and_nothing_else(objects: list[dict[str, Any]]) -> None:
    policy = of(objects, "NetworkPolicy")["cashup-worker"]["spec"]
    assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"]
    assert policy["ingress"] == []
    dns, gateway = policy["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert gateway["ports"] == [{"protocol": "TCP", "port": 8700}]
    assert gateway["to"][0]["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "ops"}}
    for deployment in of(objects, "Deployment").values():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(
    ("gateway", "peer", "port"),
    [
        ("https://10.1.2.3", {"ipBlock": {"cidr": "10.1.2.3/32"}}, 443),
        ("http://[fd00::1]:80", {"ipBlock": {"cidr": "fd00::1/128"}}, 80),
        ("http://gate", {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "cashup-gateway"}}}, 80),
    ],
)
def test_the_gateways_address(pods: list[Pod], gateway: str, peer: dict[str, Any], port: int) -> None:
    policy = of(built(render(pods, Cluster("cashup:1", "x", gateway))), "NetworkPolicy")["cashup-worker"]
    assert policy["spec"]["egress"][1] == {"to": [peer], "ports": [{"protocol": "TCP", "port": port}]}


def test_the_token_is_a_file_of_a_secret_and_nothing_here_is_secret(
    pods: list[Pod], objects: list[dict[str, Any]]
) -> None:
    assert of(objects, "Secret") == {}
    for spec, container in containers(objects):
        (source,) = next(volume for volume in spec["volumes"] if volume["name"] == "token")["projected"]["sources"]
        assert re.fullmatch(r"cashup-[a-z0-9-]+-token", source["secret"]["name"])
        variables = {variable["name"]: variable["value"] for variable in container["env"]}
        assert set(variables) == {"CASHUP_HOME", "CASHUP_TOKEN_FILE", "HOME"}
        mount = next(mount for mount in container["volumeMounts"] if mount["name"] == "token")
        assert variables["CASHUP_TOKEN_FILE"] == f"{mount['mountPath']}/{source['secret']['items'][0]['path']}"


def test_a_pod_of_a_version_says_which(objects: list[dict[str, Any]]) -> None:
    arguments = {c["args"][c["args"].index("--only") + 1]: c["args"] for _, c in containers(objects)}
    assert arguments["trend"][-2:] == ["--version", "12345e678901"]


def test_the_probe_is_a_command_that_tells_the_living_from_the_dead(
    objects: list[dict[str, Any]], tmp_path: Path
) -> None:
    _, container = next(containers(objects))
    *shell, script = container["livenessProbe"]["exec"]["command"]
    script = script.replace("/var/lib/cashup", str(tmp_path))
    (tmp_path / "run").mkdir()

    def answers() -> bool:
        return subprocess.run([*shell, script], capture_output=True).returncode == 0

    assert not answers()
    alive = tmp_path / "run" / "supervisor.alive"
    alive.touch()
    assert answers()
    subprocess.run(["touch", "-d", "61 seconds ago", alive], check=True)
    assert not answers()


def test_the_same_files_give_the_same_text(pods: list[Pod]) -> None:
    assert render(pods, CLUSTER) == render(pods[::-1], CLUSTER)
    assert list(render(pods, CLUSTER)) == sorted(render(pods, CLUSTER))


def test_a_name_that_looks_like_a_number_stays_a_name(pods: list[Pod]) -> None:
    text = render(pods, CLUSTER)["base/deployments/1e5.yaml"]
    assert "instance: '1e5'" in text


def test_what_cannot_be_a_pod_is_said(tmp_path: Path, pods: list[Pod]) -> None:
    with pytest.raises(DeploymentError, match="no - at its end"):
        render([_pod(tmp_path, "x-", "1")], CLUSTER)
    large = _pod(tmp_path, "large", "2")
    (large.folder / "large.ipynb").write_text(json.dumps({"cells": ["x" * 1_000_000]}))
    with pytest.raises(DeploymentError, match="clear the notebook's outputs"):
        render([large], CLUSTER)
    with pytest.raises(UsageError, match="address of a gateway"):
        render(pods, Cluster(gateway="cashup-gateway:8700"))
    with pytest.raises(UsageError, match="namespace"):
        render(pods, Cluster(namespace="Trading"))


def test_the_command_writes_the_folder_and_keeps_the_overlay(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "demo.toml").write_text('notebook = "demo.ipynb"\naccount = "a"\ncapital = "1"\n')
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "demo.ipynb")

    env = os.environ | {"CASHUP_HOME": str(tmp_path / "home")}

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "cashup", "live", "render", *arguments]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=env)

    assert command().returncode == 2
    first = command("--kubernetes", "--out", "k")
    assert first.returncode == 0, first.stderr
    assert "kubectl apply -k k/overlay" in first.stderr
    files = {str(path.relative_to(tmp_path / "k")): path.read_text() for path in (tmp_path / "k").rglob("*.yaml")}
    (tmp_path / "k" / "overlay" / "kustomization.yaml").write_text("# mine\n")
    (tmp_path / "k" / "base" / "deployments" / "gone.yaml").touch()
    assert command("--kubernetes", "--out", "k").returncode == 0
    again = {str(path.relative_to(tmp_path / "k")): path.read_text() for path in (tmp_path / "k").rglob("*.yaml")}
    assert again == files | {"overlay/kustomization.yaml": "# mine\n"}
    (tmp_path / "other" / "base").mkdir(parents=True)
    refused = command("--kubernetes", "--out", "other")
    assert (refused.returncode, "choose another --out" in refused.stderr) == (2, True)
    (frozen,) = (tmp_path / "home" / "versions").iterdir()
    assert f"versions/{frozen.name}" in files["base/deployments/demo.yaml"]
    assert read_version(frozen.parent, frozen.name).notebook == "demo.ipynb"
