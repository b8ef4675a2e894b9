"""Concerto (Yang et al. 2022): a teacher that attends to the expressed genes of a cell, trained by contrast.

A folder holds the teacher's Keras weights (``weight_encoder_epoch*.h5`` or any one ``.h5``) and
``genes.txt``, one gene a line in the order of its numbers. A gene's embedding is multiplied by its normalised
value, attention with a context vector weighs the genes, and a dense layer follows. Read with h5py; TensorFlow
is not needed. Of the losses recorded values exist, of the teacher none.

Dimensions: ``t`` tokens of a batch · ``b`` cells · ``d`` width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from biolm.adapters.cells.continuous import ContinuousTokenizer
from biolm.batch import Batch
from biolm.core.checkpoint import load_strict
from biolm.core.maps import Receive
from biolm.errors import CheckpointError, InputError
from biolm.io.cells.hdf5 import open_hdf5
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.systems.cell_folders import gene_list
from biolm.models.systems.cell_network import CellNetwork
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.published import PublishedRule

__all__ = ["Concerto", "Teacher", "byol_loss", "load", "load_tokenizer", "nt_xent", "recognises"]

_GENES = "genes.txt"
_EPS = 1e-3  # of Keras's batch norm
_LEAST = 1e-7  # of Keras, in the denominator of the attention
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_DENSE = {"kernel": "weight", "bias": "bias"}


class Teacher(nn.Module):
    """Embedding times normed value, attention with a context vector, norm, dense layer."""

    def __init__(self, genes: int, width: int, out: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(genes, width)
        self.value_norm, self.norm = nn.BatchNorm1d(1, _EPS), nn.BatchNorm1d(width, _EPS)
        self.keys = nn.Linear(width, width)
        self.context = nn.Parameter(torch.zeros(width))
        self.dense = nn.Linear(width, out)

    def attention_weights(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Weight ``(t,)`` of each gene in its cell, its vector ``(t, d)``, and its cell ``(t,)``."""
        assert batch.values is not None
        x = self.embedding(batch.ids) * self.value_norm(batch.values[:, None])
        weights = (torch.tanh(self.keys(x)) @ self.context).exp()
        owner = torch.repeat_interleave(torch.arange(len(batch), device=x.device), batch.lengths)
        sums = weights.new_zeros(len(batch)).index_add(0, owner, weights) + _LEAST
        return weights / sums[owner], x, owner

    def forward(self, batch: Batch) -> Tensor:
        """Vectors ``(b, out)``; a cell's genes are all that it sees."""
        weights, x, owner = self.attention_weights(batch)
        mixed = x.new_zeros(len(batch), x.shape[1]).index_add(0, owner, x * weights[:, None])
        vectors: Tensor = self.dense(self.norm(torch.tanh(mixed))).relu()
        return vectors


class Concerto(CellNetwork):
    """Concerto's teacher."""

    def vectors(self, batch: Batch, how: str) -> Tensor:  # noqa: ARG002  # one way to pool
        """Vectors ``(b, d)``."""
        vectors: Tensor = self.network(batch)
        return vectors

    def attention(self, batch: Batch, receive: Receive) -> None:
        """Weights of a cell's genes: one layer, one head, one query."""
        weights: Tensor = self.network.attention_weights(batch)[0]  # type: ignore[operator]  # Teacher
        receive(tuple(part[None, None] for part in torch.split(weights, batch.lengths.tolist())))

    def gene_inputs(self, token_ids: Tensor) -> Tensor:
        """Rows ``(m, d)`` of the embedding table."""
        return self.network.get_parameter("embedding.weight")[token_ids]


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    """Contrast of two views ``(b, d)``: the sum of both directions for each cell ``(b,)``.

    Every other vector of both views is a negative; cosine similarity over the temperature.

    Parameters
    ----------
    first, second
        ``(b, d)`` views of the same cells.
    temperature
        Of the cosines.
    """
    a, b = (nn.functional.normalize(x, dim=1) for x in (first, second))
    n = len(a)
    own = torch.eye(n, dtype=torch.bool, device=a.device)
    target = torch.arange(n, device=a.device)
    losses = []
    for x, y in ((a, b), (b, a)):
        same = (x @ x.T / temperature).masked_fill(own, -torch.inf)
        losses.append(
            nn.functional.cross_entropy(torch.cat((x @ y.T / temperature, same), 1), target, reduction="none")
        )
    return losses[0] + losses[1]


def byol_loss(first: Tensor, second: Tensor) -> Tensor:
    """Mean of ``2 - 2 cos`` over the cells.

    Parameters
    ----------
    first, second
        ``(b, d)`` views of the same cells.
    """
    return (2 - 2 * nn.functional.cosine_similarity(first, second, dim=1)).mean()


def _weights(folder: Path) -> Path | None:
    named = sorted(folder.glob("weight_encoder_epoch*.h5"))
    every = sorted(folder.glob("*.h5"))
    return named[-1] if named else every[0] if len(every) == 1 else None


def recognises(folder: Path) -> bool:
    """Whether a folder holds Keras weights beside a list of genes."""
    return (folder / _GENES).is_file() and _weights(folder) is not None


def load_tokenizer(folder: Path) -> CellPreprocessor:
    """Genes and tokeniser of a folder; the weights are not touched.

    Raises
    ------
    CheckpointError
        If the list of genes is missing or empty.
    """
    genes, path = gene_list(folder, source="the training data of that Concerto")
    ids = np.arange(len(genes), dtype=np.int32)
    return CellPreprocessor(
        name="concerto",
        vocabulary=GeneVocabulary.of(genes),
        tokenizer=ContinuousTokenizer(token_ids=ids, target_sum=1e4, log1p=True),
        files=(path,),
        published=PublishedRule(system="Concerto", column="index"),
    )


def read_keras(path: Path) -> dict[str, Tensor]:
    """Weights of a Keras file by their last two names, such as ``projection-1/kernel``.

    Raises
    ------
    CheckpointError
        If it is damaged, leads to other files, or two weights share a name.
    """
    import h5py

    weights: dict[str, Tensor] = {}

    def take(name: str, group: Any) -> None:
        if isinstance(group, h5py.Dataset):
            layer, weight = name.split("/")[-2:] if "/" in name else ("", name)
            key = f"{layer}/{weight.removesuffix(':0')}"
            if key in weights or group.external or group.is_virtual:
                raise CheckpointError(
                    f"{path} holds {key} twice or in another file; save it again with Keras"
                )
            weights[key] = torch.from_numpy(np.asarray(group[()], np.float32))

    try:
        with open_hdf5(path) as file:
            file.visititems(take)
    except (OSError, InputError) as error:
        raise CheckpointError(f"{path} is no whole HDF5 file ({error}); fetch it again") from error
    return weights


def _tensors(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The teacher's weights under our names."""
    out: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        layer, weight = key.rsplit("/", 1)
        place = {"Gene-BN-1": "value_norm", "Gene-BN-3": "norm", "projection-1": "dense"}.get(layer)
        if layer == "Gene-Embedding":
            out["embedding.weight"] = tensor
        elif layer.startswith("attention_with_context"):
            name = {"W": "keys.weight", "b": "keys.bias", "u": "context"}.get(weight.rsplit("_", 1)[-1], key)
            out[name] = tensor.T if name == "keys.weight" else tensor
        elif place is not None:
            names = _DENSE if place == "dense" else _NORM
            out[f"{place}.{names.get(weight, weight)}"] = tensor.T if weight == "kernel" else tensor
        else:
            raise CheckpointError(f"{path} holds {key}, which is no weight of Concerto's teacher")
    return out


def load(folder: Path) -> Concerto:
    """Load a folder, strictly.

    Raises
    ------
    CheckpointError
        If a file or weight is missing, extra or mis-shaped.
    """
    preprocessor, path = load_tokenizer(folder), _weights(folder)
    if path is None:
        raise CheckpointError(f"{folder} holds no weight_encoder_epoch*.h5, nor one .h5 alone")
    tensors = _tensors(read_keras(path), path)
    if not {"embedding.weight", "dense.weight"} <= tensors.keys():
        raise CheckpointError(f"{path} lacks Gene-Embedding or projection-1; give the teacher's weights")
    genes, width = tensors["embedding.weight"].shape
    if genes < len(preprocessor.vocabulary):
        raise CheckpointError(
            f"{folder / _GENES} lists {len(preprocessor.vocabulary)} genes but {path.name} knows {genes}; "
            "take both from one run"
        )
    out = len(tensors["dense.weight"])
    network = Teacher(genes, width, out)
    for norm in ("value_norm", "norm"):
        # Torch counts batches and Keras does not; nothing reads the number in use.
        tensors[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    load_strict(network, tensors, path)
    return Concerto(preprocessor, network, width=out, pools=("teacher",), files=[path])
