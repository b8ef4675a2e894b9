"""scGPT: recorded results, torch's own encoder as the reference, both spellings, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from perturb import perturb, relative
from safetensors.torch import load_file
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.errors import CheckpointError, ConfigError
from biolm.io.cells import open_cells
from biolm.models.model import EmbedOptions
from biolm.models.systems import scgpt
from biolm.models.systems.scgpt_heads import ScgptModel

TOLERANCE = 2e-5


@pytest.mark.parametrize("checkpoint", ["checkpoint", "checkpoint_flash"])
@pytest.mark.parametrize("case", ["unmasked", "masked", "clamped"])
def test_recorded_outputs(goldens: Path, checkpoint: str, case: str) -> None:
    model = scgpt.load(goldens / "scgpt" / checkpoint)
    wanted = load_file(goldens / "scgpt" / "io.safetensors")
    keep = ~wanted["src_key_padding_mask"]
    values = {"unmasked": "values", "masked": "masked_values", "clamped": "values_with_900"}[case]
    batch = Batch.from_padded(wanted["src"], keep, values=wanted[values])
    output = model(batch, hidden_states=True)
    states = {"transformer_output": output.last_hidden_state}
    if case == "unmasked":
        states |= {"layer0": output.hidden_states[1], "layer1": output.hidden_states[2]}
    found = states | {"mlm_output": output.logits, "mvc_output": model.values_from_cell(batch)}
    for name, tensor in found.items():
        assert relative(tensor, wanted[f"{case}/{name}"][keep]) < TOLERANCE, name
    assert relative(model.class_logits(batch), wanted[f"{case}/cls_output"]) < TOLERANCE
    assert relative(model.cell_vectors(batch), wanted[f"{case}/cell_emb"]) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "draw"), [("no_ties", None), ("draw_0", 0.0), ("draw_half", 0.5), ("draw_1", 1 - 1e-12)]
)
def test_recorded_cells_to_vectors(goldens: Path, name: str, draw: float | None) -> None:
    model = scgpt.load(goldens / "scgpt" / "checkpoint")
    tokenizer = dataclasses.replace(model.preprocessor.tokenizer, draw=draw)  # type: ignore[type-var]
    model.preprocessor = dataclasses.replace(model.preprocessor, tokenizer=tokenizer)
    wanted = np.load(goldens / "scgpt" / "embed_data.npz")[f"X_scGPT_{name}"]
    file = "embed_cells_no_ties.h5ad" if draw is None else "embed_cells.h5ad"
    with open_cells(goldens / "scgpt" / file) as source:
        match = model.vocabulary.match(source.gene_columns())
        blocks = [model.embed(block, match, EmbedOptions(device="cpu")) for block in source.blocks(7)]
    assert relative(torch.from_numpy(np.concatenate(blocks)), torch.from_numpy(wanted)) < TOLERANCE


class Reference(nn.Module):
    """scGPT's encoder as its paper describes it, on torch's own layers, padded."""

    def __init__(self, args: dict[str, int], vocab: int) -> None:
        super().__init__()
        width = args["embsize"]
        self.embedding, self.enc_norm = nn.Embedding(vocab, width), nn.LayerNorm(width)
        self.linear1, self.linear2 = nn.Linear(1, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(width, args["nheads"], args["d_hid"], 0.0, batch_first=True)
        # The nested fast path would hide padded rows.
        self.layers = nn.TransformerEncoder(layer, args["nlayers"], enable_nested_tensor=False)
        act = nn.LeakyReLU()
        self.fc = nn.Sequential(
            nn.Linear(width, width), act, nn.Linear(width, width), act, nn.Linear(width, 1)
        )

    def forward(self, ids: Tensor, values: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        value = self.linear2(self.linear1(values.clamp(max=512)[..., None]).relu())
        x = self.enc_norm(self.embedding(ids)) + self.norm(value)
        x = self.layers(x, src_key_padding_mask=padding)
        return x, self.fc(x).squeeze(-1)

    def published(self) -> dict[str, Tensor]:
        """Weights under their published names."""
        heads = {"embedding": "encoder", "enc_norm": "encoder", "fc": "decoder"}
        out = {}
        for name, tensor in self.state_dict().items():
            head, _, tail = name.partition(".")
            place = heads.get(head, "value_encoder")
            out[f"transformer_encoder.{tail}" if head == "layers" else f"{place}.{head}.{tail}"] = tensor
        return out


ARGS = {"embsize": 24, "nheads": 3, "d_hid": 40, "nlayers": 2, "n_bins": 51, "max_seq_len": 60}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    genes = [*(f"GENE{i}" for i in range(30)), "<pad>", "<cls>", "<eoc>"]
    (tmp_path / "vocab.json").write_text(json.dumps({gene: i for i, gene in enumerate(genes)}))
    (tmp_path / "args.json").write_text(json.dumps(ARGS))
    torch.manual_seed(0)
    torch.save(perturb(Reference(ARGS, 33)).published(), tmp_path / "best_model.pt")
    return tmp_path


def _run(model: ScgptModel) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 30, (4, 11), generator=generator)
    values = torch.randint(0, 51, (4, 11), generator=generator).float()
    values[0, 0] = 700
    keep = torch.arange(11) < torch.tensor([11, 1, 6, 9])[:, None]
    output = model(Batch.from_padded(ids, keep, values=values))
    return ids, values, keep, output.last_hidden_state, output.logits


def test_equals_torchs_encoder(folder: Path) -> None:
    reference = Reference(ARGS, 33).eval()
    torch.manual_seed(0)
    reference.load_state_dict(perturb(Reference(ARGS, 33)).state_dict())
    ids, values, keep, hidden, logits = _run(scgpt.load(folder))
    with torch.inference_mode():
        states, predictions = reference(ids, values, ~keep)
    assert relative(hidden, states[keep]) < TOLERANCE
    assert relative(logits, predictions[keep]) < TOLERANCE


@pytest.mark.parametrize(
    ("switch", "value"),
    [
        ("activation", "gelu"),
        ("norm_eps", 1e-1),
        ("part_options", {"normed_values": {"norm": False, "clip": 512.0}}),
        ("part_options", {"normed_values": {"clip": 5.0}}),
        ("block", "pre"),
    ],
)
def test_each_switch_matters(folder: Path, switch: str, value: object) -> None:
    from biolm.core import Transformer

    model = scgpt.load(folder)
    right = _run(model)[3]
    core = Transformer(dataclasses.replace(model.core.config, **{switch: value, "final_norm": False}))
    weights = model.core.state_dict()
    core.load_state_dict({name: weights[name] for name in core.state_dict()})
    model.core = core.eval()
    assert relative(_run(model)[3], right) > 1e-3


def test_flash_spelling_is_the_same_model(folder: Path) -> None:
    right = _run(scgpt.load(folder))[3]
    weights = torch.load(folder / "best_model.pt", weights_only=True)
    flash = {name.replace("in_proj_", "Wqkv."): tensor for name, tensor in weights.items()}
    torch.save(flash | {"flag_encoder.weight": torch.ones(2, 24)}, folder / "best_model.pt")
    assert torch.equal(_run(scgpt.load(folder))[3], right)


def test_refused_checkpoints(folder: Path) -> None:
    weights = torch.load(folder / "best_model.pt", weights_only=True)
    missing = {name: x for name, x in weights.items() if name != "decoder.fc.4.bias"}
    torch.save(missing, folder / "best_model.pt")
    with pytest.raises(CheckpointError, match=r"missing head\.last\.bias"):
        scgpt.load(folder)
    torch.save(weights | {"surprise.weight": torch.ones(1)}, folder / "best_model.pt")
    with pytest.raises(CheckpointError, match=r"no place for: surprise\.weight"):
        scgpt.load(folder)
    torch.save(weights | {"decoder.fc.4.bias": torch.ones(2)}, folder / "best_model.pt")
    with pytest.raises(CheckpointError, match=r"head\.last\.bias is \(2,\), not \(1,\)"):
        scgpt.load(folder)
    (folder / "best_model.pt").write_bytes(b"PK no torch file")
    with pytest.raises(CheckpointError, match=r"best_model\.pt"):
        scgpt.load(folder)


def test_hostile_weights_run_nothing(folder: Path, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[Path, str]]:
            return (Path.write_text, (tmp_path / "ran", "yes"))

    torch.save({"encoder.embedding.weight": Hostile()}, folder / "best_model.pt")
    with pytest.raises(CheckpointError, match="could run code"):
        scgpt.load(folder)
    assert not (tmp_path / "ran").exists()


def test_other_input_styles_are_refused(folder: Path) -> None:
    (folder / "args.json").write_text(json.dumps(ARGS | {"input_emb_style": "category"}))
    with pytest.raises(ConfigError, match="only 'continuous'"):
        scgpt.load(folder)
    (folder / "args.json").write_text(json.dumps({"embsize": 24}))
    with pytest.raises(CheckpointError, match="lacks the field"):
        scgpt.load(folder)
