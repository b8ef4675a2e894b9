"""Layouts of Evo folders: config in YAML or JSON, one file, parts, shards; and what is refused."""

from __future__ import annotations

import io
import json
import logging
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.errors import CheckpointError, ConfigError, InputError
from biolm.io.parts import JoinedFile
from biolm.io.sequences import SequenceBlock
from biolm.models import memory, registry
from biolm.models.families import evo1, evo2, hyenadna
from biolm.models.sequence_model import SequenceModel
from biolm.models.systems.evo2 import load, load_tokenizer

MIXERS = ("hyena_short", "hyena_medium", "hyena_long", "attention_stored_rope")
SIZES: dict[str, Any] = {
    "vocab_size": 512, "d_model": 16, "n_layers": 4, "n_heads": 2, "d_ff": 24, "max_length": 64, "pad_id": 1,
    "position": "none", "causal": True, "norm": "rmsnorm", "norm_eps": 1e-6, "norm_eps_outside": True,
    "glu": True, "mlp_bias": False, "mlp_out_bias": False, "head": "linear", "qkv_bias": False,
    "activation": "identity", "first_activation": "gelu", "mixer": MIXERS,
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "hyena_short": {"taps": 7, "groups": 4}, "hyena_medium": {"taps": 128, "groups": 4},
    "hyena_long": {"modes": 4}, "attention_stored_rope": {"theta": 1e4, "factor": 4.0},
}  # fmt: skip
SHARED = {
    "projection_bias": False,
    "fir_bias": False,
    "out_bias": True,
    "fir_taps": 3,
    "split": "interleaved",
}
CONFIG = CoreConfig(
    **SIZES,
    mixer_options={
        name: {**(SHARED if name.startswith("hyena") else {}), **own} for name, own in OPTIONS.items()
    },
)


@pytest.fixture(scope="module")
def core() -> Transformer:
    torch.manual_seed(0)
    return Transformer(CONFIG).eval()


@pytest.fixture(scope="module")
def weights(core: Transformer) -> dict[str, Any]:
    """As published, with what published files carry besides."""
    held: dict[str, Any] = evo2.KEYS.ours_to_theirs(core.state_dict(), CONFIG)
    held = {name: tensor.contiguous().clone() for name, tensor in held.items()}
    held["unembed.weight"] = held["embedding_layer.weight"].clone()
    for part in ("projections", "mlp.l1", "out_filter_dense"):
        held[f"blocks.0.{part}._extra_state"] = io.BytesIO(b"never unpickled")
    held["blocks.2.mixer.mixer.filter.t"] = torch.ones(1, 1, 4)
    held["blocks.3.mixer.attn._extra_state"] = io.BytesIO(b"x")
    return held


def _write(folder: Path, weights: dict[str, Any], **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    values = {**evo2.published_config(CONFIG), **changes}
    (folder / "config.yml").write_text(yaml.safe_dump(values))
    torch.save(weights, folder / "tiny.pt")
    return folder


@torch.inference_mode()
def _same(model: Any, core: Transformer) -> bool:
    batch = Batch.from_padded(torch.randint(2, 512, (1, 40), generator=torch.Generator().manual_seed(0)))
    return torch.equal(model(batch).logits, core(batch).logits)


def test_one_file_parts_and_shards_hold_the_same(core, weights, tmp_path) -> None:  # type: ignore[no-untyped-def]
    whole = _write(tmp_path / "whole", weights)
    found = registry.load(whole)
    assert isinstance(found, SequenceModel)
    assert (found.name, found.kind, found.max_length) == ("evo2", "dna", 64)
    assert _same(found, core)
    assert found.config == CONFIG
    cut = _write(tmp_path / "cut", weights)
    content = (cut / "tiny.pt").read_bytes()
    (cut / "tiny.pt").unlink()
    for number in range(12):
        step = -(-len(content) // 12)
        (cut / f"tiny.pt.part{number}").write_bytes(content[number * step : (number + 1) * step])
    assert _same(registry.load(cut), core)
    (cut / "tiny.pt.part7").unlink()
    with pytest.raises(CheckpointError, match=r"lacks tiny\.pt\.part7"):
        registry.load(cut)
    (cut / "tiny.pt.part7").write_bytes(content[7 * step : 8 * step])
    (cut / "tiny.pt.part11").unlink()
    with pytest.raises(CheckpointError, match="not a whole torch file"):
        registry.load(cut)
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "config.json").write_text(json.dumps(evo2.published_config(CONFIG)))
    plain = {name: value for name, value in weights.items() if isinstance(value, torch.Tensor)}
    names = sorted(plain)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: plain[name] for name in held}, shards / file)
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    assert _same(registry.load(shards), core)
    (shards / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"b\.safetensors, which is missing"):
        registry.load(shards)


@pytest.mark.parametrize("name", ["evo1", "hyenadna"])
def test_shards_of_the_others_hold_the_same(name: str, goldens: Path, tmp_path: Path) -> None:
    tensors = load_file(goldens / name / "model.safetensors")
    parts = {"a.safetensors": sorted(tensors)[::2], "b.safetensors": sorted(tensors)[1::2]}
    for file, part in parts.items():
        save_file({key: tensors[key] for key in part}, tmp_path / file)
    index = {"weight_map": {key: file for file, part in parts.items() for key in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text((goldens / name / "config.json").read_text())
    batch = Batch.from_padded(torch.tensor([[7, 8, 9, 10, 11, 10, 8]]))
    one, other = (registry.load(place)(batch).logits for place in (goldens / name, tmp_path))  # type: ignore[operator]
    assert torch.equal(one, other)
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"b\.safetensors, which is missing"):
        registry.load(tmp_path)


def test_what_it_saves_it_loads(core, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from biolm.models.systems.evo2 import save

    preprocessor = load_tokenizer(_write(tmp_path / "config", {}))
    save(SequenceModel(preprocessor, core), tmp_path / "saved")
    assert _same(registry.load(tmp_path / "saved"), core)


def test_number_types(core, weights, tmp_path) -> None:  # type: ignore[no-untyped-def]
    kept = ("log_poles", "residues")
    half = {
        name: value.bfloat16() if isinstance(value, torch.Tensor) and not name.endswith(kept) else value
        for name, value in weights.items()
    }
    folder = _write(tmp_path / "half", half)
    stored = load(folder).core
    assert stored.layers[0].mlp.up.weight.dtype == torch.bfloat16
    assert stored.layers[2].attention.filter.inner.log_poles.dtype == torch.float32
    wide = load(folder, dtype="float32").core
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float32}
    # The stored rotary frequencies are used as they were rounded.
    rounded = core.layers[3].attention.frequencies.bfloat16().float()
    assert torch.equal(wide.layers[3].attention.frequencies, rounded)
    again = load(_write(tmp_path / "wide", weights), dtype="bfloat16").core
    assert again.layers[2].attention.filter.inner.log_poles.dtype == torch.float32
    assert again.layers[0].mlp.up.weight.dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="dtype must be one of"):
        load(folder, dtype="float16")


def test_weights_stay_on_disk_until_used(weights, tmp_path) -> None:  # type: ignore[no-untyped-def]
    folder = _write(tmp_path / "mapped", weights)
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("memory maps of a process are listed by Linux alone")
    model = load(folder)
    assert "mapped/tiny.pt" in maps.read_text()
    assert model.core.layers[0].mlp.up.weight.is_contiguous()


def test_frequencies_come_from_the_config_where_none_are_stored(core, weights, tmp_path) -> None:  # type: ignore[no-untyped-def]
    fewer = {name: value for name, value in weights.items() if "inv_freq" not in name}
    found = registry.load(_write(tmp_path / "plain", fewer))
    assert _same(found, core)
    other = registry.load(_write(tmp_path / "other", fewer, rotary_emb_base=1e6))
    assert not _same(other, core)


FAULTS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"hcl_layer_idxs": []}, {}, "layer 2 stands in no list"),
    ({"attn_layer_idxs": [2, 3]}, {}, "layer 2 stands in two lists"),
    ({"hcs_layer_idxs": [0, 9]}, {}, "names layer 9, but there are 4"),
    ({"tie_embeddings": False}, {}, "tie_embeddings: False is not supported"),
    ({"hyena_flip_x1x2": True}, {}, "hyena_flip_x1x2"),
    ({"interleave": False}, {}, "neither interleave nor column_split_hyena"),
    ({"hcm_filter_length": 64}, {}, "hcs_filter_length must be below 128"),
    ({}, {"unembed.weight": torch.zeros(512, 16)}, r"unembed\.weight differs"),
    ({}, {"blocks.0.mlp.l1.weight": None}, r"missing blocks\.0\.mlp\.l1\.weight"),
    ({}, {"blocks.0.extra": torch.ones(1)}, r"no place for: blocks\.0\.extra"),
    ({}, {"blocks.0.mlp.l1.weight": torch.ones(3, 16)}, r"blocks\.0\.mlp\.l1\.weight is \(3, 16\)"),
    ({}, {"blocks.0.more": io.BytesIO(b"x")}, "blocks.0.more is a BytesIO"),
    ({}, {"blocks.0.mlp.l1.weight": torch.ones(24, 16).to(torch.float8_e4m3fn)}, "stored in FP8 alone"),
]


@pytest.mark.parametrize(("config", "change", "message"), FAULTS, ids=[fault[2][:25] for fault in FAULTS])
def test_faults_are_named(config, change, message, weights, tmp_path) -> None:  # type: ignore[no-untyped-def]
    changed = {name: value for name, value in {**weights, **change}.items() if value is not None}
    folder = _write(tmp_path / "faulty", changed, **config)
    with pytest.raises(CheckpointError, match=message):
        registry.load(folder)


def test_nothing_is_unpickled(weights, tmp_path) -> None:  # type: ignore[no-untyped-def]
    class Evil:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "harmed").touch, ())

    folder = _write(tmp_path / "evil", {**weights, "blocks.0.projections._extra_state": Evil()})
    with pytest.raises(CheckpointError, match="could run code"):
        registry.load(folder)
    assert not (tmp_path / "harmed").exists()


def test_several_models_or_configs_in_a_folder(weights, tmp_path) -> None:  # type: ignore[no-untyped-def]
    folder = _write(tmp_path / "two", weights)
    (folder / "other.pt").write_bytes((folder / "tiny.pt").read_bytes())
    with pytest.raises(CheckpointError, match="holds several models"):
        registry.load(folder)
    (folder / "other.pt").unlink()
    (folder / "more.yaml").write_text("hcl_layer_idxs: []\n")
    with pytest.raises(CheckpointError, match="no model recognises"):
        registry.load(folder)


def test_memory_is_looked_at_before_loading(weights, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    folder = _write(tmp_path / "large", weights)
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", None)
    with pytest.raises(
        CheckpointError, match=r"needs 0\.0 GiB for its [\d,]+ parameters, but this machine has 0\.0"
    ):
        registry.load(folder)
    assert memory.available_memory() == 1000


def test_available_memory_is_a_number_here() -> None:
    found = memory.available_memory()
    assert found is None or found > 0


def test_sizes_trained_in_fp8_warn(weights, tmp_path, caplog) -> None:  # type: ignore[no-untyped-def]
    logging.getLogger("biolm").propagate = True
    with caplog.at_level(logging.WARNING, logger="biolm"):
        registry.load(_write(tmp_path / "seven", weights))
        assert not caplog.records
        registry.load(_write(tmp_path / "one", weights, use_fp8_input_projections=True))
    assert "was trained with FP8" in caplog.text


def test_letters_of_evo2() -> None:
    from biolm.adapters.sequences import make_tokenizer

    tokenizer = make_tokenizer("evo2")
    assert tokenizer.tokenize(SequenceBlock.of(["ACGTn"])).ids.tolist() == [65, 67, 71, 84, 110]
    for name in ("evo2", "evo1", "byte"):
        letters = np.frombuffer(b"AC\xff" if name == "byte" else b"ACE", np.uint8)
        with pytest.raises(InputError, match="at place 3"):
            make_tokenizer(name).tokenize(replace(SequenceBlock.of(["ACG"]), letters=letters))
    assert make_tokenizer("evo1").tokenize(SequenceBlock.of(["A"])).ids.tolist() == [0, 65]


def test_joined_files_read_as_one(tmp_path: Path) -> None:
    content = bytes(range(256)) * 3
    paths = []
    for number, (start, end) in enumerate(((0, 100), (100, 100), (100, 700), (700, 768))):
        paths.append(tmp_path / f"x.part{number}")
        paths[-1].write_bytes(content[start:end])
    with JoinedFile(paths) as joined:
        assert joined.read() == content
        for place, count in ((0, 5), (95, 20), (699, 30), (760, 20), (768, 1)):
            joined.seek(place)
            reader = io.BufferedReader(joined)
            assert reader.read(count) == content[place : place + count]
            reader.detach()
        assert joined.seek(-1, io.SEEK_END) == 767


# Width, layers, attention layers, heads, inner width, groups, parameters.
SEVEN, FORTY = [3, 10, 17, 24, 31], [3, 10, 17, 24, 31, 35, 42, 49]
PUBLISHED: dict[str, tuple[int, int, list[int], int, int, int, int]] = {
    "1b_base": (1920, 25, [3, 10, 17, 24], 15, 5120, 128, 1_107_989_760),
    "7b_base": (4096, 32, SEVEN, 32, 11008, 256, 6_481_059_584),
    "7b": (4096, 32, SEVEN, 32, 11264, 256, 6_581_722_880),
    "20b": (8192, 24, [3, 10, 17], 64, 22528, 512, 19_738_780_160),
    "40b_base": (8192, 50, FORTY, 64, 21888, 512, 40_331_142_144),
    "40b": (8192, 50, FORTY, 64, 22528, 512, 41_117_574_144),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_shapes_have_the_published_parameters(name: str) -> None:
    """Counted without making them."""
    width, layers, attention, heads, inner, groups, parameters = PUBLISHED[name]
    others = [layer for layer in range(layers) if layer not in attention]
    lists = {f"{kind}_layer_idxs": others[place::3] for place, kind in enumerate(("hcs", "hcm", "hcl"))}
    values = {
        **evo2.published_config(CONFIG), **lists, "attn_layer_idxs": attention,
        "hidden_size": width, "num_layers": layers, "num_attention_heads": heads, "inner_mlp_size": inner,
        "hcs_filter_groups": groups, "hcm_filter_groups": groups, "state_size": 16,
    }  # fmt: skip
    config = evo2.core_config(values)
    with torch.device("meta"):
        model = Transformer(config)
    assert model.n_parameters == parameters


def test_the_script_for_a_gpu_has_the_shape_of_1b(repository: Path) -> None:
    script = runpy.run_path(str(repository / "benchmarks/gpu_evo2.py"))
    with torch.device("meta"):
        model = Transformer(script["shape_of_1b"]())
    assert model.n_parameters == PUBLISHED["1b_base"][-1]
    # Twice the weights of the matrices, and the products of four attention layers over 8,192 tokens.
    assert 2.1e9 < script["flops"](model, 8192) < 2.5e9


def test_evo1_divides_positions_of_the_long_model() -> None:
    plain = {
        "vocab_size": 512, "hidden_size": 16, "num_layers": 2, "num_attention_heads": 2, "state_size": 2,
        "hyena_layer_idxs": [0], "attn_layer_idxs": [1], "max_seqlen": 8192,
    }  # fmt: skip
    assert evo1.core_config(plain).rope_scaling is None
    long = {**plain, "max_seqlen": 131_072}
    for given, factor in ((None, 16.0), (4.0, 4.0), (1.0, None)):
        scaling = evo1.core_config(long, factor=given).rope_scaling
        assert (None if scaling is None else scaling.factor) == factor
    with pytest.raises(ConfigError, match="column_split_hyena"):
        evo1.core_config({**plain, "column_split_hyena": False})


@pytest.mark.parametrize(
    ("change", "message"), [({"hyena_order": 3}, "order than 2"), ({"short_filter_order": 5}, "3 taps")]
)
def test_hyenadna_of_another_form_is_refused(change: dict[str, Any], message: str) -> None:
    plain = {
        "vocab_size": 12, "d_model": 8, "n_layer": 1, "d_inner": 8, "max_seq_len": 10, "emb_dim": 5,
        "filter_order": 4, "pad_vocab_size_multiple": 8,
    }  # fmt: skip
    assert hyenadna.core_config(plain).vocab_size == 16
    with pytest.raises(ConfigError, match=message):
        hyenadna.core_config({**plain, **change})
