"""scPRINT: held against a forward pass written out in float64, its draws, its file, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_systems
import torch
from numpy.typing import NDArray
from scipy.special import erf

import biolm
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.model import EmbedOptions
from biolm.models.systems.scprint_model import KEYS, Scprint

TOLERANCE = 2e-5
Array = NDArray[np.float64]
# What the published command averages: cell type, disease, ethnicity and sex.
AVERAGED = (0, 1, 3, 4)
FOREIGN = 5000


def _norm(x: Array, weights: dict[str, Array], name: str, eps: float) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _linear(x: Array, weights: dict[str, Array], name: str) -> Array:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _encoded(value: Array, weights: dict[str, Array], name: str, eps: float) -> Array:
    hidden = _norm(_linear(value[:, None], weights, f"{name}.encoder.0"), weights, f"{name}.encoder.1", eps)
    return _linear(np.maximum(hidden, 0), weights, f"{name}.encoder.4")


def reference(
    genes: NDArray[Any], counts: Array, depth: float, weights: dict[str, Array], settings: dict[str, Any],
    wrong: str = "",
) -> Array:  # fmt: skip
    """A cell's vector, one step of the published description a line; ``wrong`` flips one of them."""
    heads = settings["nhead"]
    groups = heads // (settings["num_heads_kv"] or heads)
    outer, inner = (1e-2, 1e-6) if wrong == "eps of encoders" else (1e-5, 1e-6)
    inner = 1e-1 if wrong == "eps of layers" else inner
    share = settings["normalization"] == "sum"
    if wrong == "values":
        share = not share
    if wrong == "natural logarithm":
        values = np.log1p(counts)
    else:
        values = (
            counts / (depth if wrong == "share of all" else counts.sum()) if share else np.log2(1 + counts)
        )
    x = weights["gene_encoder.embedding.weight"][genes] + _encoded(values, weights, "expr_encoder", outer)
    if "pos_encoder.pe" in weights and wrong != "no places":
        x = x + weights["pos_encoder.pe"][genes, 0]
    depth_token = _encoded(np.log2([1 + depth]), weights, "depth_encoder", outer)
    if wrong == "plain depth":
        depth_token = _encoded(np.array([depth]), weights, "depth_encoder", outer)
    labels = weights["class_encoder.embedding.weight"]
    first = [labels] if wrong == "no depth" else [depth_token, labels]
    start = len(first) - 1
    x = np.concatenate([*first, x])
    for number in range(settings["nlayers"]):
        layer = f"transformer.blocks.{number}"
        fused = _linear(_norm(x, weights, f"{layer}.norm1", inner), weights, f"{layer}.mixer.Wqkv")
        size = settings["d_model"] // heads
        q, rest = fused[:, : heads * size], fused[:, heads * size :]
        k, v = np.split(rest, 2, axis=1)
        q, k, v = (part.reshape(len(x), -1, size).swapaxes(0, 1) for part in (q, k, v))
        k, v = (np.repeat(part, groups, axis=0) for part in (k, v))
        scores = q @ k.swapaxes(1, 2) / (1 if wrong == "unscaled" else np.sqrt(size))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ v
        x = x + _linear(mixed.swapaxes(0, 1).reshape(len(x), -1), weights, f"{layer}.mixer.out_proj")
        hidden = _linear(_norm(x, weights, f"{layer}.norm2", inner), weights, f"{layer}.mlp.fc1")
        hidden = np.maximum(hidden, 0) if wrong == "relu" else hidden * (1 + erf(hidden / np.sqrt(2))) / 2
        x = x + _linear(hidden, weights, f"{layer}.mlp.fc2")
    states = x if wrong == "no final norm" else _norm(x, weights, "transformer.norm", inner)
    if wrong == "mean of genes":
        return states[start + len(labels) :].mean(0)
    if wrong == "first token":
        return states[start]
    rows = range(len(labels) - 1) if wrong == "all classes" else AVERAGED
    return states[[start + 1 + row for row in rows]].mean(0)


def _block(model: Scprint, counts: Array) -> tuple[CellBlock, Any]:
    """Cells ``(n, 300)`` of human genes, two mouse genes of count 0, and one that the model does not know."""
    names = np.array([*model.vocabulary.genes[:300], *model.vocabulary.genes[-2:], "ENSG99999999999"])
    whole = np.concatenate([counts, np.zeros((len(counts), 2)), np.full((len(counts), 1), FOREIGN)], 1)
    rows, columns = np.nonzero(whole)
    indptr = np.searchsorted(rows, np.arange(len(whole) + 1))
    block = CellBlock(0, whole[rows, columns], columns.astype(np.int32), indptr, len(names))
    return block, model.vocabulary.match({"index": names})


def _counts(*expressed: int) -> Array:
    rng = np.random.default_rng(0)
    counts = np.zeros((len(expressed), 300))
    for cell, number in enumerate(expressed):
        counts[cell, rng.permutation(300)[:number]] = rng.integers(1, 40, number)
    return counts


WRONG = (
    "eps of encoders", "eps of layers", "values", "no places", "plain depth", "no depth", "unscaled", "relu",
    "no final norm", "mean of genes", "first token", "all classes", "share of all",
)  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{}, {"normalization": "log", "num_heads_kv": 1, "gene_pos_enc": None, "nhead": 4}],
    ids=["first release", "grouped queries, logarithms"],
)
def test_equals_the_forward_pass_in_float64(tmp_path: Path, changes: dict[str, Any]) -> None:
    small_systems.scprint(tmp_path, **changes)
    model = biolm.load(f"{tmp_path}?genes=60")
    stored = torch.load(tmp_path / "medium.ckpt", weights_only=True)
    weights = {name: tensor.double().numpy() for name, tensor in stored["state_dict"].items()}
    settings = stored["hyper_parameters"]
    counts = _counts(25, 60, 200)
    block, match = _block(model, counts)
    tokens = model.tokenize(block, match)
    found = model.embed(block, match, EmbedOptions(device="cpu"))
    for cell in range(3):
        genes = tokens[cell].ids[8:]
        assert len(genes) == len(set(genes)) == 60
        # Unexpressed genes are those of the file's organism, and expressed ones come first.
        assert genes.max() < 300
        own = counts[cell, genes]
        assert (own > 0).sum() == min(int((counts[cell] > 0).sum()), 60)
        # The depth is that of all genes of the file, those unknown to the model among them.
        depth = counts[cell].sum() + FOREIGN
        right = reference(genes, own, depth, weights, settings)
        assert np.abs(found[cell] - right).max() < TOLERANCE * np.abs(right).max()
        for wrong in (*WRONG, *(("natural logarithm",) if changes else ())):
            if changes and wrong in ("no places", "share of all"):
                continue
            other = reference(genes, own, depth, weights, settings, wrong)
            assert np.abs(other - right).max() > 1e-4 * np.abs(right).max(), wrong
    # All that the model has goes back under its published name.
    back = KEYS.ours_to_theirs(model.core.state_dict(), model.core.config)
    assert all(torch.equal(tensor, stored["state_dict"][name]) for name, tensor in back.items())
    decoders = ("cls_", "expr_decoder", "mvc_", "grad_")
    assert back.keys() == {name for name in weights if not name.startswith(decoders)}


def test_what_is_drawn_and_what_is_not(tmp_path: Path) -> None:
    small_systems.scprint(tmp_path)
    counts = _counts(25, 200)

    def ids(seed: int = 0, **options: Any) -> list[NDArray[np.int32]]:
        model = biolm.load(tmp_path, genes=60, **options)
        tokens = model.tokenize(*_block(model, counts), seed=seed)
        return [tokens[cell].ids[8:] for cell in range(2)]

    drawn, again, other = ids(), ids(), ids(seed=1)
    for cell in range(2):
        assert drawn[cell].tolist() == again[cell].tolist()
        assert set(drawn[cell]) != set(other[cell])
    assert set(other[0][:25]) == set(drawn[0][:25]) == set(np.flatnonzero(counts[0]))
    short, long = ids(unexpressed="none", keep="highest")
    assert short.tolist() == np.flatnonzero(counts[0]).tolist()
    best = np.lexsort((np.arange(300), -counts[1]))[:60]
    assert long.tolist() == best.tolist()
    # Each unexpressed gene is as likely as another.
    model = biolm.load(tmp_path, genes=60)
    many, match = _block(model, np.repeat(counts[:1], 400, 0))
    tokens = model.tokenize(many, match)
    times = np.bincount(np.concatenate([tokens[cell].ids[33:] for cell in range(400)]), minlength=300)
    rest = times[counts[0] == 0]
    assert abs(rest.mean() - 400 * 35 / 275) < 1e-9
    assert rest.std() < 2 * np.sqrt(400 * (35 / 275) * (240 / 275))


@torch.inference_mode()
def test_classes_can_be_chosen(tmp_path: Path) -> None:
    small_systems.scprint(tmp_path)
    model = biolm.load(f"{tmp_path}?classes=sex,assay_ontology_term_id&genes=40")
    assert model.rows == (5, 3)
    block, match = _block(model, _counts(30, 50))
    states = model.gene_states(
        biolm.batch.Batch.from_tokens(model.tokenize(block, match)), EmbedOptions(device="cpu")
    )
    right = torch.stack([states[[48 * cell + 5, 48 * cell + 3]].mean(0) for cell in range(2)])
    found = model.embed(block, match, EmbedOptions(device="cpu"))
    assert np.abs(found - right.numpy()).max() < TOLERANCE
    genes = model.embed(block, match, EmbedOptions(device="cpu", pool="mean"))
    assert np.abs(genes[0] - states[8:48].mean(0).numpy()).max() < TOLERANCE
    assert model.describe()["options"]["classes"] == "sex,assay_ontology_term_id"


def test_names_of_the_second_release(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    small_systems.scprint(tmp_path / "first")
    stored = torch.load(tmp_path / "first" / "medium.ckpt", weights_only=True)
    weights, settings = stored["state_dict"], stored["hyper_parameters"]
    weights["gene_encoder.embeddings.weight"] = weights.pop("gene_encoder.embedding.weight")
    weights["pos_encoder.pe"] = weights["pos_encoder.pe"][:, 0]
    settings["classes"] = list(settings["classes"])
    settings |= {"depth_atinput": True, "cell_specific_blocks": False, "compress_class_dim": None}
    torch.save(stored, tmp_path / "second" / "v2-medium.ckpt")
    first, second = (biolm.load(tmp_path / name).core.state_dict() for name in ("first", "second"))
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_refusals(tmp_path: Path) -> None:
    small_systems.scprint(tmp_path)
    path = tmp_path / "medium.ckpt"
    for options, message in (
        ("keep=all", "keep must be one of sample, highest"),
        ("unexpressed=all", "unexpressed must be one of drawn, none"),
        ("genes=0", "genes must be a whole number above 0"),
        ("size=large", "size must be one of medium"),
        ("classes=tissue", "has no class tissue but cell_type, disease, assay"),
    ):
        with pytest.raises(ConfigError, match=message):
            biolm.load(f"{tmp_path}?{options}")
    whole = torch.load(path, weights_only=True)

    def refused(error: type[Exception], match: str, weights: dict[str, Any], **fields: Any) -> None:
        changed = whole | {
            "state_dict": whole["state_dict"] | weights,
            "hyper_parameters": whole["hyper_parameters"] | fields,
        }
        torch.save(changed, path)
        with pytest.raises(error, match=match):
            biolm.load(tmp_path)

    refused(ConfigError, "with cell_specific_blocks True is not read", {}, cell_specific_blocks=True)
    refused(ConfigError, "with expr_emb_style 'binned_pos' is not read", {}, expr_emb_style="binned_pos")
    refused(CheckpointError, "missing", {}, nlayers=3)
    refused(CheckpointError, "no place for: pos_encoder.pe", {}, gene_pos_enc=None)
    refused(CheckpointError, "surprise", {"surprise": torch.ones(1)})
    refused(
        CheckpointError, r"gene_encoder|embeddings\.token", {}, genes=whole["hyper_parameters"]["genes"][1:]
    )
    del whole["hyper_parameters"]["d_model"]
    refused(CheckpointError, "lack 'd_model'", {})
    del whole["hyper_parameters"]["genes"]
    refused(CheckpointError, "lacks genes or classes", {})
    torch.save(whole, tmp_path / "large.ckpt")
    with pytest.raises(ConfigError, match=r"say which, as in 'FOLDER\?size=medium'"):
        biolm.load(tmp_path)
