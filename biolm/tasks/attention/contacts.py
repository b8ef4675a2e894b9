"""Contacts of proteins from a model's attention, and how right they are.

Dimensions: ``s`` residues of a sequence · ``p`` pairs of them · ``l`` layers · ``h`` heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biolm.adapters.sequences import Policy, Tally, admitted, check_kind, check_policy
from biolm.errors import ConfigError, InputError
from biolm.io.sequences import SequenceBlock, open_sequences
from biolm.io.structures import Chain, read_chain
from biolm.progress import log

if TYPE_CHECKING:
    from biolm.models.sequence_model import SequenceModel

__all__ = [
    "RANGES",
    "ContactMap",
    "align_chain",
    "contact_model",
    "contacts",
    "fit_contacts",
    "precision",
    "protein_blocks",
    "read_chains",
]

RANGES = {"short": (6, 12), "medium": (12, 24), "long": (24, None)}
"""Distances along the sequence, from and below, by their names in CASP."""

# Residues nearer than this along the chain always touch; Rao et al. leave them out.
_LEAST = 6
# Inverse weight of the L1 penalty of Rao et al., on 20 proteins.
_PENALTY = 0.15


@dataclass(frozen=True, slots=True)
class ContactMap:
    """Contacts of one sequence.

    Parameters
    ----------
    name, sequence
        As in the file, without gaps and a final stop.
    probabilities
        ``(s, s)`` float32, symmetric.
    """

    name: str
    sequence: str
    probabilities: NDArray[np.float32]

    def pairs(self, least: float = 0.0) -> Iterator[tuple[int, int, float]]:
        """Pairs at least 6 apart, from 0, the most probable first."""
        first, second = np.triu_indices(len(self.sequence), _LEAST)
        values = self.probabilities[first, second]
        for place in np.argsort(-values, kind="stable"):
            if values[place] < least:
                return
            yield int(first[place]), int(second[place]), float(values[place])


def contacts(
    data: str | Path | SequenceBlock,
    *,
    model: str | Path | SequenceModel,
    weights: NDArray[np.float32] | None = None,
    device: str = "auto",
    letters: Policy = "unknown",
    tally: Tally | None = None,
) -> Iterator[ContactMap]:
    """Probability of contact of every pair of residues, sequence by sequence.

    Parameters
    ----------
    data
        A sequence file, or sequences in memory.
    model
        A model of proteins with a token for each residue, such as ESM-2.
    weights
        ``(l * h + 1,)`` of :func:`fit_contacts`; None for those of the checkpoint.
    device
        Where to compute.
    letters
        What is done with residues or bases that the model does not know: ``error``, ``unknown`` or ``skip``.
    tally
        Counts them, and what was taken out of the sequences.

    Raises
    ------
    ConfigError
        If the model is of another kind, or neither it nor the caller has weights.
    InputError
        If a sequence is longer than the model.

    Examples
    --------
    >>> found = next(contacts("protein.fasta", model="checkpoints/esm2"))  # doctest: +SKIP
    >>> found.probabilities.shape  # doctest: +SKIP
    (76, 76)
    """
    import torch

    from biolm.batch import Batch
    from biolm.core.contacts import contact_logits
    from biolm.models.running import pick_device

    reader = contact_model(model)
    used = reader.contact_weights if weights is None else weights
    if used is None:
        raise ConfigError(
            f"model {reader.name} holds no weights of contacts; give structures to fit them on "
            "(`fit` FILE:CHAIN)"
        )
    place = pick_device(device)
    reader.core.to(place)
    stored_weights = torch.from_numpy(np.asarray(used, np.float32))
    check_policy(letters)
    for block in protein_blocks(data, reader, letters, Tally() if tally is None else tally):
        for row in range(len(block)):
            tokens = reader.tokenize(block.part(row, row + 1))
            logits = contact_logits(
                reader.core, Batch.from_tokens(tokens).to(place), stored_weights, reader.preprocessor.special
            )
            yield ContactMap(block.names[row], block.text(row), logits[0].sigmoid().cpu().numpy())


def fit_contacts(
    chains: Sequence[Chain], *, model: str | Path | SequenceModel, device: str = "auto"
) -> NDArray[np.float32]:
    """Weigh the heads by an L1 logistic regression of the contacts of some structures.

    Rao et al. took 20 proteins and found that few heads matter.

    Parameters
    ----------
    chains
        Structures; of each, the resolved residues are the sequence.
    model
        As of :func:`contacts`.
    device
        Where to compute.

    Returns
    -------
    ``(l * h + 1,)`` weights, the intercept last.

    Raises
    ------
    InputError
        If no pair of residues touches, or all do.
    """
    import torch
    from sklearn.linear_model import LogisticRegression

    from biolm.batch import Batch
    from biolm.core.contacts import contact_features
    from biolm.models.running import pick_device
    from biolm.scoring.baselines import l1_penalty

    reader = contact_model(model)
    place = pick_device(device)
    reader.core.to(place)
    features, labels = [], []
    for chain in chains:
        block = SequenceBlock.of([chain.sequence], [chain.name])
        # Unknown residues stay, as places of the sequence must be those of the structure.
        for part in protein_blocks(block, reader, "unknown", Tally()):
            pairs = np.triu_indices(len(chain.sequence), _LEAST)
            where = (torch.from_numpy(pairs[0]).to(place), torch.from_numpy(pairs[1]).to(place))
            batch = Batch.from_tokens(reader.tokenize(part)).to(place)
            features.append(
                contact_features(reader.core, batch, where, reader.preprocessor.special).cpu().numpy()
            )
            labels.append(chain.contacts[pairs])
    known = np.concatenate(labels) if labels else np.zeros(0, bool)
    if not 0 < known.sum() < len(known):
        raise InputError("the structures hold no two kinds of pairs, touching and not; give whole proteins")
    regression = LogisticRegression(C=_PENALTY, solver="liblinear", random_state=0, **l1_penalty())
    regression.fit(np.concatenate(features), known)
    log.info(
        "contacts: %d of %d heads weighed, on %d chains",
        np.count_nonzero(regression.coef_),
        regression.coef_.size,
        len(chains),
    )
    return np.concatenate([regression.coef_[0], regression.intercept_]).astype(np.float32)


def precision(predicted: ContactMap, chain: Chain) -> dict[str, float]:
    """Fraction of the L most probable pairs that touch in a structure, by distance along the sequence.

    L is the length of the sequence; pairs count whose residues both are resolved. Where fewer pairs than L
    exist, all of them are taken.

    Parameters
    ----------
    predicted
        Probabilities of a sequence.
    chain
        Its structure.

    Returns
    -------
    By ``short``, ``medium`` and ``long`` of :data:`RANGES`; NaN where no pair exists.

    Raises
    ------
    InputError
        If the structure is of another protein.
    """
    of_chain = align_chain(predicted, chain)
    first, second = np.triu_indices(len(predicted.sequence), 1)
    known = (of_chain[first] >= 0) & (of_chain[second] >= 0)
    first, second = first[known], second[known]
    touching = chain.contacts[of_chain[first], of_chain[second]]
    values = predicted.probabilities[first, second]
    shares = {}
    for name, (least, below) in RANGES.items():
        apart = second - first
        inside = np.flatnonzero((apart >= least) & (apart < (below or np.inf)))
        # As many pairs as residues: precision at L, the measure of CASP.
        best = inside[np.argsort(-values[inside], kind="stable")[: len(predicted.sequence)]]
        shares[name] = float(touching[best].mean()) if len(best) else float("nan")
    return shares


def read_chains(names: Sequence[str]) -> list[Chain]:
    """Chains by ``FILE`` or ``FILE:CHAIN``.

    Raises
    ------
    InputError
        As :func:`biolm.io.structures.read_chain`.
    """
    chains = []
    for name in names:
        file, _, chain = name.rpartition(":")
        # A path may hold a colon itself, on Windows always.
        whole = Path(name).is_file() or not file
        chains.append(read_chain(name) if whole else read_chain(file, chain))
    return chains


def contact_model(model: str | Path | SequenceModel) -> SequenceModel:
    """A model of proteins with a token for each residue.

    Raises
    ------
    ConfigError
        If it is another.
    """
    from biolm.jobs.bind import sequence_model

    reader = sequence_model(model)
    if reader.kind != "protein" or not reader.tokenizer.one_to_one:
        raise ConfigError(f"model {reader.name} has no token for each residue; use a model such as ESM-2")
    return reader


def protein_blocks(
    data: str | Path | SequenceBlock,
    reader: SequenceModel,
    letters: Policy,
    tally: Tally,
    records: int = 8192,
) -> Iterator[SequenceBlock]:
    """Blocks of proteins that the model reads at once.

    Parameters
    ----------
    data
        A sequence file, or sequences in memory.
    reader
        The model.
    letters
        What is done with letters that it does not know.
    tally
        Counts them.
    records
        Most records of a block.

    Raises
    ------
    InputError
        If a sequence is longer than the model.
    """
    if isinstance(data, SequenceBlock):
        yield _checked(admitted(data, reader.tokenizer, letters, tally), reader)
        return
    with open_sequences(data) as source:
        for block in source.blocks(records=records):
            # The kind is told by the first block; later ones may be short of telling letters.
            if not block.start:
                check_kind(block, reader.kind, name=str(data))
            yield _checked(admitted(block, reader.tokenizer, letters, tally), reader)


def _checked(block: SequenceBlock, reader: SequenceModel) -> SequenceBlock:
    longest = None if reader.max_length is None else reader.max_length - sum(reader.preprocessor.special)
    if longest is not None and (block.lengths > longest).any():
        name = block.names[int(np.argmax(block.lengths > longest))]
        raise InputError(
            f"protein {name!r} is longer than the {longest:,} residues that model {reader.name} reads at "
            "once, and contacts need all of them; cut it into domains"
        )
    return block


def align_chain(predicted: ContactMap, chain: Chain) -> NDArray[np.int64]:
    """``(s,)`` residue of the chain at each place of the sequence, -1 where it is not resolved.

    Parameters
    ----------
    predicted
        Probabilities of a sequence.
    chain
        Its structure.

    Raises
    ------
    InputError
        If the structure is of another protein.
    """
    from Bio import Align

    # Biopython says nothing of the types of its aligner.
    tools: Any = Align
    aligner = tools.PairwiseAligner(
        mode="global", match_score=2, mismatch_score=-3, open_gap_score=-5, extend_gap_score=-0.1
    )
    # Ends that stick out are no fault: a structure rarely resolves the whole protein.
    aligner.end_gap_score = 0
    best = aligner.align(predicted.sequence.upper(), chain.sequence)[0]
    of_chain = np.full(len(predicted.sequence), -1, np.int64)
    for (start, end), (other, _) in zip(*best.aligned, strict=True):
        of_chain[start:end] = np.arange(other, other + end - start)
    mapped = np.flatnonzero(of_chain >= 0)
    same = sum(predicted.sequence[place].upper() == chain.sequence[of_chain[place]] for place in mapped)
    if same < 0.9 * len(chain.sequence):
        raise InputError(
            f"{chain.name} is not the structure of {predicted.name!r}: {same} of its {len(chain.sequence)} "
            "residues agree; choose the matching chain"
        )
    return of_chain
