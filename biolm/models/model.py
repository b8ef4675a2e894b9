"""What every model of cells offers to the tasks.

Dimensions: ``n`` cells of a block · ``t`` tokens · ``d`` width of the embedding · ``m`` imputed genes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.batch import Tokens
from biolm.io.cells.block import CellBlock, CellSource
from biolm.vocab.genes import GeneVocabulary
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from torch import Tensor

    from biolm.batch import Batch
    from biolm.core.maps import Receive
    from biolm.errors import ConfigError

__all__ = ["CellModel", "EmbedOptions", "Imputer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
    """Choices of one embedding run.

    Parameters
    ----------
    pool
        One of the model's :attr:`CellModel.pools`; None for the model's own definition.
    batch_tokens
        Tokens packed into one batch.
    device
        ``auto`` (CUDA, then MPS, then CPU) or a torch device name.
    seed
        Seeds everything random: ties between bins, sampling of genes over the length limit.
    hidden_state
        Which hidden state is pooled: -1 the last, -2 the one before it, 0 the embeddings; None for the
        model's own definition.
    precision
        ``float32``, ``bfloat16`` or ``float16``, one of the model's :attr:`CellModel.precisions`: mixed
        precision, for bfloat16 on a CPU weights of that type.
    compile
        Compile the layers first; for long jobs on a GPU.
    """

    pool: str | None = None
    batch_tokens: int = 16_384
    device: str = "auto"
    seed: int = 0
    hidden_state: int | None = None
    precision: str = "float32"
    compile: bool = False


class Imputer(Protocol):
    """Imputes genes of one file; :meth:`CellModel.imputer` makes it."""

    @property
    def unit(self) -> str:
        """Of the values, in words."""
        ...

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the model's vocabulary that it can impute, in the file's species."""
        ...

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which of them the file measures; what is imputed for those is smoothed."""
        ...

    def columns(self, genes: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """What is known of some genes, ``(m,)`` each; ``genes`` are places among :attr:`rows`."""
        ...

    def prior(self, genes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Values ``(m,)`` where nothing is known of a cell."""
        ...

    def values(self, block: CellBlock, genes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Values ``(n, m)`` of some genes in a block of cells.

        Parameters
        ----------
        block
            Cells.
        genes
            ``(m,)`` rows of the model's vocabulary.
        """
        ...


class CellModel(ABC):
    """A model that turns cells into vectors.

    Attributes
    ----------
    modality
        The kind of data that it reads; see :mod:`biolm.jobs.modality`.
    name
        Names the result: ``obsm["X_<name>"]``.
    vocabulary
        The genes it knows.
    wants_counts
        Whether it was defined on raw counts; log-normalised input is then refused.
    least_genes
        Genes of the vocabulary that a file must hold, whatever the user's own minimum; 0 for none.
    width
        ``d``.
    pools
        Ways to pool that it offers; the first is the model's own definition.
    block_rows
        Cells that one call of :meth:`embed` takes well; progress and resuming go by it. Slow models
        set fewer.
    precisions
        Number types that it runs in; those without a network have float32 alone.
    reads
        ``cell`` where a cell's vector depends on that cell alone; ``group`` where it depends on the cells of
        its block too, so that a block is part of the result and its size is the model's own.
    """

    modality = "cells"
    name: str
    vocabulary: GeneVocabulary
    wants_counts: bool
    least_genes: int = 0
    width: int
    pools: tuple[str, ...]
    block_rows: int = 8192
    precisions: tuple[str, ...] = ("float32",)
    reads: str = "cell"

    def __repr__(self) -> str:
        kind, genes = type(self).__name__, len(self.vocabulary)
        return f"{kind}(name={self.name!r}, width={self.width}, genes={genes:,}, pools={self.pools})"

    @abstractmethod
    def embed(self, block: CellBlock, match: GeneMatch, options: EmbedOptions) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of a block of cells; a cell's vector depends on that cell alone.

        Parameters
        ----------
        block
            Cells.
        match
            Their genes in the model's vocabulary.
        options
            Pool, hidden state, precision, device, size of batches.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Metadata for provenance: kind, checkpoint sha256, shape, parameters."""

    def examine(self, match: GeneMatch) -> dict[str, float]:  # noqa: ARG002  # models that know override this
        """What the model can say of a file from its genes alone; a model that cannot read it raises.

        ``uncertainty``, where a model knows it, is written for every cell beside its vector.
        """
        return {}

    def adapted(self, source: CellSource, match: GeneMatch) -> CellModel:  # noqa: ARG002  # for models that can
        """The model joined with what sets the cells of one data set apart.

        Parameters
        ----------
        source
            Open cells of the data set.
        match
            Their genes in the model's vocabulary.

        Raises
        ------
        ConfigError
            If the model cannot be.
        """
        from biolm.errors import ConfigError

        raise ConfigError(
            f"model {self.name} cannot be adapted to a data set; leave out `adapt=True` or choose cellfactors"
        )

    def imputer(self, match: GeneMatch) -> Imputer:  # noqa: ARG002  # for models that can
        """What imputes genes of a file from those that it measures.

        Raises
        ------
        ConfigError
            If the model imputes none.
        """
        from biolm.errors import ConfigError

        raise ConfigError(
            f"model {self.name} imputes no genes; choose cellfactors or a folder of biolm fit-factors"
        )

    def tokenize(
        self,
        block: CellBlock,  # noqa: ARG002  # models that read tokens override this
        match: GeneMatch,  # noqa: ARG002
        *,
        seed: int = 0,  # noqa: ARG002
    ) -> Tokens:
        """Packed tokens of a block of cells, row numbers in ``index``.

        Parameters
        ----------
        block
            Cells.
        match
            Their genes in the model's vocabulary.
        seed
            Of what is drawn, together with the number of the cell.

        Raises
        ------
        ConfigError
            If the model reads no tokens.
        """
        from biolm.errors import ConfigError

        raise ConfigError(f"model {self.name} reads no tokens; use a token model such as geneformer or scgpt")

    def attention(self, batch: Batch, receive: Receive) -> None:  # noqa: ARG002  # models with maps override this
        """Give the attention maps of each layer in turn.

        Parameters
        ----------
        batch
            Tokens of some cells.
        receive
            Takes the maps ``(h, q, s)`` of the cells of the batch, of one layer.

        Raises
        ------
        ConfigError
            If the model has no attention between genes.
        """
        raise self.lacks("has no attention between genes")

    def gene_states(self, batch: Batch, options: EmbedOptions) -> Tensor:  # noqa: ARG002
        """States ``(t, d)`` of the tokens of some cells: what the model makes of each gene there.

        Parameters
        ----------
        batch
            Tokens of some cells.
        options
            Which state, and in which precision.

        Raises
        ------
        ConfigError
            If the model has no state of a gene in a cell.
        """
        raise self.lacks("has no state of a gene in a cell")

    def gene_table(self) -> NDArray[np.float32]:
        """Vectors ``(m, d)`` of the genes of the vocabulary, whatever the cell.

        Raises
        ------
        ConfigError
            If the model holds none.
        """
        raise self.lacks("holds no vectors of genes")

    def lacks(self, what: str) -> ConfigError:
        """The refusal of what a model has not, with those that have it."""
        from biolm.errors import ConfigError

        return ConfigError(
            f"model {self.name} {what}; use one that reads genes as tokens, such as geneformer, scgpt, "
            "scbert or uce"
        )
