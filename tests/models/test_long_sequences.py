"""Sequences longer than a batch: a causal model reads them in parts that carry its state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from biolm.adapters.sequences import make_tokenizer
from biolm.core import CoreConfig, Transformer
from biolm.errors import ConfigError
from biolm.io.sequences import SequenceBlock
from biolm.models.sequence_model import SequenceModel, SequenceOptions
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.models.systems.evo2 import PUBLISHED_NAMES
from biolm.tasks.variants.likelihood import token_scores

MIXERS = ("hyena_short", "hyena_medium", "hyena_long", "attention_stored_rope")


def _model(alphabet: str = "evo2", **changes: Any) -> SequenceModel:
    torch.manual_seed(0)
    fields: dict[str, Any] = {
        "vocab_size": 512, "d_model": 16, "n_layers": 4, "n_heads": 2, "d_ff": 16, "position": "none",
        "causal": True, "head": "linear", "glu": True, "mixer": MIXERS,
        "mixer_options": {"hyena_short": {"groups": 2}, "hyena_medium": {"groups": 4}},
    }  # fmt: skip
    core = Transformer(CoreConfig(**{**fields, **changes})).eval()
    preprocessor = SequencePreprocessor(
        name="tiny", tokenizer=make_tokenizer(alphabet), max_length=4096, published=PUBLISHED_NAMES
    )
    return SequenceModel(preprocessor, core)


def _block(*lengths: int) -> SequenceBlock:
    generator = np.random.default_rng(0)
    return SequenceBlock.of(["".join(generator.choice(list("ACGT"), length)) for length in lengths])


WHOLE, PARTS = SequenceOptions(batch_tokens=4096), SequenceOptions(batch_tokens=70)


@pytest.mark.parametrize("pool", ["mean", "max", "sum", "cls", "last"])
@pytest.mark.parametrize("state", [None, "blocks.2.mlp.l3", "blocks.1", "norm", "blocks.0.projections"])
@pytest.mark.parametrize("alphabet", ["evo2", "evo1"])
def test_vectors_of_parts_are_those_of_the_whole(pool: str, state: str | None, alphabet: str) -> None:
    model = _model(alphabet)
    if state is not None:
        model = model.at(state)
    block = _block(500, 20, 141)
    options = [SequenceOptions(batch_tokens=each.batch_tokens, pool=pool) for each in (WHOLE, PARTS)]
    whole, parts = (model.embed(block, each) for each in options)
    assert whole.shape == (3, 48 if state == "blocks.0.projections" else 16)
    np.testing.assert_allclose(parts, whole, rtol=2e-4, atol=2e-5 * np.abs(whole).max())
    assert np.abs(whole).max() > 0


def test_states_and_scores_of_parts_are_those_of_the_whole() -> None:
    model, block = _model(), _block(500, 20, 141)
    whole, parts = (model.residues(block, each)[0] for each in (WHOLE, PARTS))
    np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=2e-5 * np.abs(whole).max())
    tokens = model.tokenize(block)
    scores = [token_scores(model, tokens, "causal", each) for each in (WHOLE, PARTS)]
    np.testing.assert_allclose(scores[1].values, scores[0].values, rtol=1e-4, atol=1e-5)


def test_an_encoder_is_not_cut() -> None:
    model = _model(causal=False, mixer="attention", mixer_options={}, head="none", position="rope")
    block = _block(300)
    whole, parts = (model.embed(block, each) for each in (WHOLE, PARTS))
    np.testing.assert_allclose(parts, whole, rtol=1e-5)


def test_memory_is_bounded_by_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass sees more tokens than a batch may have."""
    model, seen = _model(), []
    model.core.register_forward_hook(lambda _m, given, _o: seen.append(len(given[0].ids)))
    model.embed(_block(1000), PARTS)
    assert max(seen) == 70
    assert sum(seen) == 1000


def test_submodules_are_named_or_refused() -> None:
    model = _model()
    assert model.at("layers.2.mlp").state == "layers.2.mlp"
    assert model.at("blocks.3.inner_mha_cls").state == "layers.3.attention"
    assert model.describe()["hidden_state"] == -1
    assert model.at("blocks.1").describe()["hidden_state"] == "layers.1"
    for name in ("blocks.9", "layers.0.mlp.dwn", ""):
        with pytest.raises(ConfigError, match="no submodule"):
            model.at(name)


def test_the_command_pools_a_submodule(tmp_path: Any) -> None:
    import biolm

    model = _model()
    path = tmp_path / "genome.fa"
    path.write_text(">a\nACGTACGTACGTTTGACA\n>b\nGGCATTAGC\n")
    found = biolm.embed(path, model=model, state="blocks.0.projections")
    assert found.obsm["X_tiny"].shape == (2, 48)
    with pytest.raises(ConfigError, match="give one"):
        biolm.embed(path, model=model, state="blocks.0", hidden_state=-2)
