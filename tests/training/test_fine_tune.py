from __future__ import annotations

import numpy as np
import pytest
import torch

from biolm.batch import Tokens
from biolm.core import CoreConfig, Transformer
from biolm.errors import ConfigError, InputError
from biolm.training.fine_tune import fine_tune

CORE = CoreConfig(vocab_size=20, d_model=16, n_layers=2, n_heads=2, d_ff=16, head="mlm")
FAST = {
    "optimiser": {"lr": 0.01},
    "trainer": {"max_epochs": 4, "accelerator": "cpu"},
    "data": {"batch_tokens": 64},
}


def make_core(seed=0):
    torch.manual_seed(seed)
    return Transformer(CORE)


def make_tokens(n=60):
    """Examples of 4 to 7 tokens whose kind is in their first token."""
    draws = np.random.default_rng(0)
    lengths = draws.integers(4, 8, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = draws.integers(8, 20, offsets[-1]).astype(np.int32)
    kinds = draws.integers(0, 3, n)
    ids[offsets[:-1]] = 5 + kinds
    return Tokens(ids=ids, offsets=offsets, index=np.arange(n)), kinds


def test_kinds_and_numbers_are_learned_together():
    tokens, kinds = make_tokens()
    names = np.array(["T", "B", "NK"])[kinds].astype(object)
    names[:5] = None
    age = kinds * 10.0 + 40
    age[3] = np.nan
    held = np.arange(60) % 5 == 0
    core = make_core()
    before = {name: tensor.clone() for name, tensor in core.state_dict().items()}
    tuned = fine_tune(
        core, tokens, {"kind": names, "age": age},
        objectives={"kind": {"objective": "classify", "column": "kind", "class_weights": "balanced"},
                    "age": {"objective": "regress", "column": "age", "weight": 0.5}},
        settings={**FAST, "trainer": {"max_epochs": 15, "accelerator": "cpu"}}, held_out=held,
    )  # fmt: skip
    assert all(torch.equal(before[name], tensor) for name, tensor in core.state_dict().items())
    assert tuned.classes == {"kind": ("B", "NK", "T")}
    assert tuned.scores["kind/loss"] < tuned.scores["kind/frequencies"]
    said = tuned.predict(tokens, batch_tokens=50)
    right = np.array(tuned.classes["kind"])[said["kind"].argmax(1)] == np.array(["T", "B", "NK"])[kinds]
    assert right[held].mean() > 0.9
    assert np.abs(said["age"] - (kinds * 10 + 40))[held].mean() < 4
    one_by_one = [tuned.predict(tokens.take([row]))["kind"] for row in range(4)]
    np.testing.assert_allclose(np.concatenate(one_by_one), said["kind"][:4], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": {"kind": ["a"] * 60}}, InputError, "all training labels"),
        ({"labels": {"kind": ["a"] * 3}}, ConfigError, "3 values for 60 examples"),
        ({"labels": {"kind": [None] * 60}}, InputError, "no labelled example"),
        ({"labels": {}}, ConfigError, "at least one objective"),
        (
            {"objectives": {"classify": {"column": "type"}}},
            ConfigError,
            "no label column 'type'",
        ),
        ({"settings": {"trianer": {}}}, ConfigError, "did you mean 'trainer'"),
        ({"settings": {"trainer": {"loggers": ["wandb"]}}}, ConfigError, "csv, tensorboard"),
        ({"held_out": np.ones(60, bool)}, InputError, "no labelled example"),
        ({"model": "genetext"}, ConfigError, "reads no tokens"),
        ({"labels": {"kind": [np.array(["a", "b"])] * 60}}, InputError, "labels were given for"),
    ],
)
def test_what_cannot_be_learned_is_refused(change, error, message):
    tokens, kinds = make_tokens()
    given = {"model": make_core(), "labels": {"kind": kinds}, "settings": FAST, **change}
    with pytest.raises(error, match=message):
        fine_tune(given.pop("model"), tokens, given.pop("labels"), **given)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_weights_of_the_lowest_loss_are_kept(tmp_path, ema):
    tokens, kinds = make_tokens()
    # Labels at random are learned by heart, so that the held-out loss soon rises.
    kinds = np.random.default_rng(1).integers(0, 3, len(kinds))
    held = np.arange(60) % 3 == 0
    found = {}
    for save in ("best", "last"):
        trainer = {"max_epochs": 8, "accelerator": "cpu", "validate_every": 6, "save": save, "ema": ema}
        found[save] = fine_tune(
            make_core(), tokens, {"kind": kinds}, held_out=held, folder=tmp_path / save,
            settings={**FAST, "optimiser": {"lr": 0.02}, "trainer": trainer},
        )  # fmt: skip
    rows = (tmp_path / "best" / "metrics.csv").read_text().splitlines()
    losses = [float(row.split(",")[3]) for row in rows if row.split(",")[1:3] == ["validation", "loss"]]
    assert min(losses) < 0.95 * losses[-1]
    for save, wanted in (("best", min(losses)), ("last", losses[-1])):
        logits = torch.from_numpy(found[save].predict(tokens)["kind"])[held]
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(kinds[held]))
        assert float(loss) == pytest.approx(wanted, abs=1e-4)
        assert found[save].scores["loss"] == pytest.approx(wanted, abs=1e-5)
