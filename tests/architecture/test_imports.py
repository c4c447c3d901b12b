"""The layers, read from the syntax trees: who imports whom, and who knows a dialect's name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import datastore

ROOT = Path(datastore.__file__).parent.parent
#: Each layer imports from those before it, and from its own.
LAYERS = (
    ("errors",),
    ("settings_sources",),
    ("settings_password",),
    ("settings",),
    ("types",),
    ("kinds",),
    ("folding",),
    ("stemming",),
    ("textquery",),
    ("snippets",),
    ("definitions",),
    ("ddl",),
    ("schema",),
    ("elements",),
    ("sql",),
    ("prebuilt",),
    ("results",),
    ("execution",),
    ("bulk",),
    ("reading",),
    ("forms",),
    ("sqltokens",),
    ("inspection",),
    ("backends",),
    ("translation",),
    ("engine",),
    ("operations",),
    ("migrate",),
    ("search",),
    ("verbs",),
    ("store",),
    ("recall",),
    ("transfer",),
    ("testing",),
    ("cli",),
)
DIALECTS = {"sqlite", "postgresql", "postgres", "mysql", "mariadb", "oracle", "mssql"}
#: Where the type of a database is a setting.
SETTINGS = {
    "datastore/settings.py",
    "datastore/settings_sources.py",
    "datastore/settings_password.py",
}


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def type_checking_only(tree: ast.Module) -> set[ast.AST]:
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {inner for block in blocks for inner in ast.walk(block)}


def imports(path: Path, *, typing_too: bool = True) -> Iterator[str]:
    """Every module that a file imports, `from a import b` as `a.b`."""
    tree = tree_of(path)
    skipped = set() if typing_too else type_checking_only(tree)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(module: str) -> int | None:
    parts = module.split(".")
    if parts[0] != "datastore" or len(parts) < 2:
        return None
    found = [number for number, names in enumerate(LAYERS) if parts[1] in names]
    return found[0] if found else None


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


CORE = [path for path in sources("datastore") if path != Path(datastore.__file__)]
OUTSIDE_BACKENDS = [
    path
    for path in sources("datastore", "repositories", "migrations")
    if "backends" not in path.parts
]


def test_every_module_has_its_layer() -> None:
    assert [name_of(path) for path in CORE if layer_of(module_of(path)) is None] == []


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_a_module_imports_from_the_layers_below_it(path: Path) -> None:
    own = layer_of(module_of(path))
    assert own is not None
    above = [
        module
        for module in imports(path, typing_too=False)
        if (layer := layer_of(module)) is not None and layer > own
    ]
    assert above == []


@pytest.mark.parametrize("name", ["settings", "settings_sources", "settings_password"])
def test_settings_import_errors_alone(name: str) -> None:
    allowed = ("datastore.errors.", "datastore.settings_sources.", "datastore.settings_password.")
    ours = [m for m in imports(ROOT / "datastore" / f"{name}.py") if m.startswith("datastore")]
    assert [module for module in ours if not module.startswith(allowed)] == []


@pytest.mark.parametrize("path", sources("datastore"), ids=name_of)
def test_datastore_imports_nothing_that_stands_on_it(path: Path) -> None:
    above = ("repositories", "migrations", "tests")
    assert [m for m in imports(path) if m.split(".")[0] in above] == []


@pytest.mark.parametrize("path", sources("repositories"), ids=name_of)
def test_repositories_import_what_is_public(path: Path) -> None:
    ours = [m for m in imports(path) if m.split(".")[0] == "datastore"]
    private = [m for m in ours if any(part.startswith("_") for part in m.split("."))]
    assert private == []
    assert [m for m in ours if m.startswith("datastore.backends.")] in ([], [
        m for m in ours if m.startswith("datastore.backends.base.")
    ])  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE_BACKENDS, ids=name_of)
def test_no_module_of_a_dialect_is_imported_outside_its_backend(path: Path) -> None:
    assert [m for m in imports(path) if m.startswith("sqlalchemy.dialects")] == []
    if "testing" not in path.parts:
        drivers = ("psycopg", "pgvector", "sqlite3", "pysqlite3", "sqlite_vec")
        assert [m for m in imports(path) if m.split(".")[0] in drivers] == []


@pytest.mark.parametrize("path", OUTSIDE_BACKENDS, ids=name_of)
def test_nothing_is_compared_with_a_dialect(path: Path) -> None:
    if name_of(path) in SETTINGS:
        return
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            constants = [
                n.value for side in sides for n in ast.walk(side) if isinstance(n, ast.Constant)
            ]
            names = any(ast.unparse(side).endswith("dialect.name") for side in sides)
            membership = isinstance(node.ops[0], ast.In | ast.NotIn)
            if DIALECTS & {str(c) for c in constants} or (names and not membership):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.MatchValue) and ast.unparse(node.value).strip("'") in DIALECTS:
            found.append(ast.unparse(node))
    assert found == []


def classes_of_ours() -> set[str]:
    trees = [tree_of(path) for path in sources("datastore", "repositories")]
    return {n.name for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}


@pytest.mark.parametrize("path", sources("datastore", "repositories", "migrations"), ids=name_of)
def test_handlers_are_registered_for_classes_of_ours(path: Path) -> None:
    calls = [
        node
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "compiles"
    ]
    foreign = [c for c in calls if ast.unparse(c.args[0]).split(".")[-1] not in classes_of_ours()]
    assert [ast.unparse(call) for call in foreign] == []


@pytest.mark.parametrize("path", sources("datastore", "repositories", "migrations"), ids=name_of)
def test_importing_listens_to_nothing(path: Path) -> None:
    at_import = [
        node
        for statement in tree_of(path).body
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
        for node in ast.walk(statement)
    ]
    at_import += [
        node
        for statement in tree_of(path).body
        if isinstance(statement, ast.FunctionDef)
        for decorator in statement.decorator_list
        for node in ast.walk(decorator)
    ]
    calls = [ast.unparse(node.func) for node in at_import if isinstance(node, ast.Call)]
    assert [c for c in calls if c.split(".")[-1] in ("listen", "listens_for", "setattr")] == []


def test_modules_import_each_other_in_one_direction() -> None:
    modules = {module_of(path): path for path in sources("datastore", "repositories")}
    edges = {
        name: {
            target
            for found in imports(path, typing_too=False)
            for target in [found if found in modules else found.rpartition(".")[0]]
            if target in modules and target != name
        }
        for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, behind: tuple[str, ...]) -> None:
        assert name not in behind, " -> ".join([*behind, name])
        if name not in done:
            for target in edges[name]:
                visit(target, (*behind, name))
            done.add(name)

    for name in modules:
        visit(name, ())
