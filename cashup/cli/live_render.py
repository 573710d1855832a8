"""`cashup live render`: deployments as files for a cluster; `cashup live token`: what a pod shows the gateway."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cashup.workers.kubernetes import Pod


def render(
    kubernetes: Annotated[bool, typer.Option("--kubernetes", help="for Kubernetes, by kustomize")] = False,
    out: Annotated[Path, typer.Option(help="the folder to write; its base/ is made anew")] = Path("kubernetes"),
    folder: Annotated[Path, typer.Option(help="the folder with one .toml per deployment")] = Path("live"),
    image: Annotated[str, typer.Option(help="the image of deploy/Containerfile, as NAME:TAG")] = "cashup",
    namespace: Annotated[str, typer.Option(help="the namespace of the pods")] = "cashup",
    gateway: Annotated[str, typer.Option(help="where pods reach the gateway")] = "http://cashup-gateway:8700",
) -> None:
    """Write the deployments as files for a cluster: one pod each, no secret in any of them."""
    from cashup.errors import UsageError
    from cashup.workers.kubernetes import Cluster
    from cashup.workers.kubernetes import render as rendered

    if not kubernetes:
        raise UsageError("say for what: cashup live render --kubernetes")
    pods = _pods(folder)
    files = rendered(pods, Cluster(image, namespace, gateway))
    _write(out, files)
    for name in sorted(pod.name for pod in pods):
        print(f"{name}: {out / 'base' / 'deployments' / name}.yaml", file=sys.stderr)
    first = min(pod.name for pod in pods)
    print(
        f"apply it with `kubectl apply -k {out / 'overlay'}`; each pod needs its token, such as\n"
        f"  cashup live token {first} | kubectl -n {namespace} create secret generic cashup-{first}-token "
        "--from-file=token=/dev/stdin",
        file=sys.stderr,
    )


def token(
    name: Annotated[str, typer.Argument(help="the deployment")],
    days: Annotated[int, typer.Option(help="how long it is good for", min=1, max=366)] = 90,
) -> None:
    """Print a token with which a supervisor can keep this deployment and do nothing else; for a pod's secret."""
    from cashup.client import Client
    from cashup.settings import load_settings

    with Client.from_settings(load_settings()) as client:
        print(client.supervisor_token(name, days)["access_token"])


def _pods(folder: Path) -> list[Pod]:
    """A pod for each deployment of the folder. A notebook that is not frozen yet is frozen, as by `cashup live up`."""
    from cashup.settings import load_settings
    from cashup.workers.deployment import freeze_spec, read_folder
    from cashup.workers.kubernetes import Pod

    versions = load_settings().versions_path
    pods = []
    for name, spec in read_folder(folder, versions).items():
        version = freeze_spec(spec, versions)
        assert version is not None  # noqa: S101  (with the folder of the versions every spec names one)
        pods.append(Pod(name, folder / f"{name}.toml", version.folder, spec))
    return pods


def _write(out: Path, files: Mapping[str, str]) -> None:
    """Write all of `base/` anew, and of `overlay/` what is not there yet; raises UsageError for a folder not ours."""
    from cashup.errors import UsageError
    from cashup.workers.kubernetes import HEADER

    base = out / "base"
    if base.exists():
        known = base / "kustomization.yaml"
        if not known.is_file() or not known.read_text(encoding="utf-8").startswith(HEADER):
            raise UsageError(f"{base} is not what `cashup live render` made; choose another --out")
        shutil.rmtree(base)
    for path, text in files.items():
        file = out / path
        if path.startswith("overlay/") and file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
