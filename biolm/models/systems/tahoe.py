"""Tahoe-x1 (Tahoe Therapeutics 2025): genes with binned counts, read by a pre-norm encoder.

A folder is one size of the hub repository: ``model.safetensors``, ``model_config.yml``,
``collator_config.yml`` and ``vocab.json``. A gene's embedding and its bin's encoding are added, both after a
norm; there are no positions. A cell's vector is the cls state after the final norm, scaled to length 1.

A model that was trained with a drug token is read without it, as by the published commands, which then leave
the first gene of every cell unbinned: ``load(folder, first="binned")`` bins it too.

Dimensions: ``t`` tokens of a batch · ``b`` cells · ``d`` width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biolm.adapters.cells.draws import cell_seeds, uniform
from biolm.adapters.cells.rows import prepare
from biolm.batch import Batch, Tokens
from biolm.core import CoreConfig, Transformer
from biolm.core.checkpoint import check_size, load_strict, read_weights
from biolm.core.mlp import activation
from biolm.core.parts import Part
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.io.json_file import read_json
from biolm.io.yaml_file import read_yaml
from biolm.models.families.keys import Key, KeyTable, Rows, dropped, qkv
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.systems.cell_folders import check_rows, choose, whole_number
from biolm.models.token_model import TokenCellModel
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

__all__ = ["LeftBins", "load", "load_tokenizer", "recognises"]

_MODEL, _COLLATOR, _GENES = "model_config.yml", "collator_config.yml", "vocab.json"
_WEIGHTS = "model.safetensors"
_LONGEST = 2048  # tokens that the published commands read
_UNREAD = ("expression_decoder.", "mvc_decoder.", "chem_encoder.")
_LAYER = "transformer_encoder.layers.{}"
_KEYS = KeyTable(
    [
        Key("gene_encoder.embedding.weight", "embeddings.token.weight"),
        Key("gene_encoder.enc_norm.*", "embeddings.token_norm.*"),
        Key("expression_encoder.linear1.*", "embeddings.first.*"),
        Key("expression_encoder.linear2.*", "embeddings.second.*"),
        Key("expression_encoder.norm.*", "embeddings.value_norm.*"),
        Key(f"{_LAYER}.self_attn.Wqkv.*", qkv(), Rows()),
        Key(f"{_LAYER}.self_attn.out_proj.*", "layers.{}.attention.out.*"),
        Key(f"{_LAYER}.norm1.*", "layers.{}.attn_norm.*"),
        Key(f"{_LAYER}.norm2.*", "layers.{}.mlp_norm.*"),
        *(Key(f"{_LAYER}.{name}_proj.*", f"layers.{{}}.mlp.{name}.*") for name in ("up", "down")),
        Key(f"{_LAYER}.gate_proj.*", "layers.{}.mlp.gate.*", when=lambda config: config.glu),
        Key("transformer_encoder.norm.*", "final_norm.*"),
        *dropped("flag_encoder.weight"),  # marks masked genes in pretraining
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeftBins:
    """Expressed genes in the file's order, each with the quantile bin of its count; nothing is drawn at ties.

    Parameters
    ----------
    token_ids
        ``(m,)`` token of each gene.
    cls_id, cls_value
        Token put first, and its value.
    n_bins, right
        Bins, that of zeros included, and whether a count on an edge lies in the bin above it.
    unbinned
        Genes at the start of a cell that keep their counts as values.
    max_length
        Most tokens of a cell; of longer ones the genes are drawn by seed, row number and gene.
    """

    token_ids: NDArray[np.int32]
    cls_id: int
    cls_value: float
    n_bins: int
    right: bool
    unbinned: int
    max_length: int

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:
        """Tokens of the cells of a block, with float32 values.

        Raises
        ------
        InputError
            If a value is negative, infinite or not a number, or the match belongs to another file.
        """
        rows = prepare(block, match)
        low, high = cell_seeds(block.numbers, seed, 0)
        ids, values = [], []
        for cell in range(len(block)):
            span = slice(int(rows.indptr[cell]), int(rows.indptr[cell + 1]))
            genes, counts = match.target[rows.indices[span]], rows.data[span].astype(np.float32)
            kept = (genes >= 0) & (counts > 0)
            tokens, bins = self.token_ids[genes[kept]], self._binned(counts[kept])
            if len(tokens) >= self.max_length:
                heights = uniform((low[cell], high[cell]), tokens)
                heights[: self.unbinned] = -1
                chosen = np.sort(np.argsort(heights, kind="stable")[: self.max_length - 1])
                tokens, bins = tokens[chosen], bins[chosen]
            ids.append(np.concatenate([[self.cls_id], tokens]))
            values.append(np.concatenate([[self.cls_value], bins]))
        return Tokens.joined(ids, block.numbers, values=values)

    def _binned(self, counts: NDArray[np.float32]) -> NDArray[np.float32]:
        row = torch.from_numpy(counts[self.unbinned :].copy())
        if not len(row):
            return counts
        # In float32 and by torch, as published: a count can lie on an edge or just beside it.
        edges = torch.quantile(row, torch.linspace(0, 1, self.n_bins - 1))
        bins = torch.bucketize(row, edges, right=self.right) + (not self.right)
        return np.concatenate([counts[: self.unbinned], bins.numpy().astype(np.float32)])


@dataclass(frozen=True, slots=True, kw_only=True)
class BinOptions:
    """Activation of the encoder of bins, the largest value it lets through, and the eps of its norms."""

    activation: str = "relu"
    clip: float = 512.0
    eps: float = 1e-5


class BinEmbeddings(nn.Module):
    """The normed gene embedding plus the normed encoding of its bin."""

    def __init__(self, config: CoreConfig, options: BinOptions) -> None:
        super().__init__()
        width, self.clip, self.act = config.d_model, options.clip, activation(options.activation)
        self.token = nn.Embedding(config.vocab_size, width)
        self.first, self.second = nn.Linear(1, width), nn.Linear(width, width)
        self.token_norm, self.value_norm = (nn.LayerNorm(width, options.eps) for _ in range(2))

    def forward(self, batch: Batch) -> Tensor:
        """``(t, d)``."""
        assert batch.values is not None
        values = batch.values.to(self.first.weight.dtype).clamp(max=self.clip)[:, None]
        encoded: Tensor = self.value_norm(self.second(self.act(self.first(values))))
        embedded: Tensor = self.token_norm(self.token(batch.ids)) + encoded
        return embedded


BINNED_GENES = Part(name="binned_genes", kind="embedder", factory=BinEmbeddings, options=BinOptions)


def recognises(folder: Path) -> bool:
    """Whether a folder is laid out as a size of Tahoe-x1."""
    return all((folder / name).is_file() for name in (_MODEL, _COLLATOR))


def load_tokenizer(
    folder: Path, *, first: str = "published", max_length: int | str = _LONGEST
) -> CellPreprocessor:
    """Genes and tokeniser of a folder, with the parameters of :func:`load`; the weights are not touched.

    Parameters
    ----------
    folder
        Of the checkpoint.
    first, max_length
        As of :func:`load`.

    Raises
    ------
    CheckpointError, ConfigError
        If a file is missing, the vocabulary lacks a special token, or values are not binned.
    """
    choose("first", first, ("published", "binned"))
    settings = read_yaml(folder / _COLLATOR)
    if not settings.get("do_binning", True):
        raise ConfigError("Tahoe-x1 without do_binning is not supported; only binned counts are")
    vocab = {str(name): int(token) for name, token in read_json(folder / _GENES).items()}
    if "<cls>" not in vocab:
        raise CheckpointError(f"{folder / _GENES} lacks <cls>; give the vocabulary of the checkpoint")
    genes = [name for name in vocab if not name.startswith("<")]
    longest = whole_number("max_length", max_length, 2)
    # The drug's place among the first tokens is kept when the drug is left out, and a gene stands in it.
    unbinned = max(int(settings.get("keep_first_n_tokens", 1)) - 1, 0) if first == "published" else 0
    tokenizer = LeftBins(
        token_ids=np.array([vocab[gene] for gene in genes], np.int32),
        cls_id=vocab["<cls>"],
        cls_value=float(settings.get("pad_value", -2)),
        n_bins=int(settings.get("num_bins", 51)),
        right=bool(settings.get("right_binning", False)),
        unbinned=unbinned,
        max_length=longest,
    )
    return CellPreprocessor(
        name="tahoe",
        vocabulary=GeneVocabulary.of(genes),
        tokenizer=tokenizer,
        special=(1, 0),
        files=(folder / _COLLATOR, folder / _GENES),
        published=PublishedRule(system="Tahoe-x1", column="ensembl_id"),
    )


def _core_config(settings: Mapping[str, Any], genes: int) -> CoreConfig:
    """The core that a ``model_config.yml`` describes, without weights."""
    encoder, decided = settings["expression_encoder"], settings.get("gene_encoder") or {}
    if decided.get("embeddings") or settings.get("norm_scheme", "pre") != "pre":
        raise ConfigError("Tahoe-x1 with post-norm or further gene embeddings is not supported")
    if not (encoder.get("use_norm") and decided.get("use_norm")):
        raise ConfigError("Tahoe-x1 without norms of its encoders is not supported")
    options = {
        "activation": encoder.get("activation", "relu"),
        "clip": float(encoder.get("max_value", 512)),
    }
    eps = float((settings.get("norm_config") or {}).get("eps", 1e-5))
    return CoreConfig(
        vocab_size=genes,
        d_model=settings["d_model"],
        n_layers=settings["n_layers"],
        n_heads=settings["n_heads"],
        n_kv_heads=int((settings.get("attn_config") or {}).get("kv_n_heads", 0)),
        d_ff=int(settings["expansion_ratio"] * settings["d_model"]),
        position="none",
        block="pre",
        norm_eps=eps,
        glu=bool(settings.get("use_glu", False)),
        activation=settings.get("transformer_activation", "gelu"),
        embedder=BINNED_GENES.name,
        part_options={BINNED_GENES.name: options},
    )


def load(folder: Path, *, first: str = "published", max_length: int | str = _LONGEST) -> TokenCellModel:
    """Load one size of Tahoe-x1, strictly.

    Parameters
    ----------
    folder
        Of a checkpoint.
    first
        What becomes of the first gene of a cell where the model was trained with a drug token:
        ``published`` keeps its count as its value, ``binned`` treats it as the other genes.
    max_length
        Most tokens of a cell.

    Raises
    ------
    CheckpointError, ConfigError
        If a file or weight is missing, extra, mis-shaped or unsafe, or the model is of a kind not read.
    """
    preprocessor = load_tokenizer(folder, first=first, max_length=max_length)
    path, settings = folder / _WEIGHTS, read_yaml(folder / _MODEL)
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {_WEIGHTS}; fetch tahoebio/Tahoe-x1 with one of its sizes")
    # Saved by the trainer, whose module wraps the model.
    tensors = {name.removeprefix("model."): tensor for name, tensor in read_weights([path]).items()}
    # Decoders of bins and fingerprints of drugs make no vector.
    tensors = {name: x for name, x in tensors.items() if not name.startswith(_UNREAD)}
    try:
        config = _core_config(settings, len(tensors["gene_encoder.embedding.weight"]))
    except KeyError as error:
        raise CheckpointError(f"{folder / _MODEL} or {path.name} lacks {error}; fetch both again") from error
    top = int(preprocessor.tokenizer.token_ids.max(initial=0))  # type: ignore[attr-defined]  # LeftBins
    check_rows(folder / _GENES, top, path, config.vocab_size)
    check_size(config, tensors, path)
    core = Transformer(config)
    load_strict(core, _KEYS.theirs_to_ours(tensors, config, path), path)
    options = {"first": first, "max_length": int(max_length)}
    return TokenCellModel(preprocessor, core, pool="cls_l2", hidden_state=-1, files=[path], options=options)
