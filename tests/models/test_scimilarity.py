"""SCimilarity: recorded inputs, vectors and reconstructions, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
from perturb import relative
from safetensors.torch import load_file
from torch import nn

from biolm.errors import CheckpointError, ConfigError, GeneMatchError
from biolm.io.cells import open_cells
from biolm.io.cells.block import CellBlock
from biolm.models.model import EmbedOptions
from biolm.models.registry import resolve
from biolm.models.systems import scimilarity
from biolm.tasks.embed import embed
from biolm.vocab.match import GeneMatch

TOLERANCE = 2e-5
CPU = EmbedOptions(device="cpu")


@pytest.fixture(scope="module")
def golden(goldens: Path) -> Path:
    return goldens / "scimilarity"


@pytest.fixture
def folder(golden: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    for path in golden.iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    return tmp_path


def _counts(golden: Path, model: scimilarity.Scimilarity) -> tuple[CellBlock, GeneMatch]:
    with open_cells(golden / "cells.h5ad", matrix="layers/counts") as source:
        return next(source.blocks()), model.vocabulary.match(source.gene_columns())


@pytest.mark.parametrize("beside", [("decoder.ckpt", "layer_sizes.json"), ()])
def test_recorded_vectors_and_reconstructions(golden: Path, tmp_path: Path, beside: tuple[str, ...]) -> None:
    for name in ("encoder.ckpt", "gene_order.tsv", *beside):
        shutil.copyfile(golden / name, tmp_path / name)
    assert resolve(tmp_path)[0].name == "scimilarity"
    model = scimilarity.load(tmp_path)
    wanted = load_file(golden / "io_gene_order.safetensors")
    block, match = _counts(golden, model)
    assert relative(torch.from_numpy(model.inputs(block, match)), wanted["x"]) < 1e-6
    found = torch.from_numpy(model.embed(block, match, CPU))
    assert relative(found, wanted["embedding"]) < TOLERANCE
    if beside:
        with torch.inference_mode():
            assert relative(model.reconstruct(found), wanted["reconstruction"]) < TOLERANCE
    else:
        with pytest.raises(ConfigError, match=r"holds no decoder\.ckpt"):
            model.reconstruct(found)


def test_recorded_training_pass(golden: Path) -> None:
    """The older recording holds genes in another order: the network alone, and statistics of the batch."""
    model = scimilarity.load(golden)
    wanted = load_file(golden / "io.safetensors")
    with torch.no_grad():
        vectors = nn.functional.normalize(model.encoder(wanted["x"]), dim=1)
        assert relative(vectors, wanted["embedding"]) < TOLERANCE
        made = model.reconstruct(vectors)
        assert relative(made, wanted["reconstruction"]) < TOLERANCE
        assert abs(nn.functional.mse_loss(made, wanted["x"]).item() - wanted["mse"].item()) < 1e-4
        model.encoder.train()
        vectors = nn.functional.normalize(model.encoder(wanted["x"]), dim=1)
    assert relative(vectors, wanted["embedding_batch_statistics_no_dropout"]) < 1e-4


@pytest.mark.parametrize("detail", ["sorted genes", "relu", "eps of the norm", "total of the file", "length"])
def test_each_detail_matters(folder: Path, golden: Path, detail: str) -> None:
    if detail == "sorted genes":
        names = (folder / "gene_order.tsv").read_text().split()
        (folder / "gene_order.tsv").write_text("\n".join(sorted(names)))
    model = scimilarity.load(folder)
    for part in model.encoder.modules():
        if detail == "relu" and isinstance(part, nn.PReLU):
            nn.init.zeros_(part.weight)
        if detail == "eps of the norm" and isinstance(part, nn.BatchNorm1d):
            part.eps = 1e-3
    block, match = _counts(golden, model)
    if detail == "total of the file":
        wider = np.append(block.data, np.full(len(block), 50.0))
        cells = np.append(np.repeat(np.arange(len(block)), np.diff(block.indptr)), np.arange(len(block)))
        order = np.argsort(cells, kind="stable")
        foreign = int(np.flatnonzero(match.target < 0)[0])
        columns = np.append(block.indices, np.full(len(block), foreign, np.int32))
        indptr = block.indptr + np.arange(len(block) + 1)
        more = CellBlock(0, wider[order], columns[order].astype(np.int32), indptr, block.n_genes)
        # Genes outside the model count for nothing: the same vectors.
        assert np.allclose(model.embed(more, match, CPU), model.embed(block, match, CPU), atol=1e-6)
        return
    found = model.embed(block, match, EmbedOptions(device="cpu", pool="none") if detail == "length" else CPU)
    wanted = load_file(golden / "io_gene_order.safetensors")["embedding"]
    assert relative(torch.from_numpy(found), wanted) > 3 * TOLERANCE


def test_from_a_file_by_folder(golden: Path) -> None:
    wanted = load_file(golden / "io_gene_order.safetensors")["embedding"]
    for match in ("resolve", "published"):
        made = embed(golden / "cells.h5ad", model=golden, layer="counts", match=match, device="cpu")
        assert relative(torch.from_numpy(made.obsm["X_scimilarity"]), wanted) < TOLERANCE


def test_cells_do_not_depend_on_others(golden: Path) -> None:
    model = scimilarity.load(golden)
    block, match = _counts(golden, model)
    whole = model.embed(block, match, CPU)
    order = np.random.default_rng(0).permutation(len(block))
    assert np.allclose(model.embed(block.take(order), match, CPU), whole[order], atol=1e-6)
    assert np.allclose(model.embed(block.part(3, 4), match, CPU), whole[3:4], atol=1e-6)


def test_refused(folder: Path, golden: Path) -> None:
    with pytest.raises(GeneMatchError, match="which needs 290"):
        embed(golden / "cells.h5ad", model=scimilarity.load(folder, least_genes=290), layer="counts")
    with pytest.raises(ConfigError, match="reads no tokens"):
        embed(golden / "cells.h5ad", model=folder, layer="counts", hidden_state=-2)
    names = (folder / "gene_order.tsv").read_text()
    (folder / "gene_order.tsv").write_text(names + "\nNEWGENE\n")
    with pytest.raises(CheckpointError, match=r"300 genes but gene_order\.tsv beside it lists 301"):
        scimilarity.load(folder)
    (folder / "gene_order.tsv").write_text(names)
    sizes = json.loads((folder / "layer_sizes.json").read_text())
    (folder / "layer_sizes.json").write_text(json.dumps(sizes | {"network.0.1.weight": [1, 2]}))
    with pytest.raises(CheckpointError, match="other sizes"):
        scimilarity.load(folder)
    (folder / "layer_sizes.json").unlink()
    weights = torch.load(folder / "encoder.ckpt", weights_only=True)["state_dict"]
    missing = {name: value for name, value in weights.items() if name != "network.1.3.weight"}
    torch.save({"state_dict": missing}, folder / "encoder.ckpt")
    with pytest.raises(CheckpointError, match=r"missing 1\.3\.weight"):
        scimilarity.load(folder)
    torch.save({"state_dict": weights | {"network.9.bias": torch.ones(1)}}, folder / "encoder.ckpt")
    with pytest.raises(CheckpointError, match=r"unexpected 9\.bias"):
        scimilarity.load(folder)
    torch.save({"epoch": 3}, folder / "encoder.ckpt")
    with pytest.raises(CheckpointError, match="holds no network"):
        scimilarity.load(folder)
    (folder / "gene_order.tsv").unlink()
    assert not scimilarity.recognises(folder)


def test_hostile_weights_run_nothing(folder: Path, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[Path, str]]:
            return (Path.write_text, (tmp_path / "ran", "yes"))

    torch.save({"state_dict": Hostile()}, folder / "encoder.ckpt")
    with pytest.raises(CheckpointError, match="could run code"):
        scimilarity.load(folder)
    assert not (tmp_path / "ran").exists()


def test_fine_and_coarse_cell_types(golden: Path, shipped_cells: Path, tmp_path: Path) -> None:
    """The published folder holds no classifier; types, fine and coarse, come from labelled cells."""
    from typer.testing import CliRunner

    from biolm.cli.main import app

    folder = tmp_path / "model"
    shutil.copytree(golden, folder, copy_function=shutil.copyfile)
    cells = shipped_cells / "pbmc68k_reduced_counts_700.h5ad"
    table = anndata.read_h5ad(cells)
    (folder / "gene_order.tsv").write_text("\n".join(table.var_names[:300]))
    types = sorted(set(table.obs["cell_type"].astype(str)))
    myeloid = ("Dendritic", "CD14+ Monocyte")
    lines = [f"{name}\t{'myeloid cell' if name in myeloid else 'other cell'}" for name in types]
    (tmp_path / "types.tsv").write_text("\n".join(["child\tparent", *lines]))
    fit = ["annotate", "fit", str(cells), "--label", "cell_type", "-m", str(folder), "--method", "knn"]
    done = CliRunner().invoke(app, [*fit, "-o", str(tmp_path / "annotator")])
    assert done.exit_code == 0, done.output
    named = tmp_path / "named.h5ad"
    predict = ["annotate", "predict", str(cells), "-a", str(tmp_path / "annotator"), "-o", str(named)]
    coarse = ["--ontology", str(tmp_path / "types.tsv"), "--coarse", "myeloid cell", "--coarse", "other cell"]
    done = CliRunner().invoke(app, [*predict, *coarse])
    assert done.exit_code == 0, done.output
    found = anndata.read_h5ad(named).obs
    assert set(found["biolm_cell_type"]) <= {*types, "unknown"}
    assert set(found["biolm_cell_type_coarse"]) <= {"myeloid cell", "other cell", "unknown"}
