"""Evo 2, Evo 1 and HyenaDNA against results that the authors' code recorded, at 2e-5 relative L2."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from biolm.batch import Batch
from biolm.core import SamplingOptions, Transformer, generate
from biolm.core.config import RopeScaling
from biolm.models import registry
from biolm.models.families import evo1, evo2, hyenadna
from biolm.models.sequence_model import SequenceModel
from biolm.models.submodules import capture, find_submodule, layers_until, width_of
from biolm.models.systems import striped_folder

TOLERANCE = 2e-5


def distance(found: Tensor, wanted: Tensor) -> float:
    """Relative L2 distance."""
    assert found.shape == wanted.shape
    return float((found - wanted).norm() / wanted.norm())


@pytest.fixture(scope="module", autouse=True)
def _no_gradients() -> Any:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def models(goldens: Path) -> dict[str, SequenceModel]:
    """Each system as `biolm.load` opens its folder."""
    places = {name: goldens / name for name in ("evo2", "evo1", "hyenadna")}
    return {name: registry.load(place) for name, place in places.items()}  # type: ignore[misc]


@pytest.fixture(scope="module")
def recorded(goldens: Path) -> Callable[[str], dict[str, Tensor]]:
    """Recorded tensors of a system."""
    return lambda name: load_file(goldens / name / "io.safetensors")


def _logits(core: Transformer, ids: Tensor) -> Tensor:
    logits = core(Batch.from_padded(ids)).logits
    assert logits is not None
    return logits.view(*ids.shape, -1)


def _wanted(held: dict[str, Tensor], case: str, found: Tensor) -> float:
    """Distance from the logits of a case, or from those of bytes 65 to 84 where only they were kept."""
    if f"{case}/logits" in held:
        return distance(found, held[f"{case}/logits"])
    return distance(found[..., 65:85], held[f"{case}/logits_bytes_65_to_84"])


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("evo2", "len41"),
        ("evo2", "len150"),
        ("evo1", "len33"),
        ("evo1", "len120"),
        ("hyenadna", "len40"),
        ("hyenadna", "len130"),
    ],
)
def test_logits_and_states(name, case, models, recorded) -> None:  # type: ignore[no-untyped-def]
    model, held = models[name], recorded(name)
    ids = held[f"{case}/input_ids"]
    assert _wanted(held, case, _logits(model.core, ids)) < TOLERANCE
    output = model(Batch.from_padded(ids), hidden_states=True)
    last = model.config.n_layers
    compared = 0
    for key, wanted in held.items():
        prefix, _, part = key.partition("/")
        layer = part.rpartition(".")[2]
        plain = part in (f"blocks.{layer}", f"residual_after_layer.{layer}")
        if prefix == case and plain and int(layer) + 1 < last:
            assert distance(output.hidden_states[int(layer) + 1], wanted.flatten(0, 1)) < TOLERANCE, key
            compared += 1
        if key in (f"{case}/norm", f"{case}/last_hidden_state"):
            assert distance(output.last_hidden_state, wanted.flatten(0, 1)) < TOLERANCE
            compared += 1
    assert compared or case == "len120"  # of which the logits alone were kept


@pytest.mark.parametrize(("name", "case", "count"), [("evo2", "len41", 19), ("evo1", "len33", 7)])
def test_submodules_by_their_published_names(name, case, count, models, recorded) -> None:  # type: ignore[no-untyped-def]
    model, held = models[name], recorded(name)
    parts = [key.partition("/")[2] for key in held if key.startswith(f"{case}/blocks.")]
    parts += [part for part in ("norm",) if f"{case}/{part}" in held]
    assert len(parts) >= count
    for part in parts:
        ours = find_submodule(model.core, part, model.preprocessor.published)
        with capture(model.core, ours) as found:
            layers = layers_until(ours)
            model.core(Batch.from_padded(held[f"{case}/input_ids"]), logits=False, n_layers=layers)
        assert distance(found[0], held[f"{case}/{part}"].flatten(0, 1)) < TOLERANCE, part
        assert width_of(model.core, ours) == found[0].shape[1]


def test_the_other_rotary_setting(goldens, models, recorded) -> None:  # type: ignore[no-untyped-def]
    config = {
        **striped_folder.config_of(goldens / "evo2"),
        "use_interpolated_rotary_pos_emb": True,
        "rotary_emb_scaling_factor": 4,
    }
    core = Transformer(evo2.core_config(config)).eval()
    core.load_state_dict(models["evo2"].core.state_dict())
    held = recorded("evo2")
    assert _wanted(held, "rope_variant", _logits(core, held["len41/input_ids"])) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "case"), [("evo2", "decode0"), ("evo2", "decode1"), ("evo1", "decode0"), ("evo1", "decode1")]
)
def test_decoding_state_and_greedy_tokens(name, case, models, recorded) -> None:  # type: ignore[no-untyped-def]
    core, held = models[name].core, recorded(name)
    prompts = held[f"{case}/prompt_ids"].tolist()
    cache = core.new_cache()
    batch = cache.batch(list(range(len(prompts))), prompts)
    core(batch, cache=cache)
    for key, wanted in held.items():
        if key.startswith(f"{case}/state/blocks."):
            layer, kind = key.removeprefix(f"{case}/state/blocks.").split(".")
            assert distance(_state(cache, int(layer), kind, len(prompts[0]), wanted), wanted) < TOLERANCE, key
    greedy = held[f"{case}/greedy_ids"]
    results = generate(core, prompts, SamplingOptions(max_tokens=greedy.shape[1]))
    assert [result.ids for result in results] == greedy.tolist()
    steps = torch.cat([torch.tensor(prompts), greedy[:, :-1]], 1)
    found = _logits(core, steps)[:, len(prompts[0]) - 1 :]
    logits = held.get(f"{case}/greedy_logits", held.get(f"{case}/greedy_logits_bytes_65_to_84"))
    assert logits is not None
    few = found if logits.shape[-1] == found.shape[-1] else found[..., 65:85]
    assert distance(few, logits) < TOLERANCE


def _state(cache: Any, layer: int, kind: str, length: int, wanted: Tensor) -> Tensor:
    """State of all sequences in the recorded layout."""
    rows = [cache._home[name] for name in sorted(cache.lengths)]
    parts = [torch.stack([slab.held[layer][part][row] for slab, row in rows]) for part in (0, 1)]
    if kind == "kv":
        return torch.stack([part[:, :, :length].transpose(1, 2) for part in parts], 2)
    if kind == "fir":
        return parts[0]
    if kind == "iir_re_im":
        return torch.view_as_real(parts[1])
    return parts[1][..., -wanted.shape[-1] :]


def test_prompts_shorter_than_the_taps(models) -> None:  # type: ignore[no-untyped-def]
    """The reference is wrong there; the pass without a cache is right."""
    for name in ("evo2", "evo1", "hyenadna"):
        core = models[name].core
        high = core.config.vocab_size
        for length in (1, 2, 4, 7):
            prompt = torch.randint(2, high, (1, length), generator=torch.Generator().manual_seed(length))
            (result,) = generate(core, prompt.tolist(), SamplingOptions(max_tokens=10))
            ids = torch.tensor([[*prompt[0].tolist(), *result.ids]])
            wanted = _logits(core, ids)[0, length - 1 : -1].argmax(-1)
            assert result.ids == wanted.tolist()


def test_the_first_release_of_hyenadna(goldens, recorded) -> None:  # type: ignore[no-untyped-def]
    """Its head is the embedding itself, so states are compared."""
    model = registry.load(goldens / "hyenadna" / "original")
    held = recorded("hyenadna")
    output = model(Batch.from_padded(held["len40/input_ids"]))  # type: ignore[operator]
    assert distance(output.last_hidden_state, held["len40/last_hidden_state"].flatten(0, 1)) < TOLERANCE


def test_padding_of_hyenadna_is_no_part_of_the_input(models, recorded) -> None:  # type: ignore[no-untyped-def]
    held, core = recorded("hyenadna"), models["hyenadna"].core
    alone = held["leftpad/input_ids_unpadded"]
    padded = torch.cat([torch.full((1, 5), 4), alone], 1)
    mask = torch.arange(25)[None] >= 5
    state = core(Batch.from_padded(padded, mask)).last_hidden_state
    assert distance(state, held["leftpad/unpadded"][0]) < TOLERANCE


# What each fact is worth: the model with that fact wrong, and the least change of its logits.
def _config(**changes: Any) -> Callable[[Transformer], Transformer]:
    def changed(core: Transformer) -> Transformer:
        other = Transformer(replace(core.config, **changes)).eval()
        other.load_state_dict(core.state_dict())
        return other

    return changed


def _options(mixers: str, **changes: Any) -> Callable[[Transformer], Transformer]:
    def changed(core: Transformer) -> Transformer:
        options = {
            name: {**own, **(changes if name.startswith(mixers) else {})}
            for name, own in core.config.mixer_options.items()
        }
        return _config(mixer_options=options)(core)

    return changed


def _weights(part: str, change: Callable[[Tensor], Tensor]) -> Callable[[Transformer], Transformer]:
    def changed(core: Transformer) -> Transformer:
        other = Transformer(core.config).eval()
        weights = core.state_dict()
        hit = [name for name in weights if name.endswith(part)]
        assert hit
        other.load_state_dict({n: change(t) if n in hit else t for n, t in weights.items()})
        return other

    return changed


def _blocks_for_heads(core: Transformer) -> Transformer:
    """Query, key and value taken as three blocks of rows, though they are head-major on disk (and back)."""
    other = Transformer(core.config).eval()
    weights = dict(core.state_dict())
    for layer in range(core.config.n_layers):
        names = [f"layers.{layer}.attention.{part}.weight" for part in ("query", "key", "value")]
        if names[0] in weights:
            stored = evo2.KEYS.ours_to_theirs({name: weights[name] for name in names}, core.config)
            weights |= dict(zip(names, next(iter(stored.values())).chunk(3), strict=True))
    other.load_state_dict(weights)
    return other


def _exchange(weight: Tensor) -> Tensor:
    """x1 for x2 in the interleaved channels."""
    turned = weight.view(-1, 3, *weight.shape[1:])
    return turned[:, [1, 0, 2]].reshape(weight.shape)


def _three_blocks(core: Transformer) -> Transformer:
    """Gates and value taken as three blocks of channels, though they lie head by head."""
    heads = core.config.n_heads

    def change(rows: Tensor) -> Tensor:
        return rows.unflatten(0, (3, heads, -1)).transpose(0, 1).flatten(0, 2)

    parts = ("project.weight", "project.bias", "filter.taps", "filter.bias")
    return _both(*(_weights(f"attention.{part}", change) for part in parts))(core)


def _both(*changes: Callable[[Transformer], Transformer]) -> Callable[[Transformer], Transformer]:
    def changed(core: Transformer) -> Transformer:
        for change in changes:
            core = change(core)
        return core

    return changed


EVO2 = {
    "GELU in every layer": (_config(activation="gelu"), 0.5),
    "GELU in no layer": (_config(first_activation=None), 1e-3),
    "Wqkv as three blocks": (_blocks_for_heads, 0.1),
    "split by heads": (_options("hyena", split="heads"), 1.0),
    "x1 and x2 exchanged": (
        _both(_weights("project.weight", _exchange), _weights("filter.taps", _exchange)),
        1.0,
    ),
    "taps of SE reversed": (_weights("layers.0.attention.filter.inner.taps", lambda t: t.flip(1)), 0.5),
    "taps of MR reversed": (_weights("layers.1.attention.filter.inner.taps", lambda t: t.flip(1)), 0.5),
    "groups permuted": (_weights("inner.taps", lambda t: t.roll(1, 0)), 1.0),
    "no skip": (_weights("inner.skip", torch.zeros_like), 0.3),
    "no bias at the output": (_weights("output.bias", torch.zeros_like), 0.3),
    "another rotary base": (
        _weights("frequencies", lambda t: t ** (5 / 4)),
        0.01,
    ),
    "frequencies by the formula": (
        _weights("frequencies", lambda t: 10_000 ** (-torch.arange(len(t)) / len(t))),
        1e-4,
    ),
    "positions divided": (_options("attention", factor=8.0), 0.05),
    "epsilon under the root": (_both(_config(norm_eps=1e-5), _config(norm_eps_outside=False)), 5e-5),
}
EVO1 = {
    "projection as three blocks": (_three_blocks, 1.0),
    "split as Evo 2": (_options("hyena", split="interleaved"), 1.0),
    "poles conjugated": (_weights("poles", lambda t: t * torch.tensor([1.0, -1.0])), 0.5),
    "residues real": (_weights("residues", lambda t: t * torch.tensor([1.0, 0.0])), 0.5),
    "no bias of the taps": (_weights("filter.bias", torch.zeros_like), 0.5),
    "SiLU": (_config(activation="silu"), 0.1),
    "positions divided": (_config(rope_scaling=RopeScaling(kind="linear", factor=4.0)), 0.1),
}
HYENADNA = {
    "places by the formula": (
        _weights("filter.table", lambda t: _default_table(len(t), t.shape[1])),
        0.05,
    ),
    "factor by the config": (_weights("filter.frequency", lambda t: torch.full_like(t, 10.0)), 0.5),
    "no skip": (_weights("filter.skip", torch.zeros_like), 0.02),
    "exact GELU": (_config(activation="gelu"), 2e-5),
    "slower windows": (_weights("filter.rates", lambda t: t / 2), 1e-3),
}


def _default_table(length: int, width: int) -> Tensor:
    from biolm.core.hyena_implicit import _places

    return _places(length, width)


@pytest.mark.parametrize(
    ("name", "case", "fact"),
    [
        *(("evo2", "len41", fact) for fact in EVO2 if "MR" not in fact),
        ("evo2", "len150", "taps of MR reversed"),
        *(("evo1", "len33", fact) for fact in EVO1),
        *(("hyenadna", "len40", fact) for fact in HYENADNA),
    ],
)
def test_each_fact_is_needed(name, case, fact, models, recorded) -> None:  # type: ignore[no-untyped-def]
    change, least = {"evo2": EVO2, "evo1": EVO1, "hyenadna": HYENADNA}[name][fact]
    held = recorded(name)
    wrong = change(models[name].core)
    assert _wanted(held, case, _logits(wrong, held[f"{case}/input_ids"])) > least


def test_the_rotary_base_of_the_config_changes_nothing(goldens, models, recorded) -> None:  # type: ignore[no-untyped-def]
    core = _options("attention", theta=100_000.0)(models["evo2"].core)
    held = recorded("evo2")
    assert _wanted(held, "len41", _logits(core, held["len41/input_ids"])) < TOLERANCE


def test_wqkv_of_evo1_is_not_head_major(goldens, models, recorded) -> None:  # type: ignore[no-untyped-def]
    tensors = load_file(goldens / "evo1" / "model.safetensors")
    config = evo1.core_config(json.loads((goldens / "evo1" / "config.json").read_text()))
    for name, tensor in tensors.items():
        if "Wqkv" in name:
            parts = tensor.view(config.n_heads, 3, -1, *tensor.shape[1:]).transpose(0, 1)
            tensors[name] = parts.reshape(tensor.shape).contiguous()
    core = Transformer(config).eval()
    core.load_state_dict(evo1.KEYS.theirs_to_ours(tensors, config))
    held = recorded("evo1")
    assert _wanted(held, "len33", _logits(core, held["len33/input_ids"])) > 0.3


def test_the_filter_of_hyenadna(models, recorded) -> None:  # type: ignore[no-untyped-def]
    wanted = recorded("hyenadna")["layers.0.filter"]
    found = models["hyenadna"].core.layers[0].attention.filter(len(wanted))
    assert distance(found.t(), wanted) < TOLERANCE


def test_the_window_of_hyenadna_never_falls_to_zero(models, recorded, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from biolm.core import hyena_implicit

    held, core = recorded("hyenadna"), models["hyenadna"].core
    monkeypatch.setattr(hyena_implicit, "_SHIFT", 0.0)
    assert _wanted(held, "len40", _logits(core, held["len40/input_ids"])) > 0.01


def test_the_kernel_of_evo1(models, recorded) -> None:  # type: ignore[no-untyped-def]
    wanted = recorded("evo1")["blocks.0.filter.h_first64"][0]
    found = models["evo1"].core.layers[0].attention.filter.inner.modes().kernel(64)
    assert distance(found, wanted) < TOLERANCE


@pytest.mark.parametrize("begin", [False, True])
def test_scores(begin, goldens, models) -> None:  # type: ignore[no-untyped-def]
    """Every sequence by itself: what the reference gives to a padded batch has one term too many."""
    from biolm.io.sequences import SequenceBlock
    from biolm.models.sequence_model import SequenceOptions
    from biolm.models.systems.evo2 import load_tokenizer
    from biolm.tasks.variants.likelihood import token_scores

    held = json.loads((goldens / "evo2" / "scores.json").read_text())
    preprocessor = load_tokenizer(goldens / "evo2", begin=begin)
    model = SequenceModel(preprocessor, models["evo2"].core)
    tokens = model.tokenize(SequenceBlock.of(held["sequences"]))
    scores = token_scores(model, tokens, "causal", SequenceOptions())
    for kind, found in (("mean", scores.means), ("sum", scores.sums)):
        wanted = held[kind + ("_bos" if begin else "")]
        assert abs(found / torch.tensor(wanted["each_alone"]).numpy() - 1).max() < TOLERANCE
        if not begin:
            assert abs(found / torch.tensor(wanted["reference_in_one_padded_batch"]).numpy() - 1).max() > 1e-3


def test_hyenadna_keys_go_both_ways(goldens) -> None:  # type: ignore[no-untyped-def]
    for name, family in (("hyenadna", hyenadna), ("evo1", evo1)):
        tensors = load_file(goldens / name / "model.safetensors")
        config = family.core_config(json.loads((goldens / name / "config.json").read_text()))
        back = family.KEYS.ours_to_theirs(family.KEYS.theirs_to_ours(tensors, config), config)
        assert all(torch.equal(back[key], tensors[key]) for key in back)
        assert {key for key in tensors if "inv_freq" not in key} == back.keys()
