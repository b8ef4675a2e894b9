"""Options of score-variants are refused by name where they mean nothing, in Python and the command line."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

import biolm
from biolm.errors import ConfigError
from biolm.options import options_of
from biolm.tasks.variants import settings as variants

INPUTS: dict[str, tuple[Any, dict[str, Any]]] = {
    variants.TABLE: ("assay.csv", {}),
    variants.LIST: (["K2R"], {"sequence": "p.fasta"}),
    variants.PROTEIN_SCAN: ("p.fasta", {"scan": True}),
    variants.VCF: ("in.vcf", {"reference": "genome.fa"}),
    variants.INTERVAL_SCAN: ("in.bed", {"reference": "genome.fa", "scan": True}),
}
OTHER = {
    "strands": "forward",
    "average": True,
    "distances": True,
    "baseline": False,
    "offset": 3,
    "seed": 4,
    "shard": "1/2",
}
FILES = {
    "sequence": (variants.TABLE, variants.LIST),
    "assays": (variants.TABLE,),
    "reference": (variants.VCF, variants.INTERVAL_SCAN),
    "picture": (variants.PROTEIN_SCAN, variants.INTERVAL_SCAN),
}
ONLY = {name: option.only for name, option in options_of(variants.VariantSettings).items() if option.only}
CASES = [
    *((name, OTHER[name], what) for name, only in ONLY.items() for what in INPUTS if what not in only),
    *((name, "some.file", what) for name, only in FILES.items() for what in INPUTS if what not in only),
]


def test_every_option_of_some_inputs_is_tried() -> None:
    assert set(ONLY) == set(OTHER)
    assert len(CASES) > 25


@pytest.mark.parametrize(("name", "value", "what"), CASES)
def test_what_an_input_does_not_use_is_refused(name: str, value: Any, what: str) -> None:
    data, more = INPUTS[what]
    with pytest.raises(ConfigError, match=rf"`{name}` .*means nothing for {what}; leave it out"):
        biolm.score_variants(data, model="no such model", **{**more, name: value})

    from biolm.cli.main import app

    if name == "sequence" and what == variants.LIST:
        return
    words = ["p.fasta", "--mutation", *data] if isinstance(data, list) else [data]
    if not isinstance(data, list):
        for key, given in more.items():
            words += [f"--{key}"] if given is True else [f"--{key}", given]
    asked = f"--no-{name}" if value is False else f"--{name}"
    words += [asked] if isinstance(value, bool) else [asked, str(value)]
    done = CliRunner().invoke(app, ["score-variants", *words, "-m", "no such model", "-o", "out"])
    assert done.exit_code != 0
    shown = " ".join(done.output.split())
    assert name in shown
    assert f"means nothing for {what}" in shown


def test_options_that_do_nothing_anywhere_are_unknown() -> None:
    for name in ("format", "strnds"):
        with pytest.raises(ConfigError, match=f"score-variants has no option {name}"):
            biolm.score_variants("in.vcf", model="m", reference="g.fa", **{name: "csv"})
    with pytest.raises(ConfigError, match="both name the unchanged protein"):
        biolm.score_variants("assay.csv", model="m", sequence="p.fasta", assays="a.csv")
