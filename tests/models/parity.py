"""Small random references of every family, and what the core makes of the same weights and documents.

Dimensions: ``b`` documents · ``s`` longest · ``t`` tokens of all · ``d`` width · ``v`` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from family_examples import EXAMPLES
from flips import mask_of
from perturb import perturb, relative
from torch import Tensor, nn

from biolm.batch import Batch
from biolm.core import CoreConfig, Transformer
from biolm.models.families.hf import FAMILIES, family, from_hf, type_of

# A document longer than every window, one of a single token, and two between.
LENGTHS = (17, 1, 24, 9)

# Families that transformers has no class for are computed by a module of tests.
OWN_REFERENCES = {
    "dnabert2": "reference_dnabert2",
    **dict.fromkeys(("AMPLIFY", "gena", "ntv2", "progen"), "reference_sequences"),
}


@dataclass
class Expected:
    """Packed results: ``n_layers + 1`` states ``(t, d)``, the last one final, and logits ``(t, v)``."""

    states: list[Tensor]
    logits: Tensor | None

    @property
    def outcome(self) -> Tensor:
        """What a user sees of it."""
        return self.states[-1] if self.logits is None else self.logits


@dataclass
class Case:
    """One example of one family: reference, its saved folder, and the core loaded from it."""

    model_type: str
    example: dict[str, Any]
    folder: Path
    reference: nn.Module
    inputs: dict[str, Tensor]
    batch: Batch
    core: Transformer
    expected: Expected


def cases() -> list[tuple[str, int]]:
    """Every example of every registered family; one module may serve several types."""
    return [
        (name, i)
        for name in sorted(FAMILIES)
        for i, example in enumerate(EXAMPLES[name])
        if type_of({"model_type": name, **example}) == name
    ]


def full_example(model_type: str, number: int) -> dict[str, Any]:
    """A family's example with the model type and the class it is saved from."""
    example = {"model_type": model_type, **EXAMPLES[model_type][number]}
    if "architectures" in example:
        return example
    return {"architectures": [_class_name(example["model_type"])], **example}


def _class_name(model_type: str) -> str:
    """The class with a token head, where a family has one."""
    from transformers.models.auto import modeling_auto as auto

    for table in (
        auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_MAPPING_NAMES,
    ):
        if model_type in table:
            return str(table[model_type])
    raise LookupError(f"transformers has no class for {model_type}")


def reference_class(model_type: str, example: dict[str, Any]) -> Any:
    """The class that computes what is right."""
    name = example["architectures"][0]
    if model_type in OWN_REFERENCES:
        return getattr(import_module(OWN_REFERENCES[model_type]), name)
    import transformers

    return getattr(transformers, name)


def _full_config(example: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    values = {name: value for name, value in example.items() if name != "architectures"}
    return AutoConfig.for_model(values.pop("model_type"), **values)


def make_core_config(model_type: str, number: int) -> CoreConfig:
    """Core config of an example alone, without its reference."""
    example = full_example(model_type, number)
    filled = {} if model_type in OWN_REFERENCES else _full_config(example).to_dict()
    return family(model_type).core_config({**filled, **example})


def implementation(example: dict[str, Any]) -> str:
    """Attention of the reference: written out, but Falcon's adds ALiBi twice there."""
    return "sdpa" if example.get("alibi") else "eager"


def make_reference(model_type: str, example: dict[str, Any]) -> nn.Module:
    """A small reference with random weights far from their initial values."""
    kind = reference_class(model_type, example)
    torch.manual_seed(0)
    if model_type in OWN_REFERENCES:
        model = kind(example)
    else:
        config = _full_config(example)
        config._attn_implementation = implementation(example)
        model = kind(config)
    perturb(model)
    return model.eval()


def make_inputs(core: CoreConfig, example: dict[str, Any]) -> tuple[dict[str, Tensor], Batch]:
    """Documents of mixed lengths, padded for the reference and packed for the core."""
    generator = torch.Generator().manual_seed(1)
    if "image_size" in example:
        from biolm.core.patches import image_batch

        size, channels = example["image_size"], example.get("num_channels", 3)
        images = torch.randn(3, channels, size, size, generator=generator)
        return {"pixel_values": images}, image_batch(images, core)
    shape = (len(LENGTHS), max(LENGTHS))
    mask = torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]
    allowed = torch.tensor([i for i in range(core.vocab_size) if i not in (core.pad_id, mask_of(core))])
    ids = allowed[torch.randint(len(allowed), shape, generator=generator)]
    for document, place in ((0, 2), (0, 5), (2, 20), (3, 0)):
        ids[document, place] = mask_of(core)
    ids[~mask] = 0 if core.pad_id is None else core.pad_id
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    segments = None
    if core.n_segments:
        segments = torch.randint(core.n_segments, shape, generator=generator)
        inputs["token_type_ids"] = segments
    return inputs, Batch.from_padded(ids, mask, segments=segments)


@torch.no_grad()
def run_reference(model: nn.Module, inputs: dict[str, Tensor]) -> Expected:
    """States and logits of the real tokens, end to end.

    Whether the last of ``hidden_states`` has passed the final norm differs between families, so the base
    model's own result stands in its place.
    """
    last: list[Tensor] = []

    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        last.append(output[0])

    # OPT's head calls the decoder inside the base model.
    base = model.base_model.decoder if type(model).__name__.startswith("OPT") else model.base_model
    handle = base.register_forward_hook(note)  # type: ignore[union-attr, operator]
    try:
        output = model(**inputs, output_hidden_states=True)
    finally:
        handle.remove()
    states = [*output.hidden_states[:-1], last[-1]]
    mask = inputs.get("attention_mask")
    keep = torch.ones(states[0].shape[:2], dtype=torch.bool) if mask is None else mask.bool()
    logits = getattr(output, "logits", None)
    return Expected([state[keep] for state in states], None if logits is None else logits[keep])


@torch.no_grad()
def run_core(core: Transformer, batch: Batch) -> Expected:
    """The same from the core."""
    output = core(batch, hidden_states=True)
    assert output.hidden_states is not None
    states = list(output.hidden_states)
    projection = getattr(core.head, "projection", None)
    if projection is not None:  # OPT-350m: the base model's result is that of the narrow width
        states[-1] = projection(states[-1])
    return Expected(states, output.logits)


def error(found: Tensor, wanted: Tensor) -> float:
    """Largest difference relative to the largest value; infinite where it is not a number."""
    assert found.shape == wanted.shape
    value = relative(found, wanted)
    return value if value == value else float("inf")


def make_case(model_type: str, number: int, folder: Path) -> Case:
    """Build, save and load one example."""
    example = full_example(model_type, number)
    reference = make_reference(model_type, example)
    reference.save_pretrained(folder)  # type: ignore[operator]
    core = from_hf(folder)
    inputs, batch = make_inputs(core.config, example)
    expected = run_reference(reference, inputs)
    return Case(model_type, example, folder, reference, inputs, batch, core, expected)
