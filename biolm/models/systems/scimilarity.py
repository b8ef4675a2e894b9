"""SCimilarity (Heimberg et al. 2024): an encoder of log-normalised counts, trained on triplets of cells.

A folder holds ``encoder.ckpt`` and ``gene_order.tsv``; beside them may lie ``decoder.ckpt`` and
``layer_sizes.json``. Input is ``log(1 + 10,000 x / sum)`` over the genes of the model, in the order of
``gene_order.tsv``; genes that a file lacks are 0. A cell's vector has length 1.

The published alignment sorts the genes with today's anndata, whatever the file of the order says, so its
numbers are right only where that file is sorted. Here the order of the file holds.

Dimensions: ``n`` cells · ``m`` genes of the model · ``h`` first hidden width · ``z`` width of the vector.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.cells.rows import prepare
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.io.json_file import read_json
from biolm.models.model import CellModel, EmbedOptions
from biolm.models.systems.row_sums import RowSums
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch
from biolm.vocab.published import PublishedRule

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Scimilarity", "load", "recognises"]

_ENCODER, _DECODER, _GENES, _SIZES = "encoder.ckpt", "decoder.ckpt", "gene_order.tsv", "layer_sizes.json"
_LEAST = 5_000
_TARGET = 1e4


class Scimilarity(CellModel):
    """The encoder, and the decoder where the folder has one.

    Parameters
    ----------
    vocabulary
        ``m`` genes, in the order of the first layer.
    encoder, decoder
        Networks ``(n, m)`` to ``(n, z)`` and back.
    files
        What they were read from.
    least_genes
        Genes of the model that a file must hold.
    """

    name = "scimilarity"
    wants_counts = True
    pools = ("l2", "none")
    block_rows = 1024
    # utils.py, align_dataset: names as they are, and columns of one name are added up.
    published = PublishedRule(system="SCimilarity", column="index", sums=True)

    def __init__(
        self,
        vocabulary: GeneVocabulary,
        encoder: nn.Module,
        decoder: nn.Module | None,
        files: list[Path],
        least_genes: int,
    ) -> None:
        self.vocabulary, self.least_genes = vocabulary, least_genes
        self.encoder, self.decoder = encoder.eval(), None if decoder is None else decoder.eval()
        self.width = _shape(encoder.state_dict())[-1]
        self._files = files
        # (m, h): a cell adds up the rows of its expressed genes, a tenth of them at most.
        self._first = RowSums(_linear(encoder, 0).weight.detach().t())

    def embed(self, block: CellBlock, match: GeneMatch, options: EmbedOptions) -> NDArray[np.float32]:
        """Vectors ``(n, z)`` of a block of counts.

        Raises
        ------
        ConfigError
            For another way to pool, or a hidden state: there are no tokens.
        """
        import torch
        from torch.nn import functional as F

        from biolm.models.running import pick_device

        how = options.pool or self.pools[0]
        if how not in self.pools or options.hidden_state is not None:
            raise ConfigError("scimilarity reads no tokens: pool is l2 or none, and there is no hidden state")
        device = pick_device(options.device)
        self.encoder.to(device)
        expressed = self._expressed(block, match)
        with torch.inference_mode():
            x = self._first(*expressed, len(block), device) + _linear(self.encoder, 0).bias
            for step, layer in enumerate(self.encoder.children()):
                x = layer[2:](x) if step == 0 else layer(x)  # type: ignore[index]  # Sequential
            vectors = F.normalize(x, dim=1) if how == "l2" else x
        return vectors.float().cpu().numpy()

    def _expressed(
        self, block: CellBlock, match: GeneMatch
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """Genes of the model, their log-normalised values, and the cell of each."""
        import torch

        rows = prepare(block, match)
        genes, counts = match.target[rows.indices], rows.data
        cells = np.repeat(np.arange(len(block)), np.diff(rows.indptr))
        kept = (genes >= 0) & (counts > 0)
        if not kept.all():
            genes, cells, counts = genes[kept], cells[kept], counts[kept]
        counts = counts.astype(np.float64)
        totals = np.bincount(cells, counts, len(block))
        scales = np.divide(_TARGET, totals, where=totals > 0, out=np.zeros(len(block)))
        counts *= scales[cells]
        return genes.astype(np.int64), torch.from_numpy(counts).log1p_().float().numpy(), cells

    def inputs(self, block: CellBlock, match: GeneMatch) -> NDArray[np.float32]:
        """``(n, m)`` what the first layer reads.

        Parameters
        ----------
        block
            Cells.
        match
            Their genes in the vocabulary.
        """
        genes, values, cells = self._expressed(block, match)
        out = np.zeros((len(block), len(self.vocabulary)), np.float32)
        out[cells, genes] = values
        return out

    def reconstruct(self, vectors: Tensor) -> Tensor:
        """Log-normalised expression ``(n, m)`` of vectors ``(n, z)``.

        Raises
        ------
        ConfigError
            If the folder holds no decoder.
        """
        if self.decoder is None:
            raise ConfigError(f"the folder of {self.name} holds no {_DECODER}, so nothing is reconstructed")
        return self.decoder(vectors)  # type: ignore[no-any-return]

    def describe(self) -> dict[str, Any]:
        """Metadata for provenance."""
        from biolm.core.checkpoint import hash_files

        return {
            "kind": self.name,
            "sha256": hash_files(self._files),
            "parameters": sum(part.numel() for part in self.encoder.parameters()),
            "genes": len(self.vocabulary),
            "width": self.width,
            "options": {"least_genes": self.least_genes, "gene_order": _GENES},
        }


def recognises(folder: Path) -> bool:
    """Whether a folder is laid out as SCimilarity publishes its models."""
    return all((folder / name).is_file() for name in (_ENCODER, _GENES))


def load(folder: Path, *, least_genes: int | None = None) -> Scimilarity:
    """Load a SCimilarity folder, strictly.

    Parameters
    ----------
    folder
        The folder of a model.
    least_genes
        Genes of the model that a file must hold; by default 5,000 as published, and of a model of fewer than
        10,000 genes half of them.

    Raises
    ------
    CheckpointError
        If a file or weight is missing, extra, mis-shaped or unsafe, or the genes are those of another model.
    """
    names = [
        line.split("\t")[0].strip() for line in (folder / _GENES).read_text().splitlines() if line.strip()
    ]
    vocabulary = GeneVocabulary.of(names, kind="symbol", species=("human",))
    encoder, files = _read(folder / _ENCODER, len(names), reverse=False), [folder / _ENCODER, folder / _GENES]
    if (folder / _SIZES).is_file():
        shapes = {name: list(value.shape) for name, value in encoder.state_dict(prefix="network.").items()}
        if read_json(folder / _SIZES) != shapes:
            raise CheckpointError(f"{folder / _SIZES} tells other sizes than {_ENCODER}; fetch both again")
    decoder = None
    if (folder / _DECODER).is_file():
        decoder = _read(folder / _DECODER, len(names), reverse=True)
        files.append(folder / _DECODER)
    least = min(_LEAST, len(names) // 2) if least_genes is None else int(least_genes)
    return Scimilarity(vocabulary, encoder, decoder, files, least)


def _read(path: Path, genes: int, *, reverse: bool) -> nn.Sequential:
    """A network from its file: linear maps, each but the last with a batch norm and a PReLU."""
    from biolm.core.checkpoint import load_strict, read_torch

    tensors = read_torch(path).get("state_dict", {})
    shape = _shape({name.removeprefix("network."): value for name, value in tensors.items()})
    if len(shape) < 2:
        raise CheckpointError(f"{path} holds no network of SCimilarity; fetch the folder again")
    known = shape[-1 if reverse else 0]
    if known != genes:
        raise CheckpointError(
            f"{path} was trained on {known} genes but {_GENES} beside it lists {genes}; "
            "take both files from one model"
        )
    network = _network(shape, dropout_first=not reverse)
    load_strict(network, {name.removeprefix("network."): value for name, value in tensors.items()}, path)
    return network


def _shape(tensors: dict[str, Tensor]) -> list[int]:
    """Widths from input to output."""
    weights = [value.shape for name, value in tensors.items() if name.endswith("weight") and value.dim() == 2]
    return [*(shape[1] for shape in weights[:1]), *(shape[0] for shape in weights)]


def _network(shape: list[int], *, dropout_first: bool) -> nn.Sequential:
    from torch import nn

    steps: list[nn.Module] = []
    for number, (wide, narrow) in enumerate(pairwise(shape[:-1])):
        # Empty places keep the numbers of the published weights; dropout is off in use.
        before = [nn.Identity()] if dropout_first or number else []
        steps.append(nn.Sequential(*before, nn.Linear(wide, narrow), nn.BatchNorm1d(narrow), nn.PReLU()))
    return nn.Sequential(*steps, nn.Linear(shape[-2], shape[-1]))


def _linear(network: nn.Module, step: int) -> Any:
    return list(network.children())[step][1]  # type: ignore[index]  # Sequential
