"""Rules that every file keeps: size, no personal paths, nothing unsafe, nothing heavy at import."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MODULES = sorted((REPOSITORY / "biolm").glob("**/*.py"))
SOURCES = [
    *MODULES,
    *sorted((REPOSITORY / "tests").glob("**/*.py")),
    *sorted((REPOSITORY / "benchmarks").glob("**/*.py")),
]

# From so many arguments on a public function has a Parameters section.
FEWEST_ARGUMENTS = 2


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {str(path): size for path, size in lengths.items() if size > 400} == {}
    assert statistics.median(lengths[path] for path in MODULES) <= 150


def test_few_files_ask_whether_something_is_a_sequence() -> None:
    """Kinds of data are entries of a list; see ``docs/how-to/add-a-modality.md``."""
    question = re.compile(
        r"\bis_sequence\w*\(|\bnamed_as_sequences\("
        r"|isinstance\([^)]*Sequence(Model|Preprocessor|File|Embedding|Annotator)"
        r"|[!=]= *['\"]sequences['\"]|['\"]sequences['\"] *([!=]=|in )"
    )
    texts = {str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8") for path in MODULES}
    asking = sorted(name for name, text in texts.items() if question.search(text))
    assert len(asking) <= 6, asking


def test_no_circle_of_imports() -> None:
    """Those for types count too; only imports inside functions may lead back."""
    names = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path for path in MODULES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        body = ast.parse(path.read_text(encoding="utf-8")).body
        body += [node for each in body if isinstance(each, ast.If) for node in each.body]
        found = [node for node in body if isinstance(node, ast.ImportFrom) and node.module]
        pairs = [(node.module or "", alias.name) for node in found for alias in node.names]
        targets = {f"{module}.{part}" if f"{module}.{part}" in names else module for module, part in pairs}
        graph[name] = (targets & names.keys()) - {name, "biolm"}
    # What imports nothing that is left, and what nothing that is left imports, is on no circle.
    while leaves := {name for name, targets in graph.items() if not targets & graph.keys()}:
        graph = {name: targets for name, targets in graph.items() if name not in leaves}
    while tops := graph.keys() - {target for targets in graph.values() for target in targets}:
        graph = {name: targets for name, targets in graph.items() if name not in tops}
    assert sorted(graph) == []


def test_verbs_are_grouped() -> None:
    units = [path.stem for path in (REPOSITORY / "biolm/tasks").iterdir() if not path.name.startswith("__")]
    assert len(units) <= 18


def test_functions_are_short_and_take_few_arguments() -> None:
    sizes, crowded = [], []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                sizes.append(1 + (node.end_lineno or 0) - body[0].lineno if body else 0)
                arguments = node.args
                if len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) > 10:
                    crowded.append(f"{path.name}:{node.name}")
    assert sorted(sizes)[int(0.95 * len(sizes))] <= 50
    assert crowded == []


def test_public_functions_say_what_their_arguments_are() -> None:
    """One that fulfils a protocol, as the layouts of sections do, is described there."""
    silent = []
    classes = [
        node
        for path in MODULES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        and any(getattr(base, "id", "") == "Protocol" for base in node.bases)
    ]
    contracts = {
        (method.name, tuple(each.arg for each in method.args.args))
        for group in classes
        for method in group.body
        if isinstance(method, ast.FunctionDef) and "Parameters\n---" in (ast.get_docstring(method) or "")
    }
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and _is_all(node)]
        public = {name.value for entry in lists for name in getattr(entry, "elts", ())}
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or node.name not in public or _is_overload(node):
                continue
            arguments = node.args
            names = arguments.posonlyargs + arguments.args + arguments.kwonlyargs
            if (node.name, tuple(each.arg for each in names)) in contracts:
                continue
            if len(names) >= FEWEST_ARGUMENTS and "Parameters\n---" not in (ast.get_docstring(node) or ""):
                silent.append(f"{path.relative_to(REPOSITORY)}: {node.name}")
    assert silent == []


def test_public_methods_say_what_their_arguments_are() -> None:
    """Once for each contract: a method of the same name and arguments says it for all that fulfil it."""
    documented: set[tuple[str, tuple[str, ...]]] = set()
    silent = []
    for path in MODULES:
        name = path.relative_to(REPOSITORY)
        for group in ast.parse(path.read_text(encoding="utf-8")).body:
            for node in group.body if isinstance(group, ast.ClassDef) else ():
                if not isinstance(node, ast.FunctionDef) or _is_overload(node):
                    continue
                every = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                names = tuple(each.arg for each in every if each.arg not in ("self", "cls"))
                if "Parameters\n---" in (ast.get_docstring(node) or ""):
                    documented.add((node.name, names))
                elif len(names) >= FEWEST_ARGUMENTS and not f"{group.name}{node.name}".startswith("_"):
                    silent.append((name, group.name, node.name, names))
    silent = [each for each in silent if not each[2].startswith("_") and each[2:] not in documented]
    hooks = re.compile(r"on_\w+|teardown|(training|validation)_step|transfer_batch_to_device")
    silent = [each for each in silent if not hooks.fullmatch(each[2])]
    assert silent == []


def _is_all(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)


def _is_overload(node: ast.FunctionDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list)


def test_words_are_those_of_the_field() -> None:
    """The field says evaluation set, baseline, novelty, strength, fix, step, tab-separated, transfer."""
    tabs = r"(?<!separated )(?<!split )by tabs"
    invented = rf"\b(judges?|rivals?|strangeness|gift|mends?|rungs?|{tabs}|labels moved|thinned)\b"
    invented += r"|\bis no number\b|\bmakes small\b|\bteach nothing\b|\b(Cell|Sequence)Language\b"
    found = [
        f"{path.relative_to(REPOSITORY)}: {line.strip()}"
        for path in MODULES
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(invented, line, re.IGNORECASE)
    ]
    assert found == []


# Variables that say what happened to a thing and not what it is.
NAMELESS = {"found", "held", "made", "said", "told"}


def test_variables_name_the_thing() -> None:
    """A variable is called by what it holds: the match, the path, the scores."""
    nameless = []
    for path in MODULES:
        name = path.relative_to(REPOSITORY)
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        functions = [node for node in tree if isinstance(node, ast.FunctionDef)]
        for node in (inner for function in functions for inner in ast.walk(function)):
            word = node.arg if isinstance(node, ast.arg) else getattr(node, "id", "")
            if word in NAMELESS:
                nameless.append(f"{name}:{getattr(node, 'lineno', 0)}: {word}")
    assert nameless == []


@pytest.mark.parametrize(
    "unwanted",
    [
        r"['\"]/(home|root|work|tmp|Users)/",
        r"^(?!.*zip\().*strict\s*=\s*False\b",
        r"weights_only\s*=\s*False",
        r"\.cuda\(\)",
        r"pickle\.loads?\(",
    ],
)
def test_sources_hold_nothing_unsafe(unwanted: str) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}: {line.strip()}"
        for path in MODULES
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(unwanted, line)
    ]
    assert found == []


def test_import_of_the_package_is_light() -> None:
    heavy = ("torch", "anndata", "scanpy", "pandas", "numba", "transformers", "sklearn", "matplotlib", "h5py")
    code = f"import sys, biolm; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pages_for_users_import_the_faces() -> None:
    """``biolm.X``, never the module where it is kept today; pages for developers may."""
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("**/*.md"))]
    pages = [page for page in pages if page.parts[-2] in ("how-to", "tutorials", REPOSITORY.name)]
    assert len(pages) > 20
    imports = [
        f"{page.name}: {line}"
        for page in pages
        if not page.name.startswith("add-a")
        for line in page.read_text(encoding="utf-8").splitlines()
        if re.search(r"(from|import) biolm\.(tasks|jobs)\b", line)
    ]
    assert imports == []


def test_each_way_to_add_a_thing_has_a_page_and_a_test() -> None:
    """The table of CONTRIBUTING: what it links and the tests that it names are there."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| a")]
    added = "family|system of cells|system of sequences|mixer|kind of data|objective|task|option"
    assert [word for word in added.split("|") if not any(word in row.split("|")[1] for row in rows)] == []
    named = re.findall(r"\]\(([^)#]+)\)|`(tests/[^`]+)`", "\n".join(rows))
    missing = [link or test for link, test in named if not (REPOSITORY / (link or test)).exists()]
    assert (len(named) >= len(rows), missing) == (True, [])


def test_every_face_is_in_the_reference() -> None:
    import biolm

    page = (REPOSITORY / "docs/reference/api.md").read_text(encoding="utf-8")
    faces = [name for name in biolm.__all__ if name != "__version__"]
    assert [name for name in faces if f"`biolm.{name}`" not in page] == []


def test_files_of_tests_have_names_of_their_own() -> None:
    """Pytest imports them by name, so two of one name hide each other."""
    names = [path.name for path in (REPOSITORY / "tests").glob("**/test_*.py")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
