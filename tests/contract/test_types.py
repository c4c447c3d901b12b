"""Portable types: what goes in comes out, and what one engine would refuse, both refuse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from datastore import (
    Datastore,
    JSONDocument,
    RowKey,
    Text,
    TextArray,
    UTCDateTime,
    Vector,
    VectorIndex,
)
from datastore.errors import DatastoreError, DimensionError, InvalidValueError

metadata = sa.MetaData()
table = sa.Table(
    "everything",
    metadata,
    sa.Column("rid", RowKey(), sa.Identity(), primary_key=True),
    sa.Column("text", Text()),
    sa.Column("integer", sa.BigInteger),
    sa.Column("float", sa.Double),
    sa.Column("boolean", sa.Boolean),
    sa.Column("bytes", sa.LargeBinary),
    sa.Column("instant", UTCDateTime()),
    sa.Column("texts", TextArray()),
    sa.Column("json", JSONDocument()),
    sa.Column("vector", Vector(3)),
    sa.Column("free", Vector()),
)
VectorIndex("everything_vectors", table.c.vector)

INT64 = st.integers(-(2**63), 2**63 - 1)
storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
numbers = st.floats(allow_nan=False, allow_infinity=False)
# A whole number that JSON writes with an exponent may come back as the integer that it spells.
json_numbers = numbers.filter(lambda x: not 1e15 <= abs(x) < 2.0**64)
documents = st.recursive(
    st.none() | st.booleans() | INT64 | json_numbers | storable,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(storable, inner, max_size=4),
    max_leaves=12,
)
float32 = st.floats(-(2.0**60), 2.0**60, width=32)

EAST, WEST = timezone(timedelta(hours=14)), timezone(-timedelta(hours=12, minutes=34, seconds=56))


@pytest.fixture
def store(empty_store: Datastore) -> Datastore:
    """A store over the table of all types."""
    with empty_store.engine.begin() as connection:
        metadata.create_all(connection)
    return Datastore(empty_store.engine, metadata=metadata, settings=empty_store.settings)


@pytest.fixture(params=["bound", "literal"])
def through(request: pytest.FixtureRequest, store: Datastore) -> Callable[[str, Any], Any]:
    """Returns what comes back of a value of a column, sent as a parameter or within the SQL text."""

    def round_trip(column: str, value: Any) -> Any:
        if request.param == "literal" and value is not None:
            value = sa.literal(value, table.c[column].type, literal_execute=True)
        store.execute(sa.delete(table))
        store.execute(sa.insert(table).values({column: value}))
        (row,) = store.query(sa.select(table.c[column]))
        return row[column]

    return round_trip


class TestRoundTrips:
    def test_null_is_none_in_every_column(self, through: Any) -> None:
        for column in table.c.keys()[1:]:
            assert through(column, None) is None

    def test_text(self, through: Any) -> None:
        for text in (
            "", " ", "'", '"', "\\", "\\'", "\\\\x", "%s %(a)s %", ":name ::int", "$1 ?", "\t\n\r",
            "\u00e9 e\u0301", "😀 👩‍👩‍👧", "\U0010ffff", "\ufffe\uffff", "\u202e", "x" * 100_000, "\x01\x7f\x80",
        ):  # fmt: skip
            assert through("text", text) == text

        @given(storable)
        def check(text: str) -> None:
            assert through("text", text) == text

        check()

    def test_integers_of_64_bits(self, through: Any) -> None:
        for number in (-(2**63), -(2**63) + 1, -1, 0, 2**31, 2**53 + 1, 2**63 - 1):
            found = through("integer", number)
            assert (found, type(found)) == (number, int)

    def test_floats_to_the_bit(self, through: Any) -> None:
        for number in (
            0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, 1e16,
            -1.5, 123456789.123456789,
        ):  # fmt: skip
            found = through("float", number)
            assert found.hex() == number.hex() or found == number == 0  # the sign of zero may go
            assert type(found) is float

    def test_infinite_floats(self, store: Datastore) -> None:
        for number in (math.inf, -math.inf):
            store.execute(sa.insert(table).values(float=number))
        rows = store.query(sa.select(table.c.float).order_by(table.c.float))
        assert [row.float for row in rows] == [-math.inf, math.inf]

    def test_booleans(self, through: Any) -> None:
        assert through("boolean", True) is True
        assert through("boolean", False) is False

    def test_bytes(self, store: Datastore) -> None:
        for value in (b"", bytes(range(256)), b"\x00" * 10_000):
            store.execute(sa.delete(table))
            store.execute(sa.insert(table).values(bytes=value))
            assert store.query(sa.select(table.c.bytes)) == [{"bytes": value}]

    @pytest.mark.parametrize(
        "instant",
        [
            datetime.min.replace(tzinfo=UTC),
            datetime.max.replace(tzinfo=UTC),
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            datetime(2026, 7, 1, 12, 0, 0, 1, tzinfo=EAST),
            datetime(2026, 7, 1, 12, tzinfo=WEST),
            datetime(1883, 11, 18, 12, 3, 58, tzinfo=WEST),
            datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        ],
    )
    def test_instants_to_the_microsecond_in_utc(self, through: Any, instant: datetime) -> None:
        found = through("instant", instant)
        assert found == instant
        assert found.utcoffset() == timedelta(0)

    def test_any_instant(self, through: Any) -> None:
        @given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5))]),
                            min_value=datetime(1, 1, 2)))  # fmt: skip
        def check(instant: datetime) -> None:
            assert through("instant", instant) == instant

        check()

    def test_text_arrays(self, through: Any) -> None:
        for texts in (
            [], [""], ["a", "b"], ["NULL", "null"], ['"', "'", "\\", "{}", ",", "{a,b}", " "],
            ["😀", "\U0010ffff"], ["%", ":x"], ["a"] * 1000,
        ):  # fmt: skip
            assert through("texts", texts) == texts
        assert through("texts", ("a", "b")) == ["a", "b"]

        @given(st.lists(storable))
        def check(texts: list[str]) -> None:
            assert through("texts", texts) == texts

        check()

    def test_json(self, through: Any) -> None:
        deep: Any = 1
        for _ in range(50):
            deep = {"a": [deep]}
        for document in (
            {}, [], "", 0, False, {"": ""}, {"a": None}, [None], deep, {"ключ": "😀", "\\": "\"'%:x"},
            2**63 - 1, -(2**63), {"f": [0.1, 5e-324, 1.7976931348623157e308, 1e22]},
        ):  # fmt: skip
            found = through("json", document)
            assert (found, type(found)) == (document, type(document))

        @given(documents)
        def check(document: Any) -> None:
            assert through("json", document) == document

        check()

    def test_what_came_out_of_json_goes_in_again(self, through: Any) -> None:
        found = through("json", {"big": 1e300})
        assert through("json", found) == {"big": 1e300}

    def test_vectors_to_the_bit(self, through: Any) -> None:
        tiny = float(np.float32(1e-45))
        for vector in (
            [1.0, -0.0, tiny], [-tiny, 1.0, 0.0], [1e18, -1e18, 1.0], [0.1, 0.2, 0.3],
            [1.17549435e-38, 1.0, 1.1754942e-38],
        ):  # fmt: skip
            found = through("vector", vector)
            assert found.tobytes() == np.array(vector, dtype="<f4").tobytes()

        @given(st.lists(float32, min_size=3, max_size=3).filter(lambda v: max(map(abs, v)) > 1e-15))
        def check(vector: list[float]) -> None:
            assert through("free", vector).tobytes() == np.array(vector, dtype="<f4").tobytes()

        check()


class TestVectors:
    @pytest.mark.parametrize(
        "value",
        [
            [1, 2, 3],
            (1.0, 2.0, 3.0),
            np.array([1, 2, 3], dtype=np.float32),
            np.array([1, 2, 3], dtype=np.float64),
            np.array([1, 2, 3], dtype=np.int32),
            np.array([1, 2, 3], dtype=">f4"),
            np.array([[1, 9], [2, 9], [3, 9]], dtype=np.float32)[:, 0],
            [np.float32(1), np.float64(2), 3],
        ],
    )
    def test_any_sequence_of_numbers_will_do(self, store: Datastore, value: Any) -> None:
        store.execute(sa.insert(table), {"vector": value})
        (row,) = store.query(sa.select(table.c.vector))
        assert row["vector"].tolist() == [1.0, 2.0, 3.0]

    def test_they_come_back_as_read_only_float32(self, store: Datastore) -> None:
        store.execute(sa.insert(table), {"vector": [1, 2, 3]})
        (row,) = store.query(sa.select(table.c.vector))
        assert row["vector"].dtype == np.float32
        with pytest.raises(ValueError, match="read-only"):
            row["vector"][0] = 5

    def test_they_come_back_the_same_beside_other_columns(self, store: Datastore) -> None:
        values = {
            "text": "x", "integer": 2**62, "float": -0.5, "boolean": True, "bytes": b"\x00\xff",
            "instant": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "texts": ["a", ""],
            "json": {"a": [1, None, 0.5]}, "vector": [1, 2, 3], "free": [4, 5],
        }  # fmt: skip
        store.execute(sa.insert(table), values)
        (row,) = store.query(sa.select(table))
        found = {name: row[name] for name in values}
        found["vector"], found["free"] = row["vector"].tolist(), row["free"].tolist()
        assert found == values

    @pytest.mark.parametrize(
        ("value", "error", "message"),
        [
            ([1, 2], DimensionError, "vector: expected 3 dimensions, got 2"),
            ([1, 2, 3, 4], DimensionError, "vector: expected 3 dimensions, got 4"),
            ([], DimensionError, "vector: expected 3 dimensions, got 0"),
            ([1, 2, math.nan], InvalidValueError, "found NaN or infinity"),
            ([1, 2, -math.inf], InvalidValueError, "found NaN or infinity"),
            ([1, 2, 1e39], InvalidValueError, "found NaN or infinity"),
            ([0, 0, 0], InvalidValueError, "found zero or infinity"),
            ([1e-46, -0.0, 0.0], InvalidValueError, "found zero or infinity"),
            ([1e-46, 0, 0], InvalidValueError, "found zero or infinity"),
            ([3e38, 3e38, 3e38], InvalidValueError, "found zero or infinity"),
            ("123", InvalidValueError, "expected numbers, got str"),
            (b"123", InvalidValueError, "expected numbers, got bytes"),
            (["1", "2", "3"], InvalidValueError, "expected numbers, got list"),
            ([1, None, 3], InvalidValueError, "expected numbers, got list"),
            ([True, False, True], InvalidValueError, "expected numbers, got list"),
            ([1, 2j, 3], InvalidValueError, "expected numbers, got list"),
            ([[1, 2, 3]], InvalidValueError, "expected one dimension of numbers, got 2"),
            ([[1], [2, 3]], InvalidValueError, "expected numbers, got nested or mixed values"),
            (5.0, InvalidValueError, "expected one dimension of numbers, got 0"),
            ({1, 2, 3}, InvalidValueError, "expected numbers, got set"),
            ({"a": 1}, InvalidValueError, "expected numbers, got dict"),
            ([10**400, 1, 1], InvalidValueError, "expected numbers"),
        ],
    )  # fmt: skip
    def test_what_is_no_vector_is_refused_alike(
        self, store: Datastore, value: Any, error: type[DatastoreError], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            store.execute(sa.insert(table), {"vector": value})
        assert store.query(sa.select(table)) == []

    def test_zero_vectors_do_not_come_in_by_sql_text_either(self, store: Datastore) -> None:
        store.execute(sa.insert(table), {"vector": [1, 2, 3]})
        zero = {"sqlite": "zeroblob(12)", "postgresql": "'[0,0,0]'"}
        with pytest.raises(DatastoreError):
            store.execute(f"UPDATE everything SET vector = {zero[store.dialect]}")

    @pytest.mark.parametrize("dimensions", [0, -1, 16_001])
    def test_lengths_that_no_engine_stores_are_refused(self, dimensions: int) -> None:
        with pytest.raises(InvalidValueError, match="1 to 16000"):
            Vector(dimensions)

    def test_the_longest_vector_is_stored(self, store: Datastore) -> None:
        longest = np.arange(1, 16_001, dtype=np.float32)
        store.execute(sa.insert(table), {"free": longest})
        (row,) = store.query(sa.select(table.c.free))
        assert (row["free"] == longest).all()
        with pytest.raises(DimensionError):
            store.execute(sa.insert(table), {"free": np.ones(16_001)})


class TestRefused:
    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            ("text", "a\x00b", "NUL"),
            ("text", "\ud83d", "lone surrogate"),
            ("text", "a\udcff", "lone surrogate"),
            ("text", b"x", "expected str, got bytes"),
            ("text", 7, "expected str, got int"),
            ("instant", datetime(2026, 1, 1), "aware"),
            ("instant", "2026-01-01", "expected a datetime, got str"),
            ("instant", 0, "expected a datetime, got int"),
            ("instant", datetime.min.replace(tzinfo=EAST), ""),
            ("instant", datetime.max.replace(tzinfo=WEST), ""),
            ("texts", "abc", "expected texts, got str"),
            ("texts", ["a", None], "expected str, got NoneType"),
            ("texts", ["a", 1], "expected str, got int"),
            ("texts", ["a\x00"], "NUL"),
            ("texts", ["\ud800"], "lone surrogate"),
            ("texts", {"a"}, "expected texts, got set"),
            ("json", {"a": math.nan}, "NaN"),
            ("json", [math.inf], "infinity"),
            ("json", "a\x00", "NUL"),
            ("json", {"a\x00": 1}, "NUL"),
            ("json", {"a": ["\ud800"]}, "lone surrogate"),
            ("json", 2**63, "64 bits"),
            ("json", [{"a": -(2**63) - 1}], "64 bits"),
            ("json", {1: 2}, "text keys"),
            ("json", {"a": {1, 2}}, "JSON values"),
            ("json", datetime(2026, 1, 1), "JSON values"),
            ("integer", 2**63, ""),
            ("integer", -(2**63) - 1, ""),
        ],
    )  # fmt: skip
    def test_values_are_refused_alike(
        self, store: Datastore, column: str, value: Any, message: str
    ) -> None:
        with pytest.raises(InvalidValueError, match=message or None):
            store.execute(sa.insert(table), {column: value})
        assert store.query(sa.select(table)) == []

    def test_json_that_contains_itself_is_refused(self, store: Datastore) -> None:
        cycle: list[Any] = []
        cycle.append(cycle)
        with pytest.raises(InvalidValueError, match="cycles"):
            store.execute(sa.insert(table), {"json": cycle})

    def test_json_of_absurd_depth_is_refused(self, store: Datastore) -> None:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(InvalidValueError):
            store.execute(sa.insert(table), {"json": deep})


class TestComparison:
    WORDS = (
        "a",
        "B",
        "b",
        "é",
        "Z",
        "_",
        "a b",
        "ab",
        "",
        "\uffff",
        "\U00010000",
        "10",
        "9",
        "ß",
        "%",
    )

    @pytest.fixture
    def words(self, store: Datastore) -> Datastore:
        store.execute(sa.insert(table), [{"text": word} for word in self.WORDS])
        return store

    def found(self, store: Datastore, condition: Any) -> set[str]:
        return {row.text for row in store.query(sa.select(table.c.text).where(condition))}

    def test_text_is_sorted_by_code_point(self, words: Datastore) -> None:
        rows = words.query(sa.select(table.c.text).order_by(table.c.text))
        assert [row.text for row in rows] == sorted(self.WORDS)

    def test_the_greatest_text_is_that_of_the_last_code_point(self, words: Datastore) -> None:
        assert words.query(sa.select(sa.func.max(table.c.text).label("m"))) == [{"m": "\U00010000"}]

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            (table.c.text == "B", {"B"}),
            (table.c.text < "B", {w for w in WORDS if w < "B"}),
            (table.c.text > "a", {w for w in WORDS if w > "a"}),
            (table.c.text.between("a", "b"), {"a", "a b", "ab", "b"}),
            (table.c.text.like("a%"), {"a", "a b", "ab"}),
            (table.c.text.like("A%"), set()),
            (table.c.text.like("É"), set()),
            (table.c.text.like("_"), {w for w in WORDS if len(w) == 1}),
            (table.c.text.startswith("a"), {"a", "a b", "ab"}),
            (table.c.text.startswith("A"), set()),
            (table.c.text.startswith("%", autoescape=True), {"%"}),
            (table.c.text.startswith("_", autoescape=True), {"_"}),
            (table.c.text.contains("b"), {"b", "a b", "ab"}),
            (table.c.text.endswith("B"), {"B"}),
            (table.c.text.in_(["a", "A", "é", "É"]), {"a", "é"}),
        ],
    )
    def test_comparison_is_binary_and_minds_case(
        self, words: Datastore, condition: Any, expected: set[str]
    ) -> None:
        assert self.found(words, condition) == expected

    def test_like_in_sql_text_minds_case_too(self, words: Datastore) -> None:
        rows = words.query("SELECT text FROM everything WHERE text LIKE :p", {"p": "b%"})
        assert rows == [{"text": "b"}]

    def test_instants_are_compared_as_instants(self, store: Datastore) -> None:
        noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
        store.execute(sa.insert(table), {"instant": noon})
        for other in (noon.astimezone(EAST), noon.astimezone(WEST)):
            assert len(store.query(sa.select(table).where(table.c.instant == other))) == 1
            assert store.query(sa.select(table).where(table.c.instant < other)) == []


class TestJSONPaths:
    @pytest.fixture
    def documents(self, store: Datastore) -> Datastore:
        values: Sequence[Any] = (
            {"name": "a", "n": 1, "x": 1.5, "ok": True, "deep": {"list": ["p", "q"]}},
            {"name": "B", "n": 10, "x": -2.0, "ok": False, "deep": {"list": []}},
            {"n": None},
            [],
        )
        store.execute(sa.insert(table), [{"json": value} for value in values])
        return store

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            (table.c.json["name"].as_string() == "a", [1]),
            (table.c.json["name"].as_string() == "A", []),
            (table.c.json["n"].as_integer() > 1, [2]),
            (table.c.json["x"].as_float() < 0, [2]),
            (table.c.json["ok"].as_boolean(), [1]),
            (table.c.json[("deep", "list", 1)].as_string() == "q", [1]),
            (table.c.json["name"].as_string().startswith("B"), [2]),
            (table.c.json["name"].as_string().in_(["a", "B"]), [1, 2]),
            (table.c.json["absent"].as_string() == "a", []),
            (table.c.json["name"].as_string().is_(None), [3, 4]),
        ],
    )
    def test_a_document_is_filtered_by_its_parts(
        self, documents: Datastore, condition: Any, expected: list[int]
    ) -> None:
        rows = documents.query(sa.select(table.c.rid).where(condition).order_by(table.c.rid))
        assert [row.rid for row in rows] == expected

    def test_a_part_comes_out_as_json(self, documents: Datastore) -> None:
        statement = sa.select(table.c.json["deep"].label("part")).order_by(table.c.rid).limit(1)
        assert documents.query(statement) == [{"part": {"list": ["p", "q"]}}]
