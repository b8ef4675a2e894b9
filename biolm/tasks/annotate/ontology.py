"""Cell types and their ancestors, from a file the user gives, to name cells more coarsely.

Three kinds of file are read: OBO (as the Cell Ontology is published), obographs JSON, and tab-separated
tables with the columns ``child`` and ``parent``. Only ``is_a`` makes an ancestor. A class is found by its id,
name or exact synonym, whatever the case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biolm.errors import InputError
from biolm.io.damage import damage_named, reason_of

__all__ = ["Ontology", "read_ontology"]


@dataclass(frozen=True)
class Ontology:
    """Terms and what they are kinds of.

    Parameters
    ----------
    names
        Name of each term by id.
    parents
        Ids of the terms that a term is directly a kind of.
    synonyms
        Id of each exact synonym.

    Examples
    --------
    >>> cells = Ontology({"T": "T cell", "CD4": "CD4 T", "B": "B cell"}, {"CD4": ("T",)})
    >>> cells.roll_up(["CD4 T", "B cell"], ["T cell"])
    {'CD4 T': 'T cell', 'B cell': 'B cell'}
    """

    names: Mapping[str, str]
    parents: Mapping[str, tuple[str, ...]]
    synonyms: Mapping[str, str] = field(default_factory=dict)

    def find(self, text: str) -> str | None:
        """Id of a term by its id, name or synonym; None where there is none."""
        return self._lookup().get(text.lower())

    def ancestors(self, term: str) -> list[str]:
        """The term, then what it is a kind of, the nearest first."""
        terms = [term]
        # The list grows while it is read: first the parents, then theirs.
        for each in terms:
            terms += [above for above in self.parents.get(each, ()) if above not in terms]
        return terms

    def roll_up(self, classes: Sequence[str], coarse: Sequence[str]) -> dict[str, str]:
        """The coarse name of each class: its nearest ancestor among ``coarse``, or the class itself.

        Parameters
        ----------
        classes
            Names or ids of the classes.
        coarse
            Names or ids of the terms to name them by.

        Raises
        ------
        InputError
            If a coarse term is not in the ontology, or no class is a kind of any.
        """
        lookup = self._lookup()
        ids = {}
        for name in coarse:
            if name.lower() not in lookup:
                raise InputError(f"the ontology has no term '{name}'; name coarse types as it does")
            ids[lookup[name.lower()]] = name
        rolled = {}
        for name in classes:
            term = lookup.get(name.lower())
            above = [ids[each] for each in self.ancestors(term) if each in ids] if term else []
            rolled[name] = above[0] if above else name
        if coarse and all(rolled[name] == name for name in classes):
            shown = ", ".join(f"'{name}'" for name in list(classes)[:3])
            raise InputError(
                f"no class of the annotator ({shown} ...) is a kind of {', '.join(coarse)} in the ontology; "
                "label the training cells with its names or ids"
            )
        return rolled

    def _lookup(self) -> dict[str, str]:
        """Id by id, name or synonym in lower case; names win over synonyms."""
        texts = [*self.synonyms.items(), *((name, term) for term, name in self.names.items())]
        return {text.lower(): term for text, term in [*texts, *((term, term) for term in self.names)]}


@damage_named("the ontology")
def read_ontology(path: str | Path) -> Ontology:
    """Read an ontology: ``.obo``, ``.json`` or a tab-separated table.

    Raises
    ------
    InputError
        If the file cannot be read as what its ending says, or holds no term.
    """
    file = Path(path)
    readers = {".obo": _obo, ".json": _json, ".tsv": _table, ".txt": _table}
    if file.suffix.lower() not in readers:
        raise InputError(f"{file} is none of the ontology files that can be read: .obo, .json, .tsv")
    try:
        text = file.read_text(encoding="utf-8")
        ontology = readers[file.suffix.lower()](text)
    except OSError as error:
        raise InputError(f"cannot read the ontology {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is not a valid ontology ({reason_of(error)}); download it again") from error
    if not ontology.names or not ontology.parents:
        raise InputError(f"{file} holds no terms with parents; give the full ontology")
    return ontology


def _obo(text: str) -> Ontology:
    names: dict[str, str] = {}
    parents: dict[str, tuple[str, ...]] = {}
    synonyms: dict[str, str] = {}
    for stanza in text.split("\n[")[1:]:
        head, *lines = stanza.splitlines()
        # Other stanzas describe relations; an obsolete term has no parents and a name that misleads.
        if head != "Term]" or "is_obsolete: true" in lines:
            continue
        pairs = [line.partition(": ")[::2] for line in lines]
        term = next((value.strip() for key, value in pairs if key == "id"), None)
        if term is None:
            raise ValueError("a term without an id")
        names[term] = next((value.strip() for key, value in pairs if key == "name"), term)
        # What follows "!" is a comment and "{...}" a qualifier (OBO 1.4).
        above = [value.split("!")[0].split("{")[0].strip() for key, value in pairs if key == "is_a"]
        if above:
            parents[term] = tuple(above)
        for key, value in pairs:
            if key == "synonym" and '" EXACT' in value:
                # The first term keeps a synonym that several claim; related or broader synonyms are not
                # names.
                synonyms.setdefault(value.split('"')[1], term)
    return Ontology(names, parents, synonyms)


def _json(text: str) -> Ontology:
    names: dict[str, str] = {}
    parents: dict[str, tuple[str, ...]] = {}
    synonyms: dict[str, str] = {}
    for graph in json.loads(text)["graphs"]:
        for node in graph.get("nodes", []):
            term = _short(node["id"])
            names[term] = node.get("lbl", term)
            for other in node.get("meta", {}).get("synonyms", []):
                if other.get("pred") == "hasExactSynonym":
                    synonyms.setdefault(other["val"], term)
        for edge in graph.get("edges", []):
            if edge["pred"] == "is_a":
                child = _short(edge["sub"])
                parents[child] = (*parents.get(child, ()), _short(edge["obj"]))
    return Ontology(names, parents, synonyms)


def _table(text: str) -> Ontology:
    head, *lines = text.splitlines()
    columns = head.lower().split("\t")
    if not {"child", "parent"} <= set(columns):
        raise ValueError("the first line should name the tab-separated columns child and parent")
    parents: dict[str, tuple[str, ...]] = {}
    names: dict[str, Any] = {}
    for line in filter(None, lines):
        cells = line.split("\t")
        child, parent = (cells[columns.index(word)].strip() for word in ("child", "parent"))
        parents[child] = (*parents.get(child, ()), parent)
        names |= {child: child, parent: parent}
    return Ontology(names, parents)


def _short(address: str) -> str:
    """``CL:0000084`` of ``http://purl.obolibrary.org/obo/CL_0000084``."""
    return address.rsplit("/", 1)[-1].replace("_", ":", 1)
