"""Two transformers, of which the second reads the first by cross-attention.

Dimensions: ``u`` tokens of all sources · ``t`` tokens of all targets · ``d`` width · ``v`` vocabulary.

Cross-attention is between packed streams: document ``i`` of the queries sees document ``i`` of the memory,
whole and without positions. :func:`cross_layout` is all that another pair of streams needs, such as genes
that look at patches of an image.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from biolm.batch import Batch, Output
from biolm.core.config import CoreConfig
from biolm.core.layout import Layout
from biolm.core.model import Transformer
from biolm.errors import ConfigError, InputError

__all__ = ["EncoderDecoder", "cross_layout"]


def cross_layout(queries: Batch, memory: Batch) -> Layout:
    """Documents of two packed streams, for :meth:`biolm.core.Transformer.forward`'s ``memory``.

    Parameters
    ----------
    queries
        Batch of the decoder.
    memory
        Batch of the encoder.

    Raises
    ------
    InputError
        If the two hold different numbers of documents.
    """
    if len(queries) != len(memory):
        raise InputError(
            f"queries hold {len(queries)} documents and the memory {len(memory)}; give one of each for each"
        )
    return Layout(
        q_offsets=queries.offsets,
        k_offsets=memory.offsets,
        q_positions=queries.positions,
        k_positions=memory.positions,
        max_q=queries.max_length,
        max_k=memory.max_length,
    )


class EncoderDecoder(nn.Module):
    """An encoder and a causal decoder with one token embedding (T5).

    Parameters
    ----------
    encoder, decoder
        Their shapes; the decoder's with ``cross_attention``.

    Raises
    ------
    ConfigError
        If the two do not fit together.

    Examples
    --------
    >>> import torch
    >>> sizes = {"vocab_size": 9, "d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff": 8, "position": "t5"}
    >>> model = EncoderDecoder(
    ...     CoreConfig(**sizes), CoreConfig(**sizes, causal=True, cross_attention=True, head="linear")
    ... )
    >>> source, target = (Batch.from_padded(torch.ones(2, n, dtype=torch.long)) for n in (5, 3))
    >>> model(source, target).logits.shape
    torch.Size([6, 9])
    """

    def __init__(self, encoder: CoreConfig, decoder: CoreConfig) -> None:
        super().__init__()
        if not (decoder.cross_attention and decoder.causal):
            raise ConfigError("the decoder needs cross_attention=True and causal=True")
        for name in ("vocab_size", "d_model", "embed_dim"):
            if getattr(encoder, name) != getattr(decoder, name):
                raise ConfigError(
                    f"{name} must be the same in encoder and decoder, not {getattr(encoder, name)} and "
                    f"{getattr(decoder, name)}: they share the token embedding"
                )
        self.encoder = Transformer(encoder)
        self.decoder = Transformer(decoder)
        self.decoder.embeddings.token = self.encoder.embeddings.token

    def forward(self, source: Batch, target: Batch, **options: Any) -> Output:
        """Encode the source, decode the target that is known so far.

        Parameters
        ----------
        source, target
            As many documents each.
        options
            Of the decoder's :meth:`biolm.core.Transformer.forward`.

        Returns
        -------
        The decoder's output, logits ``(t, v)``.

        Raises
        ------
        InputError
            If either batch does not fit, or they hold different numbers of documents.
        """
        return self.decode(target, self.encode(source), source, **options)

    def encode(self, source: Batch) -> Tensor:
        """Hidden states of the source, ``(u, d)``."""
        return self.encoder(source, logits=False).last_hidden_state  # type: ignore[no-any-return]

    def decode(self, target: Batch, memory: Tensor, source: Batch, **options: Any) -> Output:
        """The decoder alone, on states that :meth:`encode` made of ``source``.

        Parameters
        ----------
        target
            Packed target tokens.
        memory
            ``(u, d)`` states of the encoder.
        source
            The packed tokens that they were made of.
        """
        layout = cross_layout(target, source)
        return self.decoder(target, memory=(memory, layout), **options)  # type: ignore[no-any-return]
