"""Copies in the world as it is: other writers, timeouts, roles with few rights, no extension, secrets."""

from __future__ import annotations

import json
import shutil
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from datastore import Capability, Datastore, Text
from datastore.cli import main
from datastore.errors import PermissionDeniedError
from datastore.settings import Settings
from datastore.transfer import LoadOptions, Progress, copy, verify
from repositories import Chunk, ChunkRepository
from tests.moving import MakeURL, both, contents, fill
from tests.real_data import DATA, needs_real_data

FilledURL = Callable[[str], str]
CANARY = "canary-5ecret"


@pytest.mark.parametrize("origin", ["sqlite", "postgresql"])
def test_a_source_that_is_written_to_meanwhile_is_seen_as_it_was(
    make_url: MakeURL, origin: str
) -> None:
    with both(make_url(origin), make_url("sqlite")) as (source, target):
        source.migrate()
        fill(source)
        before = contents(source)

        def write(progress: Progress) -> None:
            if progress.step == "load" and progress.table == "chunks":
                ChunkRepository(source).add(Chunk(f"late{progress.rows}", "late.md", 1, 1, "late"))
                source.execute("UPDATE kg_entities SET name = 'late'")

        report = copy(source, target, LoadOptions(batch_rows=10, progress=write))
        assert report.is_complete
        assert contents(target) == before
        assert not target.query("SELECT 1 AS x FROM kg_entities WHERE name = 'late'")
        assert not verify(source, target).is_same


@pytest.mark.parametrize(
    ("origin", "destination", "resume"),
    [("sqlite", "postgresql", False), ("postgresql", "sqlite", True)],
)
def test_no_timeout_ends_a_slow_copy(
    filled_url: FilledURL, make_url: MakeURL, origin: str, destination: str, resume: bool
) -> None:
    limits = {"statement_timeout": 0.2, "idle_in_transaction_timeout": 0.2}

    def opened(url: str) -> Datastore:
        place = sa.make_url(url)
        if place.get_backend_name() != "postgresql":
            return Datastore.open(url)
        hurried = place.update_query_dict({"options": "-c transaction_timeout=1500"})
        url = hurried.render_as_string(hide_password=False)
        return Datastore.open(Settings.load(url=url, postgresql=limits))

    def dawdle(progress: Progress) -> None:
        if progress.step == "verify" or (progress.step == "load" and progress.table == "chunks"):
            time.sleep(0.15 if progress.rows % 2 else 0.3)

    with opened(filled_url(origin)) as source, opened(make_url(destination)) as target:
        options = LoadOptions(batch_rows=15, resume=resume, progress=dawdle)
        assert copy(source, target, options).is_complete


@pytest.fixture
def least_url(make_url: MakeURL) -> Iterator[tuple[str, str]]:
    """A migrated database, and the same for a role that owns none of it."""
    url = sa.make_url(make_url("postgresql"))
    role = f"reader_{url.database}"
    with Datastore.open(url) as owner:
        owner.migrate()
        owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'plain'")
        owner.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        owner.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
        )
        owner.execute(f"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {role}")
        yield (
            url.render_as_string(hide_password=False),
            url.set(username=role, password="plain").render_as_string(hide_password=False),
        )
        owner.execute(f"DROP OWNED BY {role}")
        owner.execute(f"DROP ROLE {role}")


def test_a_role_that_owns_no_table_copies_into_them(
    filled_url: FilledURL, least_url: tuple[str, str]
) -> None:
    with both(filled_url("sqlite"), least_url[1]) as (source, target):
        assert copy(source, target).is_complete
        assert verify(source, target).is_same
        ChunkRepository(target).add(Chunk("next", "next.md", 1, 1, "next"))
        assert copy(source, target, LoadOptions(existing="truncate")).is_complete


def test_a_role_that_may_only_read_copies_from_there(
    filled_url: FilledURL, least_url: tuple[str, str], make_url: MakeURL
) -> None:
    owner, reader = least_url
    with both(filled_url("sqlite"), owner) as (source, target):
        copy(source, target)
        role = sa.make_url(reader).username
        target.execute(f"REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public FROM {role}")
    with both(reader, make_url("sqlite")) as (source, target):
        assert copy(source, target).is_complete
    with both(filled_url("sqlite"), reader) as (source, target):
        with pytest.raises(PermissionDeniedError):
            copy(source, target, LoadOptions(existing="truncate"))


def test_a_file_that_may_only_be_read_is_copied(
    filled_file: Path, tmp_path: Path, make_url: MakeURL
) -> None:
    folder = tmp_path / "only"
    folder.mkdir()
    path = folder / "read.db"
    shutil.copyfile(filled_file, path)
    path.chmod(0o400)
    folder.chmod(0o500)
    try:
        with both(f"sqlite:///{path}?mode=ro", make_url("postgresql")) as (source, target):
            assert copy(source, target).is_complete
            assert contents(target) == contents(source)
    finally:
        folder.chmod(0o700)


def test_vectors_arrive_where_there_is_no_pgvector_and_come_back(
    filled_url: FilledURL, databases_without_pgvector: Any, make_url: MakeURL
) -> None:
    name = databases_without_pgvector.create()
    url = databases_without_pgvector.url(name)
    with both(filled_url("sqlite"), url) as (source, target):
        assert Capability.VECTOR_TYPE not in target.capabilities
        for options in (
            LoadOptions(),
            LoadOptions(existing="upsert"),
            LoadOptions(existing="truncate"),
        ):
            report = copy(source, target, options)
            assert report.is_complete
            assert all(each.same == each.queries for each in report.searches)
        assert contents(target) == contents(source)
    with both(url, make_url("postgresql")) as (source, target):
        assert copy(source, target, LoadOptions(resume=True, batch_rows=30)).is_complete
        assert verify(source, target).is_same
    databases_without_pgvector.drop(name)


def test_texts_of_any_length_and_kind_arrive(make_url: MakeURL) -> None:
    chars = "".join(map(chr, [*range(1, 0xD800), *range(0xE000, 0x20000)]))
    with both(make_url("sqlite"), make_url("postgresql")) as (source, target):
        source.migrate()
        repository = ChunkRepository(source)
        repository.add(Chunk("long", "long.md", 1, 1, "lorem ipsum " * 80_000))
        repository.add(
            Chunk(
                "chars",
                "'; DROP TABLE chunks; --",
                1,
                1,
                " ".join(chars[n : n + 64] for n in range(0, len(chars), 64)),
            )
        )
        repository.add(
            Chunk("tags", "tags", 1, 1, "tags", metadata={str(n): [n, None] for n in range(10_000)})
        )
        assert copy(source, target).is_complete
        assert contents(target) == contents(source)


LINES = sa.Table(
    "lines", sa.MetaData(), sa.Column("id", sa.Integer(), primary_key=True), sa.Column("text", Text())
)  # fmt: skip


def most_memory(source: str, target: str, texts: Iterable[str], **options: Any) -> int:
    """Copy texts, and return the most bytes that Python's objects took meanwhile."""
    with both(source, target) as stores:
        one, other = (
            Datastore(each.engine, metadata=LINES.metadata, settings=each.settings)
            for each in stores
        )
        LINES.metadata.create_all(one.engine)
        one.insert_many(LINES, enumerate(texts), ["id", "text"])
        tracemalloc.start()
        try:
            assert copy(one, other, LoadOptions(**options)).is_complete
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("origin", "destination", "resume"),
    [("sqlite", "postgresql", False), ("postgresql", "sqlite", True)],
)
def test_memory_does_not_grow_with_the_rows(
    make_url: MakeURL, origin: str, destination: str, resume: bool
) -> None:
    few, many = (
        most_memory(
            make_url(origin), make_url(destination), (f"text {n} " * 100 for n in range(count)),
            batch_rows=200, resume=resume,
        )
        for count in (2_000, 12_000)
    )  # fmt: skip
    assert many < few + 3_000_000  # the rows themselves are 10 MB more


@pytest.mark.parametrize(
    ("origin", "destination"), [("sqlite", "postgresql"), ("postgresql", "sqlite")]
)
def test_one_huge_row_takes_memory_for_itself_alone(
    make_url: MakeURL, origin: str, destination: str
) -> None:
    size = 50_000_000
    texts = ["small"] * 500 + ["x" * size] + ["small"] * 500
    assert most_memory(make_url(origin), make_url(destination), texts) < 6 * size


@pytest.mark.parametrize("arguments", [["--json"], ["--verbose"]])
def test_no_password_is_ever_told(
    filled_url: FilledURL,
    make_url: MakeURL,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    server = sa.make_url(make_url("postgresql")).update_query_dict({"application_name": "copy"})
    secret = str(server.password)
    good = server.render_as_string(hide_password=False)
    wrong = server.set(password=CANARY).render_as_string(hide_password=False)
    nowhere = f"postgresql://u:{CANARY}@127.0.0.1:1/db"
    file = filled_url("sqlite")
    runs = [
        (["copy", file, good], 0), (["copy", file, good], 1), (["copy", file, good, "--upsert"], 0),
        (["copy", good, "sqlite:///made.db"], 0), (["verify", file, good], 0), (["copy", good, good], 1),
        (["copy", file, wrong], 1), (["copy", wrong, "sqlite:///other.db"], 1), (["verify", nowhere, wrong], 1),
        (["copy", file, nowhere, "--resume"], 1), (["copy", file, f"postgresql://u:{CANARY}@h:port/db"], 1),
        (["copy", file, f"mysql://u:{CANARY}@h/db"], 1), (["copy", file, f"{CANARY}@{CANARY}"], 1),
        (["copy", file, f"postgresql://u:{CANARY}/@@h/db", "--dry-run"], 1),
    ]  # fmt: skip
    for command, code in runs:
        assert main([*command, *arguments]) == code, command
    said = "".join(capfd.readouterr())
    assert said
    assert CANARY not in said
    assert secret not in said
    assert not (tmp_path / "other.db").exists()
    with Datastore.open(good) as store:
        assert "datastore_transfer" not in store.schema().tables


@needs_real_data
def test_strings_that_break_programs_arrive(make_url: MakeURL) -> None:
    strings = json.loads((DATA / "strings" / "blns.json").read_text())
    texts = [text for text in dict.fromkeys(strings) if "\0" not in text]
    with both(make_url("sqlite"), make_url("postgresql")) as (source, target):
        source.migrate()
        ChunkRepository(source).add_many(
            Chunk(f"{n}-{text[:80]}", text, 1, 1, text, metadata={text: [text]})
            for n, text in enumerate(texts)
        )
        assert copy(source, target).is_complete
        assert contents(target) == contents(source)
        with Datastore.open(make_url("sqlite")) as back:
            assert copy(target, back, LoadOptions(resume=True, batch_rows=50)).is_complete
            assert contents(back) == contents(source)
