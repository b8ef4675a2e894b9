"""Places filled in by a model that sees both sides: the surest first, swept again, scored one by one."""

from __future__ import annotations

import pytest
import torch
from perturb import perturb

from biolm.batch import Batch
from biolm.core import CoreConfig, SamplingOptions, Transformer
from biolm.core.refine import Template, place_scores, refine
from biolm.errors import ConfigError, InputError

MASK = 9
IDS = [1, 4, 2, 7, 3, 5, 8, 6, 2]


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    sizes = {"vocab_size": 10, "d_model": 16, "n_layers": 2, "n_heads": 4, "d_ff": 24, "position": "rope"}
    core = perturb(Transformer(CoreConfig(**sizes, head="mlm")), std=0.3)
    assert isinstance(core, Transformer)
    return core.eval()


def shares(model: Transformer, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        logits = model(Batch.from_padded(torch.tensor([ids]))).logits
    return logits.log_softmax(-1)


def hidden(ids: list[int], places: list[int]) -> list[int]:
    return [MASK if place in places else token for place, token in enumerate(ids)]


def slowly(model: Transformer, ids: list[int], places: list[int], steps: int) -> list[int]:
    """Greedy, the surest places first, written out."""
    ids, left = hidden(ids, places), list(places)
    for step in range(steps):
        found = shares(model, ids)
        best = sorted(left, key=lambda place: -float(found[place].max()))
        for place in best[: -(-len(left) // (steps - step))]:
            ids[place] = int(found[place].argmax())
            left.remove(place)
    return ids


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_the_surest_places_come_first(model: Transformer, steps: int) -> None:
    places = [1, 2, 4, 6, 7]
    templates = [Template(IDS, places), Template(IDS[:5], [0, 3]), Template(IDS[::-1], places)]
    for size in (1, 2, 8):
        filled = refine(model, templates, SamplingOptions(batch_size=size), mask=MASK, steps=steps)
        for template, ids in zip(templates, filled, strict=True):
            passes = min(steps, len(template.places))
            if len(template.places) >= steps:
                assert ids == slowly(model, list(template.ids), list(template.places), passes)
            kept = set(range(len(template.ids))) - set(template.places)
            assert all(ids[place] == template.ids[place] for place in kept)
    assert MASK not in filled[0]


def test_no_steps_is_one_place_a_pass(model: Transformer) -> None:
    templates = [Template(IDS, [2, 3, 5]), Template(IDS, [1])]
    filled = refine(model, templates, SamplingOptions(), mask=MASK)
    assert filled == [slowly(model, IDS, [2, 3, 5], 3), slowly(model, IDS, [1], 1)]


def test_a_sweep_at_temperature_0_makes_every_place_the_likeliest_of_its_turn(model: Transformer) -> None:
    places = [1, 4, 6]
    swept = refine(model, [Template(IDS, places)], SamplingOptions(), mask=MASK, sweeps=12)[0]
    # After many greedy sweeps nothing changes any more: each is the likeliest given the others.
    for place in places:
        assert swept[place] == int(shares(model, hidden(swept, [place]))[place].argmax())


def test_sweeps_draw_from_the_conditional(model: Transformer) -> None:
    """One place alone: its draws follow the model's own shares given all the rest."""
    options = SamplingOptions(temperature=1.0, batch_size=500)
    filled = refine(model, [Template(IDS, [3])] * 2000, options, mask=MASK, sweeps=1)
    found = torch.bincount(torch.tensor([ids[3] for ids in filled]), minlength=10) / 2000
    wanted = shares(model, hidden(IDS, [3]))[3].exp()
    assert torch.allclose(found, wanted, atol=0.04)


def test_draws_belong_to_the_template_not_the_batch(model: Transformer) -> None:
    templates = [Template(IDS, [1, 2, 3, 5, 7])] * 5
    made = [
        refine(
            model, templates, SamplingOptions(temperature=1.0, seed=3, batch_size=size), mask=MASK, sweeps=2
        )
        for size in (1, 2, 5)
    ]
    assert made[0] == made[1] == made[2]
    assert len({tuple(ids) for ids in made[0]}) > 1
    other = refine(model, templates, SamplingOptions(temperature=1.0, seed=4), mask=MASK, sweeps=2)
    assert other != made[0]


def test_only_allowed_tokens_are_filled_in(model: Transformer) -> None:
    options = SamplingOptions(temperature=5.0, allowed=[2, 3])
    filled = refine(model, [Template(IDS, range(9))] * 20, options, mask=MASK, steps=3, sweeps=1)
    assert {token for ids in filled for token in ids} == {2, 3}


def test_scores_hide_one_place_each(model: Transformer) -> None:
    places = [0, 2, 5, 8]
    wanted = [float(shares(model, hidden(IDS, [place]))[place, IDS[place]]) for place in places]
    for rows in (1, 3, 32):
        found = place_scores(model, Template(IDS, places), mask=MASK, rows=rows)
        assert found == pytest.approx(wanted, abs=1e-5)


def test_what_cannot_be_filled_is_named(model: Transformer) -> None:
    with pytest.raises(InputError, match="template 0 has 9 tokens"):
        refine(model, [Template(IDS, [9])], SamplingOptions(), mask=MASK)
    with pytest.raises(ConfigError, match="are for models that write on"):
        refine(model, [Template(IDS, [1])], SamplingOptions(stop=[2]), mask=MASK)
    with pytest.raises(ConfigError, match="steps and sweeps must be 0 or more"):
        refine(model, [Template(IDS, [1])], SamplingOptions(), mask=MASK, steps=-1)
    causal = Transformer(CoreConfig(vocab_size=10, d_model=8, n_layers=1, n_heads=2, d_ff=8, causal=True))
    with pytest.raises(ConfigError, match="sees both sides"):
        refine(causal, [Template(IDS, [1])], SamplingOptions(), mask=MASK)
