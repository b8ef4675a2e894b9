"""Chains of PDB and mmCIF files: their sequence, and which residues touch.

Dimensions: ``m`` residues of a chain.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import InputError

__all__ = ["Chain", "read_chain"]

# Å between the beta carbons of two residues that touch (alpha carbon of glycine), as in CASP.
TOUCHING = 8.0


@dataclass(frozen=True, slots=True)
class Chain:
    """The resolved residues of one chain.

    Parameters
    ----------
    name
        File and chain.
    sequence
        ``m`` letters, X for what is no standard residue.
    places
        ``(m, 3)`` beta carbons (alpha carbons of glycine) in Å.
    """

    name: str
    sequence: str
    places: NDArray[np.float64]

    @property
    def contacts(self) -> NDArray[np.bool_]:
        """``(m, m)`` pairs whose carbons are less than 8 Å apart."""
        between = self.places[:, None] - self.places[None]
        return np.asarray(np.square(between).sum(-1) < TOUCHING**2)


def read_chain(path: str | Path, chain: str | None = None) -> Chain:
    """Read one chain of the first model of a file, with Biopython.

    Parameters
    ----------
    path
        A ``.pdb``, ``.ent``, ``.cif`` or ``.mmcif`` file.
    chain
        Its name; None for the only one.

    Raises
    ------
    InputError
        If the file cannot be read, or does not hold the chain.
    """
    place = Path(path)
    model = _first_model(place)
    names = [one.id for one in model]
    if chain is None and len(names) != 1:
        raise InputError(f"{place} holds the chains {', '.join(names)}; name one of them (FILE:CHAIN)")
    wanted = names[0] if chain is None else chain
    if wanted not in names:
        raise InputError(f"{place} has no chain {wanted!r} but {', '.join(names)}; name one of them")
    residues, places = [], []
    for residue in model[wanted]:
        atom = next((residue[name] for name in ("CB", "CA") if name in residue), None)
        # Waters and ligands are residues of the file too; selenomethionine stands for methionine.
        if atom is not None and residue.id[0] in (" ", "H_MSE"):
            residues.append(_letter(residue.get_resname()))
            places.append(atom.coord)
    if len(residues) < 2:
        raise InputError(f"chain {wanted} of {place} has no residues with coordinates; choose another chain")
    return Chain(f"{place.name}:{wanted}", "".join(residues), np.array(places, np.float64))


def _first_model(path: Path) -> Any:
    from Bio import PDB

    # Biopython says nothing of the types of its parsers.
    parsers: Any = PDB
    kind = parsers.MMCIFParser if path.suffix.lower() in (".cif", ".mmcif") else parsers.PDBParser
    with warnings.catch_warnings():
        # Files of the PDB break their own format in small ways, which Biopython reports and repairs.
        warnings.simplefilter("ignore")
        try:
            structure = kind(QUIET=True).get_structure("chain", str(path))
            return next(iter(structure))
        except Exception as error:  # the parsers fail in many ways
            raise InputError(f"{path} is no PDB or mmCIF file that can be read; copy it again") from error


def _letter(name: str) -> str:
    from Bio.Data.IUPACData import protein_letters_3to1

    return "M" if name == "MSE" else protein_letters_3to1.get(name.capitalize(), "X")
