"""Documents laid out in blocks of equal size, with room in front for what came before them.

Dimensions: ``t`` tokens of all documents end to end · ``b`` documents · ``c`` channels · ``r`` rows of all
blocks · ``p`` earlier inputs of each document.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from biolm.core.layout import Layout

__all__ = ["Stream"]


class Stream:
    """Documents in blocks of ``size`` rows, each document after ``lead`` rows for what came before it."""

    def __init__(self, layout: Layout, size: int, lead: int) -> None:
        lengths = [q1 - q0 for q0, q1, _, _ in layout.spans]
        self.size, self.lead = size, lead
        self.counts = [-(-length // size) for length in lengths]
        self.total, firsts = 0, []
        for count in self.counts:
            firsts.append(self.total + lead)
            self.total += lead + count * size
        self.firsts, self.lengths = firsts, lengths
        """Row of each document's first token, and its tokens."""
        device = layout.q_positions.device
        self._single = len(lengths) == 1
        starts = torch.tensor(firsts, device=device)
        own = (
            torch.arange(len(layout.q_positions), device=device) - layout.q_offsets.long()[layout.q_documents]
        )
        self.rows = starts[layout.q_documents] + own
        self.ends = starts + torch.tensor(lengths, device=device)

    @classmethod
    def of(cls, layout: Layout, size: int, lead: int) -> Stream:
        """The same for every layer of a pass.

        Parameters
        ----------
        layout
            Of the pass.
        size
            Taps of the filter.
        lead
            Earlier inputs kept in front of each document.
        """
        name = ("stream", size, lead)
        if name not in layout.cache:
            layout.cache[name] = cls(layout, size, lead)
        return layout.cache[name]  # type: ignore[no-any-return]

    def spread(self, x: Tensor, past: Tensor | None = None) -> Tensor:
        """Tokens ``(t, c)`` and earlier ones ``(b, c, p)`` to rows; zeros elsewhere.

        Parameters
        ----------
        x
            ``(t, c)`` inputs of the new tokens.
        past
            ``(b, c, p)`` inputs before them; None for none.
        """
        if self._single:
            if past is None:
                return F.pad(x, (0, 0, self.lead, self.total - self.lead - len(x)))
            before = F.pad(past[0].t(), (0, 0, self.lead - past.shape[2], 0))
            tail = x.new_zeros(self.total - self.lead - len(x), x.shape[1])
            return torch.cat((before.to(x.dtype), x, tail))
        rows = x.new_zeros(self.total, x.shape[1]).index_copy(0, self.rows, x)
        if past is not None:
            places = self._before(past.shape[2], torch.tensor(self.firsts, device=x.device))
            rows = rows.index_copy(0, places, past.transpose(1, 2).flatten(0, 1).to(x.dtype))
        return rows

    def gather(self, rows: Tensor) -> Tensor:
        """Tokens ``(t, c)`` back from rows."""
        if self._single:
            return rows[self.lead : self.lead + len(self.rows)]
        return rows.index_select(0, self.rows)

    def last(self, rows: Tensor, count: int) -> Tensor:
        """The last inputs of each document, earlier ones included: ``(b, c, count)``.

        Parameters
        ----------
        rows
            ``(r, c)`` as :meth:`spread` lays them.
        count
            How many.
        """
        places = self._before(count, self.ends)
        return rows.index_select(0, places).view(-1, count, rows.shape[1]).transpose(1, 2)

    @staticmethod
    def _before(count: int, ends: Tensor) -> Tensor:
        return (ends[:, None] - count + torch.arange(count, device=ends.device)).flatten()
