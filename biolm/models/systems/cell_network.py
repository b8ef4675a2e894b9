"""Cell systems with a network of their own, which is none of the shared core: tokenise, batch, run.

Dimensions: ``n`` cells of a block · ``b`` cells of a batch · ``t`` tokens of a batch · ``h`` heads · ``e``
width of a head · ``d`` width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biolm.batch import Batch, Tokens, pack
from biolm.common_options import PRECISIONS
from biolm.core.checkpoint import hash_files
from biolm.errors import ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.model import CellModel, EmbedOptions
from biolm.models.precision import mixed
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.running import pick_device
from biolm.vocab.match import GeneMatch

__all__ = ["CellNetwork", "by_document", "map_of"]

_GENES = 4096  # of which vectors are made at a time


class CellNetwork(CellModel):
    """A published system whose network reads the packed tokens of some cells.

    Parameters
    ----------
    preprocessor
        Genes and tokeniser.
    network
        The modules with their weights.
    width
        ``d`` of a cell's vector.
    pools
        Ways to pool; the first is the system's own.
    files
        Weight files, for the checkpoint's hash.
    rules
        What the user chose of the system, such as whether a fault of the published code is kept; they enter
        the provenance.
    """

    block_rows = 512
    precisions = PRECISIONS

    def __init__(
        self,
        preprocessor: CellPreprocessor,
        network: nn.Module,
        *,
        width: int,
        pools: tuple[str, ...],
        files: list[Path],
        rules: Mapping[str, Any] | None = None,
    ) -> None:
        self.preprocessor = preprocessor
        self.name = preprocessor.name
        self.vocabulary = preprocessor.vocabulary
        self.wants_counts = preprocessor.wants_counts
        self.network = network.eval()
        self.width = width
        self.pools = pools
        self.rules = dict(rules or {})
        self._files = [*files, *preprocessor.files]

    def tokenize(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:
        """Packed tokens of a block of cells, row numbers in ``index``."""
        return self.preprocessor.tokenize(block, match, seed=seed)

    def embed(self, block: CellBlock, match: GeneMatch, options: EmbedOptions) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of a block of cells."""
        return self.embed_tokens(self.tokenize(block, match, seed=options.seed), options)

    def embed_tokens(self, tokens: Tokens, options: EmbedOptions) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of cells that are tokens already.

        Raises
        ------
        ConfigError
            For a hidden state or compiling, which these systems do not offer, or an unknown pool.
        """
        self.plain(options)
        how = options.pool or self.pools[0]
        if how not in self.pools:
            raise ConfigError(f"pool must be one of {', '.join(self.pools)}, not {how!r}")
        device = pick_device(options.device)
        self.network.to(device)
        vectors = np.zeros((len(tokens), self.width), np.float32)
        for rows in self.batches(tokens, options):
            batch = Batch.from_tokens(tokens, rows).to(device)
            with (
                torch.inference_mode(),
                mixed(device, options.precision),
            ):
                vectors[rows] = self.vectors(batch, how).float().cpu().numpy()
        return vectors

    def plain(self, options: EmbedOptions) -> None:
        """Refuse what these systems do not offer.

        Raises
        ------
        ConfigError
            For a hidden state or compiling.
        """
        if options.hidden_state is not None:
            raise ConfigError(f"model {self.name} pools its last state only; leave the hidden state out")
        if options.compile:
            raise ConfigError(f"model {self.name} is not compiled; leave compile out")

    def batches(self, tokens: Tokens, options: EmbedOptions) -> Iterator[NDArray[np.intp]]:
        """Rows of each batch; cells without tokens are in none, and their vectors are zero.

        Parameters
        ----------
        tokens
            Packed cells.
        options
            Size of batches.
        """
        filled = np.flatnonzero(tokens.lengths)
        for rows in pack(tokens.take(filled), options.batch_tokens):
            yield filled[rows]

    @abstractmethod
    def vectors(self, batch: Batch, how: str) -> Tensor:
        """Vectors ``(b, d)`` of one batch, each of at least one token.

        Parameters
        ----------
        batch
            Packed cells.
        how
            One of the system's ways to pool.
        """

    def gene_table(self) -> NDArray[np.float32]:
        """Vectors ``(m, d)`` of genes as they enter the network."""
        tokenizer: Any = self.preprocessor.tokenizer
        token_ids = torch.from_numpy(np.asarray(tokenizer.token_ids, np.int64))
        self.network.to("cpu")
        with torch.inference_mode():
            parts = [self.gene_inputs(part) for part in torch.split(token_ids, _GENES)]
        return torch.cat(parts).float().cpu().numpy()

    def gene_inputs(self, token_ids: Tensor) -> Tensor:  # noqa: ARG002  # networks with such vectors override this
        """Vectors ``(m, d)`` of gene tokens ``(m,)`` as they enter the network, whatever the cell.

        Raises
        ------
        ConfigError
            If the network has none.
        """
        raise self.lacks("holds no vectors of genes")

    def describe(self) -> dict[str, Any]:
        """Metadata for provenance."""
        return {
            "kind": self.name,
            "sha256": hash_files(self._files),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "width": self.width,
            "genes": len(self.vocabulary),
            "pool": self.pools[0],
            **self.rules,
        }


def by_document(
    attend: Callable[..., Tensor],
    offsets: Tensor,
    *columns: Tensor,
    keys: Tensor | None = None,
    asking: Tensor | None = None,
) -> Tensor:
    """Attention of every document to itself alone.

    Parameters
    ----------
    attend
        Takes the slices ``(h, s, e)`` of one document, and its slice of ``keys``; gives ``(h, s, e)``.
    offsets
        ``(b + 1,)`` document starts.
    columns
        Queries, keys and values, ``(t, h, e)`` each.
    keys
        ``(t,)`` a number for each key, such as a bias.
    asking
        ``(b + 1,)`` document starts of the queries, where not all tokens ask.

    Returns
    -------
    ``(t, h * e)`` of the queries.
    """
    ends = offsets.tolist()
    query, *others = columns
    mixed = []
    # Document by document: these networks add numbers of their own to the scores, which no packed kernel
    # takes.
    for own, asks in zip(pairwise(ends), pairwise(ends if asking is None else asking.tolist()), strict=True):
        parts = [query[slice(*asks)], *(column[slice(*own)] for column in others)]
        parts = [part.transpose(0, 1) for part in parts]
        if keys is not None:
            parts.append(keys[slice(*own)])
        mixed.append(attend(*parts).transpose(0, 1).flatten(1))
    return torch.cat(mixed)


def map_of(
    query: Tensor, key: Tensor, offsets: Tensor, weigh: Callable[..., Tensor], keys: Tensor | None = None
) -> Iterator[Tensor]:
    """Attention maps ``(h, s, s)`` of every document.

    Parameters
    ----------
    query, key
        ``(t, h, e)``.
    offsets
        ``(b + 1,)`` document starts.
    weigh
        Takes queries and keys ``(h, s, e)`` of one document, and its slice of ``keys``; gives its map.
    keys
        ``(t,)`` a number for each key.
    """
    for start, end in pairwise(offsets.tolist()):
        own = () if keys is None else (keys[start:end],)
        yield weigh(query[start:end].transpose(0, 1), key[start:end].transpose(0, 1), *own)
