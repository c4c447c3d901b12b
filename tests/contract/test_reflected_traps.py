"""Databases of one table each that a well-known tool loses rows of, or changes: none may be silent.

Each is copied from SQLite to PostgreSQL. It arrives to the bit, or the copy stops and names the
rows; what is created otherwise than it was declared stands in the notes.
"""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import exc

from datastore import Datastore
from datastore.errors import TransferError
from datastore.transfer import IncompleteLoadError
from tests.contract.found_databases import copied, rows_of, run, said, sqlite_file

Make = Callable[..., str]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda script, *rows: sqlite_file(tmp_path / "trap.db", script, *rows)


def refused(source: str, target: str) -> list[str]:
    """Copy, see that nothing was copied, and return what was wrong."""
    with pytest.raises(IncompleteLoadError) as caught:
        copied(source, target)
    tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    assert rows_of(target, tables) == [(0,)]
    return [str(trouble) for trouble in caught.value.report.troubles]


def type_of(url: str, column: str, table: str = "t") -> str:
    return str(
        rows_of(
            url,
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
            f"WHERE attrelid = '\"{table}\"'::regclass AND attname = '{column}'",
        )[0][0]
    )


def values(url: str, column: str = "x") -> list[Any]:
    return [value for (value,) in rows_of(url, f"SELECT {column} FROM t ORDER BY id")]


def filled(make: Make, declared: str, *items: Any) -> str:
    """Make a table with a key and one column of some declared type, and a row for each item."""
    rows = [("INSERT INTO t (x) VALUES (?)", (item,)) for item in items]
    return make(f"CREATE TABLE t (id INTEGER PRIMARY KEY, x {declared})", *rows)


def test_01_text_with_nul_is_refused(make: Make, postgres: str) -> None:
    assert refused(filled(make, "TEXT", "a\0b", "c"), postgres) == [
        "table t, column x: text: found a NUL character, which PostgreSQL cannot store: "
        "1 row (id=1)"
    ]


def test_02_text_that_is_no_utf8_is_refused(make: Make, postgres: str) -> None:
    source = make(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT);"
        "INSERT INTO t VALUES (1, 'a'), (2, CAST(X'ff61' AS TEXT)), (3, 'b');"
    )
    (trouble,) = refused(source, postgres)
    assert trouble == (
        "table t, column x: expected text, found text that is no UTF-8: 1 row (id=2)"
    )


def test_03_an_integer_column_that_mixes_types_is_refused(make: Make, postgres: str) -> None:
    assert refused(filled(make, "INTEGER", 1, "text", 2.5, b"\x01", "", None), postgres) == [
        "table t, column x: expected an integer, found text: 2 rows (id=2; id=5)",
        "table t, column x: expected an integer, found a real number: 1 row (id=3)",
        "table t, column x: expected an integer, found a blob: 1 row (id=4)",
    ]


def test_04_reals_keep_eight_bytes(make: Make, postgres: str, back: str) -> None:
    floats = [16777217.0, 1767225600.123456, 0.1, 5e-324, 1.7976931348623157e308]
    copied(filled(make, "REAL", *floats), postgres)
    assert type_of(postgres, "x") == "double precision"
    assert values(postgres) == floats
    copied(postgres, back)
    assert values(back) == floats


def test_05_decimals_with_more_digits_than_declared_are_not_rounded(
    make: Make, postgres: str
) -> None:
    report = copied(filled(make, "NUMERIC(10,2)", 1.005, 1.999, 3), postgres)
    assert type_of(postgres, "x") == "numeric"
    assert list(map(str, values(postgres))) == ["1.005", "1.999", "3"]
    assert said(report, "declared as NUMERIC(10,2), and values have more digits")


def test_06_large_decimals_arrive(make: Make, postgres: str) -> None:
    assert copied(filled(make, "NUMERIC(20,10)", 1.2e10, 5), postgres).is_complete
    assert [float(value) for value in values(postgres)] == [1.2e10, 5]


def test_07_infinity_arrives(make: Make, postgres: str, back: str) -> None:
    copied(filled(make, "REAL", math.inf, -math.inf, 1.5), postgres)
    assert values(postgres) == [math.inf, -math.inf, 1.5]
    copied(postgres, back)
    assert values(back) == [math.inf, -math.inf, 1.5]


def test_08_integers_of_64_bits_arrive(make: Make, postgres: str, back: str) -> None:
    numbers = [2**62 + 1, 2**63 - 1, -(2**63), 2**31, -1]
    copied(filled(make, "INTEGER", *numbers), postgres)
    assert values(postgres) == numbers
    copied(postgres, back)
    assert values(back) == numbers


def test_09_booleans_of_0_and_1_are_booleans(make: Make, postgres: str, back: str) -> None:
    assert copied(filled(make, "BOOLEAN", 0, 1, None), postgres).notes == ()
    assert values(postgres) == [False, True, None]
    copied(postgres, back)
    assert values(back) == [0, 1, None]


def test_10_a_boolean_column_that_mixes_types_is_refused(make: Make, postgres: str) -> None:
    assert refused(filled(make, "BOOLEAN", 0, 1, 2, "true"), postgres) == [
        "table t, column x: expected a boolean, found an integer other than 0 and 1: 1 row (id=3)",
        "table t, column x: expected a boolean, found text: 1 row (id=4)",
    ]


def test_11_a_boolean_column_of_other_integers_is_one_of_integers(
    make: Make, postgres: str
) -> None:
    report = copied(filled(make, "BOOLEAN", 0, 2), postgres)
    assert (type_of(postgres, "x"), values(postgres)) == ("bigint", [0, 2])
    assert said(report, "column x: declared as BOOLEAN, and ")


def test_12_dates_that_are_none_are_refused(make: Make, postgres: str) -> None:
    source = filled(make, "DATE", "2024-02-29", "0000-00-00", "2026-02-30", 1700000000, 2460000.5)
    assert refused(source, postgres) == [
        "table t, column x: expected a date, found other text: 2 rows (id=2; id=3)",
        "table t, column x: expected a date, found an integer: 1 row (id=4)",
        "table t, column x: expected a date, found a real number: 1 row (id=5)",
    ]


OTHERWISE = [
    ("DATETIME", [1700000000, 5], "bigint"),
    ("DATETIME", [2460000.5], "double precision"),
    ("DATE", ["01/02/2024", "n/a"], "text"),
    ("TIMESTAMP", ["01/02/2024"], "text"),
    ("TIME", ["noon"], "text"),
    ("UUID", ["not one"], "text"),
    ("JSON", ["{bad"], "text"),
    ("DECIMAL(5,2)", ["n/a"], "text"),
    ("VARCHAR(3)", [b"\x00\xff"], "bytea"),
    ("INTEGER", ["a", "b"], "text"),
    ("REAL", ["a"], "text"),
    ("BOOLEAN", ["t", "f"], "text"),
    ("BLOB", ["a", "b"], "text"),
    ("BLOB", [1, 2], "bigint"),
    ("STRING", ["a"], "text"),
    ("SMALLINT", [1, 40_000], "bigint"),
]


def test_13_a_column_of_another_type_has_that_type(make: Make, postgres: str) -> None:
    script = "".join(
        f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, x {declared});"
        for number, (declared, _, _) in enumerate(OTHERWISE)
    )
    rows = [
        (f"INSERT INTO t{number} (x) VALUES (?)", (item,))
        for number, (_, items, _) in enumerate(OTHERWISE)
        for item in items
    ]
    report = copied(make(script, *rows), postgres)
    for number, (declared, items, becomes) in enumerate(OTHERWISE):
        table = f"t{number}"
        assert (declared, type_of(postgres, "x", table)) == (declared, becomes)
        assert rows_of(postgres, f"SELECT x FROM {table} ORDER BY id") == [(i,) for i in items]
        assert said(report, f"table {table}, column x: declared as {declared}, and ")


MEANT = [
    ("NVARCHAR(160)", "character varying(160)"),
    ("CHARACTER VARYING (20)", "character varying(20)"),
    ("LONGVARCHAR", "text"),
    ("TEXT(5)", "text"),
    ("MEDIUMINT", "bigint"),
    ("UNSIGNED BIG INT", "bigint"),
    ("INT8", "bigint"),
    ("SMALLINT", "smallint"),
    ("DOUBLE PRECISION", "double precision"),
    ("FLOAT", "double precision"),
    ("DECIMAL(8, 2)", "numeric(8,2)"),
    ("NUMERIC", "numeric"),
    ("DATETIME(6)", "timestamp without time zone"),
    ("TIMESTAMP WITH TIME ZONE", "timestamp with time zone"),
    ("DATE", "date"),
    ("TIME", "time without time zone"),
    ("BOOL", "boolean"),
    ("JSON", "jsonb"),
    ("UUID", "uuid"),
    ("BLOB", "bytea"),
    ("VARBINARY", "text"),
]


def test_14_declared_types_mean_what_they_are_known_for(make: Make, postgres: str) -> None:
    columns = ", ".join(f"c{number} {declared}" for number, (declared, _) in enumerate(MEANT))
    copied(make(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})"), postgres)
    found = [
        (declared, type_of(postgres, f"c{number}")) for number, (declared, _) in enumerate(MEANT)
    ]
    assert found == MEANT


def test_15_an_offset_is_not_dropped(make: Make, postgres: str) -> None:
    report = copied(filled(make, "TIMESTAMP", "2024-01-01 12:34:56+02:00"), postgres)
    assert type_of(postgres, "x") == "timestamp with time zone"
    assert rows_of(postgres, "SELECT x = '2024-01-01 10:34:56Z' FROM t") == [(True,)]
    assert said(report, "column x: all values have a time zone")


def test_16_times_with_and_without_an_offset_are_refused(make: Make, postgres: str) -> None:
    assert refused(
        filled(make, "TIMESTAMP", "2024-01-01 12:34:56+02:00", "2024-01-01 12:34:56"), postgres
    ) == ["table t, column x: expected a timestamp without a zone, found one with: 1 row (id=1)"]


def test_17_a_date_in_a_column_of_timestamps_is_its_midnight(make: Make, postgres: str) -> None:
    source = filled(make, "DATETIME", "2024-01-01", "2024-01-01T10:20", "2024-01-01 10:20:30.5")
    copied(source, postgres)
    assert rows_of(postgres, "SELECT x::text FROM t ORDER BY id") == [
        ("2024-01-01 00:00:00",), ("2024-01-01 10:20:00",), ("2024-01-01 10:20:30.5",)
    ]  # fmt: skip


def test_18_parts_of_a_microsecond_are_refused(make: Make, postgres: str) -> None:
    source = filled(make, "DATETIME", "2024-01-01 10:20:30.123456789", "2024-01-01 10:20:30")
    (trouble,) = refused(source, postgres)
    assert "expected a time to the microsecond, found one more exact" in trouble


def test_19_text_in_a_blob_column_is_not_decoded(make: Make, postgres: str) -> None:
    (trouble,) = refused(filled(make, "BLOB", b"\x00", b"\x01", "aGk="), postgres)
    assert trouble == "table t, column x: expected bytes, found text: 1 row (id=3)"


def test_20_documents_that_are_none_are_refused(make: Make, postgres: str) -> None:
    source = filled(make, "JSON", '{"a": 1}', "{bad", '{"a": NaN}', '{"a": 1, "a": 2}', "7")
    troubles = refused(source, postgres)
    assert [trouble.rpartition(": ")[2] for trouble in troubles] == [
        "1 row (id=2)", "1 row (id=3)", "1 row (id=4)",
    ]  # fmt: skip


def test_21_json_null_is_not_null(make: Make, postgres: str, back: str) -> None:
    copied(filled(make, "JSON", '{"a": 1}', "null", None, "7"), postgres)
    assert values(postgres, "x::text") == ['{"a": 1}', "null", None, "7"]
    copied(postgres, back)
    assert values(back) == ['{"a": 1}', "null", None, 7]


def test_21_numbers_in_documents_keep_their_digits(make: Make, postgres: str) -> None:
    documents = ('{"a": 0.1234567890123456789}', "[0.1, 1e300]", '{"a": 123456789.123456789}')
    (trouble,) = refused(filled(make, "JSON", *documents), postgres)
    assert trouble.endswith("a number of more digits than a float has: 2 rows (id=1; id=3)")


def test_22_not_null_checks_lengths_and_deferrability_are_kept(make: Make, postgres: str) -> None:
    source = make(
        "CREATE TABLE p (id INTEGER PRIMARY KEY);"
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x VARCHAR(3) NOT NULL CHECK (length(x) > 1),"
        "p INT REFERENCES p DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (1, 'abc', NULL);"
    )
    assert copied(source, postgres).notes == ()
    for value in ("NULL", "'a'", "'abcd'"):
        with pytest.raises(exc.DBAPIError):
            run(postgres, f"INSERT INTO t (x) VALUES ({value})")
    run(postgres, "INSERT INTO t (x, p) VALUES ('ab', 9)", "INSERT INTO p VALUES (9)")


def test_23_texts_longer_than_declared_are_not_cut(make: Make, postgres: str) -> None:
    report = copied(filled(make, "VARCHAR(3)", "abcdef", "é"), postgres)
    assert (type_of(postgres, "x"), values(postgres)) == ("text", ["abcdef", "é"])
    assert said(report, "declared as VARCHAR(3), and texts have up to 6 characters")


def test_23_what_a_violated_key_did_is_said(make: Make, postgres: str) -> None:
    source = make("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT UNIQUE ON CONFLICT REPLACE)")
    assert said(copied(source, postgres), "table t: ON CONFLICT REPLACE was left out")


def test_24_unique_keys_without_case_stay_so(make: Make, postgres: str) -> None:
    source = make(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT COLLATE NOCASE UNIQUE, "
        "y TEXT COLLATE RTRIM); INSERT INTO t VALUES (1, 'Abc', 'y'), (2, 'İß', 'y'), (3, 'iSS', 'y');"
    )
    report = copied(source, postgres)
    assert said(report, "column x: it is compared without regard to the case of ASCII letters")
    assert said(report, "column y: it is compared by the collation RTRIM")
    with pytest.raises(exc.IntegrityError):
        run(postgres, "INSERT INTO t (x) VALUES ('aBC')")
    run(postgres, "INSERT INTO t (x) VALUES ('İSS')")


def test_25_a_generated_column_is_generated_or_has_its_values(make: Make, postgres: str) -> None:
    source = make(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT AS (a + 1), "
        "c TEXT AS (hex(a)) STORED NOT NULL); INSERT INTO t (a) VALUES (10);"
    )
    report = copied(source, postgres)
    assert said(report, "column c: it was generated as hex(a); it becomes a column like others")
    run(postgres, "INSERT INTO t (a) VALUES (20)")
    assert rows_of(postgres, "SELECT a, b, c FROM t ORDER BY id") == [
        (10, 11, "3130"),
        (20, 21, None),
    ]


def test_26_the_next_insert_works(make: Make, postgres: str) -> None:
    tables = {"empty": 0, "filled": 3, "empty_once": 0, "filled_once": 3}
    script = "".join(
        f"CREATE TABLE {name} (id INTEGER PRIMARY KEY {'AUTOINCREMENT' * name.endswith('once')}, "
        "x INT);"
        for name in tables
    )
    fill = [
        (f"INSERT INTO {name} (x) VALUES (?)", (number,))
        for name, rows in tables.items()
        for number in range(rows)
    ]
    copied(make(script, *fill), postgres)
    for name, rows in tables.items():
        run(postgres, f"INSERT INTO {name} (x) VALUES (99)")
        assert rows_of(postgres, f"SELECT id FROM {name} WHERE x = 99") == [(rows + 1,)]


def test_27_null_in_a_primary_key_is_refused(make: Make, postgres: str) -> None:
    source = make(
        "CREATE TABLE t (id TEXT PRIMARY KEY); INSERT INTO t VALUES (NULL), (NULL), ('a')"
    )
    with pytest.raises(
        TransferError, match=r"table t: 2 rows have NULL in their primary key \(id\)"
    ):
        copied(source, postgres)


ODD_NAMES = ["select", "order", "MixedCase", "with space", 'a"b', "per%cent", "%(x)s", "co:lon",
             "dot.ted", "apo'strophe", "ünï", "a?b", "[bracket", "(", "back\\slash", "user",
             "b" * 63]  # fmt: skip


def test_28_names_stay_as_they_are(make: Make, postgres: str, back: str) -> None:
    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    columns = ", ".join(f"{quoted(name)} TEXT CHECK ({quoted(name)} <> '%')" for name in ODD_NAMES)
    script = "".join(
        f"CREATE TABLE {quoted(name)} (id INTEGER PRIMARY KEY, {columns}, parent INT REFERENCES "
        f"{quoted(name)});"
        f"CREATE INDEX {quoted('i' + name[:60])} ON {quoted(name)} ({quoted(name)}) "
        f"WHERE {quoted(name)} <> '50%';"
        for name in ODD_NAMES
    )
    marks = ", ".join("?" * len(ODD_NAMES))
    rows = [
        (f"INSERT INTO {quoted(table)} VALUES ({key}, {marks}, 1)", ODD_NAMES)
        for table in ODD_NAMES
        for key in range(1, 13)
    ]
    report = copied(make(script, *rows), postgres)
    assert (report.is_complete, report.notes) == (True, ())
    assert [table.table for table in copied(postgres, back).tables] == sorted(ODD_NAMES)
    found = rows_of(back, f"SELECT * FROM {quoted(ODD_NAMES[4])} WHERE id = 12")
    assert found == [(12, *ODD_NAMES, 1)]


def test_29_names_that_postgresql_would_cut_are_refused(make: Make, postgres: str) -> None:
    long = "x" * 63
    source = make(
        f"CREATE TABLE {long}a (id INT); CREATE TABLE {long}b (id INT, {long}c INT);"
        f'CREATE TABLE "{"é" * 32}" (id INT); CREATE TABLE "" (id INT);'
        "CREATE TABLE box (xmin REAL, xmax REAL);"
    )
    with pytest.raises(TransferError) as caught:
        copied(source, postgres)
    for name in (f"table {long}a", f"table {long}b", f"column {long}c", f"table {'é' * 32}",
                 "table without a name", "table box: column xmin: PostgreSQL keeps"):  # fmt: skip
        assert name in str(caught.value)


def test_30_a_strict_table_with_any(make: Make, postgres: str) -> None:
    source = make(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x ANY, y ANY, n INT) STRICT;"
        "INSERT INTO t VALUES (1, 'a', 1, 5), (2, 'b', 2.5, 6);"
    )
    report = copied(source, postgres)
    assert rows_of(postgres, "SELECT x, y, n FROM t ORDER BY id") == [("a", 1.0, 5), ("b", 2.5, 6)]
    assert said(report, "column x: declared as ANY, and all values are text")
    assert said(report, "column y: integers and floats: all become floats")
    assert said(report, "table t: it is STRICT")


def test_31_any_with_mixed_types_is_refused(make: Make, postgres: str) -> None:
    source = make(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES (1, 'a'), (2, 5), (3, 'b')"
    )
    (trouble,) = refused(source, postgres)
    assert trouble == "table t, column x: expected text, found an integer: 1 row (id=2)"


DEFAULTS = [
    ("TEXT", "(datetime('now'))", "____-__-__ __:__:__"),
    ("DATETIME", "CURRENT_TIMESTAMP", "____-__-__ %:%:%"),
    ("DATE", "CURRENT_DATE", "____-__-__"),
    ("TIME", "CURRENT_TIME", "__:__:__%"),
    ("INTEGER", "(strftime('%s', 'now'))", "__________"),
    ("TEXT", "'it''s 100%'", "it''s 100\\%"),
    ("TEXT", '"quoted"', "quoted"),
    ("TEXT", "5", "5"),
    ("INTEGER", "-7", "-7"),
    ("INTEGER", "'12'", "12"),
    ("REAL", "1.5e3", "1500"),
    ("NUMERIC(5,2)", "0.10", "0.10"),
    ("BOOLEAN", "TRUE", "true"),
    ("BOOLEAN", "0", "false"),
    ("DATE", "'2024-01-01'", "2024-01-01"),
    ("JSON", "'{}'", "{}"),
]
OTHER_DEFAULTS = [
    ("TEXT", "(hex(randomblob(4)))"),
    ("INTEGER", "''"),
    ("DATE", "'0000-00-00'"),
    ("DATETIME", "(datetime('now', 'localtime'))"),
    ("INTEGER", "(1 + 2)"),
]


def defaulted(make: Make, defaults: Sequence[tuple[str, ...]]) -> str:
    columns = ", ".join(
        f"c{number} {declared} DEFAULT {default}"
        for number, (declared, default, *_) in enumerate(defaults)
    )
    return make(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})")


def test_32_defaults_do_what_they_did(make: Make, postgres: str) -> None:
    assert copied(defaulted(make, DEFAULTS), postgres).notes == ()
    run(postgres, "INSERT INTO t DEFAULT VALUES")
    for number, (declared, default, found) in enumerate(DEFAULTS):
        like = rows_of(postgres, f"SELECT c{number}::text LIKE '{found}', c{number}::text FROM t")
        assert like[0][0], (declared, default, like[0][1])


def test_33_other_defaults_are_left_out_and_said(make: Make, postgres: str) -> None:
    report = copied(defaulted(make, OTHER_DEFAULTS), postgres)
    run(postgres, "INSERT INTO t DEFAULT VALUES")
    for number, (_, default) in enumerate(OTHER_DEFAULTS):
        assert said(report, f"column c{number}: the default ")
        assert values(postgres, f"c{number}") == [None], default


def test_34_expression_and_partial_indexes_are_kept_or_said(make: Make, postgres: str) -> None:
    source = make(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT, n INT);"
        "CREATE INDEX lower_x ON t (lower(x), n DESC) WHERE n > 5 AND x IS NOT NULL;"
        "CREATE UNIQUE INDEX once ON t (x) WHERE n = 1; CREATE INDEX odd ON t (hex(x));"
    )
    report = copied(source, postgres)
    assert [note for note in report.notes if "index" in note] == [
        "table t: the index odd was left out: hex(text) is not portable"
    ]
    names = rows_of(postgres, "SELECT indexname FROM pg_indexes WHERE tablename = 't' ORDER BY 1")
    assert names == [("lower_x",), ("once",), ("t_pkey",)]
    run(postgres, "INSERT INTO t (x, n) VALUES ('a', 1), ('a', 2)")
    with pytest.raises(exc.IntegrityError):
        run(postgres, "INSERT INTO t (x, n) VALUES ('a', 1)")


def test_35_an_index_that_fails_is_said_and_the_rows_arrive(make: Make, postgres: str) -> None:
    noise = "".join(map(chr, random.Random(0).choices(range(0x4E00, 0x9FFF), k=4000)))
    source = make(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT); CREATE INDEX long ON t (x);",
        ("INSERT INTO t VALUES (1, ?)", (noise,)),
    )
    report = copied(source, postgres)
    assert report.is_complete
    assert said(report, "the index long could not be made")
    assert values(postgres) == [noise]


def test_36_a_copy_drops_no_table_of_the_target(make: Make, postgres: str) -> None:
    run(postgres, "CREATE TABLE other (a integer)", "INSERT INTO other VALUES (1)")
    copied(filled(make, "TEXT", "a"), postgres)
    assert rows_of(postgres, "SELECT a FROM other") == [(1,)]


def test_37_a_column_without_any_collation_here(make: Make, postgres: str) -> None:
    path = Path(make("")[10:])
    connection = sqlite3.connect(path)
    connection.create_collation("unicase", lambda a, b: (a > b) - (a < b))
    connection.executescript(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT NOT NULL COLLATE unicase);"
        "CREATE TABLE w (k TEXT COLLATE unicase PRIMARY KEY, d DATE COLLATE unicase) WITHOUT ROWID;"
        "CREATE UNIQUE INDEX ux ON t (x); INSERT INTO t VALUES (1, 'b'), (2, 'a');"
        "INSERT INTO w VALUES ('k', '2024-01-01');"
    )
    connection.close()
    report = copied(f"sqlite:///{path}", postgres)
    assert values(postgres) == ["b", "a"]
    assert said(report, "column x: it is compared by the collation UNICASE")


def test_38_rows_keep_their_digests_through_both_engines(
    make: Make, postgres: str, back: str
) -> None:
    texts = ["", "\\N", "\\.", "a\tb\r\n", "\ufeff\u2028", "👩‍👩‍👧", "\U0010ffff", "'\"%s;--"]
    rows = [("INSERT INTO t (x, y) VALUES (?, ?)", (text, text.encode())) for text in texts]
    source = make("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT UNIQUE, y BLOB)", *rows)
    there, returned = copied(source, postgres), copied(postgres, back)
    assert there.tables[0].source == returned.tables[0].target
    with Datastore.open(back) as store:
        assert [row["x"] for row in store.query("SELECT x FROM t ORDER BY id")] == texts


def test_tables_beside_a_virtual_one_are_copied(make: Make, postgres: str) -> None:
    source = make(
        "CREATE VIRTUAL TABLE docs USING fts5(x); CREATE TABLE docs_info (a INT);"
        "CREATE TABLE docs_vocab (a INT); CREATE TABLE docs_segments (a INT);"
        "INSERT INTO docs_info VALUES (1); INSERT INTO docs_vocab VALUES (2);"
    )
    report = copied(source, postgres)
    assert [t.table for t in report.tables] == ["docs_info", "docs_segments", "docs_vocab"]
    assert rows_of(postgres, "SELECT a FROM docs_vocab") == [(2,)]


#: Texts that Python's parsers make values of, and SQLite none.
LENIENT = {
    "NUMERIC": ("1.5", ["1_000", "\uff11\uff12", "\u0661\u0662", "NaN"]),
    "UUID": (
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
         "urn:uuid:a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    ),
    "DATE": ("2024-01-01", ["2024-W01-1", "2024-W01"]),
    "TIME": ("10:00", ["T10", "10:00:00,5"]),
    "TIMESTAMP": ("2024-01-01 10:00:00.5", ["2024-01-01x10", "2024-W01-1", "20240101T10"]),
}  # fmt: skip


@pytest.mark.parametrize("declared", LENIENT)
def test_texts_that_only_python_understands_are_refused(
    make: Make, postgres: str, declared: str
) -> None:
    right, wrong = LENIENT[declared]
    (trouble,) = refused(filled(make, declared, right, *wrong), postgres)
    rows = "1 row" if len(wrong) == 1 else f"{len(wrong)} rows"
    assert f"found other text: {rows} (id=2" in trouble


def test_a_table_may_be_named_conflict(make: Make, postgres: str) -> None:
    source = make(
        "CREATE TABLE conflict (id INTEGER PRIMARY KEY);"
        "CREATE TABLE t (a INT REFERENCES conflict (id))"
    )
    assert copied(source, postgres).notes == ()


def test_the_largest_integer_is_no_float(make: Make, postgres: str) -> None:
    (trouble,) = refused(filled(make, "", 2**63 - 1, 1.5, 2**63 - 1), postgres)
    assert trouble == "table t, column x: expected an integer, found a real number: 1 row (id=2)"


@pytest.mark.parametrize("how", ["truncate", "upsert"])
def test_a_target_that_numbers_rows_without_autoincrement(
    postgres: str, back: str, how: str
) -> None:
    run(postgres, "CREATE TABLE t (id serial PRIMARY KEY, x int)", "INSERT INTO t (x) VALUES (5)")
    run(back, "CREATE TABLE t (id INTEGER PRIMARY KEY, x INTEGER)")
    assert copied(postgres, back, existing=how).is_complete
    assert values(back) == [5]
