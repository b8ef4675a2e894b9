"""scGPT's embeddings, and the two heads beside its encoder: expression from the cell vector, and cell type.

Dimensions: ``b`` cells of a batch · ``t`` tokens · ``d`` width · ``c`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer, pool
from biolm.core.checkpoint import load_strict
from biolm.core.embeddings import ContinuousValues, Embeddings
from biolm.core.heads import ClassifierHead, GeneQueryHead
from biolm.core.norm import make_norm
from biolm.core.parts import Part
from biolm.models.preprocessor import CellPreprocessor
from biolm.models.token_model import TokenCellModel

__all__ = ["ScgptModel", "extra_heads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueOptions:
    """Whether the gene's embedding is normed before the sum, and the largest value that is let through."""

    norm: bool = True
    clip: float | None = None


class NormedValues(Embeddings):
    """The core's sum of embeddings, with a norm on the gene's alone and values clamped, as in scGPT."""

    def __init__(self, config: CoreConfig, options: ValueOptions) -> None:
        super().__init__(config)
        self.token_norm = make_norm(config, config.embed_dim) if options.norm else nn.Identity()
        if config.value_encoder == "continuous":
            self.value = ContinuousValues(config.embed_dim, options.clip, config.norm_eps)

    def tokens(self, ids: Tensor) -> Tensor:
        """Normed embeddings ``(t, e)`` of gene tokens."""
        normed: Tensor = self.token_norm(self.token(ids))
        return normed


NORMED_VALUES = Part(name="normed_values", kind="embedder", factory=NormedValues, options=ValueOptions)


class ScgptModel(TokenCellModel):
    """scGPT: encoder, expression head, and the optional heads of its checkpoint.

    Parameters
    ----------
    preprocessor, core, files
        See :class:`~biolm.models.token_model.TokenCellModel`.
    gene_query
        The MVC decoder, which predicts every gene's value from the cell vector.
    classifier
        The cell-type decoder.
    """

    def __init__(
        self,
        preprocessor: CellPreprocessor,
        core: Transformer,
        files: list[Path],
        *,
        gene_query: GeneQueryHead | None,
        classifier: ClassifierHead | None,
    ) -> None:
        super().__init__(preprocessor, core, pool="cls_l2", hidden_state=-1, files=files)
        self.gene_query = gene_query
        self.classifier = classifier

    def cell_vectors(self, batch: Batch) -> Tensor:
        """``(b, d)`` cls tokens of the last layer, before any scaling."""
        return pool(self(batch, logits=False).last_hidden_state, batch.offsets, "cls")

    @torch.inference_mode()
    def values_from_cell(self, batch: Batch) -> Tensor:
        """``(t,)`` value of every gene token, predicted from its cell's vector (MVC)."""
        assert self.gene_query is not None
        genes = self.core.embeddings.tokens(batch.ids)  # (t, d)
        return self.gene_query(genes, self.cell_vectors(batch), batch.lengths)  # type: ignore[no-any-return]

    @torch.inference_mode()
    def class_logits(self, batch: Batch) -> Tensor:
        """``(b, c)`` logits of the checkpoint's cell types."""
        assert self.classifier is not None
        return self.classifier(self.cell_vectors(batch))  # type: ignore[no-any-return]


def extra_heads(
    tensors: Mapping[str, Tensor], source: Path
) -> tuple[GeneQueryHead | None, ClassifierHead | None, dict[str, Tensor]]:
    """Build the heads that a checkpoint holds.

    Parameters
    ----------
    tensors
        Weights of the file.
    source
        Names it in messages.

    Returns
    -------
    The MVC head, the classifier (None where the file has none), and the weights left for the encoder.

    Raises
    ------
    CheckpointError
        If a head's weights are incomplete.
    """
    parts: dict[str, dict[str, Tensor]] = {"mvc_decoder": {}, "cls_decoder": {}, "": {}}
    for name, tensor in tensors.items():
        first = name.partition(".")[0]
        parts[first if first in parts else ""][name] = tensor
    query = classifier = None
    if parts["mvc_decoder"]:
        weights = _renamed(parts["mvc_decoder"], {"mvc_decoder.gene2query": "query", "mvc_decoder.W": "map"})
        query = GeneQueryHead(len(weights["map.weight"])).eval()
        load_strict(query, weights, source)
    if decoder := parts["cls_decoder"]:
        classes, width = decoder["cls_decoder.out_layer.weight"].shape
        hidden = sum(name.endswith(".weight") for name in decoder) // 2
        classifier = ClassifierHead(width, classes, hidden).eval()
        load_strict(classifier, _renamed(decoder, _classifier_names(hidden)), source)
    return query, classifier, parts[""]


def _renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors under our names; one that no line knows keeps its own, and strict loading lists it."""
    split = {name: name.rpartition(".") for name in tensors}
    return {f"{names.get(head, head)}.{tail}": tensors[name] for name, (head, _, tail) in split.items()}


def _classifier_names(hidden: int) -> dict[str, str]:
    # Each hidden step is a linear map, an activation and a norm in one flat list.
    dense = {f"cls_decoder._decoder.{3 * i}": f"dense.{i}" for i in range(hidden)}
    norms = {f"cls_decoder._decoder.{3 * i + 2}": f"norms.{i}" for i in range(hidden)}
    return {**dense, **norms, "cls_decoder.out_layer": "out"}
