"""Checks that the environment holds what constraints.txt asks for; run after every install."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# torchvision and timm have no build for a CPU torch of this version: installing one silently swaps torch
# for a CUDA build or breaks the libraries that look for them.
UNWANTED = ("timm", "torchvision")


def pinned(name: str, constraints: Path) -> str:
    """Version that the constraints file pins for a package."""
    for line in constraints.read_text().splitlines():
        key, _, pin = line.partition("==")
        if key.strip().lower() == name:
            return pin.strip()
    raise SystemExit(f"{constraints} does not pin {name}")


def installed(name: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Exit with one sentence when the environment is not the pinned one."""
    wanted = pinned("torch", Path(__file__).parent.parent / "constraints.txt")
    found = installed("torch")
    if found is None or found.partition("+")[0] != wanted:
        raise SystemExit(f"torch is {found or 'missing'} but constraints.txt pins {wanted}; run `make clean`")
    for name in UNWANTED:
        if installed(name):
            raise SystemExit(f"{name} must not be installed beside torch {found}; run `make clean`")
    sys.stdout.write(f"torch {found} as pinned\n")


if __name__ == "__main__":
    main()
