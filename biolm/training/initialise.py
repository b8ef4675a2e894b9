"""First weights of a core: small normal numbers, so that the first guess is near uniform over the tokens."""

from __future__ import annotations

import torch
from torch import nn

from biolm.core import Transformer

__all__ = ["initialise"]


@torch.no_grad()
def initialise(core: Transformer, std: float = 0.02) -> None:
    """Draw the weights of a core from torch's generator.

    Matrices and embeddings are normal with deviation ``std`` (Devlin et al. 2019), biases 0; matrices that
    write into the residual stream are divided by ``sqrt(2 * layers)`` (Radford et al. 2019). Norms stay.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> core = Transformer(CoreConfig(vocab_size=99, d_model=64, n_layers=2, n_heads=2, d_ff=64))
    >>> initialise(core)
    >>> round(core.embeddings.token.weight.std().item(), 2)
    0.02
    """
    deep = (2 * core.config.n_layers) ** -0.5
    for name, module in core.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            ends_branch = name.endswith(("attention.out", "cross.out", "mlp.down"))
            module.weight.normal_(0.0, std * (deep if ends_branch else 1.0))
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.zero_()
