"""The transformer: embeddings, layers, final norm, head. Follow ``forward`` and you have read it.

Dimensions: ``t`` tokens of all documents end to end · ``d`` width · ``v`` vocabulary.

What differs from a textbook: documents are packed and never padded; each ``hidden_states`` entry is the
input of the next layer, except the last, which has passed the final norm (as in ``transformers``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from biolm.batch import Batch, Output
from biolm.core.attention import Cache, Context
from biolm.core.block import Block
from biolm.core.cache import DecodingCache
from biolm.core.config import CoreConfig
from biolm.core.embeddings import Embeddings
from biolm.core.heads import make_head
from biolm.core.layout import Layout
from biolm.core.mixers import check_mixers, lacking
from biolm.core.norm import norm_at
from biolm.core.parts import make_part
from biolm.core.positions import make_bias, rope_table
from biolm.errors import ConfigError, InputError

__all__ = ["Transformer"]

_VECTOR_BITS = {"AVX2": 256, "AVX512": 512}


class Transformer(nn.Module):
    """One transformer for every family; which one it is, the config says.

    Parameters
    ----------
    config
        Shape and switches.

    Attributes
    ----------
    gradient_checkpointing
        Recompute layers in the backward pass instead of keeping their activations.
    kernel
        Attention kernel, ``auto`` by default; see :mod:`biolm.core.kernels`.

    Examples
    --------
    >>> import torch
    >>> from biolm.batch import Batch
    >>> config = CoreConfig(vocab_size=33, d_model=16, n_layers=2, n_heads=2, d_ff=32, head="linear")
    >>> batch = Batch.from_padded(torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]]))
    >>> Transformer(config)(batch).logits.shape
    torch.Size([5, 33])
    """

    def __init__(self, config: CoreConfig) -> None:
        super().__init__()
        check_mixers(config)
        self.config = config
        # Of another system, named by the config, or the core's own.
        embedder, output = make_part("embedder", config), make_part("output", config)
        self.embeddings: Embeddings = Embeddings(config) if embedder is None else cast(Embeddings, embedder)
        self.bias = make_bias(config)
        blocks = 1 if config.share_layers else config.n_layers
        self.layers = nn.ModuleList(Block(config, i) for i in range(blocks))
        ends_normed = "final" in config.norms or (config.final_norm and config.block != "post")
        self.final_norm = (
            norm_at(config, "final", bias=config.final_norm_bias) if ends_normed else nn.Identity()
        )
        self.head = make_head(config) if output is None else output
        self.gradient_checkpointing = False
        self.kernel = "auto"

    def forward(
        self,
        batch: Batch,
        *,
        hidden_states: bool = False,
        attentions: bool | Callable[[tuple[Tensor, ...]], None] = False,
        logits: bool | Tensor = True,
        only: Tensor | None = None,
        n_layers: int | None = None,
        memory: tuple[Tensor, Layout] | None = None,
        cache: Cache | None = None,
    ) -> Output:
        """Run the layers.

        Parameters
        ----------
        batch
            Packed tokens.
        hidden_states, attentions
            Also return every hidden state; attention maps of every layer. A function in place of True is
            given the maps of each layer in turn instead, so that they need not be kept.
        logits
            Whether to run the head; or row numbers ``(m,)``, to run it on those tokens only.
        only
            ``(m,)`` row numbers, ascending, of the tokens whose last states are wanted: the last layer's
            queries and feed-forward, the final norm and the head then run for those alone, and
            ``last_hidden_state`` is ``(m, d)``. Not with hidden states, attention maps, ``n_layers``, a
            second stream or a cache.
        n_layers
            Stop after that many layers (no final norm, no head).
        memory
            Second stream ``(u, d)`` for cross-attention and the layout of queries against it.
        cache
            What the layers remember of earlier tokens, from :meth:`new_cache`.

        Raises
        ------
        InputError
            If the batch does not fit the model: ids, values or length; or its private tokens a cache or a
            mixer that would show them.
        ConfigError
            If attention maps are asked for with a cache or of a mixer that has none, or ``only`` with what
            it excludes.
        """
        self._check(batch, attentions is not False, cache)
        excluded = (
            hidden_states or attentions or n_layers is not None or memory is not None or cache is not None
        )
        if only is not None and excluded:
            raise ConfigError("states of some tokens only need a whole, plain forward pass")
        x = self.embeddings(batch)  # (t, d)
        states = [x]
        maps: list[tuple[Tensor, ...]] = []
        receive = attentions if callable(attentions) else maps.append if attentions else None
        stores = None if cache is None else cache.open(batch)
        contexts = self._contexts(batch, memory, receive)
        depth = self.config.n_layers if n_layers is None else n_layers
        for layer, block in enumerate(self._blocks(depth)):
            context = contexts[self.config.layer_window(layer) > 0]
            if stores is not None:
                context.store = stores[layer]
            if only is not None and layer == depth - 1 and self.narrows:
                # A copy, as layers before this one may be run again with theirs in the backward pass.
                context = copy(context)
                context.rows = only
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, context, use_reentrant=False)
            else:
                x = block(x, context)
            states.append(x)
            if not hidden_states:
                states.pop(0)
        if only is not None and not self.narrows:
            x = states[-1] = x[only]
        whole = depth == self.config.n_layers
        if whole:
            x = states[-1] = self.final_norm(x)
        if cache is not None:
            cache.advance()
        return Output(
            last_hidden_state=x,
            batch=batch,
            logits=self._logits(x, logits) if whole else None,
            hidden_states=tuple(states) if hidden_states else None,
            attentions=tuple(maps) if attentions is True else None,
            rows=only,
        )

    @property
    def narrows(self) -> bool:
        """Whether the last layer can run for some queries alone: if each sees its whole document."""
        c = self.config
        last = c.n_layers - 1
        return last not in lacking(c, "rows") and not c.causal and not c.layer_window(last)

    def new_cache(self) -> DecodingCache:
        """A cache for this model, empty: what each layer remembers of earlier tokens of each sequence.

        Raises
        ------
        ConfigError
            If the model is not causal, or one of its mixers cannot go on from earlier tokens.
        """
        if not self.config.causal:
            raise ConfigError("a cache needs a causal model")
        states = []
        for layer, block in enumerate(self._blocks(self.config.n_layers)):
            make = getattr(block.attention, "decoding_state", None)
            if make is None:
                name = self.config.layer_mixer(layer)
                raise ConfigError(
                    f"the mixer {name!r} of layer {layer} has no decoding state, so this model needs whole "
                    "sequences; leave the cache out"
                )
            states.append(make())
        return DecodingCache(states, self.embeddings.token.weight.device)

    def _check(self, batch: Batch, maps: bool, cache: Cache | None) -> None:
        if maps:
            if cache is not None:
                raise ConfigError("attention maps need a forward pass without a cache")
            if without := lacking(self.config, "maps"):
                layer, name = next(iter(without.items()))
                raise ConfigError(f"layer {layer} is a {name!r} mixer, which has no attention maps")
        if batch.private is not None:
            if cache is not None:
                raise InputError("a cache keeps every token for later ones, so it takes no private tokens")
            if without := lacking(self.config, "private"):
                layer, name = next(iter(without.items()))
                raise InputError(
                    f"layer {layer} is a {name!r} mixer, which would show private tokens to others"
                )

    def _blocks(self, depth: int) -> Iterator[nn.Module]:
        for layer in range(depth):
            yield self.layers[0 if self.config.share_layers else layer]

    def _contexts(
        self,
        batch: Batch,
        memory: tuple[Tensor, Layout] | None,
        maps: Callable[[tuple[Tensor, ...]], None] | None,
    ) -> tuple[Context, Context]:
        """What layers without and with a window share."""
        layout = Layout.of(batch.offsets, batch.positions, batch.max_length, batch.private)
        source, memory_layout = (None, None) if memory is None else memory
        tables: list[tuple[Tensor, Tensor] | None] = [None, None]
        if self.config.position == "rope":
            tables[0] = rope_table(self.config, batch.positions)
            one_base = self.config.rope_theta_local is None
            tables[1] = tables[0] if one_base else rope_table(self.config, batch.positions, local=True)
        wide, windowed = (
            Context(
                layout,
                rope=table,
                bias=self.bias,
                memory=source,
                memory_layout=memory_layout,
                segments=batch.segments,
                kernel=self.kernel,
                maps=maps,
            )
            for table in tables
        )
        return wide, windowed

    def _logits(self, x: Tensor, wanted: bool | Tensor) -> Tensor | None:
        if self.head is None or wanted is False:
            return None
        rows = x if wanted is True else x[wanted]
        return self.head(rows, self.embeddings.token.weight)  # type: ignore[no-any-return]

    def compile_layers(self) -> None:
        """Compile every layer with ``torch.compile``, for inputs of any length; equal to rounding.

        Compiling takes tens of seconds: worth it for long jobs on a GPU, hardly ever on a CPU.
        """
        # torch keeps compiled layers on disk and, without this, reads those of wider vectors on a processor
        # that has none: wrong numbers, where a home or cache folder is shared by machines.
        bits = _VECTOR_BITS.get(torch.backends.cpu.get_cpu_capability())
        options = {} if bits is None else {"options": {"cpp.simdlen": bits}}
        for block in self.layers:
            block.compile(dynamic=True, **options)

    @property
    def n_parameters(self) -> int:
        """Numbers the model learns, tied ones once."""
        return sum(parameter.numel() for parameter in self.parameters())
