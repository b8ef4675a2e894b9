"""scGPT's losses and gradients as recorded from its own code."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from perturb import relative
from safetensors.torch import load_file
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core import Transformer
from biolm.core.checkpoint import load_strict
from biolm.models.systems import scgpt
from biolm.objectives.adversarial import Adversarial, AdversarialSettings
from biolm.objectives.base import Metadata, Prepared
from biolm.objectives.gene_query import GeneQuery, GeneQuerySettings
from biolm.objectives.masked_values import MaskedValues, MaskedValuesSettings
from biolm.objectives.similarity import elastic_similarity
from biolm.objectives.value_losses import score_values
from biolm.objectives.weighted import Weighted, WeightedSettings

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def recorded(goldens: Path) -> dict[str, Tensor]:
    return load_file(goldens / "scgpt" / "io.safetensors")


def prepared_as(recorded: dict[str, Tensor]) -> Prepared:
    """The recorded masked batch, as a view would have made it."""
    keep = ~recorded["src_key_padding_mask"]
    clean, read = (
        Batch.from_padded(recorded["src"], keep, values=recorded[name])
        for name in ("values", "masked_values")
    )
    rows = recorded["mask"][keep].nonzero().flatten()
    return Prepared(batch=read, original=clean, keys=clean.index, rows=rows, targets=clean.values[rows])


def test_losses_and_gradients_of_both_decoders(goldens: Path, recorded: dict[str, Tensor]) -> None:
    model = scgpt.load(goldens / "scgpt" / "checkpoint")
    parts = {"masked_values": {}, "gene_query": {}}
    objective = Weighted(Metadata(core=model.config, special_ids=()), WeightedSettings(parts=parts))
    query = objective.part("gene_query")
    query.head.load_state_dict(model.gene_query.state_dict())
    loss, metrics = objective.loss(model.core, prepared_as(recorded))
    means = {name: (value[0] / value[1])[None] for name, value in metrics.items()}
    assert relative(means["masked_values/loss"], recorded["loss/masked_mse_mlm"]) < TOLERANCE
    assert relative(means["gene_query/loss"], recorded["loss/masked_mse_mvc"]) < TOLERANCE
    assert relative(loss.detach(), recorded["loss/mlm_plus_mvc"]) < TOLERANCE
    loss.backward()
    found = scgpt.keys().ours_to_theirs(
        {name: p.grad for name, p in model.core.named_parameters()}, model.config
    )
    found |= {
        "mvc_decoder.gene2query.weight": query.head.query.weight.grad,
        "mvc_decoder.gene2query.bias": query.head.query.bias.grad,
        "mvc_decoder.W.weight": query.head.map.weight.grad,
    }
    wanted = json.loads((goldens / "scgpt" / "grad_norms_mlm_plus_mvc.json").read_text())
    wanted = {name: norm for name, norm in wanted.items() if not name.startswith("cls_decoder")}
    assert set(wanted) <= set(found)
    for name, norm in wanted.items():
        assert found[name].norm().item() == pytest.approx(norm, rel=1e-4), name


def test_relative_error(goldens: Path, recorded: dict[str, Tensor]) -> None:
    output, values = recorded["masked/mlm_output"], recorded["values"]

    mask = recorded["mask"]
    # No hidden value is zero in the recorded batch, so ours is over the same values.
    assert bool((values[mask] != 0).all())
    metric = score_values(output[mask], values[mask]).metrics["relative"]
    assert relative(metric.mean[None], recorded["loss/masked_relative_error"]) < TOLERANCE


@pytest.mark.parametrize("case", ["unmasked", "masked", "clamped", "variant"])
def test_elastic_similarity(recorded: dict[str, Tensor], case: str) -> None:
    found = elastic_similarity(recorded[f"{case}/cell_emb"], threshold=0.3).mean()
    assert relative(found[None], recorded[f"{case}/loss_ecs"]) < TOLERANCE
    assert relative(elastic_similarity(recorded[f"{case}/cell_emb"], 0.35)[None], found[None]) > 1e-3


@pytest.fixture(scope="module")
def variant(goldens: Path) -> dict[str, Tensor]:
    path = goldens / "scgpt" / "variant_batch_zero_dab.pt"
    found: dict[str, Tensor] = torch.load(path, weights_only=True)
    return found


def test_explicit_zeros_batch_labels_and_domains(
    goldens: Path, recorded: dict[str, Tensor], variant: dict[str, Tensor]
) -> None:
    core = variant_core(goldens, variant)
    facts = Metadata(core=core.config, classes={"batch": 3})
    masked = MaskedValues(facts, MaskedValuesSettings(zero_probability=True, condition="batch"))
    query = GeneQuery(facts, GeneQuerySettings(zero_probability=True, condition="batch"))
    domain = Adversarial(facts, AdversarialSettings())
    for head, names in ((masked, MASKED), (query, QUERY), (domain, DOMAIN)):
        load_named(head, variant, names)
    prepared = prepared_as(recorded)
    prepared = Prepared(**{**as_fields(prepared), "labels": {"batch": recorded["variant/batch_labels"]}})
    output = core(prepared.batch)
    states = output.to_padded().last_hidden_state.detach()
    assert relative(states[:, 0], recorded["variant/transformer_output"][:, 0]) < TOLERANCE
    zero = masked.score(core, output, prepared).terms["zero"].mean
    assert relative(zero.detach()[None], recorded["variant/loss_zero_log_prob"]) < TOLERANCE
    found, wanted = masked.score(core, output, prepared).terms["loss"].mean, recorded["variant/mlm_output"]
    keep = recorded["mask"]
    assert found.item() == pytest.approx(((wanted - recorded["values"])[keep] ** 2).mean().item(), rel=2e-5)
    score = query.score(core, output, prepared)
    error = (recorded["variant/mvc_output"] - recorded["values"])[keep] ** 2
    assert score.terms["loss"].mean.item() == pytest.approx(error.mean().item(), rel=2e-5)
    share = recorded["variant/mvc_zero_probs"][keep].double()
    expressed = recorded["values"][keep] > 0
    likelihood = torch.where(expressed, share, 1 - share).log()
    assert score.terms["zero"].mean.item() == pytest.approx(-likelihood.mean().item(), rel=2e-5)
    labels = recorded["variant/batch_labels"]
    cross = torch.nn.functional.cross_entropy(recorded["variant/dab_output"].double(), labels)
    assert domain.score(core, output, prepared).terms["loss"].mean.item() == pytest.approx(
        cross.item(), rel=2e-5
    )


DECODER = {"0": "first", "2": "second", "4": "last"}
NORM = {f"condition.{ours}": f"batch_encoder.{theirs}" for ours, theirs in
        (("embedding", "embedding"), ("norm", "enc_norm"))}  # fmt: skip
MASKED = NORM | {
    f"head.{ours}.{DECODER[place]}": f"decoder.{theirs}.{place}"
    for ours, theirs in (("value", "fc"), ("nonzero", "zero_logit"))
    for place in DECODER
}
QUERY = NORM | {"head.query": "mvc_decoder.gene2query", "head.map": "mvc_decoder.W",
                "head.nonzero": "mvc_decoder.W_zero_logit"}  # fmt: skip
_DAB = "grad_reverse_discriminator"
DOMAIN = {"head.dense.0": "0", "head.norms.0": "2", "head.dense.1": "3", "head.norms.1": "5"}
DOMAIN = {ours: f"{_DAB}._decoder.{place}" for ours, place in DOMAIN.items()}
DOMAIN["head.out"] = f"{_DAB}.out_layer"


def load_named(module: nn.Module, tensors: dict[str, Tensor], names: dict[str, str]) -> None:
    """Load a module's every weight from a state dictionary with other names."""
    wanted = list(module.state_dict())
    module.load_state_dict(
        {name: tensors[f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}"] for name in wanted}
    )


def variant_core(goldens: Path, tensors: dict[str, Tensor]) -> Transformer:
    """The encoder of the variant with batch labels; its own decoder reads more than the core's."""
    args = json.loads((goldens / "scgpt" / "checkpoint" / "args.json").read_text())

    config = scgpt.core_config(args | {"nlayers": 1}, len(tensors["encoder.embedding.weight"]))
    config = dataclasses.replace(config, head="none")
    own = ("encoder.", "value_encoder.", "transformer_encoder.")
    core = Transformer(config).eval()
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(own)}
    load_strict(core, scgpt.keys().theirs_to_ours(kept, config, goldens), goldens)
    return core


def as_fields(prepared: Prepared) -> dict[str, object]:
    return {name: getattr(prepared, name) for name in ("batch", "original", "keys", "rows", "targets")}
