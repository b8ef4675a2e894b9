"""Models that read sequences with the shared core: tokenise, pack, run, pool; the same for all systems.

Dimensions: ``n`` records of a block · ``t`` tokens · ``r`` tokens without special ones · ``d`` width.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biolm.adapters.sequences import Policy, SequenceTokenizer, Tally
from biolm.batch import Batch, Output, Tokens, pack
from biolm.common_options import PRECISIONS
from biolm.core import Transformer
from biolm.core.checkpoint import hash_files
from biolm.core.pooling import POOLS
from biolm.errors import ConfigError, InputError
from biolm.io.sequences.block import SequenceBlock
from biolm.models.headed import Headed
from biolm.models.heads import Heads
from biolm.models.model import EmbedOptions
from biolm.models.running import pick_device, pooled, return_memory, states_of
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.models.submodules import find_submodule, width_of
from biolm.models.windows import Merger, WindowPool, cut_windows
from biolm.vocab.residues import Kind

__all__ = ["SequenceModel", "SequenceOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceOptions(EmbedOptions):
    """Choices of one embedding run on sequences, beside those of :class:`~biolm.models.model.EmbedOptions`.

    Parameters
    ----------
    policy
        Of residues or bases that are not known: ``error``, ``unknown`` or ``skip``.
    windows
        Read sequences longer than the model in overlapping windows; an error where it is off.
    longest
        Most tokens of a window, special ones included; None for the model's own limit.
    overlap
        Least tokens that two windows share; None for a quarter of a window.
    """

    policy: Policy = "unknown"
    windows: bool = True
    longest: int | None = None
    overlap: int | None = None


class SequenceModel(Headed):
    """A preprocessor of sequences, the core with its weights, and the system's way to pool.

    Parameters
    ----------
    preprocessor
        Tokeniser and limits.
    core
        The transformer with its weights.
    pool
        How a sequence's vector is made by default: one of :data:`biolm.core.pooling.POOLS`. ``mean``,
        ``max`` and ``sum`` leave special tokens out.
    hidden_state
        Which hidden state is pooled: -1 the last, -2 the one before, 0 the embeddings.
    files
        Weight files, for the checkpoint's hash.
    contact_weights
        ``(layers x heads + 1,)`` weights and intercept of the system's own regression of contacts on
        attention, layer by layer; None where the checkpoint holds none.

    Examples
    --------
    >>> model = biolm.load("checkpoints/esm2_t6_8M")  # doctest: +SKIP
    >>> model.kind, model.max_length  # doctest: +SKIP
    ('protein', 1026)
    """

    modality = "sequences"
    block_rows = 512
    precisions = PRECISIONS

    def __init__(
        self,
        preprocessor: SequencePreprocessor,
        core: Transformer,
        *,
        pool: str = "mean",
        hidden_state: int = -1,
        files: list[Any] | None = None,
        contact_weights: NDArray[np.float32] | None = None,
    ) -> None:
        # Fewer tokens than rows are usual: tables are padded to round sizes.
        if preprocessor.tokenizer.size > core.config.vocab_size:
            raise ConfigError(
                f"the tokeniser of {preprocessor.name} has {preprocessor.tokenizer.size} tokens but the "
                f"model {core.config.vocab_size}; take both from the same checkpoint"
            )
        self.preprocessor = preprocessor
        self.name = preprocessor.name
        self.core = core.eval()
        self.width = core.config.d_model
        self.pools = (pool, *(how for how in POOLS if how != pool))
        self.hidden_state = hidden_state
        self.state: str | None = None
        self.contact_weights = contact_weights
        self.heads: Heads | None = None
        self._files = [*(files or []), *preprocessor.files]
        self._compiled = False

    def __repr__(self) -> str:
        tokens, kind = self.tokenizer.size, type(self).__name__
        return f"{kind}(name={self.name!r}, kind={self.kind!r}, width={self.width}, tokens={tokens})"

    def at(self, name: str) -> SequenceModel:
        """The same model, whose vectors are pooled from the output of a submodule.

        Parameters
        ----------
        name
            As the authors call it (``blocks.28.mlp.l3``) or the core (``layers.28.mlp.down``).

        Raises
        ------
        ConfigError
            If there is none, or its output is not one vector a token.
        """
        # Weights are shared: the copy differs in what it pools and in its width.
        other = copy(self)
        other.state = find_submodule(self.core, name, self.preprocessor.published)
        other.width = width_of(self.core, other.state)
        return other

    @property
    def _pooled(self) -> int | str:
        """What is pooled: a submodule's output, or a hidden state."""
        return self.hidden_state if self.state is None else self.state

    @property
    def config(self) -> Any:
        """The core's config."""
        return self.core.config

    @property
    def kind(self) -> Kind:
        """``protein``, ``dna`` or ``text``."""
        return self.preprocessor.kind

    @property
    def tokenizer(self) -> SequenceTokenizer:
        """What writes sequences as tokens."""
        return self.preprocessor.tokenizer

    @property
    def max_length(self) -> int | None:
        """Most tokens of one input, special ones included; None where there is no limit."""
        return self.preprocessor.max_length

    def __call__(self, batch: Batch, **options: Any) -> Output:
        """Run the core: logits, hidden states, attention; see :meth:`biolm.core.Transformer.forward`."""
        with torch.inference_mode():
            output: Output = self.core(batch, **options)
            return output

    def tokenize(
        self, block: SequenceBlock, *, policy: Policy = "unknown", tally: Tally | None = None
    ) -> Tokens:
        """Packed tokens of a block, special ones included, record numbers in ``index``.

        Parameters
        ----------
        block
            Records.
        policy
            Of residues or bases that are not known: ``error``, ``unknown`` or ``skip``.
        tally
            Counts what was met in the records; None where nobody asks.
        """
        return self.preprocessor.tokenize(block, policy=policy, tally=tally)

    def embed(
        self, block: SequenceBlock, options: SequenceOptions, tally: Tally | None = None
    ) -> NDArray[np.float32]:
        """Vectors ``(n, d)`` of a block, in its order; zeros for records that the policy skips.

        Parameters
        ----------
        block
            Records.
        options
            Pool, hidden state, windows, precision, device, size of batches.
        tally
            Counts what was met in the records; None where nobody asks.

        Raises
        ------
        ConfigError
            If there is no such pool.
        InputError
            If a sequence is longer than the model and windows are off, or a letter is refused.
        """
        how = self._how(options.pool)
        tokens = self.tokenize(block, policy=options.policy, tally=tally)
        vectors = np.zeros((len(block), self.width), np.float32)
        # Records that the policy skips have no tokens, and keep their row of zeros.
        rows = tokens.index - block.start
        # These take the very tokens that pooling over residues leaves out.
        skip = (0, 0) if how in ("cls", "last") else self.preprocessor.special
        short, long = self._sorted(tokens, options, block)
        for batch, part in self._batches(tokens, short, options):
            rows_read = pooled(self.core, batch, self._pooled, options, how, skip)
            vectors[rows[part]] = rows_read.cpu().numpy()
        # Windows of one record may lie in several batches.
        pools: dict[int, WindowPool] = {}
        for row, window, finished in self._merged(tokens, long, options):
            pools.setdefault(row, WindowPool(how)).add(window, finished)
        for row, pool in pools.items():
            vectors[rows[row]] = pool.vector().cpu().numpy()
        return vectors

    def residues(
        self, block: SequenceBlock, options: SequenceOptions, tally: Tally | None = None
    ) -> tuple[NDArray[np.float32], Tokens]:
        """States ``(r, d)`` of every token but special ones, in the block's order, and the tokens.

        Parameters
        ----------
        block
            Records.
        options
            Hidden state, windows, precision, device, size of batches.
        tally
            Counts what was met in the records; None where nobody asks.

        Raises
        ------
        InputError
            As :meth:`embed`.
        """
        tokens = self.tokenize(block, policy=options.policy, tally=tally)
        before, after = self.preprocessor.special
        counts = tokens.lengths - before - after
        firsts = np.concatenate([[0], np.cumsum(counts)])
        states = np.zeros((int(firsts[-1]), self.width), np.float32)
        short, long = self._sorted(tokens, options, block)
        for batch, part in self._batches(tokens, short, options):
            token_states = states_of(self.core, batch, self._pooled, options).cpu().numpy()
            for row, start, end in zip(
                part, batch.offsets[:-1].tolist(), batch.offsets[1:].tolist(), strict=True
            ):
                states[firsts[row] : firsts[row + 1]] = token_states[start + before : end - after]
        filled = firsts.copy()
        for row, _, finished in self._merged(tokens, long, options):
            states[filled[row] : filled[row] + len(finished)] = finished.cpu().numpy()
            filled[row] += len(finished)
        return states, tokens

    def check_lengths(self, tokens: Tokens, options: SequenceOptions, block: SequenceBlock) -> None:
        """Refuse what the model cannot read, before any work.

        Parameters
        ----------
        tokens
            Packed records.
        options
            Whether long ones are read in windows.
        block
            The records, named in messages.

        Raises
        ------
        InputError
            If a sequence is longer than the model and windows are off.
        ConfigError
            If windows are asked for that are longer than the model.
        """
        longest = self._longest(options)
        if longest is None or options.windows:
            return
        over = tokens.lengths > longest
        if over.any():
            first = int(np.argmax(over))
            name = block.names[int(tokens.index[first]) - block.start]
            raise InputError(
                f"record {name!r} has {int(tokens.lengths[first]):,} tokens but model {self.name} reads at "
                f"most {longest:,}; shorten it or allow windows"
            )

    def describe(self) -> dict[str, Any]:
        """Metadata for provenance: kind, checkpoint sha256, shape, tokeniser."""
        config = self.core.config
        return {
            "kind": self.name,
            "reads": self.kind,
            "sha256": hash_files(self._files),
            "parameters": self.core.n_parameters,
            "layers": config.n_layers,
            "width": config.d_model,
            "heads": config.n_heads,
            "tokenizer": self.tokenizer.family,
            "tokens": self.tokenizer.size,
            "max_length": self.max_length,
            "hidden_state": self._pooled,
            "pool": self.pools[0],
            **self.preprocessor.stated,
        }

    def _how(self, wanted: str | None) -> str:
        how = wanted or self.pools[0]
        if how not in self.pools:
            raise ConfigError(f"pool must be one of {', '.join(self.pools)}, not {how!r}")
        return how

    def _longest(self, options: SequenceOptions) -> int | None:
        """Most tokens of one input."""
        given, own = options.longest, self.max_length
        if given is not None and own is not None and given > own:
            raise ConfigError(f"model {self.name} reads at most {own} tokens, so windows cannot have {given}")
        return own if given is None else given

    def _sorted(
        self, tokens: Tokens, options: SequenceOptions, block: SequenceBlock
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows that the model reads at once, and those that need windows."""
        self.check_lengths(tokens, options, block)
        longest = self._longest(options)
        over = tokens.lengths > (np.iinfo(np.int64).max if longest is None else longest)
        return np.flatnonzero(~over), np.flatnonzero(over)

    def _batches(
        self, tokens: Tokens, rows: NDArray[np.intp], options: SequenceOptions, *, in_order: bool = False
    ) -> Iterator[tuple[Batch, NDArray[np.intp]]]:
        """Batches of the rows to a token budget, on the device, with the rows of each."""
        if not len(rows):
            return
        device = self._ready(options)
        part = tokens if len(rows) == len(tokens) else tokens.take(rows)
        with torch.inference_mode():
            groups = (
                _consecutive(part, options.batch_tokens) if in_order else pack(part, options.batch_tokens)
            )
            for chosen in groups:
                yield Batch.from_tokens(part, chosen).to(device), rows[chosen]
                # Batches have many shapes, and the allocator would keep memory for each.
                return_memory(device)

    def _ready(self, options: SequenceOptions) -> torch.device:
        device = pick_device(options.device)
        self.core.to(device)
        if options.compile and not self._compiled:
            self.core.compile_layers()
            self._compiled = True
        return device

    def _merged(
        self, tokens: Tokens, rows: NDArray[np.intp], options: SequenceOptions
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Window by window: the row, the window's own states, and those without special that it finished."""
        longest = self._longest(options)
        if not len(rows) or longest is None:
            return
        before, after = self.preprocessor.special
        windows = cut_windows(tokens, rows, (before, after), longest, options.overlap)
        owners = windows.tokens.index
        mergers: dict[int, Merger] = {}
        everyone = np.arange(len(windows))
        # In order, not by length: each window is merged with the one before it.
        for batch, part in self._batches(windows.tokens, everyone, options, in_order=True):
            states = states_of(self.core, batch, self._pooled, options)
            bounds = batch.offsets.tolist()
            for place, window in enumerate(part.tolist()):
                row, own = int(owners[window]), states[bounds[place] : bounds[place + 1]]
                merger = mergers.setdefault(row, Merger(int(windows.lengths[row])))
                inner = own[before : len(own) - after]
                yield row, own, merger.add(int(windows.starts[window]), inner)


def _consecutive(tokens: Tokens, budget: int) -> Iterator[NDArray[np.intp]]:
    """Neighbouring examples of at most ``budget`` tokens together."""
    start = 0
    while start < len(tokens):
        end = int(np.searchsorted(tokens.offsets, tokens.offsets[start] + budget, side="right")) - 1
        end = min(max(end, start + 1), len(tokens))
        yield np.arange(start, end)
        start = end
