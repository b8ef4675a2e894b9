"""States of any named submodule of the core, by its own name or that of the authors' code.

Dimensions: ``t`` tokens · ``d`` width of the submodule's output.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from biolm.core import Transformer
from biolm.errors import ConfigError
from biolm.settings import nearest

__all__ = ["capture", "find_submodule", "layers_until", "width_of"]

Names = Sequence[tuple[str, str]]


def find_submodule(core: Transformer, name: str, published: Names = ()) -> str:
    r"""The core's name of a submodule.

    Parameters
    ----------
    core
        The transformer.
    name
        ``layers.28.mlp.down``, or as the authors call it: ``blocks.28.mlp.l3``.
    published
        Patterns of the authors' names and the core's.

    Raises
    ------
    ConfigError
        If there is none of that name.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> core = Transformer(CoreConfig(vocab_size=9, d_model=8, n_layers=2, n_heads=2, d_ff=8))
    >>> find_submodule(core, "blocks.1", [(r"blocks[.](\d+)", r"layers.\1")])
    'layers.1'
    """
    known = [own for own, _ in core.named_modules() if own]
    for theirs, ours in published:
        if match := re.fullmatch(theirs, name):
            inner = match.expand(ours)
            if inner in known:
                return inner
    if name not in known:
        raise ConfigError(f"the model has no submodule {name!r}; {nearest(name, known)}")
    return name


def layers_until(name: str) -> int | None:
    """How many layers must run for a submodule's output; None for all and the final norm."""
    first, _, rest = name.partition(".")
    if first == "embeddings":
        return 0
    return int(rest.partition(".")[0]) + 1 if first == "layers" and rest else None


def width_of(core: Transformer, name: str) -> int:
    """Numbers of a submodule's output for one token, by running it on one.

    Parameters
    ----------
    core
        The model.
    name
        Of the submodule.
    """
    from biolm.batch import Batch

    # The width of an output is written nowhere; one token tells it.
    device = core.embeddings.token.weight.device
    batch = Batch.from_padded(torch.zeros((1, 1), dtype=torch.long, device=device))
    with torch.inference_mode(), capture(core, name) as captured:
        core(batch, logits=False, n_layers=layers_until(name))
    return int(captured[-1].shape[-1])


@contextmanager
def capture(core: Transformer, name: str) -> Iterator[list[Tensor]]:
    """Outputs ``(t, d)`` of a submodule, in the order of the passes inside the block.

    Parameters
    ----------
    core
        The model.
    name
        Of the submodule.

    Raises
    ------
    ConfigError
        If its output is not one vector a token.
    """
    captured: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        if not isinstance(output, Tensor) or output.dim() != 2:
            raise ConfigError(f"submodule {name!r} gives no vector for each token; choose another")
        captured.append(output)

    # Taken off again whatever happens: a hook left behind would collect every later pass.
    handle = core.get_submodule(name).register_forward_hook(keep)
    try:
        yield captured
    finally:
        handle.remove()
