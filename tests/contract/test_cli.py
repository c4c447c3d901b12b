"""The command line on every backend: what it does, prints, refuses, and how it ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

from datastore import Capability, Datastore, migrate
from datastore.cli import main, program
from repositories import ChunkRepository, Entity, GraphRepository, Relationship

ROOT = Path(__file__).parents[2]
CANARY = "canary-5ecret"
HEAD = migrate.head()
FOX = "# Animals\n\nThe quick brown fox jumps over the lazy dog.\n"
TEA = "# Tea\n\nBoil water, then wait for the leaves.\n"
EMBEDDERS = """
import numpy as np

def good(texts):
    return np.array([[len(text), text.count("e") + 1, 1.0] for text in texts])

def longer(texts):
    return np.ones((len(texts), 4))

def flat(texts):
    return np.ones(3)

def ragged(texts):
    return [[1.0], [1.0, 2.0]]

def failing(texts):
    raise RuntimeError("canary-5ecret " + texts[0])

number = 3
"""


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> tuple[str, str]:
        assert self.err == ""
        return self.document["error"]["class"], self.document["error"]["message"]


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def commands_of_repositories(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of the source tree, also where it is not installed."""
    found = entry_points(group="datastore.commands") or [
        EntryPoint("repositories", "repositories.commands:register", "datastore.commands")
    ]
    monkeypatch.setattr(program, "entry_points", lambda **_: found)


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder, search path, environment and log levels that are put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("DATASTORE_CONFIG", "")
    levels = {name: logging.getLogger(name).level for name in ("datastore", "alembic")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main(arguments)
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def docs(tmp_path: Path) -> str:
    """A folder of two files, named as a user in it would."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "fox.md").write_text(FOX)
    (folder / "tea.txt").write_text(TEA)
    return "docs"


@pytest.fixture
def embedders(tmp_path: Path) -> None:
    (tmp_path / "vectors_for_tests.py").write_text(EMBEDDERS)
    sys.modules.pop("vectors_for_tests", None)


def set_revision(url: str, revision: str) -> None:
    with Datastore.open(url) as store:
        store.execute("UPDATE datastore_version SET version_num = :r", {"r": revision})


# --- upgrade, downgrade -------------------------------------------------------------------------


def test_upgrade_says_what_it_did_and_where(run: Run, database_url: str) -> None:
    ran = run("upgrade", "--url", database_url)
    assert ran.code == 0
    assert ran.err.startswith("database: ")
    assert f"schema: nothing -> {HEAD}" in ran.out
    assert f"unchanged at {HEAD}" in run("upgrade", "--url", database_url).out


def test_upgrade_to_a_revision_as_json(run: Run, database_url: str) -> None:
    document = run("--json", "upgrade", "0001", "--url", database_url).document
    assert (document["before"], document["after"]) == (None, "0001")
    assert document["database"]


def test_an_unknown_revision_is_an_error(run: Run, database_url: str) -> None:
    ran = run("upgrade", "nope", "--json", "--url", database_url)
    assert ran.code == 1
    assert ran.error[0] == "MigrationError"


def test_downgrade_needs_a_yes_where_nobody_can_be_asked(run: Run, migrated_url: str) -> None:
    ran = run("downgrade", "base", "--json", "--url", migrated_url)
    assert ran.code == 2
    assert "--yes" in ran.error[1]
    assert run("info", "--json", "--url", migrated_url).document["schema"]["state"] == "current"


def test_downgrade_and_up_again(run: Run, migrated_url: str) -> None:
    document = run("downgrade", "base", "--yes", "--json", "--url", migrated_url).document
    assert (document["before"], document["after"]) == (HEAD, None)
    assert run("upgrade", "--url", migrated_url).code == 0


# --- info, doctor -------------------------------------------------------------------------------


def test_info_of_a_full_database(run: Run, migrated_url: str, docs: str) -> None:
    assert run("index", docs, "--url", migrated_url).code == 0
    document = run("info", "--json", "--url", migrated_url).document
    assert document["schema"] == {"revision": HEAD, "head": HEAD, "state": "current"}
    assert document["tables"]["chunks"] == 2
    assert {index["name"] for index in document["search_indexes"]} >= {"chunk_text"}
    assert "full_text" in document["capabilities"]
    assert document["embedding"]["model"] == "default"
    people = run("info", "--url", migrated_url).out
    assert "chunks: 2 rows" in people
    assert document["database"]["url"] in people


@pytest.mark.parametrize(
    ("revision", "state"), [(None, "missing"), ("0001", "older"), ("9999", "newer")]
)
def test_info_and_doctor_of_any_schema(
    run: Run, database_url: str, revision: str | None, state: str
) -> None:
    Datastore.open(database_url).close()  # which makes a file
    if revision is not None:
        run("upgrade", "0001", "--url", database_url)
        set_revision(database_url, revision)
    ran = run("info", "--json", "--url", database_url)
    assert (ran.code, ran.document["schema"]["state"]) == (0, state)
    assert run("info", "--url", database_url).code == 0
    examined = run("doctor", "--json", "--url", database_url)
    assert examined.code == 1
    (schema,) = [f for f in examined.document["findings"] if f["check"] == "schema"]
    assert not schema["ok"]
    assert ("update the code" if state == "newer" else "datastore upgrade") in schema["remedy"]


def test_a_newer_schema_is_refused_by_the_rest(run: Run, migrated_url: str, docs: str) -> None:
    set_revision(migrated_url, "9999")
    for command in (["upgrade"], ["downgrade", "base", "--yes"], ["index", docs], ["search", "x"]):
        ran = run(*command, "--json", "--url", migrated_url)
        assert (ran.code, ran.error[0]) == (1, "SchemaTooNewError")


def test_doctor_of_a_sound_database(run: Run, migrated_url: str) -> None:
    ran = run("doctor", "--json", "--url", migrated_url)
    wrong = [f["check"] for f in ran.document["findings"] if not f["ok"]]
    assert set(wrong) <= {"driver", "vectors", "write-ahead log"}, "what this machine may lack"
    assert ran.code == (1 if wrong else 0)
    assert "search indexes" in run("doctor", "--url", migrated_url).out


def test_doctor_finds_a_missing_table(run: Run, migrated_url: str) -> None:
    with Datastore.open(migrated_url) as store:
        store.execute("DROP TABLE kg_mentions")
    ran = run("doctor", "--url", migrated_url)
    assert ran.code == 1
    assert "missing: kg_mentions" in ran.out


def test_doctor_reports_wrong_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASTORE_SQLITE__WALL", CANARY)
    ran = run("doctor", "--json")
    assert ran.code == 1
    assert ran.document["findings"][0]["check"] == "settings"
    assert CANARY not in ran.out


@pytest.mark.parametrize("command", [["info"], ["doctor"], ["search", "x"], ["downgrade", "base"]])
def test_a_missing_file_is_not_made(run: Run, tmp_path: Path, command: list[str]) -> None:
    ran = run(*command, "--url", f"sqlite:///{tmp_path}/none.db")
    assert ran.code == 1
    assert "there is no database file" in ran.out + ran.err
    assert not list(tmp_path.glob("none.db*"))


def test_a_file_that_is_no_database(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database " * 500)
    ran = run("info", "--json", "--url", "sqlite:///text.db")
    assert (ran.code, ran.error[0]) == (1, "CorruptDatabaseError")


# --- index --------------------------------------------------------------------------------------


def test_index_counts_what_became_of_the_files(run: Run, migrated_url: str, docs: str) -> None:
    def index() -> dict[str, Any]:
        return dict(run("index", docs, "--json", "--url", migrated_url).document)

    first = index()
    assert (first["added"], first["chunks"], first["schema_created"]) == (2, 2, False)
    assert [file["path"] for file in first["files"]] == ["docs/fox.md", "docs/tea.txt"]
    assert index()["unchanged"] == 2
    Path(docs, "fox.md").unlink()
    Path(docs, "tea.txt").write_text(TEA + "\nMore.\n")
    Path(docs, "zero.txt").write_bytes(b"\0")
    last = index()
    assert (last["removed"], last["changed"], last["skipped"]) == (1, 1, 1)


def test_index_for_people(run: Run, migrated_url: str, docs: str) -> None:
    Path(docs, "zero.txt").write_bytes(b"\0")
    ran = run("index", docs, "--url", migrated_url)
    assert "skipped docs/zero.txt: " in ran.out
    assert "indexed: 2 added, 0 changed, 0 unchanged, 0 removed, 1 skipped; 2 chunks" in ran.out
    assert ran.err.count("\n") == 1, "a progress bar is for terminals"
    assert run("index", docs, "--quiet", "--url", migrated_url).out == ""


def test_index_of_a_folder_with_nothing_to_index_says_so(
    run: Run, migrated_url: str, docs: str
) -> None:
    Path("empty").mkdir()
    Path("empty", "code.py").write_text("pass")
    ran = run("index", docs, "empty", "--url", migrated_url)
    assert ran.code == 0
    assert "note: there is no .markdown, .md, .rst, .text, .txt file in 'empty'" in ran.out


def test_a_file_that_is_named_twice_is_counted_once(run: Run, migrated_url: str, docs: str) -> None:
    Path(docs, "bad.md").write_bytes(b"\0")
    arguments = [f"{docs}/bad.md", f"{docs}/fox.md", docs, docs]
    document = run("index", *arguments, "--json", "--url", migrated_url).document
    assert (document["skipped"], document["added"], document["unchanged"]) == (1, 2, 0)
    assert document["chunks"] == 2


def test_index_makes_the_schema_of_an_empty_file_alone(
    run: Run, empty_store: Datastore, database_url: str, docs: str
) -> None:
    ran = run("index", docs, "--url", database_url)
    if Capability.BACKUP in empty_store.capabilities:  # so it is a file
        assert "schema: created" in ran.out
        assert empty_store.schema().version == HEAD
    else:
        assert ran.code == 1
        assert "datastore upgrade" in ran.err
        assert empty_store.schema().version is None


def test_index_makes_no_schema_beside_foreign_tables(
    run: Run, empty_store: Datastore, database_url: str, docs: str
) -> None:
    empty_store.execute("CREATE TABLE of_somebody_else (id INTEGER PRIMARY KEY)")
    ran = run("index", docs, "--json", "--url", database_url)
    assert (ran.code, ran.error[0]) == (1, "SchemaMissingError")


def test_index_of_a_missing_path_makes_no_database(run: Run, tmp_path: Path) -> None:
    ran = run("index", "nowhere", "--url", "sqlite:///new.db")
    assert ran.code == 1
    assert ran.err == "error: there is no file or folder 'nowhere'\n"
    assert not Path(tmp_path, "new.db").exists()


def test_namespaces_are_apart(run: Run, migrated_url: str, docs: str) -> None:
    run("index", docs, "--namespace", "alice", "--url", migrated_url)
    assert run("search", "fox", "--json", "--url", migrated_url).document["hits"] == []
    ran = run("search", "fox", "--namespace", "alice", "--json", "--url", migrated_url)
    assert len(ran.document["hits"]) == 1
    with Datastore.open(migrated_url) as store:
        assert ChunkRepository(store, "alice").count() == 2


# --- search -------------------------------------------------------------------------------------


def test_search_as_json(run: Run, migrated_url: str, docs: str) -> None:
    run("index", docs, "--url", migrated_url)
    document = run("search", "brown", "foxes", "--json", "--url", migrated_url).document
    assert document["query"] == "brown foxes"
    assert (document["method"], document["indexes"], document["notes"]) == (
        "exact", ["chunk_text"], [],
    )  # fmt: skip
    (hit,) = document["hits"]
    assert hit["path"] == "docs/fox.md"
    assert (hit["start_line"], hit["end_line"]) == (1, 3)
    assert "quick brown fox" in hit["content"]
    assert 0 < hit["score"] <= 1
    assert hit["relevance"] > 0


def test_search_for_people(run: Run, migrated_url: str, docs: str) -> None:
    run("index", docs, "--url", migrated_url)
    ran = run("search", "the fox", "--url", migrated_url)
    assert re.search(r"^ 1  (0\.\d{3}|<\.001)  docs/fox\.md:1-3$", ran.out, re.MULTILINE)
    assert "    # Animals The quick brown fox jumps" in ran.out
    assert ran.out.endswith("1 hit\n")
    talkative = run("search", "the fox", "--verbose", "--url", migrated_url)
    assert talkative.out.endswith("1 hit (exact, chunk_text)\n")
    assert "\x1b" not in ran.out, "colour is for terminals"


def test_no_hits_is_no_error(run: Run, migrated_url: str) -> None:
    ran = run("search", "nothing of the kind", "--url", migrated_url)
    assert ran.code == 0
    assert "no hits" in ran.out


def test_no_hits_are_explained_where_that_is_plain(run: Run, migrated_url: str, docs: str) -> None:
    def notes(*arguments: str) -> list[str]:
        return run("search", *arguments, "--url", migrated_url).out.splitlines()[1:]

    run("index", docs, "--url", migrated_url)
    assert notes("fox", "--namespace", "bob") == [
        "note: the namespace 'bob' is empty: `datastore index` fills it"
    ]
    assert notes("fox", "--path", "dogs/") == ["note: no path in the memory begins with 'dogs/'"]
    assert notes(" ") == ["note: the query is empty"]
    assert notes("elephant") == []


def test_search_by_limit_and_path(run: Run, migrated_url: str, docs: str) -> None:
    run("index", docs, "--url", migrated_url)

    def paths(*options: str) -> list[str]:
        ran = run("search", "fox tea", *options, "--json", "--url", migrated_url)
        return [hit["path"] for hit in ran.document["hits"]]

    assert sorted(paths()) == ["docs/fox.md", "docs/tea.txt"]
    assert len(paths("--limit", "1")) == 1
    assert paths("--path", "docs/t") == ["docs/tea.txt"]
    assert paths("--path", "./docs/../docs/t") == ["docs/tea.txt"]
    assert len(paths("--path", ".")) == len(paths("--path", "./docs")) == 2
    assert paths("--path", "docs/t/") == []


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_is_a_positive_number(run: Run, tmp_path: Path, limit: str) -> None:
    ran = run("search", "x", "--limit", limit, "--url", "sqlite:///none.db")
    assert ran.code == 2
    assert "--limit" in ran.err
    assert not list(tmp_path.glob("none.db*"))


@pytest.mark.parametrize("query", ["", " ", '"', "+-*()", "a\x00b", "\udc80", "[bold]", "%s"])
def test_any_text_may_be_searched_for(run: Run, migrated_url: str, query: str) -> None:
    assert run("search", "--url", migrated_url, "--", query).code == 0
    assert run("search", "--json", "--url", migrated_url, "--", query).document["hits"] == []


def test_what_a_terminal_would_obey_is_not_printed(run: Run, migrated_url: str, docs: str) -> None:
    Path(docs, "evil.md").write_text("clear \x1b[2J [bold]screen[/bold] \u202e\n")
    run("index", docs, "--url", migrated_url)
    ran = run("search", "screen", "--url", migrated_url)
    assert "clear \ufffd[2J [bold]screen[/bold] \ufffd" in ran.out
    assert "\x1b" not in ran.out


def test_search_without_schema_names_the_command(run: Run, database_url: str) -> None:
    Datastore.open(database_url).close()
    ran = run("search", "x", "--url", database_url)
    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("error: ")
    assert "datastore upgrade" in ran.err


# --- embedders ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("embedders")
def test_an_embedder_makes_the_search_hybrid(run: Run, migrated_url: str, docs: str) -> None:
    embedder = ["--embedder", "vectors_for_tests:good", "--url", migrated_url, "--json"]
    assert run("index", docs, *embedder).document["added"] == 2
    document = run("search", "fox", *embedder).document
    assert sorted(document["indexes"]) == ["chunk_text", "chunk_vectors"]
    assert {hit["path"] for hit in document["hits"]} == {"docs/fox.md", "docs/tea.txt"}


@pytest.mark.usefixtures("embedders")
@pytest.mark.parametrize(
    ("name", "error_class"),
    [
        ("nowhere_to_be_found:embed", "ConfigurationError"),
        ("vectors_for_tests", "ConfigurationError"),
        ("vectors_for_tests:missing", "ConfigurationError"),
        ("vectors_for_tests:number", "ConfigurationError"),
        (":", "ConfigurationError"),
        ("https://localhost/v1", "ConfigurationError"),
        ("ftp://localhost/v1#model", "ConfigurationError"),
    ],
)
def test_a_bad_embedder_is_named(
    run: Run, migrated_url: str, docs: str, name: str, error_class: str
) -> None:
    ran = run("index", docs, "--embedder", name, "--json", "--url", migrated_url)
    assert ran.code == 1
    assert ran.error[0] == error_class
    assert "embedder" in ran.error[1]
    assert CANARY not in ran.out


def test_a_module_that_is_not_found_is_told_with_where_it_was_looked_for(
    run: Run, migrated_url: str, tmp_path: Path
) -> None:
    ran = run("search", "x", "--embedder", "nowhere:embed", "--json", "--url", migrated_url)
    assert f"in PYTHONPATH and in the folder '{tmp_path}'" in ran.error[1]


@pytest.mark.usefixtures("embedders")
def test_an_embedder_that_fails_leaves_the_words(run: Run, migrated_url: str, docs: str) -> None:
    embedder = ["--embedder", "vectors_for_tests:failing", "--url", migrated_url]
    ran = run("index", docs, "--json", *embedder)
    assert (ran.code, ran.document["added"]) == (1, 2)
    assert "RuntimeError" in ran.document["notes"][0]
    found = run("search", "fox", "--json", *embedder)
    assert (found.code, len(found.document["hits"])) == (0, 1)
    assert "only text was searched" in found.document["notes"][0]
    assert "note: the embedder raised" in run("index", docs, *embedder).out
    assert CANARY not in ran.out + found.out


@pytest.mark.usefixtures("embedders")
@pytest.mark.parametrize("name", ["flat", "ragged"])
def test_an_answer_of_no_use_leaves_the_words(
    run: Run, migrated_url: str, docs: str, name: str
) -> None:
    embedder = ["--embedder", f"vectors_for_tests:{name}", "--url", migrated_url, "--json"]
    ran = run("index", docs, *embedder)
    assert (ran.code, ran.document["added"]) == (1, 2)
    assert ran.document["notes"][0].startswith("the embedder")
    assert len(run("search", "fox", *embedder).document["hits"]) == 1


@pytest.mark.usefixtures("embedders")
def test_reembed_changes_the_model_and_info_shows_it(
    run: Run, migrated_url: str, docs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = ["--url", migrated_url]
    assert "no vectors yet" in run("info", *url).out
    run("index", docs, "--embedder", "vectors_for_tests:good#small", *url)
    assert "model small, dimensions 3, cosine" in run("info", *url).out
    refused = run("reembed", "--embedder", "vectors_for_tests:longer", "--json", *url)
    assert refused.error[0] == "InvalidValueError"
    ran = run("reembed", "--embedder", "vectors_for_tests:longer#large", "--json", *url)
    assert {**ran.document, "database": ""} == {
        "database": "", "model": "large", "dimensions": 4, "previous": "small",
        "embedded": 2, "dropped": 0, "refused": 0,
    }  # fmt: skip
    recorded = run("info", "--json", *url).document["embedding"]["recorded"]
    assert (recorded["model"], recorded["dimensions"]) == ("large", 4)
    refused = run("search", "fox", "--embedder", "vectors_for_tests:good#small", "--json", *url)
    assert refused.error[0] == "EmbeddingMismatchError"
    assert "'large'" in refused.error[1]
    assert "'small'" in refused.error[1]
    monkeypatch.setenv("DATASTORE_EMBEDDING__MODEL", "small")
    again = run("reembed", "--embedder", "vectors_for_tests:longer#large", "--drop-old", *url)
    assert "0 vectors made, 2 of other models removed" in again.out
    assert "the settings still say embedding.model: small" in again.out
    assert "the settings say otherwise: model small" in run("info", *url).out
    assert run("search", "fox", "--embedder", "vectors_for_tests:longer#large", *url).code == 0


def test_forget_removes_what_was_indexed(run: Run, migrated_url: str, docs: str) -> None:
    run("index", docs, "--url", migrated_url)
    ran = run("forget", "docs/fox.md", "--json", "--url", migrated_url)
    assert (ran.document["forgotten"], ran.document["chunks"]) == (["docs/fox.md"], 1)
    assert run("search", "fox", "--json", "--url", migrated_url).document["hits"] == []
    assert "forgotten: 1 file, 1 chunk\n" in run("forget", docs, "--url", migrated_url).out
    assert run("forget", docs, "--json", "--url", migrated_url).error[0] == "NotFoundError"


@pytest.mark.parametrize("command", ["index", "forget"])
def test_an_empty_path_is_not_the_current_folder(
    run: Run, migrated_url: str, docs: str, command: str
) -> None:
    run("index", docs, "--url", migrated_url)
    assert run(command, "", "--json", "--url", migrated_url).error[0] == "InvalidValueError"
    assert len(run("search", "fox", "--json", "--url", migrated_url).document["hits"]) == 1


@pytest.mark.usefixtures("embedders")
def test_another_vector_space_is_refused(run: Run, migrated_url: str, docs: str) -> None:
    run("index", docs, "--embedder", "vectors_for_tests:good", "--url", migrated_url)
    ran = run("search", "x", "--embedder", "vectors_for_tests:longer#other", "--url", migrated_url)
    assert (ran.code, "'other'" in ran.err) == (1, True)
    ran = run("search", "x", "--embedder", "vectors_for_tests:longer", "--url", migrated_url)
    assert (ran.code, "expected 3 dimensions, got 4" in ran.out) == (0, True)


@pytest.mark.usefixtures("embedders")
def test_a_model_that_is_not_the_recorded_one_is_refused_where_nothing_has_changed(
    run: Run, migrated_url: str, docs: str
) -> None:
    options = ["--json", "--url", migrated_url]
    run("index", docs, "--embedder", "vectors_for_tests:good#small", *options)
    other = run("index", docs, "--embedder", "vectors_for_tests:good#other", *options)
    assert other.error[0] == "EmbeddingMismatchError"
    unnamed = run("index", docs, "--embedder", "vectors_for_tests:good", *options)
    assert "nothing names a model here" in unnamed.error[1]
    assert "--embedder MODULE:NAME#small" in unnamed.error[1]


@pytest.mark.usefixtures("embedders")
def test_index_tells_of_chunks_without_a_vector(run: Run, migrated_url: str, docs: str) -> None:
    url = ["--url", migrated_url]
    assert "note: " not in run("index", docs, *url).out, (
        "in a store without vectors none is missing"
    )
    run("index", docs, "--embedder", "vectors_for_tests:good#small", *url)
    Path(docs, "new.md").write_text("New.\n")
    ran = run("index", docs, *url)
    assert ran.code == 0
    assert "note: 1 chunk has no vector" in ran.out
    assert run("index", docs, "--json", *url).document["without_vector"] == 1


@pytest.mark.usefixtures("embedders")
def test_what_an_embedder_raises_is_for_those_who_ask(
    run: Run, migrated_url: str, docs: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["--embedder", "vectors_for_tests:failing#a", "--url", migrated_url]
    assert "raised RuntimeError (--verbose tells why)" in run("index", docs, *options).out
    assert CANARY not in caplog.text
    assert CANARY not in run("index", docs, "--verbose", *options).out
    assert CANARY in caplog.text


# --- the command line itself --------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["nope"], ["--nope"], ["search"], ["info", "extra"], ["upgrade", "--limit", "1"]]
)
def test_what_cannot_be_understood_exits_with_2(run: Run, arguments: list[str]) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "error: " in ran.err
    as_json = run("--json", *arguments)
    assert (as_json.code, as_json.error[0]) == (2, "UsageError")


def test_help_and_version(run: Run) -> None:
    ran = run("--help")
    assert ran.code == 0
    assert all(
        name in ran.out for name in ("upgrade", "downgrade", "info", "doctor", "index", "search")
    )
    assert run().out == ran.out
    assert run("search", "--help").code == 0
    assert run("--version").out.startswith("datastore ")


def test_the_database_of_the_environment_is_taken(
    run: Run, migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", migrated_url)
    assert run("info", "--json").document["schema"]["state"] == "current"


def test_a_configuration_file_is_taken(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("datastore: {sqlite: {path: of-the-file.db}}\n")
    assert run("--config", str(path), "upgrade").code == 0
    assert (tmp_path / "of-the-file.db").exists()
    path.write_text("datastore: {sqlite: {pathh: x}}\n")
    ran = run("info", "--json", "--config", str(path))
    assert (ran.code, ran.error[0]) == (1, "ConfigurationError")
    assert run("info", "--config", "none.yaml").code == 2


@pytest.mark.parametrize("command", [["info"], ["doctor"], ["upgrade"], ["search", "x"]])
@pytest.mark.parametrize("options", [[], ["--json"], ["--verbose"]])
def test_no_password_is_ever_shown(
    run: Run, caplog: pytest.LogCaptureFixture, command: list[str], options: list[str]
) -> None:
    url = f"postgresql://user:{CANARY}@127.0.0.1:1/nowhere?connect_timeout=2"
    ran = run(*command, *options, "--url", url)
    assert ran.code == 1
    assert CANARY not in ran.out + ran.err + caplog.text


def test_a_password_is_masked_in_what_is_named(run: Run, postgres_server: str) -> None:
    with_password = re.sub(r"//([^:@/]+)(:[^@]*)?@", rf"//\1:{CANARY}@", postgres_server)
    ran = run("info", "--url", with_password)
    assert CANARY not in ran.out + ran.err
    assert ran.code == 1 or ":***@" in ran.out


def test_a_traceback_is_for_those_who_ask(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    ran = run("info", "--url", "sqlite:///none.db")
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("error: ")
    run("info", "--verbose", "--url", "sqlite:///none.db")
    assert "Traceback" in caplog.text


def test_ctrl_c_ends_quietly(run: Run, migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Datastore) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Datastore, "schema", interrupted)
    ran = run("info", "--url", migrated_url)
    assert (ran.code, ran.out, ran.err) == (130, "", "")


def test_commands_that_cannot_be_loaded_hurt_nobody(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = EntryPoint("broken", "no_such_module_at_all:register", "datastore.commands")
    monkeypatch.setattr(program, "entry_points", lambda **_: [broken])
    assert run("--version").code == 0
    assert "no_such_module_at_all" in caplog.text


# --- as a process -------------------------------------------------------------------------------


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **variables}


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "datastore.cli", *arguments]


def on_a_terminal(answer: str, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run with a terminal for all three streams; return the exit code and what it showed."""
    outer, inner = pty.openpty()
    with subprocess.Popen(
        command_line(*arguments),
        stdin=inner, stdout=inner, stderr=inner,
        env=environment(TERM="xterm-256color", **variables),
    ) as process:  # fmt: skip
        os.close(inner)
        os.write(outer, answer.encode())
        shown = b""
        with contextlib.suppress(OSError):  # which is how Linux says that the other end is closed
            while block := os.read(outer, 4096):
                shown += block
        code = process.wait()
    os.close(outer)
    return code, shown.decode()


def test_a_closed_pipe_is_no_error(migrated_url: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        command_line("info", "--url", migrated_url),
        stdout=writing, stderr=subprocess.PIPE, env=environment(), check=False,
    )  # fmt: skip
    os.close(writing)
    assert (process.returncode, process.stderr) == (141, b"")


def test_a_terminal_has_colour(migrated_url: str) -> None:
    assert "\x1b[" in on_a_terminal("", "info", "--url", migrated_url)[1]
    without = on_a_terminal("", "info", "--url", migrated_url, NO_COLOR="1")[1]
    assert not re.search(r"\x1b\[[\d;]*3\d", without)


def test_downgrade_asks_on_a_terminal(run: Run, migrated_url: str) -> None:
    code, shown = on_a_terminal("n\n", "downgrade", "base", "--url", migrated_url)
    assert code == 1
    assert "nothing was changed" in shown
    assert run("info", "--json", "--url", migrated_url).document["schema"]["state"] == "current"
    assert on_a_terminal("y\n", "downgrade", "base", "--url", migrated_url)[0] == 0
    assert run("info", "--json", "--url", migrated_url).document["schema"]["state"] == "missing"


# --- graph --------------------------------------------------------------------------------------


@pytest.fixture
def graph_url(migrated_url: str) -> str:
    """The URL of a database with a small graph."""
    with Datastore.open(migrated_url) as store:
        graph = GraphRepository(store)
        graph.add_entities(
            [
                Entity("ann", "Ann <b>", "person", mention_count=3),
                Entity("bob", "Bob", "person"),
                Entity("bob2", "BOB", "dog"),
                Entity("acme", "Acme", "company"),
            ]
        )
        graph.add_relationships(
            [Relationship("ann", "bob", "knows"), Relationship("bob", "acme", "works at")]
        )
    return migrated_url


def test_graph_tells_what_lies_around_an_entity(run: Run, graph_url: str) -> None:
    ran = run("graph", "ann", "--hops", "1", "--url", graph_url)
    assert (ran.code, ran.err[:10]) == (0, "database: ")
    lines = ran.out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["0", "Ann"], ["1", "Bob"]]
    assert "knows -> Bob" in lines[2]
    assert lines[3] == "entities: 2, relationships: 1"


def test_graph_counts_in_words_that_fit(run: Run, graph_url: str) -> None:
    out = run("graph", "ann", "--hops", "1", "--url", graph_url).out
    assert "person, ann, told 3 times" in out
    assert "person, bob, told once" in out
    assert "knows -> Bob  strength 5" in out


def test_graph_shows_a_part_of_very_many_relationships(
    run: Run, graph_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repositories.graph_command.RELATIONSHIPS", 1)
    out = run("graph", "ann", "--url", graph_url).out
    assert out.count("strength") == 1
    assert "relationships: 2" in out
    assert "note: 1 of the 2 relationships are shown; --json gives all" in out


def test_graph_takes_a_name_of_several_words(run: Run, graph_url: str) -> None:
    with Datastore.open(graph_url) as store:
        GraphRepository(store).add_entity(Entity("g", "age group", "concept"))
    ran = run("graph", "age", "group", "--url", graph_url)
    assert (ran.code, "age group" in ran.out) == (0, True)


def test_graph_names_the_types_that_there_are(run: Run, graph_url: str) -> None:
    ran = run("graph", "bob", "--type", "nosuch", "--type", "knows", "--url", graph_url)
    assert ran.code == 0
    note = "no relationship is of type 'nosuch'; the types are: 'knows', 'works at'"
    assert note in ran.err.splitlines()
    assert note not in run("graph", "bob", "--type", "knows", "--url", graph_url).err


def test_graph_shows_no_line_that_a_name_brings_along(run: Run, graph_url: str) -> None:
    with Datastore.open(graph_url) as store:
        graph = GraphRepository(store)
        graph.add_entity(Entity("x", "X\n 9  forged\x1b[1m", "t\nu"))
        graph.add_relationships([Relationship("x", "ann", "of\nforged")])
    ran = run("graph", "x", "--hops", "1", "--url", graph_url)
    assert not [line for line in ran.out.splitlines() if line.lstrip().startswith(("9", "forged"))]
    assert "\x1b[1m" not in ran.out


def test_graph_as_json(run: Run, graph_url: str) -> None:
    document = run("graph", "Acme", "--direction", "in", "--json", "--url", graph_url).document
    assert [(e["id"], e["depth"]) for e in document["entities"]] == [
        ("acme", 0),
        ("bob", 1),
        ("ann", 2),
    ]
    assert [edge["type"] for edge in document["relationships"]] == ["knows", "works at"]
    assert document["truncated"] is False


@pytest.mark.parametrize(
    ("format", "begins", "escaped"),
    [
        ("mermaid", "flowchart LR\n", "Ann #60;b#62;"),
        ("dot", "digraph", '"Ann <b>"'),
        ("html", "<!DOCTYPE html>", "Ann &lt;b&gt;"),
    ],
)
def test_pictures_have_standard_output_for_themselves(
    run: Run, graph_url: str, format: str, begins: str, escaped: str
) -> None:
    ran = run("graph", "ann", "--format", format, "--url", graph_url)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(begins)
    assert escaped in ran.out


def test_graph_narrowed_down(run: Run, graph_url: str) -> None:
    ran = run("graph", "bob", "--type", "works at", "--type", "x", "--json", "--url", graph_url)
    assert [entity["id"] for entity in ran.document["entities"]] == ["bob", "acme"]
    cut = run("graph", "bob", "--max-nodes", "2", "--url", graph_url)
    assert "--max-nodes shows them" in cut.out


def test_graph_says_whom_it_might_have_meant(run: Run, graph_url: str) -> None:
    several = run("graph", "Bob", "--url", graph_url)
    assert several.code == 0
    assert "others of that name: BOB (bob2)" in several.err
    ran = run("graph", "Akme", "--url", graph_url)
    assert ran.code == 1
    assert "names like it: Acme (acme)" in ran.err
    assert run("graph", "Akme", "--json", "--url", graph_url).error[0] == "NotFoundError"
