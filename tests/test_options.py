"""Options are declared once, refused by name where a job does not use them, and spelled as each face does."""

from __future__ import annotations

import ast
import dataclasses
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from typer.testing import CliRunner

from biolm import annotate, perturb
from biolm.cli.arguments import shown_fields
from biolm.cli.main import COMMANDS, app
from biolm.errors import ConfigError
from biolm.options import (
    check_needs,
    option_of,
    options_of,
    read_options,
    refuse_unused,
    spelled,
    unused_options,
)
from biolm.tasks.annotate.settings import FitSettings, GeneFitSettings, PredictSettings
from biolm.tasks.search.build import build

BOTH = ("embed", "tokenize", "annotate fit", "annotate predict", "pack")
"""Commands that read cells or sequences."""


def another(hint: Any, option: Any) -> Any:
    """A value that is allowed and not the default."""
    kind = get_args(hint)[0] if option is not None else hint
    parts = [part for part in (kind, *get_args(kind)) if part is not type(None)]
    if option.choices:
        return option.choices
    if get_origin(kind) is Literal:
        return get_args(kind)
    if any(get_origin(part) is tuple for part in parts):
        return (("other",),)
    if bool in parts:
        return (True, False)
    if int in parts:
        return (3, 4)
    return (0.3, 0.4) if float in parts else ("2/3", "other")


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("modality", ["cells", "sequences"])
def test_every_option_of_other_data_is_refused_by_name(name: str, modality: str) -> None:
    """Each command's options, one after another, for a kind of data that they do not serve."""
    kind = COMMANDS[name].Arguments
    hints = get_type_hints(kind, include_extras=True)
    needed = {field.name: "x" for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
    unused = [each for each in unused_options(kind, modality) if each in {f.name for f in shown_fields(kind)}]
    assert unused
    for each in unused:
        field = next(field for field in dataclasses.fields(kind) if field.name == each)
        values = another(hints[each], option_of(hints[each]))
        value = next(value for value in values if value != field.default)
        more = {"ontology": {"coarse": ("T",)}, "coarse": {"ontology": "x"}}.get(each, {})
        with pytest.raises(ConfigError, match=f"`({each}|ontology|coarse)` is"):
            refuse_unused(kind(**needed, **{each: value}, **more), modality)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--ontology", "/no/such.obo", "--coarse", "T"], "--ontology"),
        (["--layer", "zzz"], "--layer"),
        (["--species", "yeast"], "--species"),
        (["--format", "zarr"], "--format"),
        (["--seed", "3"], "--seed"),
    ],
)
def test_annotate_predict_of_sequences_refuses_options_of_cells(
    tmp_path: Path, words: list[str], named: str
) -> None:
    sequences = tmp_path / "s.fa"
    sequences.write_text(">a\nMKV\n")
    given = ["annotate", "predict", str(sequences), "-a", str(tmp_path), "-o", str(tmp_path / "x.tsv")]
    result = CliRunner().invoke(app, [*given, *words])
    assert result.exit_code == 2
    assert f"Error: {named} is " in result.stderr
    assert not (tmp_path / "x.tsv").exists()


@pytest.mark.parametrize(
    ("call", "options"),
    [
        (
            lambda **more: annotate.fit(None, label="x", **more),
            ("shard", "resume", "centre", "key", "format"),
        ),
        (lambda **more: annotate.predict(None, None, **more), ("shard", "resume", "centre", "format")),
        (lambda **more: annotate.label_genes({}, **more), ("shard", "resume", "centre", "key", "neighbours")),
        (lambda **more: build([], **more), ("shard", "centre", "key", "format", "windows")),
        (lambda **more: perturb(None, **more), ("shard", "resume", "centre", "key", "format")),
    ],
    ids=["fit", "predict", "label_genes", "build", "perturb"],
)
def test_options_of_other_jobs_are_refused_in_python(call: Any, options: tuple[str, ...]) -> None:
    values = {"shard": "1/7", "resume": True, "centre": True, "key": "abc", "format": "npy", "windows": False}
    for name in options:
        with pytest.raises(ConfigError, match=name):
            call(**{name: values.get(name, 3)})


def test_search_query_refuses_options_of_other_jobs(tmp_path: Path) -> None:
    from biolm.tasks.search.query import QuerySettings

    for name in ("centre", "windows", "duplicates"):
        with pytest.raises(ConfigError, match=f"search query has no option {name}"):
            read_options(QuerySettings, {name: True}, "search query")
    for given in ({"shard": "1/7"}, {"resume": True}, {"format": "npy"}):
        with pytest.raises(ConfigError, match="is for jobs that write a file"):
            QuerySettings(**given).check_in_memory()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (lambda: FitSettings(epochs=3), "epochs"),
        (lambda: FitSettings(neighbours=3), "neighbours"),
        (lambda: FitSettings(method="knn", features="embedding"), "features"),
        (lambda: FitSettings(method="head", hidden_state=-2), "hidden_state"),
        (lambda: GeneFitSettings(test_share=0.3), "test_share"),
        (lambda: GeneFitSettings(neighbours=3), "neighbours"),
    ],
)
def test_a_method_refuses_options_of_another(settings: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=f"`{name}`"):
        settings()


def test_predictions_are_pooled_as_the_annotator_was() -> None:
    with pytest.raises(ConfigError, match="no option pool"):
        annotate.predict("none.h5ad", "none", pool="mean")
    with pytest.raises(ConfigError, match="`pool` is not used"):
        refuse_unused(PredictSettings(pool="mean"), "cells")


def needing() -> list[tuple[str, str]]:
    """Every command with each of its options that does nothing without another."""
    return [
        (name, each)
        for name, module in COMMANDS.items()
        for each, option in options_of(module.Arguments).items()
        if option.needs and option.cli and not needs_what_is_required(module.Arguments, option.needs)
    ]


def needs_what_is_required(kind: Any, needs: tuple[str, ...]) -> bool:
    """Whether the option that another needs must be given anyway."""
    required = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
    return bool(required & set(needs))


@pytest.mark.parametrize(("name", "each"), needing())
def test_an_option_that_another_wakes_is_refused_without_it(name: str, each: str) -> None:
    kind = COMMANDS[name].Arguments
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    needed = {one: "x" for one, field in fields.items() if field.default is dataclasses.MISSING}
    option = options_of(kind)[each]
    pairs = [need.partition("=")[::2] for need in option.needs]
    assert {other for other, _ in pairs} <= set(fields), "a need is no option of the command"
    # Needs that hold by default, as `curves=True`, are taken away first.
    asleep = {other: False for other, value in pairs if value == "True"}
    values = (*another(hints[each], option), 3, "other")
    value = next(v for v in values if v != fields[each].default and not option.refusal(v))
    with pytest.raises(ConfigError, match=f"`{each}` does nothing without `{pairs[0][0]}"):
        check_needs(kind(**needed, **asleep, **{each: value}))
    other, word = pairs[0]
    awake = (
        True
        if word == "True"
        else word
        or next(v for v in another(hints[other], options_of(kind)[other]) if v != fields[other].default)
    )
    check_needs(kind(**needed, **{other: awake, each: value}))


# Reads behind a question about another option that are no option ignored, and why.
HARMLESS = {
    ("pretrain", "output"): "a command line is tried with --dry-run and run as it is without",
    ("perturb", "genes"): "--all-genes and --genes together are refused",
    ("text qa answer", "tune_on"): "the threshold is given or tuned; both are refused",
    ("text topics", "cloud"): "an output, beside what is printed",
}


def chosen_in(node: ast.AST) -> set[str]:
    """Options that code reads."""
    reads = [each for each in ast.walk(node) if isinstance(each, ast.Attribute)]
    return {each.attr for each in reads if getattr(each.value, "id", "") == "chosen"}


def read_always(code: list[ast.stmt] | list[ast.AST]) -> set[str]:
    """Options that are read whatever other options are."""
    names: set[str] = set()
    for place, node in enumerate(code):
        if not isinstance(node, ast.If | ast.IfExp):
            children: list[ast.AST] = list(ast.iter_child_nodes(node))
            names |= read_always(children) if children else set()
            names |= chosen_in(node) if isinstance(node, ast.Attribute) else set()
            continue
        body = node.body if isinstance(node.body, list) else [node.body]
        other = node.orelse if isinstance(node.orelse, list) else [node.orelse]
        leaves = isinstance(body[-1], ast.Return)
        sides = read_always(body), read_always([*other, *code[place + 1 :]] if leaves else other)
        names |= chosen_in(node.test)
        names |= sides[0] & sides[1] if chosen_in(node.test) else sides[0] | sides[1]
        if leaves:
            break
    return names


def conditional(name: str) -> set[str]:
    """Options that a command reads only where another option has some value."""
    tree = ast.parse(Path(str(COMMANDS[name].__file__)).read_text(encoding="utf-8"))
    [run] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run"]
    return chosen_in(run) - read_always(run.body)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_is_read_only_beside_another_and_ignored_elsewhere(name: str) -> None:
    """What a command reads behind a question about another option says so, and is refused without it."""
    kind = COMMANDS[name].Arguments
    source = Path(str(COMMANDS[name].__file__)).read_text(encoding="utf-8")
    options = options_of(kind)
    checked = "refuse_others(chosen, used" in source
    ignored = [
        each
        for each in sorted(conditional(name) & set(options))
        if not (options[each].needs or checked or (name, each) in HARMLESS)
        if each not in ("json", "quiet", "overwrite", "output", "picture")
    ]
    assert ignored == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_read(name: str, repository: Path) -> None:
    """An option that no line of the package reads by its name changes nothing."""
    names = _names_read(repository / "biolm")
    unread = [field.name for field in shown_fields(COMMANDS[name].Arguments) if field.name not in names]
    assert unread == []


@cache
def _names_read(package: Path) -> frozenset[str]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(package.rglob("*.py"))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return frozenset(
        {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        | {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    )


def test_messages_are_spelled_by_the_face() -> None:
    from biolm.cli.messages import spelling

    spell = spelling(COMMANDS["search query"].Arguments)
    message = 'raise `k`, `overwrite=True`, `letters="skip"`, `progress=False`; `obs` is a word, `key` a name'
    assert spelled(message, spell) == (
        "raise --neighbours, --overwrite, --letters skip, --no-progress; `obs` is a word, --key a name"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_no_name_is_cut_at_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    module: ModuleType = COMMANDS[name]
    shown = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    assert "…" not in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80
    options = options_of(module.Arguments)
    for field in shown_fields(module.Arguments):
        option = options.get(field.name)
        if option is not None and not option.argument:
            flags = option.flags or (f"--{field.name.replace('_', '-')}",)
            assert all(word in shown.output for flag in flags for word in flag.split("/"))


def test_library_messages_name_no_flag_of_the_command_line(repository: Path) -> None:
    """Whoever calls a function from Python is not told of ``--flags``; training and text come later."""
    import re

    flag = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
    found = []
    for part in ("jobs", "tasks", "io", "adapters", "vocab", "scoring", "models"):
        for path in sorted((repository / "biolm" / part).rglob("*.py")):
            if "text" in path.relative_to(repository).parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                raised = ast.walk(node) if isinstance(node, ast.Raise) else ()
                texts = [each for each in raised if isinstance(each, ast.Constant)]
                found += [f"{path.name}:{each.lineno}" for each in texts if flag.search(str(each.value))]
    assert found == []


@pytest.mark.parametrize(
    "words",
    [
        ["text", "evaluate", "x.txt", "--gold", "x.txt"],
        ["text", "nearest", "x.txt", "--query", "q"],
        ["text", "topics", "x.txt"],
        ["spatial", "retrieve", "x.h5ad", "-m", "model"],
    ],
)
def test_overwrite_without_an_output_is_refused(words: list[str]) -> None:
    result = CliRunner().invoke(app, [*words, "--overwrite"])
    assert result.exit_code == 2, result.output
    assert "--overwrite replaces an output, and none is written here" in result.output


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("spatial deconvolve x.h5ad --reference cells.h5ad --label type --topics 3", "--topics"),
        ("spatial deconvolve x.h5ad --label type", "--label"),
        ("spatial domains x.h5ad --vectors X_fused --components 3", "--components"),
        ("spatial prepare x -o y.h5ad --image none --stain", "--stain"),
        ("spatial prepare x -o y.h5ad --image none --patch-um 50", "--patch-um"),
        ("spatial embed x.h5ad -m model -o y.h5ad --spots a", "--spots"),
        ("spatial train x.h5ad -o y --niche-um 50", "--niche-um"),
        ("text evaluate x.json --gold y.json --kind squad --on-mismatch skip", "--on-mismatch"),
        ("text evaluate x.txt --gold y.txt --kind bleu --seed 3", "--seed"),
        ("text network x.txt -o y.tsv --mentions --species mouse", "--species"),
        ("text network x.txt -o y.tsv --seed 3", "--seed"),
        ("text qa yesno x.json --test-ids y.json --device cuda", "--device"),
        ("text generate hello -m model --timeout 3", "--timeout"),
        ("text link x.txt -o y.txt --terms z.obo --least 0.9", "--least"),
        ("pretrain x.yaml --dry-run --resume", "--resume"),
        ("perturb x.h5ad -o y.tsv --delete CD3E --how overexpress", "--how"),
        ("generate -m model -o y.fa --near 0.5", "--near"),
    ],
)
def test_what_another_option_puts_to_sleep_is_refused_before_any_work(words: str, named: str) -> None:
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 2, result.output
    assert named in result.stderr, result.stderr
    # No file of these is there: had anything been read, its name would be the complaint.
    assert "x." not in result.stderr


def test_functions_refuse_what_an_argument_beside_their_options_puts_to_sleep() -> None:
    from biolm import generate
    from biolm.spatial import deconvolve
    from biolm.tasks.spatial.settings import DeconvolveSettings

    with pytest.raises(ConfigError, match="`how` does nothing without `genes`"):
        perturb("x.h5ad", delete=["CD3E"], how="overexpress")
    with pytest.raises(ConfigError, match="`near` does nothing without `reference`"):
        generate("none", near=0.5)
    with pytest.raises(ConfigError, match="`label` does nothing without `reference`"):
        deconvolve("x.h5ad", settings=DeconvolveSettings(label="type"))
    with pytest.raises(ConfigError, match="`topics` is of topics"):
        deconvolve("x.h5ad", reference="cells.h5ad", settings=DeconvolveSettings(topics=(3,)))


def test_an_option_is_declared_once(repository: Path) -> None:
    """No sentence of help stands twice, and what every job has comes from ``biolm.common_options`` alone."""
    shared = ("overwrite", "progress", "json", "resume", "shard", "allow_normalised", "duplicates")
    helps: list[str] = []
    again = []
    for path in sorted((repository / "biolm").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        makers = ("Option", "input_argument", "output_option", "picture_option", "model_option")
        declared = [node for node in calls if getattr(node.func, "id", "") in makers]
        words = [word.value for node in declared for word in node.keywords if word.arg == "help"]
        words += [node.args[0] for node in declared if node.args]
        helps += [word.value for word in words if isinstance(word, ast.Constant)]
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") in shared:
                inside = [call for call in ast.walk(node.annotation) if call in declared]
                again += [f"{path.name}: {ast.unparse(node.target)}" for _ in inside]
    assert len(helps) > 300
    assert sorted(each for each in set(helps) if helps.count(each) > 1) == []
    assert again == []
