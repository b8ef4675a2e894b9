"""Ways to score a variant, and which of them a model offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from biolm.errors import ConfigError

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = ["MARGINALS", "METHODS", "check_reads", "choose_methods"]

MARGINALS = ("wt-marginal", "masked-marginal")
"""Read from the unchanged sequence alone; variants of several letters are sums."""

METHODS = (*MARGINALS, "pseudo-perplexity", "one-pass", "causal")
"""Every method by name; the last needs a decoder, the others an encoder."""


def choose_methods(model: SequenceModel, wanted: Sequence[str]) -> tuple[str, ...]:
    """The methods by name, or the model's usual one for ``auto``.

    Parameters
    ----------
    model
        The model.
    wanted
        Names, or ``auto``.

    Raises
    ------
    ConfigError
        If there is no such method, or the model cannot be asked so.
    """
    decoder = model.config.causal
    names = tuple(dict.fromkeys(wanted)) or ("auto",)
    if model.core.head is None or model.config.head not in ("linear", "mlm"):
        raise ConfigError(
            f"model {model.name} gives no probabilities of residues or bases, so it cannot score "
            "variants; use a "
            "masked or causal language model"
        )
    if names == ("auto",):
        # Of their methods the one that Meier et al. (2021) found best.
        names = ("causal" if decoder else "masked-marginal",)
    for name in names:
        if name not in METHODS:
            raise ConfigError(f"there is no method {name!r}; use one of {', '.join(METHODS)}")
        if decoder and name != "causal":
            raise ConfigError(f"model {model.name} reads from left to right and offers causal, not {name}")
        if not decoder and name == "causal":
            offered = ", ".join(METHODS[:-1])
            raise ConfigError(f"model {model.name} reads both sides and offers {offered}, not causal")
        if name in ("masked-marginal", "pseudo-perplexity") and model.tokenizer.special.mask is None:
            raise ConfigError(f"model {model.name} has no mask token; use wt-marginal or one-pass")
    return names


def check_reads(model: SequenceModel, kind: str, what: str) -> None:
    """Refuse a model of the other kind of sequence.

    Parameters
    ----------
    model
        The model.
    kind
        ``protein`` or ``dna``.
    what
        Names the input in messages.

    Raises
    ------
    ConfigError
        If the model reads no ``kind`` (``protein`` or ``dna``).
    """
    if model.kind not in (kind, "text"):
        words = {"protein": "proteins", "dna": "DNA"}
        raise ConfigError(
            f"{what} needs a model of {words[kind]}, but {model.name} reads {words[model.kind]}; choose "
            "another"
        )
