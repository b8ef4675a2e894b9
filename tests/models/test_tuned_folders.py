"""Fine-tuned folders of ``transformers``: the core is read, the classifier is left out, and it is said."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from parity import error

import biolm
from biolm.batch import Batch
from biolm.errors import CheckpointError, ConfigError
from biolm.models.families.hf import from_hf

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 64, "pad_token_id": 0, "num_labels": 2,
}  # fmt: skip
TUNED = [
    ("Bert", "SequenceClassification"),
    ("Bert", "TokenClassification"),
    ("Bert", "QuestionAnswering"),
    ("Roberta", "SequenceClassification"),
    ("Esm", "SequenceClassification"),
    ("ModernBert", "SequenceClassification"),
    ("Llama", "SequenceClassification"),
]


def tuned(family: str, task: str, folder: Path) -> Any:
    torch.manual_seed(0)
    more = {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2, "mask_token_id": 4}
    config = getattr(transformers, f"{family}Config")(**SIZES, **more)
    model = getattr(transformers, f"{family}For{task}")(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(("family", "task"), TUNED)
def test_the_core_gives_the_states_of_the_tuned_model(
    family: str, task: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reference = tuned(family, task, tmp_path)
    caplog.set_level(logging.INFO, "biolm")
    core = from_hf(tmp_path)
    assert "the classifier is left out" in caplog.text
    ids = torch.randint(5, 40, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = reference(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        found = core(Batch.from_padded(ids, torch.ones_like(ids).bool()), logits=False)
    assert error(found.last_hidden_state, wanted.hidden_states[-1].flatten(0, 1)) < 1e-4


def test_what_is_not_of_a_classifier_is_still_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tuned("Bert", "SequenceClassification", tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({**load_file(path), "surprise.weight": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"no place for: surprise.weight"):
        from_hf(tmp_path)


@pytest.mark.parametrize("family", ["Bert", "GPT2"])
def test_adapters_of_peft_are_added_to_their_base(family: str, tmp_path: Path) -> None:
    """The layout that peft documents, written by hand; the reference gets B A alpha / r by hand as well."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    turned = family == "GPT2"
    more = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 48} if turned else {}
    config = getattr(transformers, f"{family}Config")(**(SIZES | more))
    reference = getattr(transformers, f"{family}Model")(config).eval()
    reference.save_pretrained(tmp_path / "base")
    names = ["h.1.attn.c_attn"] if turned else ["encoder.layer.0.attention.self.query"]
    tensors = {"base_model.model.classifier.weight": torch.ones(2, 32)}
    for name in names:
        weight = reference.get_submodule(name).weight
        wide, deep = weight.shape if turned else weight.shape[::-1]
        low, high = torch.randn(4, wide), torch.randn(deep, 4)
        tensors[f"base_model.model.{name}.lora_A.weight"] = low
        tensors[f"base_model.model.{name}.lora_B.weight"] = high
        with torch.no_grad():
            update = 8 / 4 * (high @ low)
            weight += update.t() if turned else update
    (tmp_path / "adapter").mkdir()
    save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "../base"}
    told |= {"fan_in_fan_out": turned}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(told))
    core = biolm.load(tmp_path / "adapter")
    ids = torch.randint(5, 40, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = reference(ids).last_hidden_state.flatten(0, 1)
        found = core(Batch.from_padded(ids, torch.ones_like(ids).bool()), logits=False).last_hidden_state
        plain = biolm.load(tmp_path / "base")(Batch.from_padded(ids), logits=False).last_hidden_state
    assert error(found, wanted) < 1e-4
    assert error(plain, wanted) > 1e-3
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(told | {"use_dora": True}))
    with pytest.raises(ConfigError, match=r"not read .use_dora"):
        biolm.load(tmp_path / "adapter")
