"""Published models of sequences: recognised by their folders, letters read as published, states as wanted."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from family_examples import EXAMPLES
from parity import make_reference, relative
from perturb import perturb
from safetensors.torch import load_file

import biolm
from biolm.adapters.sequences import make_tokenizer
from biolm.core import Transformer
from biolm.errors import CheckpointError, ConfigError
from biolm.io.sequences import SequenceBlock
from biolm.models.families import esm_original, esmc
from biolm.models.registry import find, load_tokenizer
from biolm.models.sequence_model import SequenceModel, SequenceOptions
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.models.systems import iglm as iglm_protein
from biolm.models.windows import cut_windows
from biolm.tasks.inspect import inspect_checkpoint
from biolm.vocab.residues import ALPHABETS

pytest.importorskip("transformers")

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
ESM = {
    **SIZES,
    "model_type": "esm",
    "pad_token_id": 1,
    "token_dropout": True,
    "vocab_size": 33,
    "layer_norm_eps": 1e-5,
}
ESM2 = {**ESM, "position_embedding_type": "rotary", "max_position_embeddings": 1026, "mask_token_id": 32}
ESM1B = {**ESM2, "position_embedding_type": "absolute", "emb_layer_norm_before": True}
NT = {**ESM, "mask_token_id": 2, "token_dropout": False}
PROTEINS = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKLMNPQRSTVWYX", "MK"]
DNA = ["ACGTACGTTTGACCAGTAGGA", "ATTTGNACCA", "GATTACA"]

# Name, family, config, limit of tokens, sequences.
SYSTEMS: dict[str, tuple[str, str, dict[str, Any], int | None, list[str]]] = {
    "esm2": ("esm", "esm", {**ESM2, "architectures": ["EsmForMaskedLM"]}, 1026, PROTEINS),
    "esm1b": ("esm", "esm", {**ESM1B, "architectures": ["EsmForMaskedLM"]}, 1024, PROTEINS),
    "esmc": (
        "esmc",
        "esmc",
        {**EXAMPLES["esmc"][0], "model_type": "esmc", "architectures": ["EsmcForMaskedLM"]},
        64,
        PROTEINS,
    ),
    "protbert": (
        "protbert",
        "bert",
        {**SIZES, "model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 30}
        | {"max_position_embeddings": 100, "type_vocab_size": 2, "pad_token_id": 0},
        100,
        PROTEINS,
    ),
    "prott5": (
        "prott5",
        "t5",
        {**EXAMPLES["t5"][0], "model_type": "t5", "vocab_size": 128, "pad_token_id": 0},
        None,
        PROTEINS,
    ),
    "progen2": ("progen2", "progen", EXAMPLES["progen"][0], 40, PROTEINS),
    "amplify": ("amplify", "AMPLIFY", EXAMPLES["AMPLIFY"][0], 64, PROTEINS),
    "iglm": (
        "iglm",
        "gpt2",
        {**EXAMPLES["gpt2"][0], "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]},
        40,
        PROTEINS,
    ),
    "ntv1": (
        "nucleotide_transformer",
        "esm",
        {**NT, "architectures": ["EsmForMaskedLM"], "vocab_size": 4105, "max_position_embeddings": 52},
        50,
        DNA,
    ),
    "ntv2": (
        "nucleotide_transformer",
        "ntv2",
        {**EXAMPLES["ntv2"][0], "vocab_size": 4107, "max_position_embeddings": 52},
        50,
        DNA,
    ),
    "dnabert2": ("dnabert2", "dnabert2", EXAMPLES["dnabert2"][0], 512, DNA),
    "gena": ("gena", "gena", EXAMPLES["gena"][0], 40, DNA),
    "moderngena": (
        "gena",
        "modernbert",
        {**EXAMPLES["modernbert"][0], "model_type": "modernbert"}
        | {"architectures": ["ModernBertForMaskedLM"]},
        64,
        DNA,
    ),
    "grover": (
        "grover",
        "bert",
        {**SIZES, "model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 40}
        | {"max_position_embeddings": 60, "type_vocab_size": 2, "pad_token_id": 0},
        60,
        DNA,
    ),
    "genomeocean": (
        "genomeocean",
        "mistral",
        {**EXAMPLES["mistral"][0], "model_type": "mistral", "architectures": ["MistralForCausalLM"]},
        64,
        DNA,
    ),
}
BPE = ("dnabert2", "gena", "moderngena", "grover", "genomeocean")


def write_bpe(folder: Path) -> None:
    """A small tokeniser of byte pairs in the layout of the published ones."""
    from tokenizers import Tokenizer, models, processors, trainers

    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    trainer = trainers.BpeTrainer(vocab_size=30, special_tokens=special, initial_alphabet=list("ACGTN"))
    tokenizer.train_from_iterator(["ACGTTGACCATTTGACCA" * 4, "GATTACAGATT" * 3], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Folder and reference of a system, made once."""
    made: dict[str, tuple[Path, Any]] = {}

    def make(name: str) -> tuple[Path, Any]:
        if name not in made:
            _, kind, config, _, _ = SYSTEMS[name]
            folder = tmp_path_factory.mktemp(name)
            reference = make_reference(kind, config)
            reference.save_pretrained(folder)
            if name in BPE:
                write_bpe(folder)
            if name == "iglm":
                marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[HEAVY]", "[LIGHT]", "[HUMAN]"]
                (folder / "vocab.txt").write_text("\n".join([*marks, *"ACDEFGHIKLMNPQRSTVWY"]) + "\n")
            if name == "protbert":
                (folder / "vocab.txt").write_text("\n".join(ALPHABETS["protbert"].tokens) + "\n")
            made[name] = folder, reference
        return made[name]

    return make


@torch.no_grad()
def reference_states(reference: Any, ids: np.ndarray) -> torch.Tensor:
    """Last states ``(s, d)`` of one sequence."""
    inputs = {"input_ids": torch.from_numpy(ids.astype(np.int64))[None]}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
    base = reference.base_model
    if "token_type_ids" not in base.forward.__code__.co_varnames:
        del inputs["token_type_ids"]
    return base(**inputs)[0][0].float()


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_folder_is_inspected(name, saved):
    folder, _ = saved(name)
    report = inspect_checkpoint(folder)
    preprocessor = load_tokenizer(folder)
    assert report.genes is None
    assert report.note.startswith(
        f"none; reads {preprocessor.kind} in {preprocessor.tokenizer.size:,} tokens"
    )
    assert report.parameters > 0
    assert report.note in report.as_text()


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_folder_is_recognised_and_embeds_as_its_reference(name, saved):
    wanted, _, _, longest, texts = SYSTEMS[name]
    folder, reference = saved(name)
    model = biolm.load(folder)
    assert isinstance(model, SequenceModel)
    assert (model.name, model.max_length) == (wanted, longest)
    assert model.kind == ("dna" if texts is DNA else "protein")
    block = SequenceBlock.of(texts)
    tokens = model.tokenize(block)
    vectors = model.embed(block, SequenceOptions(device="cpu"))
    before, after = model.preprocessor.special
    for row in range(len(texts)):
        states = reference_states(reference, tokens[row].ids)
        mean = states[before : len(states) - after].mean(0)
        assert relative(torch.from_numpy(vectors[row]), mean) < 2e-5
    assert model.describe()["sha256"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_tokeniser_alone_says_the_same(name, saved):
    folder, _ = saved(name)
    preprocessor = load_tokenizer(folder)
    assert isinstance(preprocessor, SequencePreprocessor)
    block = SequenceBlock.of(SYSTEMS[name][4])
    assert preprocessor.tokenize(block).ids.tolist() == biolm.load(folder).tokenize(block).ids.tolist()


def test_tokenising_needs_no_torch(saved):
    folder, _ = saved("esm2")
    code = (
        "import sys; from biolm.models.registry import load_tokenizer; "
        f"load_tokenizer({str(folder)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_special_tokens_as_published(saved):
    wanted = {
        "esm2": [0, 20, 15, 2],
        "protbert": [2, 21, 12, 3],
        "progen2": [3, 16, 14, 4],
        "prott5": [19, 14, 1],
        "iglm": [5, 7, 18, 16, 3],
    }
    for name, ids in wanted.items():
        assert load_tokenizer(saved(name)[0]).tokenize(SequenceBlock.of(["MK"])).ids.tolist() == ids


def original(core: Transformer, style: str, **arguments: Any) -> dict[str, Any]:
    """The content of an original file of fair-esm."""
    tensors = esm_original.ORIGINAL_KEYS.ours_to_theirs(core.state_dict(), core.config)
    tensors["encoder.lm_head.weight"] = core.state_dict()["embeddings.token.weight"]
    moved = {
        name.replace("encoder.sentence_encoder.lm_head", "encoder.lm_head"): tensor
        for name, tensor in tensors.items()
    }
    held = Namespace(encoder_attention_heads=core.config.n_heads, **arguments)
    return {style: {"model": held} if style == "cfg" else held, "model": moved}


@pytest.mark.parametrize(("name", "style"), [("esm2", "cfg"), ("esm1b", "args")])
def test_original_files_load_with_their_regression(name, style, saved, tmp_path):
    folder, _ = saved(name)
    wanted = biolm.load(folder)
    path = tmp_path / "esm2_t2_small.pt"
    torch.save(original(wanted.core, style, token_dropout=True, arch="roberta_large"), path)
    assert biolm.load(path).contact_weights is None
    weights = torch.arange(8.0)[None]
    torch.save(
        {"model": {"contact_head.regression.weight": weights, "contact_head.regression.bias": torch.ones(1)}},
        tmp_path / "esm2_t2_small-contact-regression.pt",
    )
    for place in (path, tmp_path):
        model = biolm.load(place)
        assert model.contact_weights.tolist() == [*range(8), 1.0]
        block = SequenceBlock.of(PROTEINS)
        options = SequenceOptions(device="cpu")
        np.testing.assert_array_equal(model.embed(block, options), wanted.embed(block, options))
    (tmp_path / "esm2_other.pt").write_bytes(path.read_bytes())
    with pytest.raises(CheckpointError, match=r"holds several models \(esm2_other.pt, esm2_t2_small.pt\)"):
        biolm.load(tmp_path)


class _Danger:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_an_original_file_runs_nothing(tmp_path, capsys):
    torch.save({"args": Namespace(layers=_Danger()), "model": {}}, tmp_path / "esm1b.pt")
    with pytest.raises(CheckpointError, match="could run code"):
        biolm.load(tmp_path / "esm1b.pt")
    assert capsys.readouterr().out == ""


def test_contact_weights_of_a_folder(saved):
    folder, reference = saved("esm2")
    found = biolm.load(folder).contact_weights
    regression = reference.esm.contact_head.regression
    np.testing.assert_array_equal(found[:-1], regression.weight.detach().numpy()[0])
    assert found[-1] == regression.bias.item()


def test_esm_c_of_the_first_release(tmp_path):
    config = {**EXAMPLES["esmc"][0], "architectures": ["EsmcForMaskedLM"], "hidden_size": 128}
    core = Transformer(esmc.core_config({**config, "num_attention_heads": 2, "pad_token_id": 1}))
    perturb(core)
    torch.save(esmc.ORIGINAL_KEYS.ours_to_theirs(core.state_dict(), core.config), tmp_path / "esmc_small.pth")
    for place in (tmp_path, tmp_path / "esmc_small.pth"):
        model = biolm.load(place)
        assert (model.name, model.max_length) == ("esmc", 2048)
        assert model.embed(SequenceBlock.of(PROTEINS), SequenceOptions(device="cpu")).shape == (3, 128)


def test_another_vocabulary_is_another_model(saved, tmp_path):
    folder, _ = saved("esm2")
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert load_file(tmp_path / "model.safetensors")
    (tmp_path / "vocab.txt").write_text("<cls>\n<pad>\nA\nC\n")
    assert isinstance(biolm.load(tmp_path), Transformer)
    (tmp_path / "config.json").write_text(
        json.dumps({**json.loads((folder / "config.json").read_text()), "vocab_size": 4105})
    )
    with pytest.raises(CheckpointError, match=r"vocab\.txt is not that of Nucleotide"):
        biolm.load(tmp_path)


def test_windows_of_grover_have_the_tokens_of_the_whole_record(saved):
    """Also those cut out of the letters, with 100 letters more at each end."""
    model = biolm.load(saved("grover")[0])
    text = "".join(np.random.default_rng(0).choice(list("ACGT"), 900))
    tokens = model.tokenize(SequenceBlock.of([text]))
    whole = tokens.ids[1:-1]
    windows = cut_windows(tokens, np.array([0]), model.preprocessor.special, 60)
    assert len(windows) > 5
    for row, start in enumerate(windows.starts.tolist()):
        inner = windows.tokens[row].ids[1:-1]
        np.testing.assert_array_equal(inner, whole[start : start + len(inner)])
    tokenizer = model.tokenizer
    assert tokenizer.edge == 100
    piece = SequenceBlock.of([text[203:703]])
    found = tokenizer.inner(piece, np.array([100]), np.array([100])).ids[1:-1]
    firsts = tokenizer.spans(SequenceBlock.of([text]), tokens)[1:-1, 0]
    wanted = whole[(firsts >= 303) & (firsts < 603)]
    np.testing.assert_array_equal(found, wanted)
    alone = model.tokenize(SequenceBlock.of([text[303:603]])).ids[1:-1]
    assert alone.tolist() != wanted.tolist()


def test_iglm_reads_another_chain_and_is_made_again_from_its_settings(saved):
    folder, _ = saved("iglm")
    light = iglm_protein.load(folder, chain="light")
    block = SequenceBlock.of(["MK", "AC"])
    assert light.tokenize(block)[0].ids.tolist() == [6, 7, 18, 16, 3]
    assert iglm_protein.load_tokenizer(folder, chain="light").tokenize(block)[0].ids[0] == 6
    held = json.loads(json.dumps(light.tokenizer.settings()))
    again = make_tokenizer(held)
    assert again.tokenize(block).ids.tolist() == light.tokenize(block).ids.tolist()
    assert (again.special, again.size) == (light.tokenizer.special, light.tokenizer.size)
    with pytest.raises(ConfigError, match=r"knows no 'camel'; its words are .*human"):
        iglm_protein.load(folder, species="camel")
    with pytest.raises(ConfigError, match="no whole alphabet"):
        make_tokenizer({"family": "letters", "alphabet": {"name": "iglm"}})


def test_every_system_is_listed():
    for name, *_ in SYSTEMS.values():
        assert find(name) is not None
