"""What is held out together: donors, batches, clusters of similar sequences.

Dimensions: ``n`` examples.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.io.damage import damage_named
from biolm.training.config import RunConfig
from biolm.training.data.labels import IGNORED, encode_classes

__all__ = ["groups_of_values", "hold_out", "read_groups"]


def groups_of_values(values: NDArray[Any]) -> NDArray[np.int64]:
    """Groups of a column by number; examples without a value are groups of their own."""
    codes, names = encode_classes(values)
    alone = codes == IGNORED
    return np.asarray(np.where(alone, len(names) + np.arange(len(codes)), codes))


def hold_out(groups: NDArray[np.int64], config: RunConfig) -> NDArray[np.bool_]:
    """``(n,)`` which examples are for validation: whole groups, about ``data.validation`` of all examples.

    Groups are taken in a random order, those that would hold out too much are passed over.

    Parameters
    ----------
    groups
        ``(n,)`` group of each example.
    config
        Of the run.

    Raises
    ------
    InputError
        If one side would be empty.
    """
    fraction = config.data.validation
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    # The same stream as for single examples: groups of one are held out alike.
    draws = np.random.Generator(np.random.PCG64([config.seed, 1]))
    order = draws.permutation(len(sizes))
    wanted, chosen = fraction * len(groups), np.zeros(len(sizes), bool)
    total = 0
    for group in order.tolist():
        # Half a group too many is nearer to the fraction than none.
        if total + sizes[group] / 2 <= wanted:
            chosen[group] = True
            total += int(sizes[group])
    # All groups are larger than what is to be held out: the smallest is nearest.
    if fraction and not chosen.any() and len(sizes) > 1:
        chosen[int(np.argmin(sizes))] = True
    held_out = chosen[codes]
    if fraction and (held_out.all() or not held_out.any()):
        raise InputError(
            f"the groups of data.groups {config.data.groups} leave nothing to train or validate on; use "
            "smaller groups or another data.validation"
        )
    return np.asarray(held_out)


@damage_named("the groups")
def read_groups(path: Path, names: list[str]) -> NDArray[np.int64]:
    """The group of each record; records that the table does not name are groups of their own.

    Parameters
    ----------
    path
        A tab-separated table, group then member, as MMseqs2 and
        :func:`~biolm.adapters.sequences.write_clusters` write it. Groups that share a name of a member are
        one.
    names
        ``m`` names of the records.

    Returns
    -------
    ``(m,)`` numbers of groups.

    Raises
    ------
    InputError
        If the table cannot be read or names none of the records.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    try:
        with path.open(newline="", encoding="utf-8") as file:
            pairs = [(row[0], row[1]) for row in csv.reader(file, delimiter="\t") if len(row) >= 2]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the groups {path} cannot be read; give a tab-separated table: group, member"
        ) from error
    numbers: dict[str, int] = {}
    nodes = [numbers.setdefault(name, len(numbers)) for name in names]
    members = [(group, numbers[member]) for group, member in pairs if member in numbers]
    if not members:
        raise InputError(
            f"{path} names none of the {len(names)} records; its second column must be their names"
        )
    groups = {group: len(numbers) + place for place, group in enumerate(dict.fromkeys(g for g, _ in members))}
    edges = np.array([(groups[group], member) for group, member in members], np.int64)
    size = len(numbers) + len(groups)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(size, size))
    # A record of two groups joins them: neither may be torn apart.
    _, labels = connected_components(graph, directed=False)
    of_records: NDArray[np.int64] = labels[np.array(nodes)].astype(np.int64)
    return of_records
