"""The fresh process of the determinism check: `python -m cashup.research.checks.child FOLDER SEED`."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np

from cashup.errors import CashUpError
from cashup.research.checks.determinism import with_seed
from cashup.research.checks.outputs import outputs
from cashup.strategies.notebook import load_strategy


def main(folder: Path, seed: int) -> int:
    """Compute the job in `folder` and store the outputs there as `SEED.npz`."""
    notebook, params, bars = pickle.loads((folder / "job").read_bytes())  # noqa: S301  written by our parent
    with_seed(seed)
    try:
        found = outputs(load_strategy(notebook, params), bars)
    except CashUpError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    np.savez(folder / f"{seed}.npz", **dict(found))  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
