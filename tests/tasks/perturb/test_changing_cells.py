"""Genes changed as tokens and as counts: exactly what is taken away and added."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_cells import CLS, EOS, FIRST, GENES, make_cells, make_model

import biolm
from biolm.batch import Tokens
from biolm.io.cells import open_cells
from biolm.models.model import EmbedOptions
from biolm.models.systems.genetext import load
from biolm.tasks.perturb.cells import open_changing
from biolm.tasks.perturb.edits import Edit
from biolm.tasks.perturb.figures import cosine
from biolm.tasks.perturb.run import perturb

OPTIONS = EmbedOptions(device="cpu", batch_tokens=200)


def _open(model, adata, options=OPTIONS):
    source = open_cells(adata)
    match = model.vocabulary.match(source.gene_columns())
    block = source.take(np.arange(len(adata)))
    return open_changing(model, block, match, options), model.tokenize(block, match, seed=options.seed)


def _one(model, ids, values=None) -> np.ndarray:
    tokens = Tokens(
        ids=np.asarray(ids, np.int32),
        offsets=np.array([0, len(ids)]),
        index=np.array([0]),
        values=None if values is None else np.asarray(values),
    )
    return model.embed_tokens(tokens, OPTIONS)[0]


@pytest.mark.parametrize("max_length", [64, 9])
def test_ranks_lose_a_token_or_gain_one_in_front(max_length: int) -> None:
    model, adata = make_model(max_length=max_length), make_cells(6)
    cells, tokens = _open(model, adata)
    ids = tokens[2].ids.tolist()
    assert (ids[0], ids[-1]) == (CLS, EOS)
    gone = int(cells.expressed[2][3])
    expected = [token for token in ids if token != FIRST + gone]
    deleted = cells.vectors(np.array([2]), [Edit(deleted=(gone,))])[0]
    np.testing.assert_allclose(deleted, _one(model, expected), atol=1e-6)
    absent = next(gene for gene in range(len(GENES)) if gene not in cells.expressed[2])
    for gene in (gone, absent):
        body = [FIRST + gene, *(token for token in ids[1:-1] if token != FIRST + gene)]
        raised = cells.vectors(np.array([2]), [Edit(raised=(gene,))])[0]
        np.testing.assert_allclose(raised, _one(model, [CLS, *body[: max_length - 2], EOS]), atol=1e-6)


@pytest.mark.parametrize("kind", ["bins", "continuous"])
def test_values_go_to_the_top(kind: str) -> None:
    model, adata = make_model(kind), make_cells(5)
    cells, tokens = _open(model, adata)
    ids, values = tokens[1].ids, tokens[1].values
    top = 8 if kind == "bins" else values.max()
    low = int(cells.expressed[1][-1])
    absent = next(gene for gene in range(len(GENES)) if gene not in cells.expressed[1])
    at_top = values.copy()
    at_top[ids == FIRST + low] = top
    raised = cells.vectors(np.array([1]), [Edit(raised=(low,))])[0]
    np.testing.assert_allclose(raised, _one(model, ids, at_top), atol=1e-6)
    longer = (np.append(ids, FIRST + absent), np.append(values, values.dtype.type(top)))
    raised = cells.vectors(np.array([1]), [Edit(raised=(absent,))])[0]
    np.testing.assert_allclose(raised, _one(model, *longer), atol=1e-6)
    both = cells.vectors(np.array([1]), [Edit(deleted=(low,), raised=(absent,))])[0]
    kept = longer[0] != FIRST + low
    np.testing.assert_allclose(both, _one(model, longer[0][kept], longer[1][kept]), atol=1e-6)
    # The block's own tokens stay as they were.
    np.testing.assert_allclose(cells.vectors(np.array([1]), [Edit()])[0], _one(model, ids, values), atol=1e-6)


def test_counts_are_set_to_zero_and_to_the_largest(shipped_cells) -> None:
    import anndata

    adata = anndata.read_h5ad(shipped_cells / "pbmc_cite_10k.h5ad")[:8].copy()
    model = load()
    cells, _ = (open_changing(model, *_taken(model, adata), OPTIONS), None)
    gene, other = (model.vocabulary.genes.index(name) for name in ("ENSG00000167286", "ENSG00000156738"))
    found = cells.vectors(np.arange(8), [Edit(deleted=(gene,), raised=(other,))] * 8)
    dense = adata.X.toarray()
    target = _taken(model, adata)[1].target
    known = target >= 0
    for column in np.flatnonzero(target == gene):
        dense[:, column] = 0
    dense[:, np.flatnonzero(target == other)[0]] = (adata.X.toarray() * known).max(1)
    adata.X = dense
    expected = biolm.embed(adata, model=model).obsm["X_genetext"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def _taken(model, adata):
    source = open_cells(adata)
    return source.take(np.arange(len(adata))), model.vocabulary.match(source.gene_columns())


@pytest.mark.parametrize("kind", ["rank", "bins"])
def test_packing_changes_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, adata = make_model(kind), make_cells(12)
    cells, _ = _open(model, adata)
    rows = np.repeat(np.arange(12), 5)
    edits = [Edit(raised=(int(gene),)) for gene in np.random.default_rng(0).integers(0, 40, 60)]
    packed = cells.vectors(rows, edits)
    alone = np.concatenate([cells.vectors(rows[i : i + 1], edits[i : i + 1]) for i in range(60)])
    assert cosine(packed, alone).min() > 1 - 1e-6
    np.testing.assert_allclose(packed, alone, atol=2e-6)
    monkeypatch.setattr("biolm.tasks.perturb.cells._PIECE", 50)
    np.testing.assert_allclose(cells.vectors(rows, edits), packed, atol=2e-6)


@pytest.mark.parametrize("kind", ["rank", "bins", "continuous", "counts"])
def test_an_edit_that_changes_nothing_is_no_change(kind: str) -> None:
    adata = make_cells(12, seed=3)
    if kind == "counts":
        model = load()
        adata.var_names = list(model.vocabulary.genes[: len(GENES)])
    else:
        model = make_model(kind)
    cells = _open(model, adata)[0] if kind != "counts" else _open_counts(model, adata)
    changed = 0
    for cell, expressed in enumerate(cells.expressed):
        for gene in expressed[:3].tolist():
            edit = Edit(raised=(gene,))
            before, after = cells.vectors(np.array([cell, cell]), [Edit(), edit])
            if not cells.changes(cell, edit):
                np.testing.assert_array_equal(before, after)
            changed += cells.changes(cell, edit)
            assert cells.changes(cell, Edit(deleted=(gene,)))
        assert not cells.changes(cell, Edit())
        assert not cells.changes(cell, Edit(raised=(int(expressed[0]),)))
    assert changed


def _open_counts(model, adata):
    source = open_cells(adata)
    match = model.vocabulary.match(source.gene_columns(), minimum=0)
    return open_changing(model, source.take(np.arange(len(adata))), match, OPTIONS)


def test_cells_in_which_nothing_changes_are_not_counted() -> None:
    adata = make_cells(30)
    counts = adata.X.toarray()
    highest = (counts[:, 0] >= counts.max(1)) & (np.argmax(counts, 1) == 0)
    assert 0 < highest.sum() < len(adata)
    found = perturb(adata, model=make_model(), overexpress=["gene0"], controls=0)
    assert found.columns["cells"].tolist() == [len(adata) - highest.sum()]
    assert np.isnan(found.shifts.shift[highest, 0]).all()


def test_no_control_raises_the_highest_gene_of_a_cell() -> None:
    adata = make_cells(30)
    counts = adata.X.toarray()
    found = perturb(adata, model=make_model(), overexpress=["gene1", "gene2", "gene3"], controls=5)
    drawn = found.shifts.drawn
    assert (drawn >= 0).any()
    # Ranks: raising the gene that already stands first changes no token.
    first = np.argmax(counts, 1)
    assert not (drawn == first[:, None, None]).any()
