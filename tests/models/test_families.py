"""Every registered family against its reference. A new family needs its examples alone.

Agreement is asserted with weights far from their initial values, and so is its breaking by each switch:
at the default initialisation even a wrong activation would pass.
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from family_examples import EXAMPLES
from flips import FLIPS, LEAST_CHANGE, flipped_configs, flipped_models, unknown_switches
from parity import (
    Case,
    cases,
    error,
    implementation,
    make_case,
    make_core_config,
    reference_class,
    run_core,
    run_reference,
)
from safetensors.torch import load_file, save_file

from biolm.core import CoreConfig
from biolm.errors import CheckpointError
from biolm.models.families.hf import FAMILIES, family, from_hf, to_hf

pytest.importorskip("transformers")


@pytest.fixture(scope="module", params=cases(), ids=lambda case: f"{case[0]}-{case[1]}")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    model_type, number = request.param
    return make_case(model_type, number, tmp_path_factory.mktemp(model_type))


def test_states_and_logits_agree(case: Case) -> None:
    found = run_core(case.core, case.batch)
    assert len(found.states) == len(case.expected.states) == case.core.config.n_layers + 1
    errors = [error(*pair) for pair in zip(found.states, case.expected.states, strict=True)]
    assert (found.logits is None) == (case.expected.logits is None)
    errors.append(error(found.outcome, case.expected.outcome))
    assert max(errors) < 1e-5, errors


def test_every_flipped_switch_shows(case: Case) -> None:
    changes = {
        name: error(run_core(flipped, case.batch).outcome, case.expected.outcome)
        for name, flipped in flipped_models(case.core)
    }
    assert len(changes) >= 10
    assert not {n: change for n, change in changes.items() if change <= LEAST_CHANGE.get(n, 1e-3)}


def test_a_document_stands_alone(case: Case) -> None:
    """Its result is the same without its batch mates."""
    from dataclasses import replace

    batch, whole = case.batch, run_core(case.core, case.batch).outcome
    for i, (start, end) in enumerate(zip(batch.offsets[:-1], batch.offsets[1:], strict=True)):
        span = slice(int(start), int(end))
        columns = {
            name: None if getattr(batch, name) is None else getattr(batch, name)[span]
            for name in ("ids", "positions", "values", "segments")
        }
        length = span.stop - span.start
        offsets = torch.tensor([0, length], dtype=torch.int32)
        alone = replace(
            batch, **columns, offsets=offsets, max_length=length, index=batch.index[i : i + 1], layout=None
        )
        assert error(run_core(case.core, alone).outcome, whole[span]) < 1e-5


def test_both_spellings_of_the_config_mean_the_same(case: Case) -> None:
    """Examples are written in the old spelling, the saved file as the current ``transformers`` writes it."""
    members = family(case.model_type)
    saved = json.loads((case.folder / "config.json").read_text())
    others = {name: value for name, value in saved.items() if name not in ("rope_parameters", "layer_types")}
    assert members.core_config({**others, **case.example}) == members.core_config(saved) == case.core.config
    assert members.core_config(members.hf_config(case.core.config)) == case.core.config


def test_written_back_it_loads_and_agrees(case: Case, tmp_path: Path) -> None:
    to_hf(case.core, tmp_path, case.model_type)
    kind = reference_class(case.model_type, case.example)
    again, report = kind.from_pretrained(
        tmp_path, output_loading_info=True, attn_implementation=implementation(case.example)
    )
    table = family(case.model_type).KEYS
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert not [name for name in report["missing_keys"] if not table.drops(name, case.core.config)]
    found = run_reference(again.eval(), case.inputs)
    assert error(found.outcome, case.expected.outcome) < 1e-5
    assert torch.equal(
        run_core(from_hf(tmp_path), case.batch).outcome, run_core(case.core, case.batch).outcome
    )


def test_shards_and_torch_files_load(case: Case, tmp_path: Path) -> None:
    shards, torch_file = tmp_path / "shards", tmp_path / "torch"
    case.reference.save_pretrained(shards, max_shard_size="8KB")  # type: ignore[operator]
    assert len(list(shards.glob("*.safetensors"))) > 1
    torch_file.mkdir()
    (torch_file / "config.json").write_bytes((case.folder / "config.json").read_bytes())
    torch.save(load_file(case.folder / "model.safetensors"), torch_file / "pytorch_model.bin")
    for folder in (shards, torch_file):
        assert torch.equal(
            run_core(from_hf(folder), case.batch).outcome, run_core(case.core, case.batch).outcome
        )


def test_wrong_weights_are_named(case: Case, tmp_path: Path) -> None:
    tensors = load_file(case.folder / "model.safetensors")
    table = family(case.model_type).KEYS
    name = next(key for key in reversed(tensors) if not table.drops(key, case.core.config))
    (tmp_path / "config.json").write_bytes((case.folder / "config.json").read_bytes())
    for wrong, named in (
        ({key: tensor for key, tensor in tensors.items() if key != name}, name),
        ({**tensors, name: tensors[name].new_zeros(3, 5, 7)}, name),
        ({**tensors, "surprise.weight": torch.zeros(2)}, "surprise.weight"),
    ):
        save_file(wrong, tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError) as raised:
            from_hf(tmp_path)
        assert named.replace("gamma", "weight").replace("beta", "bias") in str(raised.value)


def test_every_registered_family_has_examples() -> None:
    assert EXAMPLES.keys() == FAMILIES.keys()
    assert {name for name, examples in EXAMPLES.items() if not examples} == {"bart", "timm_vit"}


def test_every_switch_has_a_flip_that_some_family_shows() -> None:
    assert not unknown_switches()
    left = set(FLIPS)
    for model_type, number in cases():
        left -= {name for name, _ in flipped_configs(make_core_config(model_type, number), sorted(left))}
    assert not left


def test_a_field_of_one_family_alone_says_whose_it_is() -> None:
    """Every field of the core config that fewer than two families set has a comment beside it."""
    defaults = {each.name: each.default for each in fields(CoreConfig)}
    users: dict[str, set[str]] = {name: set() for name in defaults}
    for model_type, number in cases():
        config = make_core_config(model_type, number)
        for name, default in defaults.items():
            if getattr(config, name) != default:
                users[name].add(model_type)
    source = inspect.getsource(CoreConfig)
    lone = {name for name, found in users.items() if len(found) < 2}
    assert {"embed_norm_bias", "first_activation", "t5_buckets"} <= lone
    silent = [name for name in lone if not re.search(rf"^    {name}: .*#", source, re.MULTILINE)]
    assert not silent
