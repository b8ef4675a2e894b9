"""Bad folders and cells for every system of cells, by command: one sentence, exit 1, nothing written."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import anndata
import numpy as np
import pytest
import small_systems
from typer.testing import CliRunner

from biolm.cli.main import app

# Files of a published folder that a system does without.
OPTIONAL: Mapping[str, set[str]] = {
    "tgpt": {"gene_rankings.txt", "generation_config.json", "tokenizer_config.json"},
    "scimilarity": {
        "cells.h5ad",
        "hyperparameters.json",
        "label_ints.csv",
        "layer_sizes.json",
        "decoder.ckpt",
    },
    "scbert": {"gene2vec.npy", "finetune_best_head_only.pth", "mlm_grad_norms.json"},
    "celllm": {"gene2vec.npy", "config.json"},
    "scfoundation": {"config.json", "tgthighres.json"},
    # The settings of UCE have published defaults, which the small one departs from.
    "uce": {"config.json"},
    "geneformer": {"generation_config.json"},
    "cell2sentence": {"generation_config.json"},
    "native": {"README.md"},
}
RECORDED = ("io.safetensors", "io_gene_order.safetensors", "io_one_cell_per_batch.safetensors")
PICKLED = (".ckpt", ".pt", ".pth", ".torch", ".bin", ".pkl", ".pk")


@pytest.fixture(scope="module", params=small_systems.FOLDERS)
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, str]:
    """A system's name, its small folder, and what a user types for it."""
    name = request.param
    goldens = None if name in small_systems.WITHOUT_GOLDENS else request.getfixturevalue("goldens")
    folder = tmp_path_factory.mktemp("whole")
    return name, folder, small_systems.address(name, folder, goldens)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cells with counts of measured genes, by symbol."""
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    names = small_systems.gene_names("index", 765)
    table = anndata.AnnData(np.random.default_rng(0).poisson(1.0, (3, len(names))).astype(np.float32))
    table.var_names, table.obs["donor"] = names, ["a", "a", "b"]
    table.write_h5ad(path)
    return path


def _refused(cells: Path, address: str, place: Path) -> str:
    output = place / "out.npy"
    run = CliRunner().invoke(app, ["embed", str(cells), "-m", address, "-o", str(output), "--device", "cpu"])
    assert run.exit_code == 1, run.output
    errors = [line for line in run.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, run.stderr
    assert "Traceback" not in run.stderr
    assert not output.exists()
    return errors[0]


def test_a_file_that_is_missing(written: tuple[str, Path, str], cells: Path, tmp_path: Path) -> None:
    name, whole, address = written
    spared = OPTIONAL.get(name, set()) | set(RECORDED)
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    missing = [path for path in files if path.name not in spared]
    assert missing
    for number, path in enumerate(missing):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        (folder / path).unlink()
        message = _refused(cells, address.replace(str(whole), str(folder)), tmp_path)
        # It names the file, or what a folder of the system holds.
        said = (path.stem.split(".")[0].split("_")[0], "needs", "holds no", "it is empty; fetch")
        assert any(words in message for words in said)


class _Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_weights_and_tables_that_would_run_code(
    written: tuple[str, Path, str], cells: Path, tmp_path: Path
) -> None:
    name, whole, address = written
    spared = OPTIONAL.get(name, set())
    for number, path in enumerate(sorted(whole.rglob("*"))):
        if path.suffix not in PICKLED or path.name in spared:
            continue
        folder, mark = tmp_path / str(number), tmp_path / "ran"
        shutil.copytree(whole, folder)
        (folder / path.relative_to(whole)).write_bytes(pickle.dumps(_Hostile(mark)))
        message = _refused(cells, address.replace(str(whole), str(folder)), tmp_path)
        assert not mark.exists()
        assert any(word in message for word in ("run code", "cannot be read", "damaged", "not a", "no ")), (
            message
        )


def test_weights_that_were_cut_short(written: tuple[str, Path, str], cells: Path, tmp_path: Path) -> None:
    name, whole, address = written
    folder = tmp_path / "cut"
    shutil.copytree(whole, folder)
    kinds = (*PICKLED[:5], ".safetensors", ".h5")
    weights = [
        path
        for path in folder.rglob("*")
        if path.suffix in kinds and path.name not in (*RECORDED, *OPTIONAL.get(name, set()))
    ]
    largest = max(weights, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    _refused(cells, address.replace(str(whole), str(folder)), tmp_path)


# The file that numbers a system's genes.
GENES: Mapping[str, str] = {
    "geneformer": "token_dictionary.json",
    "scgpt": "vocab.json",
    "tgpt": "tokenizer/tokenizer.json",
    "cell2sentence": "tokenizer.json",
    "tahoe": "vocab.json",
    "cellplm": "tiny.config.json",
    "scimilarity": "gene_order.tsv",
    "nicheformer": "genes.txt",
    "scbert": "genes.txt",
    "celllm": "genes.txt",
    "scfoundation": "genes.txt",
    "concerto": "genes.txt",
    "scconcept": "gene_mappings/hsapiens.csv",
}


def _one_more(path: Path) -> None:
    """Add a gene that the weights do not know."""
    if path.suffix != ".json":
        number = ",9999" if path.suffix == ".csv" else ""
        path.write_text(f"{path.read_text().rstrip()}\nENSG00000999999{number}")
        return
    held = json.loads(path.read_text())
    if "gene_list" in held:
        held["gene_list"].append("ENSG00000999999")
    else:
        (held["model"]["vocab"] if "model" in held else held)["ENSG00000999999"] = 9999
    path.write_text(json.dumps(held))


def test_genes_of_another_release(written: tuple[str, Path, str], cells: Path, tmp_path: Path) -> None:
    name, whole, address = written
    if name not in GENES:
        pytest.skip("its genes are numbered in a binary file; see the test of the system")
    folder = tmp_path / "other"
    shutil.copytree(whole, folder)
    _one_more(folder / GENES[name])
    message = _refused(cells, address.replace(str(whole), str(folder)), tmp_path)
    said = message.replace(str(folder), "").replace("ENSG00000999999", "")
    # Both sizes are named.
    assert len(set(re.findall(r"\b\d[\d,]*\b", said))) >= 2, message


def test_cells_without_its_genes(written: tuple[str, Path, str], tmp_path: Path) -> None:
    _, _, address = written
    table = anndata.AnnData(np.ones((2, 20), np.float32))
    table.var_names, table.obs["donor"] = [f"FOREIGN{i}" for i in range(20)], ["a", "b"]
    table.write_h5ad(tmp_path / "foreign.h5ad")
    message = _refused(tmp_path / "foreign.h5ad", address, tmp_path)
    assert "gene" in message


def test_protein_vectors_of_another_width(tmp_path: Path, goldens: Path, cells: Path) -> None:
    import torch

    address = small_systems.uce(tmp_path, goldens)
    path = next((tmp_path / "protein_embeddings").glob("*.pt"))
    torch.save({name: torch.zeros(3) for name in small_systems.gene_names("index", 400)}, path)
    assert "are 3 numbers wide but the model reads" in _refused(cells, address, tmp_path)
    (tmp_path / "species_offsets.pkl").write_bytes(pickle.dumps({"human": 10_000}))
    torch.save({name: torch.zeros(40) for name in small_systems.gene_names("index", 400)}, path)
    assert "take both from one release" in _refused(cells, address, tmp_path)
