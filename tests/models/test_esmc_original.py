"""ESM C in the ``.pth`` files of its first release."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from family_examples import EXAMPLES
from perturb import perturb

from biolm.batch import Batch
from biolm.core import Transformer
from biolm.errors import CheckpointError
from biolm.models.families import esmc


@pytest.fixture
def core() -> Transformer:
    config = {**EXAMPLES["esmc"][0], "architectures": ["EsmcForMaskedLM"], "hidden_size": 128}
    model = Transformer(esmc.core_config({**config, "num_attention_heads": 2, "pad_token_id": 1}))
    perturb(model)
    return model.eval()


def test_published_layout_loads_without_a_config(core: Transformer, tmp_path: Path) -> None:
    tensors = esmc.ORIGINAL_KEYS.ours_to_theirs(core.state_dict(), core.config)
    assert tensors["transformer.blocks.0.attn.layernorm_qkv.1.weight"].shape == (3 * 128, 128)
    torch.save(tensors, tmp_path / "esmc.pth")
    loaded = esmc.from_pth(tmp_path / "esmc.pth")
    batch = Batch.from_padded(torch.tensor([[0, 5, 32, 7, 2], [0, 4, 2, 1, 1]]), torch.ones(2, 5))
    assert loaded.config.n_heads == 2
    assert torch.equal(loaded(batch).logits, core(batch).logits)


def test_queries_come_before_keys(core: Transformer) -> None:
    """The fused matrix is query, key, value; the gated one begins with the half that is activated."""
    tensors = esmc.ORIGINAL_KEYS.ours_to_theirs(core.state_dict(), core.config)
    fused = tensors["transformer.blocks.1.attn.layernorm_qkv.1.weight"]
    assert torch.equal(fused[:128], core.state_dict()["layers.1.attention.query.weight"])
    gated = tensors["transformer.blocks.1.ffn.1.weight"]
    assert torch.equal(gated[: core.config.d_ff], core.state_dict()["layers.1.mlp.gate.weight"])


def test_another_file_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"embed\.weight"):
        esmc.from_pth(tmp_path / "other.pth")
