"""Evo 2 (Brixi et al. 2025) as a model of DNA: genomes of all domains of life, one base a token.

A checkpoint is a folder with the published config (``*.yml``, or its fields in ``config.json``) and the
weights: one ``.pt``, its parts ``NAME.pt.part0`` ..., or safetensors. Lower-case bases are other tokens
than upper-case ones, as in training, where repeats were lower case.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from biolm.adapters.sequences import make_tokenizer
from biolm.io.atomic import replacing_folder
from biolm.models.sequence_preprocessor import SequencePreprocessor
from biolm.models.systems import striped_folder
from biolm.progress import log

if TYPE_CHECKING:
    from torch import Tensor

    from biolm.core import CoreConfig
    from biolm.models.sequence_model import SequenceModel

__all__ = ["PUBLISHED_NAMES", "load", "load_tokenizer", "recognises", "save"]

# The first pattern that fits counts, so parts stand before the blocks that hold them.
PUBLISHED_NAMES = (
    (r"blocks\.(\d+)\.mlp\.l1", r"layers.\1.mlp.gate"),
    (r"blocks\.(\d+)\.mlp\.l2", r"layers.\1.mlp.up"),
    (r"blocks\.(\d+)\.mlp\.l3", r"layers.\1.mlp.down"),
    (r"blocks\.(\d+)\.pre_norm", r"layers.\1.attn_norm"),
    (r"blocks\.(\d+)\.post_norm", r"layers.\1.mlp_norm"),
    (r"blocks\.(\d+)\.projections", r"layers.\1.attention.project"),
    (r"blocks\.(\d+)\.filter", r"layers.\1.attention.filter"),
    (r"blocks\.(\d+)\.out_filter_dense", r"layers.\1.attention.output"),
    (r"blocks\.(\d+)\.inner_mha_cls", r"layers.\1.attention"),
    (r"blocks\.(\d+)\.mlp", r"layers.\1.mlp"),
    (r"blocks\.(\d+)", r"layers.\1"),
    (r"embedding_layer", r"embeddings"),
    (r"norm", r"final_norm"),
)
"""Names of submodules in the authors' code, as patterns, and those of the core, for embeddings by name."""


def recognises(folder: Path) -> bool:
    """Whether a folder holds Evo 2."""
    return striped_folder.holds(folder, "hcl_layer_idxs")


def load_tokenizer(folder: Path, *, begin: bool = False) -> SequencePreprocessor:
    """Tokeniser and limits; the weights are not touched and torch is not imported.

    Parameters
    ----------
    folder
        Of a checkpoint.
    begin
        Put the begin token (0) in front of every sequence, so that its first base is scored too.

    Raises
    ------
    CheckpointError
        If the config is missing or damaged.
    """
    config = striped_folder.config_of(folder)
    return SequencePreprocessor(
        name="evo2",
        tokenizer=make_tokenizer("evo1" if begin else "evo2"),
        max_length=int(config.get("max_seqlen") or 8192),
        lineages=True,
        published=PUBLISHED_NAMES,
    )


def load(folder: Path, *, dtype: str = "auto", begin: bool = False) -> SequenceModel:
    """Load a folder, strictly; a ``.pt`` stays on disk until its weights are used.

    Parameters
    ----------
    folder
        Of a checkpoint.
    dtype
        ``auto`` (as stored), ``float32`` or ``bfloat16``.
    begin
        As of :func:`load_tokenizer`.

    Raises
    ------
    CheckpointError, ConfigError
        If a file, part or weight is missing, extra, mis-shaped or unsafe, or memory is too small.

    Examples
    --------
    >>> model = load(Path("checkpoints/evo2_7b"), dtype="bfloat16")  # doctest: +SKIP
    """
    from biolm.models.families import evo2
    from biolm.models.sequence_model import SequenceModel

    values = striped_folder.config_of(folder)
    with striped_folder.reading_config(folder):
        config = evo2.core_config(values)
    preprocessor = load_tokenizer(folder, begin=begin)
    tensors = striped_folder.read_tensors(folder, evo2.KEYS, config)
    striped_folder.check_tied(tensors, folder)
    _add_frequencies(tensors, config)
    if values.get("use_fp8_input_projections"):
        log.warning(
            "%s was trained with FP8 projections, which its authors call necessary for right results; "
            "biolm runs "
            "it without, so compare before you trust it (the 7B models need no FP8)",
            folder.name,
        )
    core = striped_folder.fill(config, evo2.KEYS, tensors, folder, dtype)
    return SequenceModel(preprocessor, core, files=list(striped_folder.weight_files(folder)))


def _add_frequencies(tensors: dict[str, Tensor], config: CoreConfig) -> None:
    """Rotary frequencies by the config, for layers whose own are not stored."""
    from biolm.core.positions import rope_frequencies

    theta = config.mixer_options.get("attention_stored_rope", {}).get("theta", 10_000.0)
    for layer in range(config.n_layers):
        name = f"blocks.{layer}.inner_mha_cls.rotary_emb.inv_freq"
        if config.layer_mixer(layer) == "attention_stored_rope" and name not in tensors:
            tensors[name] = rope_frequencies(config.head_dim, theta)[0]


def save(model: SequenceModel, folder: Path) -> None:
    """Write a model in the published layout: ``config.json`` and one ``.pt``.

    Parameters
    ----------
    model
        To save.
    folder
        That is there.

    Raises
    ------
    CheckpointError
        If the core has weights that Evo 2 has no name for.
    """
    import json

    import torch

    from biolm.models.families import evo2

    tensors = evo2.KEYS.ours_to_theirs(model.core.state_dict(), model.config)
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    values = evo2.published_config(model.config)
    with replacing_folder(folder, "config.json", overwrite=True) as target:
        torch.save(whole, target / f"{folder.name}.pt")
        (target / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
