"""What a worker executes: the frozen notebook of its version, verified, never the working copy."""

from __future__ import annotations

import sys
from pathlib import Path

from cashup.errors import DeploymentError
from cashup.strategies.versions import read_version, require_environment
from cashup.workers.assignment import Assignment


def notebook_of(assignment: Assignment) -> Path:
    """The notebook to execute; that of a deployment without a version is the one it names.

    Raises NotFound and IntegrityError for a version that is not there or was tampered with, DeploymentError when it
    pins other parameters, or on a live account other packages than are installed.
    """
    if not assignment.version:
        return Path(assignment.notebook).resolve()
    version = read_version(Path(assignment.versions), assignment.version, content_hash=assignment.content_hash or None)
    if dict(version.params) != dict(assignment.params):
        raise DeploymentError(f"version {version.id} has other parameters than {assignment.deployment} is given")
    if warning := require_environment(version, live=assignment.live):
        sys.stderr.write(f"{assignment.deployment}: {warning}\n")
    return version.path.resolve()
