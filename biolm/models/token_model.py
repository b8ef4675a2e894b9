"""Cell systems that read tokens with the shared core: tokenise, pack, run, pool.

Dimensions: ``n`` cells of a block · ``t`` tokens of a batch · ``d`` width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from biolm.batch import Batch, Output, Tokens, pack
from biolm.common_options import PRECISIONS
from biolm.core import Transformer
from biolm.core.checkpoint import hash_files
from biolm.core.maps import Receive
from biolm.core.pooling import POOLS
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells.block import CellBlock
from biolm.models.headed import Headed
from biolm.models.model import CellModel, EmbedOptions
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.running import pick_device, pooled, states_of
from biolm.vocab.match import GeneMatch

if TYPE_CHECKING:
    from biolm.models.heads import Heads

__all__ = ["TokenCellModel", "pick_device"]


class TokenCellModel(Headed, CellModel):
    """A published system: its preprocessor, the core with its weights, and its way to pool.

    Parameters
    ----------
    preprocessor
        Genes and tokeniser.
    core
        The transformer with its weights.
    pool
        How the system itself makes a cell's vector: a name of :data:`pools`.
    hidden_state
        Which hidden state it pools: -1 the last, -2 the one before, 0 the embeddings.
    files
        Weight files, for the checkpoint's hash.
    options
        Options of the system, for provenance: which published behaviour is kept.

    Attributes
    ----------
    heads
        Heads that were trained beside the core and saved with it; None where there are none.

    Raises
    ------
    CheckpointError
        If a gene's token lies outside the vocabulary of the core.

    Examples
    --------
    >>> model = biolm.load("checkpoints/geneformer")  # doctest: +SKIP
    >>> model.core.config.n_layers  # doctest: +SKIP
    6
    """

    block_rows = 512
    precisions = PRECISIONS

    def __init__(
        self,
        preprocessor: CellPreprocessor,
        core: Transformer,
        *,
        pool: str,
        hidden_state: int,
        files: list[Any],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        # Systems that write words have no token for each gene.
        ids = np.asarray(getattr(preprocessor.tokenizer, "token_ids", ()))
        if ids.size and int(ids.max()) >= core.config.vocab_size:
            raise CheckpointError(
                f"the vocabulary of {preprocessor.name} numbers genes up to {int(ids.max()):,} but the model "
                f"has {core.config.vocab_size:,} tokens; take both from one checkpoint"
            )
        self.preprocessor = preprocessor
        self.name = preprocessor.name
        self.vocabulary = preprocessor.vocabulary
        self.wants_counts = preprocessor.wants_counts
        self.core = core.eval()
        self.width = core.config.d_model
        # The published way first, as the first is what nobody has to ask for.
        every = [*POOLS, *(f"{how}_l2" for how in POOLS)]
        self.pools = (pool, *(how for how in every if how != pool))
        self.hidden_state = hidden_state
        self.heads: Heads | None = None
        self.options = dict(options or {})
        self._files = [*files, *preprocessor.files]
        self._compiled = False

    @property
    def config(self) -> Any:
        """The core's config."""
        return self.core.config

    def __call__(self, batch: Batch, **options: Any) -> Output:
        """Run the core; see :meth:`biolm.core.Transformer.forward`."""
        with torch.inference_mode():
            output: Output = self.core(batch, **options)
            return output

    def tokenize(self, block: CellBlock, match: GeneMatch, *, seed: int = 0) -> Tokens:
        """Packed tokens of a block of cells, row numbers in ``index``."""
        return self.preprocessor.tokenize(block, match, seed=seed)

    def embed(self, block: CellBlock, match: GeneMatch, options: EmbedOptions) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of a block of cells."""
        return self.embed_tokens(self.tokenize(block, match, seed=options.seed), options)

    def embed_tokens(self, tokens: Tokens, options: EmbedOptions) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of cells that are tokens already.

        Parameters
        ----------
        tokens
            Packed cells.
        options
            Pool, hidden state, precision, device, size of batches.
        """
        device = pick_device(options.device)
        self.core.to(device)
        if options.compile and not self._compiled:
            self.core.compile_layers()
            self._compiled = True
        vectors = np.zeros((len(tokens), self.width), np.float32)
        for rows in pack(tokens, options.batch_tokens):
            batch = Batch.from_tokens(tokens, rows).to(device)
            vectors[rows] = self._vectors(batch, options).float().cpu().numpy()
        return vectors

    @torch.inference_mode()
    def _vectors(self, batch: Batch, options: EmbedOptions) -> torch.Tensor:
        """Vectors ``(b, d)`` of one batch."""
        return self.batch_vectors(self.core, batch, options)

    def batch_vectors(self, core: Transformer, batch: Batch, options: EmbedOptions) -> torch.Tensor:
        """Vectors ``(b, d)`` of one batch as a core of this shape makes them, with their gradient.

        Parameters
        ----------
        core
            This model's, or one that was trained from it.
        batch
            Packed tokens on the core's device.
        options
            Pool, hidden state and precision.

        Raises
        ------
        ConfigError
            If there is no such pool.
        """
        how = options.pool or self.pools[0]
        if how not in self.pools:
            raise ConfigError(f"pool must be one of {', '.join(self.pools)}, not {how!r}")
        plain = how.removesuffix("_l2")
        vectors = pooled(core, batch, self.hidden_state, options, plain, skip=self._skip(how))
        return torch.nn.functional.normalize(vectors, dim=1) if how.endswith("_l2") else vectors

    def _skip(self, how: str) -> tuple[int, int]:
        return (0, 0) if how.removesuffix("_l2") in ("cls", "last") else self.preprocessor.special

    def attention(self, batch: Batch, receive: Receive) -> None:
        """Give the attention maps of each layer in turn."""
        self.core.to(batch.ids.device)
        self.core(batch, logits=False, attentions=receive)

    def gene_states(self, batch: Batch, options: EmbedOptions) -> torch.Tensor:
        """States ``(t, d)`` of the tokens of some cells."""
        return states_of(self.core.to(batch.ids.device), batch, self.hidden_state, options)

    def gene_table(self) -> NDArray[np.float32]:
        """Rows ``(m, d)`` of the embedding table."""
        token_ids = getattr(self.preprocessor.tokenizer, "token_ids", None)
        if token_ids is None:
            raise self.lacks("holds no vectors of genes")
        table = self.core.embeddings.token.weight.detach().float().cpu().numpy()
        vectors: NDArray[np.float32] = table[np.asarray(token_ids)]
        return vectors

    def describe(self) -> dict[str, Any]:
        """Metadata for provenance."""
        config = self.core.config
        return {
            "kind": self.name,
            "sha256": hash_files(self._files),
            "parameters": self.core.n_parameters,
            "layers": config.n_layers,
            "width": config.d_model,
            "heads": config.n_heads,
            "genes": len(self.vocabulary),
            "hidden_state": self.hidden_state,
            "pool": self.pools[0],
            **({"options": self.options} if self.options else {}),
        }
