"""scTrans (Zou et al. 2024): one query attends to the expressed genes of a cell, so cost goes by those alone.

A folder holds ``pretrained_model.pth`` or ``finetuned_model.pth``, and ``reference_word_dic.pk``, the numbers
of the genes; scTrans writes them for each data set, no weights are published. A gene's key and value are its
embedding times its count over the mean of the cell's counts; a cell's vector is the query after all blocks.

Dimensions: ``t`` tokens of a batch · ``b`` cells · ``h`` heads · ``d`` width · ``c`` cell types.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biolm.adapters.cells.continuous import ContinuousTokenizer
from biolm.batch import Batch, Tokens
from biolm.core.checkpoint import load_strict, read_torch
from biolm.core.maps import Receive
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.io.safe_pickle import Record, read_pickle
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.systems.cell_folders import check_rows
from biolm.models.systems.cell_network import CellNetwork
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

__all__ = ["ScTrans", "load", "load_tokenizer", "nt_xent", "read_network", "recognises", "smoothed_loss"]

_WEIGHTS = ("pretrained_model.pth", "finetuned_model.pth")
_GENES = "reference_word_dic.pk"
_QUERY = 1  # row of the embedding that asks; 0 is padding


@dataclass(frozen=True, slots=True, eq=False)
class MeanScaled:
    """Expressed genes, each with its count over the mean of the cell's counts."""

    counts: ContinuousTokenizer

    def __call__(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:
        """Tokens of the cells of a block, with float32 values."""
        tokens = self.counts(block, match, seed=seed)
        assert tokens.values is not None
        filled = np.maximum(tokens.lengths, 1)
        sums = np.zeros(len(tokens))
        np.add.at(sums, np.repeat(np.arange(len(tokens)), tokens.lengths), tokens.values.astype(np.float64))
        means = np.repeat(sums / filled, tokens.lengths)
        return replace(tokens, values=(tokens.values / means).astype(np.float32))

    @property
    def token_ids(self) -> Any:
        """``(m,)`` token id of each gene."""
        return self.counts.token_ids


class _Block(nn.Module):
    """Norms stand on the branches, not on the sums; a third one is in the file and unused."""

    def __init__(self, width: int, inner: int, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_model = nn.ModuleDict(
            {name: nn.Linear(width, inner) for name in ("q", "k", "v")} | {"out": nn.Linear(inner, width)}
        )
        self.point_wise_ffw = nn.ModuleDict(
            {"linear1": nn.Linear(width, hidden), "linear2": nn.Linear(hidden, width)}
        )
        self.sublayer1, self.sublayer2 = (nn.ModuleDict({"norm": nn.LayerNorm(width)}) for _ in range(2))
        self.layerNorm = nn.LayerNorm(width)

    def forward(self, query: Tensor, keys: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
        """From query ``(b, d)`` and keys ``(t, d)`` of cells ``owner (t,)``: query and weights ``(t, h)``."""
        parts = self.attention_model
        q, k, v = (parts[name](x).unflatten(1, (self.heads, -1)) for name, x in
                   (("q", query), ("k", keys), ("v", keys)))  # fmt: skip
        scores = (q[owner] * k).sum(2) / q.shape[2] ** 0.5  # (t, h)
        places = owner[:, None].expand_as(scores)
        top = torch.full((len(query), self.heads), -torch.inf, dtype=scores.dtype, device=scores.device)
        top = top.scatter_reduce(0, places, scores, "amax")
        raised = (scores - top[owner]).exp()
        weights = raised / torch.zeros_like(top).index_add(0, owner, raised)[owner]
        mixed = torch.zeros_like(q).index_add(0, owner, weights[..., None] * v).flatten(1)
        query = query + self.sublayer1["norm"](parts["out"](mixed))
        hidden = self.point_wise_ffw["linear2"](self.point_wise_ffw["linear1"](query).relu())
        return query + self.sublayer2["norm"](hidden), weights


class Encoder(nn.Module):
    """The network under the names of its checkpoint, and the classifier where the file has one."""

    def __init__(self, shapes: dict[str, torch.Size], heads: int) -> None:
        super().__init__()
        vocabulary, width = shapes["embedding.feature_embedding.word_embed.weight"]
        inner = shapes["encoder.encoder_list.0.attention_model.q.weight"][0]
        hidden = shapes["encoder.encoder_list.0.point_wise_ffw.linear1.weight"][0]
        if inner % heads:
            raise ConfigError(f"heads {heads} do not divide the width {inner} of scTrans's attention")
        blocks = len({name.split(".")[2] for name in shapes if name.startswith("encoder.encoder_list.")})
        embedding = nn.ModuleDict({"word_embed": nn.Embedding(vocabulary, width)})
        self.embedding = nn.ModuleDict({"feature_embedding": embedding})
        self.encoder = nn.ModuleDict(
            {"encoder_list": nn.ModuleList(_Block(width, inner, hidden, heads) for _ in range(blocks))}
        )
        self.projection_head = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )
        sizes = [shapes[f"mlp_linear_list.{i}.weight"] for i in range(_count(shapes, "mlp_linear_list"))]
        self.mlp_linear_list = nn.ModuleList(nn.Linear(size[1], size[0]) for size in sizes)
        self.bn_list = nn.ModuleList(nn.BatchNorm1d(size[0]) for size in sizes)
        classes = shapes.get("predict_linear.weight")
        self.predict_linear = None if classes is None else nn.Linear(classes[1], classes[0])

    def forward(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Encodings ``(b, d)`` and the weights of each gene in each block ``(t, h)``."""
        assert batch.values is not None
        table: Tensor = self.embedding["feature_embedding"]["word_embed"].weight  # type: ignore[index]
        owner = torch.repeat_interleave(torch.arange(len(batch), device=table.device), batch.lengths)
        query, keys = table[_QUERY].expand(len(batch), -1), table[batch.ids] * batch.values[:, None]
        weights = []
        for block in _blocks(self.encoder):
            query, given = block(query, keys, owner)
            weights.append(given)
        return query, weights

    def classify(self, encodings: Tensor) -> Tensor:
        """Logits ``(b, c)`` of the cell types of a fine-tuned file."""
        if self.predict_linear is None:
            raise ConfigError("this scTrans checkpoint has no classifier; give a finetuned_model.pth")
        x = encodings
        for linear, norm in zip(self.mlp_linear_list, self.bn_list, strict=True):
            x = norm(linear(x)).relu()
        logits: Tensor = self.predict_linear(x)
        return logits


def _blocks(encoder: nn.Module) -> list[nn.Module]:
    return list(encoder.get_submodule("encoder_list").children())


def _count(shapes: dict[str, torch.Size], stem: str) -> int:
    return len({name.split(".")[1] for name in shapes if name.startswith(f"{stem}.")})


class ScTrans(CellNetwork):
    """scTrans; pools are its encoding, and what its projection head makes of it."""

    def vectors(self, batch: Batch, how: str) -> Tensor:
        """Vectors ``(b, d)``."""
        encodings: Tensor = self.network(batch)[0]
        return self.network.projection_head(encodings) if how == "projection" else encodings  # type: ignore

    def attention(self, batch: Batch, receive: Receive) -> None:
        """Weights of a cell's genes for its one query, of each block."""
        for weights in self.network(batch)[1]:
            receive(tuple(part.T[:, None] for part in torch.split(weights, batch.lengths.tolist())))

    def gene_inputs(self, token_ids: Tensor) -> Tensor:
        """Rows ``(m, d)`` of the embedding table."""
        table: Tensor = self.network.get_parameter("embedding.feature_embedding.word_embed.weight")
        return table[token_ids]


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    """Contrast of two views ``(b, d)`` as published: the temperature grows with the root of the width.

    Parameters
    ----------
    first, second
        ``(b, d)`` views of the same cells.
    temperature
        Of the cosines.
    """
    n = len(first)
    both = nn.functional.normalize(torch.cat((first, second)), dim=1)
    raised = (both @ both.T / (temperature * both.shape[1] ** 0.5)).exp()
    others = raised.sum(1) - raised.diagonal() + 1e-7
    pairs = torch.arange(2 * n, device=both.device).roll(n)
    # The published code divides by the sums of the columns, and similarity is symmetric.
    fractions = raised[torch.arange(2 * n), pairs] / others[pairs]
    loss: Tensor = -(fractions + 1e-7).log().mean()
    return loss


def smoothed_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of ``(b, c)`` with a fraction of each target spread over all classes, as published.

    Parameters
    ----------
    logits
        ``(b, c)``.
    targets
        ``(b,)`` classes.
    smoothing
        Fraction of a target that is spread.
    """
    logs = (logits.softmax(1) + 1e-8).log()
    own = logs.gather(1, targets.reshape(-1, 1))[:, 0]
    return -((1 - smoothing) * own + smoothing * logs.mean(1)).mean()


def _weights(folder: Path) -> Path | None:
    return next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)


def recognises(folder: Path) -> bool:
    """Whether a folder is laid out as scTrans writes it."""
    return _weights(folder) is not None and (folder / _GENES).is_file()


def load_tokenizer(folder: Path) -> CellPreprocessor:
    """Genes and tokeniser of a folder; the weights are not touched.

    Raises
    ------
    CheckpointError
        If the dictionary of genes is missing, unsafe or damaged.
    """
    path = folder / _GENES
    # The dictionary was pickled as a class of the authors, of which only the state is read.
    pickled = read_pickle(path, records=("models.utils.WordIdxDic", "utils.WordIdxDic"))
    numbers = pickled.state.get("word2idx_dic") if isinstance(pickled, Record) else pickled
    if not isinstance(numbers, dict) or "[cls]" not in numbers:
        raise CheckpointError(f"{path} is no gene dictionary of scTrans; give the file that it wrote")
    genes = {str(gene): int(number) for gene, number in numbers.items() if not re.fullmatch(r"\[\w+\]", gene)}
    ids = np.array(list(genes.values()), np.int32)
    return CellPreprocessor(
        name="sctrans",
        vocabulary=GeneVocabulary.of([gene.upper() for gene in genes]),
        tokenizer=MeanScaled(ContinuousTokenizer(token_ids=ids, target_sum=None, log1p=False)),
        files=(path,),
        wants_counts=False,
        # models/dataset.py: names of the index, whatever their case.
        published=PublishedRule(system="scTrans", column="index", rewrite=str.upper),
    )


def read_network(path: Path, heads: int = 1) -> Encoder:
    """The network of a weight file, strictly.

    Parameters
    ----------
    path
        Of the weights.
    heads
        Of the attention.

    Raises
    ------
    CheckpointError
        If a weight is missing, extra or mis-shaped.
    """
    state = read_torch(path).get("model")
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds no weights under 'model'; give a file that scTrans saved")
    tensors = {name.removeprefix("encode."): tensor for name, tensor in state.items()}
    try:
        network = Encoder({name: tensor.shape for name, tensor in tensors.items()}, heads)
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"{path} is no scTrans encoder: it lacks {error}") from error
    load_strict(network, tensors, path)
    return network.eval()


def load(folder: Path, *, heads: int | str = 1) -> ScTrans:
    """Load a folder, strictly.

    Parameters
    ----------
    folder
        Of a checkpoint.
    heads
        Heads of the attention, which the file does not tell; the published runs use 1.

    Raises
    ------
    CheckpointError, ConfigError
        If a file or weight is missing, extra, mis-shaped or unsafe, or heads do not fit.
    """
    preprocessor = load_tokenizer(folder)
    path = _weights(folder)
    if path is None:
        raise CheckpointError(f"{folder} holds no {' or '.join(_WEIGHTS)}; give a folder that scTrans wrote")
    network = read_network(path, int(heads))
    table = network.embedding["feature_embedding"]["word_embed"].weight  # type: ignore[index]
    top = int(preprocessor.tokenizer.token_ids.max())  # type: ignore[attr-defined]  # MeanScaled
    check_rows(folder / _GENES, top, path, len(table))
    pools, width = ("encoding", "projection"), int(table.shape[1])
    return ScTrans(preprocessor, network, width=width, pools=pools, files=[path], rules={"heads": int(heads)})
