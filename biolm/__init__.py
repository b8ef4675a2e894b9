"""biolm: foundation models on sequences and single cells.

Names load on first use, so that ``import biolm`` costs milliseconds and imports neither torch nor
anndata.

>>> import biolm
>>> biolm.__version__
'0.1.0'
"""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biolm import annotate, genes, pl, pp, search, spatial, text, tl
    from biolm.batch import Batch, Output, Tokens
    from biolm.models.registry import load
    from biolm.tasks.attention.contacts import contacts
    from biolm.tasks.embed import embed
    from biolm.tasks.evaluate.benchmarks.run import evaluate_sequences
    from biolm.tasks.evaluate.run import evaluate
    from biolm.tasks.generate.run import generate
    from biolm.tasks.impute.run import impute
    from biolm.tasks.merge import merge
    from biolm.tasks.perturb.run import perturb
    from biolm.tasks.pretrain import pretrain
    from biolm.tasks.tokens.pack import pack
    from biolm.tasks.tokens.tokenize import tokenize
    from biolm.tasks.variants.run import score_variants

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Output",
    "Tokens",
    "__version__",
    "annotate",
    "contacts",
    "embed",
    "evaluate",
    "evaluate_sequences",
    "generate",
    "genes",
    "impute",
    "load",
    "merge",
    "pack",
    "perturb",
    "pl",
    "pp",
    "pretrain",
    "score_variants",
    "search",
    "spatial",
    "text",
    "tl",
    "tokenize",
]

# Where each public name lives; an empty attribute stands for the module itself.
_HOMES = {
    "Batch": ("biolm.batch", "Batch"),
    "Output": ("biolm.batch", "Output"),
    "Tokens": ("biolm.batch", "Tokens"),
    "annotate": ("biolm.annotate", ""),
    "contacts": ("biolm.tasks.attention.contacts", "contacts"),
    "embed": ("biolm.tasks.embed", "embed"),
    "evaluate": ("biolm.tasks.evaluate.run", "evaluate"),
    "evaluate_sequences": ("biolm.tasks.evaluate.benchmarks.run", "evaluate_sequences"),
    "generate": ("biolm.tasks.generate.run", "generate"),
    "genes": ("biolm.genes", ""),
    "impute": ("biolm.tasks.impute.run", "impute"),
    "load": ("biolm.models.registry", "load"),
    "merge": ("biolm.tasks.merge", "merge"),
    "pack": ("biolm.tasks.tokens.pack", "pack"),
    "perturb": ("biolm.tasks.perturb.run", "perturb"),
    "pl": ("biolm.pl", ""),
    "pp": ("biolm.pp", ""),
    "pretrain": ("biolm.tasks.pretrain", "pretrain"),
    "score_variants": ("biolm.tasks.variants.run", "score_variants"),
    "search": ("biolm.search", ""),
    "spatial": ("biolm.spatial", ""),
    "text": ("biolm.text", ""),
    "tl": ("biolm.tl", ""),
    "tokenize": ("biolm.tasks.tokens.tokenize", "tokenize"),
}


def _warn_of_mixed_files(place: Path) -> None:
    """Another distribution installs a package of this name; where both lie in one place, files are mixed."""
    if any(place.glob("biolm_sdk-*.dist-info")):
        warnings.warn(
            f"biolm-sdk, another project, has put files of its own into {place / 'biolm'}; uninstall it "
            "(pip uninstall biolm-sdk) and install this biolm again from its folder",
            stacklevel=3,
        )


_warn_of_mixed_files(Path(__file__).parents[1])


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'biolm' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    imported = import_module(module)
    globals()[name] = getattr(imported, attribute) if attribute else imported
    return globals()[name]


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted(__all__)
