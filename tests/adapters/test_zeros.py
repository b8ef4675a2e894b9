"""Genes of value 0: never an expressed one, others in each epoch, the same in any block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.adapters.cells.zeros import add_zeros
from biolm.batch import Tokens
from biolm.errors import InputError
from biolm.io.cells import CellBlock

# Ten columns; the fourth is outside the vocabulary, the last two are one gene.
TOKEN_OF = np.array([14, 11, 12, -1, 13, 15, 16, 17, 18, 18], np.int32)
MEASURED = set(range(11, 19))


def block_of(cells: list[dict[int, float]], start: int = 0) -> CellBlock:
    indptr = np.cumsum([0, *map(len, cells)])
    data = np.array([value for cell in cells for value in cell.values()], float)
    indices = np.array([column for cell in cells for column in cell], np.int32)
    return CellBlock(start, data, indices, indptr, len(TOKEN_OF))


def own_tokens(cells: list[dict[int, float]]) -> Tokens:
    """A cls token, then at most three of a cell's genes."""
    ids, values, lengths = [], [], []
    for cell in cells:
        kept = [(TOKEN_OF[c], v) for c, v in cell.items() if TOKEN_OF[c] >= 0 and v > 0][:3]
        ids += [1, *(int(token) for token, _ in kept)]
        values += [-2, *(value for _, value in kept)]
        lengths.append(1 + len(kept))
    return Tokens(
        ids=np.array(ids, np.int32), offsets=np.cumsum([0, *lengths]), index=np.arange(len(cells)),
        values=np.array(values, np.int16),
    )  # fmt: skip


CELLS = st.lists(
    st.dictionaries(st.integers(0, 9), st.integers(0, 5).map(float), max_size=8), min_size=1, max_size=5
)


@given(cells=CELLS, most=st.integers(0, 12), epoch=st.integers(0, 3))
def test_zeros_are_measured_genes_that_are_not_expressed(
    cells: list[dict[int, float]], most: int, epoch: int
) -> None:
    own, block = own_tokens(cells), block_of(cells)
    made = add_zeros(own, block, TOKEN_OF, most, seed=3, epoch=epoch)
    assert made.values.dtype == own.values.dtype
    for row, cell in enumerate(cells):
        before, after = (slice(*part.offsets[row : row + 2]) for part in (own, made))
        length = int(own.lengths[row])
        assert made.ids[after][:length].tolist() == own.ids[before].tolist()
        assert made.values[after][:length].tolist() == own.values[before].tolist()
        zeros = made.ids[after][length:].tolist()
        expressed = {int(TOKEN_OF[column]) for column, value in cell.items() if value > 0}
        assert set(zeros) <= MEASURED - expressed
        assert zeros == sorted(set(zeros))
        assert len(zeros) == min(most, len(MEASURED - expressed))
        assert not made.values[after][length:].any()


def test_a_cell_draws_the_same_in_any_block_and_others_in_each_epoch() -> None:
    cells = [{0: 2.0}] * 40
    keys = np.arange(40) + 10**6
    whole = add_zeros(own_tokens(cells), block_of(cells), TOKEN_OF, 3, seed=0, epoch=0, keys=keys)
    one = add_zeros(own_tokens(cells[:1]), block_of(cells[:1]), TOKEN_OF, 3, seed=0, epoch=0, keys=keys[7:8])
    assert one.ids.tolist() == whole.ids[whole.offsets[7] : whole.offsets[8]].tolist()
    zeros = whole.ids.reshape(40, 5)[:, 2:]
    share = np.bincount(zeros.ravel(), minlength=19)[11:] / 40
    assert share[3] == 0
    assert np.allclose(np.delete(share, 3), 3 / 7, atol=0.25)
    for seed, epoch in ((1, 0), (0, 1)):
        other = add_zeros(own_tokens(cells), block_of(cells), TOKEN_OF, 3, seed=seed, epoch=epoch, keys=keys)
        assert (other.ids.reshape(40, 5)[:, 2:] != zeros).mean() > 0.3


def test_tokens_without_values_are_refused() -> None:
    own = own_tokens([{0: 1.0}])
    plain = Tokens(ids=own.ids, offsets=own.offsets, index=own.index)
    with pytest.raises(InputError, match="tokens with values"):
        add_zeros(plain, block_of([{0: 1.0}]), TOKEN_OF, 3, seed=0, epoch=0)
