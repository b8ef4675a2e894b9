"""Details of published systems that a test against recorded results must notice, and the test that does.

Each behaviour that the notes on the recorded results list stands in ``FLIPS`` with the test that fails, or
asserts a difference, where it is done otherwise. Those that no system's own test flips are flipped here.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from perturb import relative
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy, gelu, normalize

from biolm.batch import Batch
from biolm.core import pool
from biolm.models.families.hf import from_hf
from biolm.models.systems import cellplm, scconcept, sctrans, transcriptformer
from biolm.models.systems.cell_network import by_document
from biolm.models.systems.transcriptformer_network import TranscriptNetwork
from biolm.objectives.value_losses import zero_truncated_poisson

TOLERANCE = 2e-5

FLIPS: Mapping[str, Mapping[str, str]] = {
    "geneformer": {
        "V2 leaves cls and eos out of the mean, V1 nothing": "here::test_tokens_in_geneformers_mean",
        "emb_layer -1 is the state before the last": "test_geneformer::test_other_hidden_states_and_pools",
        "medians multiply as reciprocals": "test_rank_tokens::test_version_1_with_rounded_medians",
    },
    "scgpt": {
        "bins of tied edges": "test_bin_tokens::test_tied_genes_spread_evenly_and_independently",
        "block, norms and activation": "test_scgpt::test_each_switch_matters",
    },
    "scbert": {
        "the stabiliser is that of the batch": "test_scbert::test_recorded_states_of_cells_alone",
        "the small number behind the exponential": "test_performer::test_the_small_numbers_matter",
        "the table of positions is float64": (
            "test_scbert::test_the_table_of_positions_is_float64_in_the_file"
        ),
        "activation and eps": "test_scbert::test_each_switch_matters",
    },
    "celllm": {
        "padded keys are counted": "test_celllm::test_padding_matters",
        "the total is that of the file": "test_celllm::test_the_total_is_that_of_the_file",
        "padded rows are zero behind the norm": "test_celllm::test_recorded_states",
    },
    "scfoundation": {
        "the stabiliser is that of the batch": "test_scfoundation::test_recorded_batch_and_single_cells",
        "the decoder ignores its padding mask": "test_scfoundation::test_the_decoder_masks_nothing",
        "two norms, bins, order of T and S": "test_scfoundation::test_each_detail_matters",
    },
    "cellplm": {
        "the cluster is drawn, so another seed gives another vector": "here::test_seed_of_cellplms_cluster",
        "cells see all cells of the group": "test_cellplm::test_each_detail_matters",
    },
    "uce": {
        "padding has 1 added to its scores": "test_uce::test_recorded_vectors",
        "scale, positions, norm of tokens": "test_uce::test_each_detail_matters",
    },
    "nicheformer": {
        "padding is in the mean, eps is 1e-12": "test_nicheformer::test_recorded_vectors_from_cells",
        "id 0 is read as padding, id 3 is never masked": "test_nicheformer::test_ids_0_and_3",
        "genes without a mean become tokens": "test_nicheformer::test_recorded_tokens",
    },
    "transcriptformer": {
        "the stream is replaced by its norm": "here::test_stream_of_transcriptformer",
        "the cap acts behind the bias": "here::test_cap_of_transcriptformer",
        "the normaliser of the likelihood": "here::test_normaliser_of_transcriptformer",
        "bias of earlier keys, activation": "test_transcriptformer::test_each_detail_matters",
        "the sum is over the model's length": "test_transcriptformer::test_recorded_vectors_through_tokens",
    },
    "scconcept": {
        "a view with itself, and cells left out, have logit 0": "here::test_zeros_among_scconcepts_logits",
        "block, activation, eps, ranks": "test_scconcept::test_each_detail_matters",
    },
    "sctrans": {
        "the temperature grows with the root of the width": "here::test_temperature_of_sctrans",
        "query row, scaled values": "test_sctrans::test_each_detail_matters",
    },
    "scimilarity": {"genes are sorted by the reference": "test_scimilarity::test_each_detail_matters"},
    "tgpt": {"the mean leaves out the end token": "test_tgpt::test_each_detail_matters"},
    "cellama": {"genes of count 0 fill the list": "test_cellama::test_ties_and_empty_cells"},
    "concerto": {"the loss is the sum of both directions": "test_concerto::test_recorded_losses"},
    "tahoe": {"each detail of its description": "test_tahoe::test_equals_the_forward_pass_in_float64"},
    "scprint": {"each detail of its description": "test_scprint::test_equals_the_forward_pass_in_float64"},
}


@pytest.mark.parametrize("system", FLIPS)
def test_each_named_test_is_there(system: str) -> None:
    for detail, address in FLIPS[system].items():
        name, _, function = address.partition("::")
        own = name == "here"
        (path,) = (Path(__file__),) if own else Path(__file__).parents[1].rglob(f"{name}.py")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in tests, (detail, address)


@torch.inference_mode()
@pytest.mark.parametrize("version", ["geneformer_v1", "geneformer_v2"])
def test_tokens_in_geneformers_mean(goldens: Path, version: str) -> None:
    wanted = load_file(goldens / version / "io.safetensors")
    batch = Batch.from_padded(wanted["input_ids"], wanted["attention_mask"].bool())
    state = from_hf(goldens / version)(batch, hidden_states=True).hidden_states[-2]
    published = (1, 1) if version.endswith("2") else (0, 0)
    for skip in ((0, 0), (1, 0), (0, 1), (1, 1)):
        error = relative(pool(state, batch.offsets, "mean", skip=skip), wanted["cell_emb_layer-1"])
        assert (error < TOLERANCE) == (skip == published), skip
        assert error < TOLERANCE or error > 1e-3


@torch.inference_mode()
def test_seed_of_cellplms_cluster(goldens: Path) -> None:
    import json

    golden = goldens / "cellplm"
    wanted = load_file(golden / "io.safetensors")
    config = json.loads(next(golden.glob("*.config.json")).read_text())
    latent = cellplm.read_network(next(golden.glob("*.best.ckpt")), config).latent
    states = wanted["pre_latent_norm"]
    errors = [
        relative(
            latent.gaussian(
                states, latent.draw(wanted["cluster_logits"], torch.Generator().manual_seed(seed))
            )[0],
            wanted["seed77/latent"],
        )
        for seed in (77, 78)
    ]
    assert errors[0] < TOLERANCE
    assert errors[1] > 1e-3


Transcript = tuple[TranscriptNetwork, dict[str, torch.Tensor]]


def _cells(wanted: dict[str, torch.Tensor]) -> tuple[Batch, torch.Tensor]:
    """Assay, START and genes but the last, and which padded places they are of."""
    tokens = torch.cat(
        [wanted["aux_token_indices"] + 157, torch.full((5, 1), 2), wanted["gene_token_indices"][:, :-1]], 1
    )
    counts = torch.cat([torch.ones(5, 2), wanted["gene_counts"][:, :-1]], 1)
    return Batch.from_padded(tokens, tokens != 1, values=counts), tokens != 1


@pytest.fixture
def transcript(goldens: Path) -> Transcript:
    golden = goldens / "transcriptformer"
    return transcriptformer.read_network(golden), load_file(golden / "io.safetensors")


@torch.inference_mode()
def test_stream_of_transcriptformer(transcript: Transcript) -> None:
    network, wanted = transcript
    batch, keep = _cells(wanted)
    assert batch.values is not None
    bias = (batch.values + 1e-6).log1p()

    def states(replaced: bool) -> torch.Tensor:
        genes = network.gene_vectors(batch.ids.clamp(max=156))
        assays = network.aux_embeddings["assay"]((batch.ids - 157).clamp(min=0))
        x = torch.where((batch.ids < 157)[:, None], genes, assays)
        for layer in network.transformer_encoder["encoder_layers"]:
            normed = layer.norm1(x)
            *inputs, out = layer.self_attn.linears
            parts = [linear(normed).unflatten(1, (network.heads, -1)) for linear in inputs]
            mixed = out(by_document(network._attend, batch.offsets, *parts, keys=bias))
            x = (normed if replaced else x) + mixed
            normed = layer.norm2(x)
            x = (normed if replaced else x) + layer.linear2(gelu(layer.linear1(normed)))
        return x

    right = wanted["embed/transformer_output"][keep]
    assert relative(states(replaced=True), right) < TOLERANCE
    assert relative(states(replaced=False), right) > 1e-3


@torch.inference_mode()
def test_cap_of_transcriptformer(transcript: Transcript, monkeypatch: pytest.MonkeyPatch) -> None:
    network, wanted = transcript
    batch, keep = _cells(wanted)
    cap = network.softcap

    def raised(q: torch.Tensor, k: torch.Tensor, bias: torch.Tensor, *, strict: bool = False) -> torch.Tensor:
        scores = cap * (q @ k.transpose(1, 2) / q.shape[2] ** 0.5 / cap).tanh() + bias
        return scores.exp().tril(k.shape[1] - q.shape[1])

    monkeypatch.setattr(network, "_raised", raised)
    assert relative(network(batch), wanted["embed/transformer_output"][keep]) > 1e-3


def test_normaliser_of_transcriptformer(
    transcript: Transcript,
) -> None:
    wanted = transcript[1]
    means, counts = wanted["loss/mu"], wanted["loss/counts"]
    assert (
        relative(
            zero_truncated_poisson(means.log(), counts, rectified=True).mean(),
            wanted["loss/nll_softplus_True"][0],
        )
        < TOLERANCE
    )
    means, counts = means + 1e-6, counts.clamp(1e-6, 30)
    exact = -counts * means.log() + means.double().expm1().log() + (counts + 1).lgamma()
    assert relative(exact.mean().float(), wanted["loss/nll_softplus_True"][0]) > 1e-3
    # Without its approximation the published code takes the mean itself.
    plain = -counts * means.log() + means + (counts + 1).lgamma()
    assert relative(plain.mean(), wanted["loss/nll_softplus_False"][0]) < TOLERANCE
    assert relative(plain.mean(), wanted["loss/nll_softplus_True"][0]) > 1e-3


def test_zeros_among_scconcepts_logits(goldens: Path) -> None:
    wanted = load_file(goldens / "scconcept" / "io.safetensors")
    weights = torch.load(goldens / "scconcept" / "model.ckpt", weights_only=True)["state_dict"]
    scale = float(weights["logit_scale"].exp())
    first, second, kept = (wanted[f"given/{name}"] for name in ("a", "b", "items_mask"))
    a, b = normalize(first, dim=1), normalize(second, dim=1)
    logits, n = scale * torch.cat((a, b)) @ torch.cat((b, a)).T, len(a)
    places = torch.arange(2 * n)
    own = places[:, None] == places.roll(n)
    for value, right in ((0.0, True), (-torch.inf, False)):
        loss = cross_entropy(logits.masked_fill(own, value), places)
        assert (relative(loss, wanted["given/2n_way_loss"][0]) < TOLERANCE) == right
    removed = scconcept.clip_loss(first[kept], second[kept], scale)
    assert relative(removed, wanted["given/clip_loss_masked"][0]) > 1e-3


def test_temperature_of_sctrans(goldens: Path) -> None:
    wanted = load_file(goldens / "sctrans" / "io.safetensors")
    views = wanted["projection"][:, 0], wanted["projection_masked"][:, 0]
    plain = 0.1 / np.sqrt(views[0].shape[1])
    assert relative(sctrans.nt_xent(*views, 0.1), wanted["ntxent_t01"][0]) < TOLERANCE
    assert relative(sctrans.nt_xent(*views, plain), wanted["ntxent_t01"][0]) > 1e-3
