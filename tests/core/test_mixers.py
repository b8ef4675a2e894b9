"""The mixer contract: what a mixer does not support is refused, and its state follows its sequence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from perturb import perturb, relative
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core import CoreConfig, Mixer, SamplingOptions, Transformer, generate, register_mixer
from biolm.core import mixers as registry
from biolm.core.attention import Context
from biolm.core.state import FixedState
from biolm.errors import BiolmError, ConfigError

SIZES: dict[str, Any] = {
    "vocab_size": 20, "d_model": 8, "n_layers": 4, "n_heads": 2, "d_ff": 8, "position": "none",
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    decay: float = 0.5


class Mean(nn.Module):
    """Running mean of the tokens so far."""

    def __init__(self, config: CoreConfig, layer: int, options: Options) -> None:
        super().__init__()
        self.layer, self.decay = layer, options.decay
        self.out = nn.Linear(config.d_model, config.d_model)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        spans = context.layout.spans
        start = x.new_zeros(len(spans), x.shape[1])
        state = start if context.store is None else context.store.read()["mean"]
        rows, last = [], []
        for (first, end, _, _), mean in zip(spans, state, strict=True):
            for token in x[first:end]:
                mean = self.decay * mean + token
                rows.append(mean)
            last.append(mean)
        if context.store is not None:
            context.store.write({"mean": torch.stack(last)})
        return self.out(torch.stack(rows))  # type: ignore[no-any-return]

    def decoding_state(self) -> FixedState:
        return FixedState({"mean": self.out.weight.new_zeros(self.out.in_features)})


MEAN = Mixer(name="mean", factory=Mean, options=Options, supports=frozenset({"causal", "order"}))


@pytest.fixture(autouse=True)
def mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry._MIXERS, "_found", {"attention": registry.ATTENTION})
    register_mixer(MEAN)


def _model(**changes: Any) -> Transformer:
    torch.manual_seed(0)
    fields = {**SIZES, "causal": True, "head": "linear", **changes}
    model = perturb(Transformer(CoreConfig(**fields))).eval()
    assert isinstance(model, Transformer)
    return model


# What a layer that mixes by "mean" would ignore, and the words of the message.
IGNORED: list[tuple[dict[str, Any], str]] = [
    ({"causal": False}, "causal=False .* 'mean' of layer 0"),
    ({"window": 3}, "window=3 .* 'mean'"),
    ({"position": "rope"}, "position='rope' is read by no mixer"),
    ({"position": "alibi"}, "position='alibi' is read by no mixer"),
    ({"qk_norm": "head"}, "qk_norm='head' is read by no mixer"),
    ({"attn_softcap": 2.0}, "attn_softcap=2.0 is read by no mixer"),
    ({"attn_scale": 1.0}, "attn_scale"),
    ({"n_kv_heads": 1}, "n_kv_heads=1"),
    ({"dropout_attention": 0.1}, "dropout_attention"),
]


@pytest.mark.parametrize(("changes", "message"), IGNORED, ids=lambda value: str(value)[:30])
def test_what_a_mixer_would_ignore_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _model(mixer="mean", **changes)
    attention = {"n_heads": 2, **changes}
    _model(**attention)


def test_each_word_lifts_its_refusal() -> None:
    register_mixer(replace(MEAN, name="all", supports=registry.WORDS))
    for changes, _ in IGNORED:
        _model(mixer="all", **changes)


def test_positions_concern_only_mixers_that_do_not_know_the_order() -> None:
    _model(position="rope", mixer=("mean", "attention"))
    register_mixer(replace(MEAN, name="bag", supports=frozenset({"causal"})))
    with pytest.raises(ConfigError, match=r"position='rope' .* 'bag' of layer 0, 2"):
        _model(position="rope", mixer=("bag", "attention"))


def test_a_window_concerns_only_its_layers() -> None:
    _model(window=3, windowed_layers=(1, 3), mixer=("mean", "attention"))
    with pytest.raises(ConfigError, match="'mean' of layer 2"):
        _model(window=3, windowed_layers=(1, 2), mixer=("mean", "attention"))


def test_maps_and_private_tokens_need_every_layer() -> None:
    model = _model(mixer=("attention", "mean"))
    batch = Batch.from_padded(torch.tensor([[1, 2, 3]]))
    with pytest.raises(ConfigError, match="layer 1 is a 'mean' mixer, which has no attention maps"):
        model(batch, attentions=True)
    with pytest.raises(BiolmError, match="private"):
        model(replace(batch, private=torch.tensor([False, True, False])))
    assert not model.narrows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixer": "hyaena"}, "mixer must be one of .*attention.*, not 'hyaena'"),
        ({"mixer": ()}, "1 to 4 names"),
        ({"mixer": ("mean",) * 5}, "1 to 4 names"),
        ({"mixer": ("mean", "attention"), "share_layers": True}, "share_layers"),
        ({"mixer_options": {"mean": {}}}, "no layer has that mixer"),
        ({"mixer": "mean", "mixer_options": {"mean": {"rate": 1}}}, "no option 'rate'; it has decay"),
        ({"mixer_options": {"attention": {"rate": 1}}}, "it has none"),
    ],
)
def test_faults_of_a_config_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _model(**changes)


def test_a_pattern_repeats_and_survives_the_config_file() -> None:
    config = CoreConfig(**SIZES, causal=True, mixer=("mean", "attention", "mean"))
    assert [config.layer_mixer(layer) for layer in range(4)] == ["mean", "attention", "mean", "mean"]
    again = CoreConfig.from_dict({**config.as_dict(), "mixer": list(config.mixer)})
    assert again == config
    model = _model(mixer=("mean", "attention"), mixer_options={"mean": {"decay": 0.25}})
    assert [getattr(layer.attention, "decay", None) for layer in model.layers] == [0.25, None, 0.25, None]
    assert model.layers[2].attention.layer == 2


def test_names_are_given_once_and_words_are_known() -> None:
    with pytest.raises(ConfigError, match="registered already"):
        register_mixer(MEAN)
    with pytest.raises(ConfigError, match="supports magic"):
        Mixer(name="x", factory=Mean, supports=frozenset({"magic"}))


def test_a_package_brings_mixers_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    points = [
        EntryPoint(name=name, group="biolm.mixers", value=f"{__name__}:{value}")
        for name, value in (("theirs", "MEAN"), ("broken", "NOTHING"), ("wrong", "SIZES"))
    ]
    monkeypatch.setattr(
        "biolm.core.registry.entry_points", lambda group: points if group == "biolm.mixers" else []
    )
    assert registry.find_mixer("theirs") is MEAN
    with pytest.raises(ConfigError, match="'broken' cannot be loaded"):
        registry.find_mixer("broken")
    with pytest.raises(ConfigError, match="not a Mixer"):
        registry.find_mixer("wrong")
    with pytest.raises(ConfigError, match=r"attention, .*broken, .*theirs, .*wrong, not 'x'"):
        registry.find_mixer("x")


@pytest.mark.parametrize("mixer", ["mean", ("mean", "attention"), ("attention", "mean")])
@torch.inference_mode()
def test_the_state_follows_its_sequence(mixer: str | tuple[str, ...]) -> None:
    model = _model(mixer=mixer)
    cache, texts = model.new_cache(), {}
    generator = torch.Generator().manual_seed(1)

    def grow(pieces: dict[int, int]) -> None:
        new = {name: torch.randint(20, (n,), generator=generator).tolist() for name, n in pieces.items()}
        found = model(cache.batch(list(new), list(new.values())), cache=cache).logits
        for (name, piece), logits in zip(new.items(), found.split(list(pieces.values())), strict=True):
            texts[name] = texts.get(name, []) + piece
            whole = model(Batch.from_padded(torch.tensor([texts[name]]))).logits
            assert relative(logits, whole[-len(piece) :]) < 2e-5, (name, len(texts[name]))

    grow({0: 3, 1: 62, 2: 1})
    for _ in range(4):  # sequence 1 leaves its row for a longer one where a layer grows
        grow(dict.fromkeys(cache.sequences, 1))
    cache.drop([0])
    del texts[0]
    grow({7: 2, 2: 5})  # 7 takes a used row and must not see its state
    for _ in range(2):
        grow(dict.fromkeys(cache.sequences, 1))


@torch.inference_mode()
def test_memory_of_fixed_states_is_constant() -> None:
    model = _model(mixer="mean")
    cache, sizes = model.new_cache(), []
    for _ in range(5):
        model(cache.batch([0], [[1] * 50]), logits=False, cache=cache)
        sizes.append(cache.nbytes)
    assert sizes == [4 * 8 * 4] * 5  # layers, channels, bytes


def test_gradients_do_not_reach_the_cache() -> None:
    model = _model(mixer="mean")
    cache = model.new_cache()
    for _ in range(2):
        assert model(cache.batch([0], [[1, 2]]), cache=cache).logits.requires_grad
    assert not any(
        part.requires_grad for slab in cache._slabs.values() for held in slab.held for part in held
    )


def test_without_a_decoding_state_nothing_is_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Mean, "decoding_state")
    model = _model(mixer=("attention", "mean"))
    with pytest.raises(ConfigError, match="'mean' of layer 1 has no decoding state"):
        generate(model, [[1]], SamplingOptions(max_tokens=2))
