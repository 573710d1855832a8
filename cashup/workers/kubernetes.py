"""Deployments as Kubernetes objects: one pod each, laid out for kustomize as a base and an overlay.

Nothing here speaks to a cluster, and nothing secret is in what it makes: the token of each pod is a Secret that the
operator makes. The same files give the same text, byte for byte.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cashup.errors import DeploymentError, UsageError
from cashup.workers.supervisor import ALIVE_FILE, KILL_AFTER

Object = dict[str, Any]
"""One Kubernetes object, or a part of one."""

HOME = "/var/lib/cashup"
LIVE = "/srv/cashup/live"
TOKEN = "/run/cashup/token"  # noqa: S105  (where it lies)
USER = 10001
"""The user of `deploy/Containerfile`."""

GRACE_SECONDS = math.ceil(KILL_AFTER) + 15
"""From SIGTERM to SIGKILL: a worker may take as long as its supervisor lets it, then the supervisor ends as well."""

ALIVE_SECONDS = 60
"""A supervisor that has not turned for so long is started again."""

OVERHEAD_MB = 256
"""What supervisor and papermill may use beside the kernel."""

MOST_BYTES = 1_000_000
"""A ConfigMap holds a little more than this."""

HEADER = "# Made by `cashup live render --kubernetes`; it is made anew each time.\n"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?")
"""What the names of objects, volumes and labels all allow."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the pods shall run. `gateway` is the address at which they reach the gateway."""

    image: str = "cashup"
    namespace: str = "cashup"
    gateway: str = "http://cashup-gateway:8700"


@dataclass(frozen=True, slots=True)
class Pod:
    """One deployment: its file, the folder of the frozen version that runs, and what the gateway stores of it."""

    name: str
    toml: Path
    folder: Path
    spec: Mapping[str, Any] = field(repr=False)

    @property
    def version(self) -> str:
        """The id of the version."""
        return self.folder.name

    @property
    def files(self) -> dict[str, Path]:
        """What the pod gets, by the key in its ConfigMap: the frozen files, and the deployment's own."""
        frozen = sorted(path for path in self.folder.rglob("*") if path.is_file())
        keys = {self._key(path): path for path in frozen}
        return keys | {self.toml.name: self.toml}

    @property
    def items(self) -> list[Object]:
        """Where the frozen files lie below the version's folder; a key has no folders."""
        frozen = {key: path for key, path in self.files.items() if path != self.toml}
        return [{"key": key, "path": path.relative_to(self.folder).as_posix()} for key, path in frozen.items()]

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix().replace("/", "__")


def render(pods: Sequence[Pod], cluster: Cluster) -> dict[str, str]:
    """The files, by their path below the folder: `base/` is made anew, `overlay/` is the operator's from then on.

    Raises DeploymentError for a deployment that no pod can be made of, UsageError for a gateway's address without a
    host.
    """
    files: dict[str, str] = {}
    for pod in sorted(pods, key=lambda pod: pod.name):
        _check(pod)
        files[f"base/deployments/{pod.name}.yaml"] = HEADER + _yaml(_deployment(pod))
        files |= {f"base/files/{pod.name}/{key}": path.read_text("utf-8") for key, path in pod.files.items()}
    files["base/account.yaml"] = HEADER + _yaml(_account())
    files["base/network.yaml"] = HEADER + _yaml(_network(cluster.gateway))
    files["base/kustomization.yaml"] = HEADER + _yaml(_base(pods, cluster))
    files["overlay/namespace.yaml"] = _yaml(_namespace(cluster.namespace))
    files["overlay/kustomization.yaml"] = _OVERLAY_HEADER + _yaml(_overlay(cluster))
    return dict(sorted(files.items()))


_OVERLAY_HEADER = (
    "# What is different on this cluster. Written once by `cashup live render --kubernetes`, yours to change.\n"
)


def _check(pod: Pod) -> None:
    if not _NAME.fullmatch(pod.name):
        raise DeploymentError(f"{pod.name}: a pod's name has at most 50 of a-z, 0-9 and -, and no - at its end")
    for key in pod.files:
        if not re.fullmatch(r"[-._a-zA-Z0-9]+", key):
            raise DeploymentError(f"{pod.name}: {key!r} cannot be in a ConfigMap: letters, digits, . _ and - only")
    size = sum(path.stat().st_size for path in pod.files.values())
    if size > MOST_BYTES:
        raise DeploymentError(
            f"{pod.name}: its version has {size:,} bytes, and a ConfigMap holds {MOST_BYTES:,}; clear the notebook's "
            "outputs"
        )


def _labels(pod: Pod) -> dict[str, str]:
    return _selector(pod.name) | {"app.kubernetes.io/version": pod.version}


def _selector(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "cashup-worker", "app.kubernetes.io/instance": name}


def _deployment(pod: Pod) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"cashup-{pod.name}", "labels": _labels(pod)},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            # The old pod has ended before the new one starts; should both live all the same, the lease decides.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": _selector(pod.name)},
            "template": {"metadata": {"labels": _labels(pod)}, "spec": _pod_spec(pod)},
        },
    }


def _pod_spec(pod: Pod) -> Object:
    disk = _resource(pod, "disk_mb", 512)
    return {
        "serviceAccountName": "cashup-worker",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "shareProcessNamespace": True,  # the first process shall be one that passes signals on and buries orphans
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(pod)],
        "volumes": [
            {"name": "version", "configMap": {"name": f"cashup-{pod.name}-files", "items": pod.items}},
            {"name": "live", "configMap": {"name": f"cashup-{pod.name}-files", "items": [_same(pod.toml.name)]}},
            {"name": "token", "projected": {"defaultMode": 0o440, "sources": [_token(pod.name)]}},
            {"name": "home", "emptyDir": {"sizeLimit": f"{4 * disk}Mi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": f"{disk}Mi"}},
        ],
    }


def _container(pod: Pod) -> Object:
    memory = _resource(pod, "memory_mb", 512)
    limits = {"cpu": "1", "memory": f"{memory + OVERHEAD_MB}Mi", "ephemeral-storage": f"{_storage(pod)}Mi"}
    return {
        "name": "worker",
        "image": "cashup",
        "args": ["live", "up", "--no-files", "--wait", "--only", pod.name, "--version", pod.version],
        "envFrom": [{"configMapRef": {"name": "cashup-gateway"}}],
        "env": [
            {"name": "CASHUP_HOME", "value": HOME},
            {"name": "CASHUP_TOKEN_FILE", "value": f"{TOKEN}/token"},
            {"name": "HOME", "value": HOME},
        ],
        "resources": {"requests": {"cpu": "50m", "memory": f"{OVERHEAD_MB}Mi"}, "limits": limits},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": _probe(30),
        "livenessProbe": _probe(2),
        "volumeMounts": [
            {"name": "home", "mountPath": HOME},
            {"name": "version", "mountPath": f"{HOME}/versions/{pod.version}", "readOnly": True},
            {"name": "live", "mountPath": LIVE, "readOnly": True},
            {"name": "token", "mountPath": TOKEN, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (the pod's own)
        ],
    }


def _probe(failures: int) -> Object:
    """Has the supervisor turned lately? A gateway that is away is no reason to start a pod again."""
    age = f"$(( $(date +%s) - $(stat -c %Y {HOME}/{ALIVE_FILE}) ))"
    return {
        "exec": {"command": ["sh", "-c", f"test {age} -lt {ALIVE_SECONDS}"]},
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _same(name: str) -> Object:
    return {"key": name, "path": name}


def _token(name: str) -> Object:
    return {"secret": {"name": f"cashup-{name}-token", "items": [_same("token")]}}


def _resource(pod: Pod, name: str, default: int) -> int:
    return int(pod.spec.get("resources", {}).get(name, default))


def _storage(pod: Pod) -> int:
    return 6 * _resource(pod, "disk_mb", 512)


def _account() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "cashup-worker"},
        "automountServiceAccountToken": False,
    }


def _network(gateway: str) -> Object:
    """Nothing may come in; out go questions of names, and connections to the gateway."""
    cluster_dns = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "cashup-worker"},
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "cashup-worker"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [
                {
                    "to": [cluster_dns],
                    "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
                },
                _to_gateway(gateway),
            ],
        },
    }


def _to_gateway(gateway: str) -> Object:
    host, port = _address(gateway)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        peer: Object = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "cashup-gateway"}}}
        parts = host.split(".")
        if len(parts) > 1:  # a service's name may go on with its namespace
            peer["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": parts[1]}}
    else:
        peer = {"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}
    return {"to": [peer], "ports": [{"protocol": "TCP", "port": port}]}


def _address(gateway: str) -> tuple[str, int]:
    parts = urlsplit(gateway)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"{gateway!r} is not the address of a gateway, such as http://cashup-gateway:8700")
    return host, port or (443 if parts.scheme == "https" else 80)


def _base(pods: Sequence[Pod], cluster: Cluster) -> Object:
    names = sorted(pod.name for pod in pods)
    files = {pod.name: [f"files/{pod.name}/{key}" for key in sorted(pod.files)] for pod in pods}
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["account.yaml", "network.yaml", *(f"deployments/{name}.yaml" for name in names)],
        "configMapGenerator": [
            {"name": "cashup-gateway", "literals": [f"CASHUP_GATEWAY_URL={cluster.gateway}"]},
            *({"name": f"cashup-{name}-files", "files": files[name]} for name in names),
        ],
        "labels": [
            {"pairs": {"app.kubernetes.io/part-of": "cashup"}, "includeSelectors": False, "includeTemplates": True}
        ],
    }


def _namespace(name: str) -> Object:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a namespace: small letters, digits and -")
    # The strictest of the cluster's own profiles: what does not keep it is not let in.
    enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": enforce}}


def _overlay(cluster: Cluster) -> Object:
    name, _, tag = cluster.image.rpartition(":") if ":" in cluster.image.rpartition("/")[2] else (cluster.image, "", "")
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": cluster.namespace,
        "resources": ["namespace.yaml", "../base"],
        "images": [{"name": "cashup", "newName": name} | ({"newTag": tag} if tag else {})],
    }


def _yaml(document: Object) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes what a newer YAML than PyYAML's reads as a number: `1e5` may be a name or a version."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Dumper, value: str) -> Any:
        return dumper.represent_scalar(
            "tag:yaml.org,2002:str", value, style="'" if value[:1] in "-+.0123456789" else None
        )

    Dumper.add_representer(str, text)
    return str(yaml.dump(document, Dumper=Dumper, sort_keys=False, width=120))
