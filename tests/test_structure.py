"""The shape of the code base, held by tests: one-way imports, small files, nothing left out.

Imports go `app.py, pages -> ui -> figures -> analyses -> capture -> families -> memory`.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector import errors

ROOT = Path(__file__).parents[1]

LAYERS = ("memory", "families", "capture", "analyses", "figures", "ui", "pages")
FACADE = "inspector"  # inspector/__init__.py: the public names
UP_TO_ANALYSES = {"errors", *LAYERS[:4]}

MAY_IMPORT = {layer: {"errors", *LAYERS[: n + 1]} for n, layer in enumerate(LAYERS)} | {
    "errors": set(),
    FACADE: UP_TO_ANALYSES,
    "training": {FACADE, "training", *UP_TO_ANALYSES},
    "cli": {FACADE, "cli", "training", *UP_TO_ANALYSES},
    "__main__": {"cli"},
}
for layer in LAYERS[4:]:
    MAY_IMPORT[layer].add(FACADE)

JOBS = "inspector.ui.jobs"  # the app's door to the side rooms
SIDE_ROOMS = {"training", "cli"}
ONLY_HERE = {"streamlit": {"ui", "pages"}, "plotly": {"figures"}}

MOST_LINES = 320
MOST_CODE_LINES = 50
HAND_WRITTEN = {".py", ".js", ".css", ".html"}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
TOP_LEVEL = ("app.py", "pyproject.toml", "inspector", "pages", "tests", "sample_checkpoints")


# --- reading the tree ---------------------------------------------------------------------------


def modules(root: Path) -> dict[str, Path]:
    """The app's and the package's files by their dotted names: ``inspector.ui.jobs``."""
    files = [*root.glob("app.py"), *root.glob("pages/**/*.py"), *root.glob("inspector/**/*.py")]
    return {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sorted(files)
    }


def room(module: str) -> str | None:
    """The layer or side room that a module belongs to; None for other people's modules."""
    top, _, rest = module.partition(".")
    if top in {"app", "pages"}:
        return "pages"
    return (rest.partition(".")[0] or FACADE) if top == "inspector" else None


def imports(module: str, file: Path, known: set[str]) -> Iterator[tuple[int, str]]:
    """Each line that imports, at the top or inside a function, with the module it imports."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(names=names):
                source = absolute(package, node.level, node.module)
                for alias in names:
                    inner = f"{source}.{alias.name}"
                    yield node.lineno, inner if inner in known else source
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called),
                args=[ast.Constant(value=str(name)), *_],
            ) if called in {"import_module", "__import__"}:
                level = len(name) - len(name.lstrip("."))
                yield node.lineno, absolute(package, level, name[level:])


def absolute(package: str, level: int, name: str | None) -> str:
    """The full name of ``from ..name import``, written inside ``package``."""
    if level == 0:
        return name or ""
    base = package.split(".")[: len(package.split(".")) - (level - 1)]
    return ".".join([*base, *([name] if name else [])])


def illegal_arrows(root: Path) -> list[str]:
    """Every import that DESIGN's arrows forbid, as ``file:line imports module``."""
    tree = modules(root)
    known = {".".join(name.split(".")[:n]) for name in tree for n in range(1, name.count(".") + 2)}
    known |= {f"inspector.{name}" for name in MAY_IMPORT if name not in {FACADE, "pages"}}
    found = []
    for module, file in tree.items():
        where = file.relative_to(root)
        if room(module) not in MAY_IMPORT:
            found.append(f"{where} lies in no layer and no side room")
            continue
        for line, target in imports(module, file, known):
            if not may_import(module, target):
                found.append(f"{where}:{line} imports {target}")
    return found


def may_import(module: str, target: str) -> bool:
    here, there = room(module), room(target)
    if there is None:
        return here in ONLY_HERE.get(target.partition(".")[0], {here})
    if module == JOBS or module.startswith(f"{JOBS}."):
        return there in MAY_IMPORT["ui"] | SIDE_ROOMS
    return here is not None and there in MAY_IMPORT[here]


def long_files(root: Path) -> list[str]:
    """Files written by hand that are too long; bundled libraries lie in a folder ``vendor``."""
    files = [
        file
        for file in sorted(root.glob("inspector/**/*"))
        if file.suffix in HAND_WRITTEN and "vendor" not in file.parts
    ]
    lengths = {file.relative_to(root): len(file.read_text().splitlines()) for file in files}
    return [f"{file}: {length} lines" for file, length in lengths.items() if length > MOST_LINES]


def long_functions(root: Path) -> list[str]:
    """Functions with too many lines of code; docstring, comments and blank lines do not count."""
    found = []
    for file in modules(root).values():
        text = file.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = code_lines(node, text.splitlines())
                if length > MOST_CODE_LINES:
                    found.append(f"{file.relative_to(root)}:{node.lineno} {node.name}: {length}")
    return found


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    numbers = set(range(function.lineno, (function.end_lineno or 0) + 1))
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        numbers -= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return sum(bool(re.match(r"\s*[^\s#]", lines[number - 1])) for number in numbers)


def kept_text_files(root: Path) -> dict[Path, str]:
    """The text of every file that is, or is about to be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    contents = {Path(name): root / name for name in listed if (root / name).is_file()}
    return {
        name: file.read_text(errors="replace")
        for name, file in contents.items()
        if b"\0" not in file.read_bytes()[:8192] and name.name not in {"tokenizer.json", "LICENSE"}
    }


def machine_paths(text: str) -> list[str]:
    """Absolute paths that exist on one machine only."""
    return re.findall(r"(?<![\w.:/\-])/(?:work|root|home|Users)/[\w.\-]+", text)


def drawn_tree(docstring: str) -> dict[str, str]:
    """Child and parent of every branch drawn with box characters."""
    parents: dict[str, str] = {}
    branch: list[str] = []
    for indent, name in re.findall(r"^([│├└─ ]*)([A-Z]\w*)$", docstring, re.MULTILINE):
        branch[len(indent) // 4 :] = [name]
        if indent:
            parents[name] = branch[-2]
    return parents


# --- this tree ----------------------------------------------------------------------------------


def test_imports_go_one_way_only() -> None:
    assert illegal_arrows(ROOT) == []


def test_the_top_level_holds_what_people_look_for() -> None:
    missing = [name for name in TOP_LEVEL if not (ROOT / name).exists()]
    assert not missing, f"the top level lacks {missing}"


def test_files_are_short() -> None:
    assert long_files(ROOT) == []


def test_functions_are_short() -> None:
    assert long_functions(ROOT) == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        name
        for name, file in modules(ROOT).items()
        if name.startswith("inspector.")
        and file.name != "__init__.py"
        and not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert silent == []


def test_file_names_say_what_is_inside() -> None:
    files = [*modules(ROOT).values(), *(ROOT / "tests").glob("**/*.py")]
    vague = [
        file
        for file in files
        if NAMES_THAT_SAY_NOTHING & set(file.relative_to(ROOT).with_suffix("").parts)
    ]
    assert vague == []


def test_every_page_is_tested() -> None:
    pages = [file.stem for file in (ROOT / "pages").glob("*.py") if file.stem != "__init__"]
    assert pages, "there are no pages yet: expected pages/*.py"
    untested = [page for page in pages if not (ROOT / f"tests/pages/test_{page}.py").exists()]
    assert not untested, f"tests/pages lacks test_NAME.py for {sorted(untested)}"


def test_no_file_names_a_path_of_one_machine() -> None:
    found = {str(name): machine_paths(text) for name, text in kept_text_files(ROOT).items()}
    assert {name: paths for name, paths in found.items() if paths} == {}


def test_constraints_are_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.\-]+==[\w.]+", line)] == []


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = ROOT / "README.md"
    assert readme.exists(), "README.md is not there yet: expected the test command in it"
    command = (ROOT / ".ci/run").read_text().rstrip().splitlines()[-1]
    assert "-m tests" in command
    assert command in readme.read_text().splitlines()


def test_the_drawn_errors_are_the_errors() -> None:
    classes = [item for item in vars(errors).values() if isinstance(item, type)]
    tree = {c.__name__: c.__base__.__name__ for c in classes if c.__module__ == errors.__name__}
    assert {"InspectorError": "Exception"} | drawn_tree(errors.__doc__ or "") == tree


# --- the rules themselves -----------------------------------------------------------------------


def plant(root: Path, name: str, source: str) -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    return root


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("inspector/memory/layer.py", "import inspector.capture.hooks", "inspector.capture.hooks"),
        ("inspector/capture/trace.py", "from inspector import analyses", "inspector.analyses"),
        ("inspector/analyses/usage.py", "from ..figures import bar", "inspector.figures"),
        ("inspector/analyses/__init__.py", "from ..figures import bar", "inspector.figures"),
        ("inspector/figures/bars.py", "from .. import ui", "inspector.ui"),
        ("inspector/figures/bars.py", "def f():\n    import inspector.ui.cache", "inspector.ui"),
        ("inspector/families/own.py", "if 1:\n    from inspector.capture import x", "capture"),
        ("inspector/families/own.py", "importlib.import_module('..ui', 'x')", "inspector.ui"),
        ("inspector/analyses/usage.py", "from inspector import load", "inspector"),
        ("inspector/errors.py", "from inspector.memory import layer", "inspector.memory"),
        ("inspector/__init__.py", "from inspector.figures import bars", "inspector.figures"),
        ("inspector/ui/cache.py", "from pages import trace", "pages"),
        ("inspector/ui/cache.py", "from inspector.training import run", "inspector.training"),
        ("inspector/training/run.py", "from inspector import cli", "inspector.cli"),
        ("inspector/cli.py", "import inspector.ui", "inspector.ui"),
        ("pages/training.py", "import inspector.training.run", "inspector.training.run"),
        ("inspector/figures/bars.py", "import streamlit as st", "streamlit"),
        ("inspector/cli.py", "from streamlit.web import bootstrap", "streamlit.web"),
        ("inspector/ui/cache.py", "from plotly.graph_objects import Figure", "plotly"),
        ("app.py", "import plotly", "plotly"),
    ],
)
def test_an_illegal_arrow_is_caught(tmp_path: Path, name: str, source: str, target: str) -> None:
    found = illegal_arrows(plant(tmp_path, name, source))
    assert len(found) == 1
    assert found[0].startswith(f"{name}:")
    assert target in found[0]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("app.py", "import streamlit as st\nfrom inspector.ui import cache\nimport pages.trace"),
        ("pages/trace.py", "import inspector\nfrom inspector import memory, figures, errors"),
        ("inspector/ui/jobs.py", "import streamlit\nfrom inspector.training import run\n"),
        ("inspector/ui/jobs.py", "from ..cli import sweep\nfrom . import cache"),
        ("inspector/figures/bars.py", "import plotly.graph_objects as go\nfrom inspector import x"),
        ("inspector/__init__.py", "from inspector.analyses import usage\nfrom .memory import x"),
        ("inspector/__main__.py", "from inspector.cli import main"),
        ("inspector/cli.py", "from inspector import load, training\nimport torch"),
        ("inspector/training/run.py", "from inspector.analyses import usage\nfrom . import data"),
        ("inspector/memory/layer.py", "import torch\nfrom .values import x\nfrom .. import errors"),
    ],
)
def test_a_legal_arrow_is_let_through(tmp_path: Path, name: str, source: str) -> None:
    assert illegal_arrows(plant(tmp_path, name, source)) == []


def test_a_file_outside_the_layers_is_caught(tmp_path: Path) -> None:
    found = illegal_arrows(plant(tmp_path, "inspector/extras.py", "import torch"))
    assert found == ["inspector/extras.py lies in no layer and no side room"]


def test_a_long_function_is_caught_by_its_code_alone(tmp_path: Path) -> None:
    full = "def f():\n    '''One.\n\n    Two.\n    '''\n    # why\n\n" + "    x = 1\n" * 49
    assert long_functions(plant(tmp_path, "inspector/ui/a.py", full)) == []
    assert long_functions(plant(tmp_path, "inspector/ui/a.py", full + "    x = 2\n")) == [
        "inspector/ui/a.py:1 f: 51"
    ]


def test_a_long_file_is_caught(tmp_path: Path) -> None:
    plant(tmp_path, "inspector/ui/vendor/map.js", "x\n" * 900)
    plant(tmp_path, "inspector/ui/short.js", "x\n" * 320)
    plant(tmp_path, "inspector/ui/long.py", "x\n" * 321)
    assert long_files(tmp_path) == ["inspector/ui/long.py: 321 lines"]


def test_a_path_of_one_machine_is_told_from_other_text() -> None:
    planted = "/".join(["", "home", "ada"])
    assert machine_paths(f"see {planted}/x and '{planted}'") == [planted, planted]
    assert machine_paths("a/home/page, https://x.org/root/a, input/work/y, /tmp/x") == []


def test_a_drawn_tree_is_read() -> None:
    drawn = "Words.\n\nA\n├── B\n│   ├── C\n│   └── D\n└── E\n    └── F\n"
    assert drawn_tree(drawn) == {"B": "A", "C": "B", "D": "B", "E": "A", "F": "E"}
