"""ESM-2's published files hold rotary frequencies rounded to half precision, and mean it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from parity import error, full_example, make_reference, run_core, run_reference
from safetensors.torch import load_file, save_file

from biolm.batch import Batch
from biolm.core import Transformer
from biolm.errors import CheckpointError
from biolm.models.families.hf import from_hf, to_hf

pytest.importorskip("transformers")


@pytest.mark.parametrize("rounding", ["float16", "bfloat16"])
@pytest.mark.parametrize("by_layer", [False, True], ids=["one table", "a table for each layer"])
def test_rounded_frequencies_are_kept(rounding: str, by_layer: bool, tmp_path: Path) -> None:
    reference = make_reference("esm", full_example("esm", 0))
    frequencies = reference.esm.rotary_embeddings.inv_freq  # type: ignore[union-attr]
    frequencies.copy_(frequencies.to(getattr(torch, rounding)).float())  # type: ignore[operator, union-attr]
    reference.save_pretrained(tmp_path)  # type: ignore[operator]
    if by_layer:
        tensors = load_file(tmp_path / "model.safetensors")
        tensors = {name: tensor for name, tensor in tensors.items() if "inv_freq" not in name}
        for layer in range(2):
            name = f"esm.encoder.layer.{layer}.attention.self.rotary_embeddings.inv_freq"
            tensors[name] = frequencies.clone()  # type: ignore[operator, union-attr]
        save_file(tensors, tmp_path / "model.safetensors")
    core = from_hf(tmp_path)
    assert core.config.rope_rounding == rounding
    ids = torch.randint(4, 30, (1, 600), generator=torch.Generator().manual_seed(0))
    wanted = run_reference(reference, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}).outcome
    batch = Batch.from_padded(ids)
    assert error(run_core(core, batch).outcome, wanted) < 1e-5
    exact = Transformer(replace(core.config, rope_rounding="none")).eval()
    exact.load_state_dict(core.state_dict())
    assert error(run_core(exact, batch).outcome, wanted) > 1e-3
    to_hf(core, tmp_path / "back", "esm")
    assert from_hf(tmp_path / "back").config == core.config


def test_frequencies_of_another_base_are_refused(tmp_path: Path) -> None:
    make_reference("esm", full_example("esm", 0)).save_pretrained(tmp_path)  # type: ignore[operator]
    tensors = load_file(tmp_path / "model.safetensors")
    name = next(name for name in tensors if "inv_freq" in name)
    save_file({**tensors, name: tensors[name] * 1.01}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="does not hold the rotary frequencies of base 10000"):
        from_hf(tmp_path)
