"""First weights of a core: small normal numbers, so that the first guess is near uniform over the tokens.

Dimensions: ``m`` genes of the vocabulary that the table knows · ``k`` axes of the table · ``e`` width of the
embedding.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import nn

from biolm.core import Transformer
from biolm.errors import ConfigError
from biolm.models.registry import load
from biolm.models.systems.genetext import GeneText
from biolm.training.data.vocabulary import Vocabulary

__all__ = ["initialise", "start_genes"]

log = logging.getLogger("biolm")


@torch.no_grad()
def initialise(core: Transformer, std: float = 0.02) -> None:
    """Draw the weights of a core from torch's generator.

    Matrices and embeddings are normal with deviation ``std`` (Devlin et al. 2019), biases 0; matrices that
    write into the residual stream are divided by ``sqrt(2 * layers)`` (Radford et al. 2019). Norms stay.

    Parameters
    ----------
    core
        Changed in place.
    std
        Deviation of the weights.

    Examples
    --------
    >>> from biolm.core import CoreConfig
    >>> core = Transformer(CoreConfig(vocab_size=99, d_model=64, n_layers=2, n_heads=2, d_ff=64))
    >>> initialise(core)
    >>> round(core.embeddings.token.weight.std().item(), 2)
    0.02
    """
    # Branches that add to the residual stream begin smaller, so that its size does not grow with depth
    # (GPT-2).
    deep = (2 * core.config.n_layers) ** -0.5
    for name, module in core.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            ends_branch = name.endswith(("attention.out", "attention.output", "cross.out", "mlp.down"))
            module.weight.normal_(0.0, std * (deep if ends_branch else 1.0))
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.zero_()


@torch.no_grad()
def start_genes(core: Transformer, vocabulary: Vocabulary, table: str, *, std: float = 0.02) -> int:
    """Put known vectors of genes in place of random embeddings.

    The vectors are moved to mean zero, turned by a random orthogonal matrix into ``e`` axes and scaled so
    that their entries have the deviation ``std``. So relative distances between genes stay as they are in the
    table; only if ``e < k``, the ``k - e`` axes that tell least are left out first. Special tokens and genes
    that the table does not know keep their random vectors.

    Parameters
    ----------
    core
        With its first weights.
    vocabulary
        Of cells.
    table
        ``genetext``, or a folder with such a table.
    std
        Deviation of the entries.

    Returns
    -------
    How many genes have a vector of the table.

    Raises
    ------
    ConfigError
        If that is no table of gene vectors, or the run is not on cells.
    GeneMatchError
        If the table knows too few of the genes.
    """
    source = load(table)
    if not isinstance(source, GeneText):
        raise ConfigError(f"model.init_genes {table!r} is no table of gene vectors; give genetext")
    preprocessor = vocabulary.genes
    if preprocessor is None:
        raise ConfigError("model.init_genes is for gene tokens; leave it out")
    match = source.vocabulary.match({"index": np.array(preprocessor.vocabulary.genes)})
    known = np.flatnonzero(match.target >= 0)
    vectors = torch.from_numpy(source.vectors[match.target[known]]).double()  # (m, k)
    # Texts of genes share a direction, which would make all genes alike at first.
    vectors = vectors - vectors.mean(0)
    weight = core.embeddings.token.weight
    width = weight.shape[1]
    if width < vectors.shape[1]:
        _, _, axes = torch.linalg.svd(vectors, full_matrices=False)
        vectors = vectors @ axes[:width].T
    # Q of a random square matrix is orthogonal; its first rows turn fewer axes into all of the embedding's.
    turn, _ = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64))
    vectors = vectors @ turn[: vectors.shape[1]]  # (m, e)
    vectors *= std / vectors.square().mean().sqrt()
    tokens = np.asarray(preprocessor.tokenizer.token_ids)[known]  # type: ignore[attr-defined]  # all tokenisers have it
    weight[torch.from_numpy(tokens.astype(np.int64))] = vectors.to(weight.dtype)
    log.info("%d of %d genes start from vectors of %s", len(known), len(match.target), table)
    return len(known)
