"""What a command imports, by name and without a clock: starting is most of what a small job costs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import anndata
import pytest

from biolm.cli import main

READER = {"numpy", "typer", "h5py", "deflate"}  # deflate where the extra `fast` is installed
COMMANDS = {
    "--version": {"numpy", "typer"},
    "--help": {"numpy", "typer", "rich"},
    "embed --help": {"numpy", "typer", "rich"},
    "embed few.h5ad -m genetext -o out.h5ad": READER | {"safetensors"},
    "embed few.h5ad -m cellfactors -o out.h5ad": READER | {"safetensors"},
    "embed few.h5ad -m biolm-cell-mini -o out.h5ad": READER | {"safetensors", "torch", "torchgen"},
    "tokenize few.h5ad -m dictionaries -o out.arrow": READER | {"pyarrow"},
}
"""Commands, and all packages on which biolm depends that they may import."""

# Parts of biolm that these commands do not use.
FOREIGN = ("biolm.training", "biolm.report", "biolm.scoring", "biolm.spatial", "biolm.annotate")
SLOW_TORCH = ("torch._dynamo", "torch._inductor", "sympy")


@cache
def dependencies() -> frozenset[str]:
    """Packages on which biolm depends, extras included, as they are imported."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    named = {normal(re.split(r"[^A-Za-z0-9._-]", line.strip())[0]) for line in lines}
    places = packages_distributions().items()
    return frozenset(package for package, owners in places if named & {normal(owner) for owner in owners})


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(words: list[str], folder: Path) -> set[str]:
    """All modules that a command has imported when it ends."""
    code = (
        "import sys\n"
        "from biolm.cli import main\n"
        f"sys.argv = ['biolm', *{words}]\n"
        "try:\n    main.run()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print()\nprint(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    return set(ran.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def folder(shipped_cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few cells, and the dictionaries of a Geneformer of their genes."""
    folder = tmp_path_factory.mktemp("imports")
    few = anndata.read_h5ad(shipped_cells / "pbmc_cite_10k.h5ad")[:4].copy()
    few.write_h5ad(folder / "few.h5ad")
    genes = sorted({name for name in few.var["ensembl_id"].astype(str) if name})
    tokens = {name: number for number, name in enumerate(["<pad>", "<mask>", *genes])}
    made = {
        "config.json": {"model_type": "bert", "vocab_size": len(tokens)},
        "token_dictionary.json": tokens,
        "gene_median_dictionary.json": dict.fromkeys(genes, 1.0),
    }
    (folder / "dictionaries").mkdir()
    for name, content in made.items():
        (folder / "dictionaries" / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_no_more_than_it_needs(command: str, folder: Path) -> None:
    words = [*command.split(), *(["--overwrite", "-q"] if " -o " in command else [])]
    modules = imported(words, folder)
    packages = {module.partition(".")[0] for module in modules}
    assert packages & dependencies() - {"biolm"} <= COMMANDS[command]
    assert not modules & set(SLOW_TORCH)
    if command != "--help":
        assert len(modules & {module.__name__ for module in main.COMMANDS.values()}) <= 1
        assert not [module for module in modules if module.startswith(FOREIGN)]


def test_the_dependencies_are_found() -> None:
    assert {"numpy", "torch", "anndata", "scipy", "pyarrow", "numba", "zarr"} <= dependencies()
