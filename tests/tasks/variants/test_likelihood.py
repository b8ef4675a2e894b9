"""Probabilities of letters against loops that read one sequence and one letter at a time.

The faults of published scripts are named where a test would catch them.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import log_probabilities, slow_causal, slow_pseudo, small_model

from biolm.errors import ConfigError
from biolm.io.sequences import SequenceBlock
from biolm.models.sequence_model import SequenceOptions
from biolm.tasks.variants.likelihood import Groups, masked, read_once, token_scores
from biolm.tasks.variants.methods import choose_methods
from biolm.tasks.variants.proteins import ProteinVariant, Substitutions, WholeSequences, marginal_sums

TEXTS = ["MKTAYIAKQRQISFVK", "ACDEFGHIKLMNPQRSTVWY", "MK", "WWLAGVA"]
BASES = ["ACGTACGTTTGACC", "GATTACA", "ACGTTTGACCAGTAGGACCA", "GG"]
SMALL = SequenceOptions(batch_tokens=50)
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def table_scores(model, wild, variants, method):
    changes = Substitutions.of(model, wild, variants, method)
    return marginal_sums(changes.sums, changes.table(method, 0, len(changes.places), SMALL))


def sequence_scores(model, wild, sequences, method):
    whole = WholeSequences(model=model, wild=wild, sequences=sequences, methods=[method], options=SMALL)
    return whole.scores(0, len(sequences))[:, 0]


@pytest.fixture(scope="module")
def encoder():
    return small_model()


@pytest.fixture(scope="module")
def decoder():
    return small_model("dna", causal=True)


def scores(model, texts, method, options=SMALL):
    return token_scores(model, model.tokenize(SequenceBlock.of(texts)), method, options)


def test_pseudo_perplexity_hides_and_reads_the_same_residue(encoder):
    """fair-esm's predict.py hides token i but reads letter i, and never reaches the last residues."""
    found = scores(encoder, TEXTS, "pseudo-perplexity")
    slow = [slow_pseudo(encoder, text) for text in TEXTS]
    np.testing.assert_allclose(found.values, np.concatenate(slow), **CLOSE)
    np.testing.assert_array_equal(found.counts, [len(text) for text in TEXTS])
    np.testing.assert_allclose(found.means, [np.mean(each) for each in slow], **CLOSE)
    shifted = [np.mean(slow_pseudo(encoder, text)[1:]) for text in TEXTS]
    assert np.abs(found.means - shifted).max() > 0.01


def test_causal_likelihood_counts_every_letter_and_nothing_else(decoder):
    """evo2's score_sequences adds the log-probability of a pad to every shorter sequence of a batch."""
    found = scores(decoder, BASES, "causal")
    slow = [slow_causal(decoder, text) for text in BASES]
    np.testing.assert_allclose(found.values, np.concatenate(slow), **CLOSE)
    np.testing.assert_array_equal(found.counts, [len(text) for text in BASES])
    np.testing.assert_allclose(found.sums, [np.sum(each) for each in slow], **CLOSE)


def test_without_a_token_in_front_the_first_letter_alone_is_left_out():
    model = small_model("base", causal=True)
    assert not model.tokenizer.special.prefix
    found = scores(model, BASES, "causal")
    np.testing.assert_array_equal(found.counts, [len(text) - 1 for text in BASES])
    slow = np.concatenate([slow_causal(model, text) for text in BASES])
    np.testing.assert_allclose(found.values[np.isfinite(found.values)], slow, **CLOSE)


@pytest.mark.parametrize("method", ["pseudo-perplexity", "one-pass", "causal"])
def test_scores_do_not_depend_on_batch_mates(method, encoder, decoder):
    """Padding to the longest sequence of a data set changes results of models without a mask."""
    model, texts = (decoder, BASES) if method == "causal" else (encoder, TEXTS)
    together = scores(model, texts, method, SequenceOptions())
    for row, text in enumerate(texts):
        alone = scores(model, [text], method)
        np.testing.assert_allclose(together.sums[row], alone.sums[0], **CLOSE)
    turned = scores(model, texts[::-1], method)
    np.testing.assert_allclose(together.sums, turned.sums[::-1], **CLOSE)


def test_the_estimate_undoes_the_recipe_of_training():
    """A model that knew how tokens were hidden would give q; the estimate must give p back."""
    from biolm.tasks.variants.likelihood import _unhidden

    size, p = 33, np.array([1e-6, 0.01, 0.05, 0.5, 0.999, 1.0])
    kept, other = 0.1, 0.1 / size
    q = p * (kept + other) / (p * kept + other)
    np.testing.assert_allclose(_unhidden(np.log(q), size), np.log(p), rtol=1e-9, atol=1e-12)


def test_one_pass_reads_what_is_shown(encoder):
    text = TEXTS[0]
    ids = encoder.tokenize(SequenceBlock.of([text])).ids
    shown = log_probabilities(encoder, ids)[torch.arange(len(ids)), torch.tensor(ids).long()][1:-1].numpy()
    q = np.exp(shown)
    other = 0.1 / encoder.tokenizer.size
    p = q * other / (0.1 + other - 0.1 * q)
    np.testing.assert_allclose(scores(encoder, [text], "one-pass").values, np.log(p), rtol=1e-4, atol=1e-4)


def test_letters_the_model_does_not_know_are_not_scored():
    model = small_model("dna")
    found = scores(model, ["ACGNACG"], "pseudo-perplexity")
    assert np.isnan(found.values).tolist() == [False] * 3 + [True] + [False] * 3
    assert found.counts.tolist() == [6]


def test_groups_are_hidden_together(encoder):
    ids = encoder.tokenize(SequenceBlock.of([TEXTS[0]])).ids.tolist()
    hidden = [*ids]
    hidden[3 + 1] = hidden[9 + 1] = encoder.tokenizer.special.mask
    wanted = log_probabilities(encoder, hidden)
    targets = np.array([[5, 6, 7], [8, 9, 10]])
    groups = Groups(np.array([0]), np.array([0, 2]), np.array([3, 9]), targets)
    found = masked(encoder, encoder.tokenize(SequenceBlock.of([TEXTS[0]])), groups, SMALL)
    np.testing.assert_allclose(
        found, [wanted[4, targets[0]].numpy(), wanted[10, targets[1]].numpy()], **CLOSE
    )


@pytest.mark.parametrize("place", [0, 1, 20, 45, 48, 49])
def test_a_long_protein_is_read_around_the_hidden_residue(place):
    model = small_model(max_length=22)
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 50))
    start = min(max(place - 10, 0), 30)
    wanted = slow_pseudo(model, text[start : start + 20])[place - start]
    ids = model.tokenize(SequenceBlock.of([text]))
    target = np.array([[model.tokenizer.vocabulary[text[place]]]])
    found = masked(model, ids, Groups.single(np.array([0]), np.array([place]), target), SMALL)
    np.testing.assert_allclose(found[0, 0], wanted, **CLOSE)


def test_windows_of_a_decoder_give_every_letter_the_most_letters_before_it():
    model = small_model("dna", causal=True, max_length=12)
    text = "ACGTACGTTTGACCAGTAGGACCAGGT"
    tokens = model.tokenize(SequenceBlock.of([text]))
    targets = np.array([[model.tokenizer.vocabulary[letter]] for letter in text])
    found = read_once(model, tokens, targets, SMALL, causal=True)[:, 0]
    np.testing.assert_allclose(found[:10], slow_causal(model, text[:10]), **CLOSE)
    # 27 letters in windows of 10 that share two or more: they begin at 0, 5, 11 and 17.
    np.testing.assert_allclose(found[10:15], slow_causal(model, text[5:15])[5:], **CLOSE)
    np.testing.assert_allclose(found[21:], slow_causal(model, text[17:])[4:], **CLOSE)


@pytest.mark.parametrize("method", ["wt-marginal", "masked-marginal"])
def test_marginals_are_differences_at_the_mutated_residue(method, encoder):
    from biolm.tasks.variants.mutations import apply_mutations, parse_mutations

    wild = TEXTS[0]
    variants = [
        ProteinVariant(apply_mutations(wild, parse_mutations(text)), parse_mutations(text))
        for text in ("M1K", "K2R", "A4G:K16W", "wt", "K16A")
    ]
    vocabulary = encoder.tokenizer.vocabulary
    ids = encoder.tokenize(SequenceBlock.of([wild])).ids.tolist()

    def slow(text: str) -> float:
        total = 0.0
        for change in parse_mutations(text):
            shown = list(ids)
            if method == "masked-marginal":
                shown[change.place + 1] = encoder.tokenizer.special.mask
            row = log_probabilities(encoder, shown)[change.place + 1]
            total += float(row[vocabulary[change.mutant]] - row[vocabulary[change.wild]])
        return total

    found = table_scores(encoder, wild, variants, method)
    wanted = [slow(text) for text in ("M1K", "K2R", "A4G:K16W", "wt", "K16A")]
    np.testing.assert_allclose(found, wanted, **CLOSE)
    np.testing.assert_allclose(found[2], slow("A4G") + slow("K16W"), **CLOSE)


def test_whole_sequences_are_held_against_the_wild_type(encoder, decoder):
    wild, others = TEXTS[0], [TEXTS[0], "MKTAYIAKQRQISFVKK", "MKTAYIAK", "MRTAYIAKQRQISFVK", "MKTAYIAK"]
    found = sequence_scores(encoder, wild, others, "pseudo-perplexity")
    zero = np.mean(slow_pseudo(encoder, wild))
    np.testing.assert_allclose(
        found, [np.mean(slow_pseudo(encoder, text)) - zero for text in others], **CLOSE
    )
    assert abs(found[0]) < 1e-6
    first, *rest = BASES
    found = sequence_scores(decoder, first, rest, "causal")
    wanted = [sum(slow_causal(decoder, text)) - sum(slow_causal(decoder, first)) for text in rest]
    np.testing.assert_allclose(found, wanted, **CLOSE)


def test_marginals_are_those_of_transformers(tmp_path):
    """EsmForMaskedLM with perturbed weights: right padding, its own mask, its own tokens."""
    pytest.importorskip("transformers")
    from transformers import EsmConfig, EsmForMaskedLM

    import biolm
    from biolm.tasks.variants.mutations import parse_mutations

    torch.manual_seed(0)
    config = EsmConfig(
        vocab_size=33, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        position_embedding_type="rotary", max_position_embeddings=90, token_dropout=True, mask_token_id=32,
        pad_token_id=1, layer_norm_eps=1e-5,
    )  # fmt: skip
    reference = EsmForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    reference.save_pretrained(tmp_path)
    model = biolm.load(tmp_path)
    wild, texts = TEXTS[1], ("A1G", "C2W:Y20L", "K9R", "W19D")
    variants = [ProteinVariant(wild, parse_mutations(text)) for text in texts]
    vocabulary = model.tokenizer.vocabulary
    ids = torch.tensor([[0, *(vocabulary[letter] for letter in wild), 2, 1, 1]])
    mask = (ids != 1).long()
    for method in ("wt-marginal", "masked-marginal"):
        wanted = []
        for text in texts:
            total = 0.0
            for change in parse_mutations(text):
                shown = ids.clone()
                if method == "masked-marginal":
                    shown[0, change.place + 1] = 32
                with torch.inference_mode():
                    row = reference(shown, attention_mask=mask).logits[0, change.place + 1].log_softmax(-1)
                total += float(row[vocabulary[change.mutant]] - row[vocabulary[change.wild]])
            wanted.append(total)
        assert np.ptp(wanted) > 1
        np.testing.assert_allclose(table_scores(model, wild, variants, method), wanted, rtol=1e-4, atol=1e-4)


def test_methods_that_a_model_does_not_offer_are_named(encoder, decoder):
    assert choose_methods(encoder, ["auto"]) == ("masked-marginal",)
    assert choose_methods(decoder, ["auto"]) == ("causal",)
    for model, name, words in (
        (encoder, "causal", "reads both sides"),
        (decoder, "masked-marginal", "left to right"),
        (encoder, "best", "no method 'best'"),
    ):
        with pytest.raises(ConfigError, match=words):
            choose_methods(model, [name])
