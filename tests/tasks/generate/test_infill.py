"""Templates filled in by encoders: which letters stay, what is scored, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_sequences import RESIDUES, in_memory

import biolm
from biolm.errors import ConfigError, InputError
from biolm.io.sequences import SequenceBlock
from biolm.models.sequence_model import SequenceModel
from biolm.tasks.generate.run import generate_file
from biolm.tasks.generate.settings import GenerateSettings

TEMPLATE = "MKT___ALWXK_"


@pytest.fixture(scope="module")
def encoder() -> SequenceModel:
    return in_memory("esm", longest=40, causal=False, head="mlm")


def test_open_places_alone_change(encoder: SequenceModel) -> None:
    made = biolm.generate(encoder, TEMPLATE, number=4, sweeps=1, temperature=3.0, device="cpu")
    for each in made:
        assert len(each.sequence) == len(TEMPLATE)
        for letter, asked in zip(each.sequence, TEMPLATE, strict=True):
            assert letter in RESIDUES if asked == "_" else letter == asked
        assert (each.generated, each.end) == (4, "template")
    assert len({each.sequence for each in made}) > 1


def test_greedy_fills_the_likeliest_and_scores_it_by_hiding_one_place(encoder: SequenceModel) -> None:
    (made,) = biolm.generate(encoder, TEMPLATE, temperature=0, device="cpu")
    table = encoder.tokenizer.vocabulary
    ids = encoder.tokenize(SequenceBlock.of([made.sequence])).ids
    for score, place in zip(made.log_probabilities, (3, 4, 5, 11), strict=True):
        masked = ids.astype(np.int64)
        masked[place + 1] = table["<mask>"]
        batch = biolm.Batch.from_tokens(biolm.Tokens(masked, np.array([0, len(ids)]), np.array([0])))
        shares = encoder(batch).logits.log_softmax(-1)[place + 1]
        assert score == pytest.approx(float(shares[table[made.sequence[place]]]), abs=1e-5)
    # The place that was filled last saw all others: it is the likeliest plain letter there.
    plain = [table[letter] for letter in RESIDUES]
    assert any(
        table[made.sequence[place]] == plain[int(_shares(encoder, ids, place)[plain].argmax())]
        for place in (3, 4, 5, 11)
    )


def _shares(encoder: SequenceModel, ids: np.ndarray, place: int) -> np.ndarray:
    masked = ids.astype(np.int64)
    masked[place + 1] = encoder.tokenizer.special.mask
    batch = biolm.Batch.from_tokens(biolm.Tokens(masked, np.array([0, len(ids)]), np.array([0])))
    found: np.ndarray = encoder(batch).logits[place + 1].numpy()
    return found


def test_the_same_draws_for_every_batch_size(encoder: SequenceModel, tmp_path) -> None:
    texts = []
    for size in (1, 3, 32):
        settings = GenerateSettings(number=4, steps=3, sweeps=1, seed=2, batch_size=size, device="cpu")
        generate_file(encoder, tmp_path / f"{size}.fa", [TEMPLATE, "A__K" * 4], settings)
        texts.append((tmp_path / f"{size}.fa").read_text())
    assert texts[0] == texts[1] == texts[2]
    assert " end=template" in texts[0]


def test_what_cannot_be_filled_is_named(encoder: SequenceModel) -> None:
    with pytest.raises(InputError, match=r"is an encoder and cannot write on; .* such as MKT___AL"):
        biolm.generate(encoder, "MKT")
    with pytest.raises(InputError, match="is an encoder and cannot write on"):
        biolm.generate(encoder)
    with pytest.raises(
        InputError, match="template 'prompt1' has 41 residues or bases but model tiny reads at most 38"
    ):
        biolm.generate(encoder, "_" + "MKLW" * 10)
    with pytest.raises(ConfigError, match="direction and repetition penalty are for decoders"):
        biolm.generate(encoder, TEMPLATE, repetition_penalty=1.2)
    with pytest.raises(ConfigError, match="no mask for single residues"):
        biolm.generate(in_memory("nt-v2", causal=False, head="mlm"), "ACG___")
