"""Search for substrings, in every script: the same texts and scores on every backend."""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from host_tables import DIMENSIONS, Notes
from hypothesis import given
from hypothesis import strategies as st
from test_search import NASTY

from datastore import Capability, Datastore, FullTextIndex, RowKey, Text
from datastore.textquery import CASE_VARIANTS, Occur, Term, TextQuery, fold_case
from tests.real_data import DATA, needs_real_data, records

COLUMNS = ["title", "body"]
#: Few letters, so that substrings overlap and repeat, with what LIKE and regular expressions read
#: otherwise.
LETTERS = "abAB日本%_\\.*(\"'é\u0301Σς "
texts = st.text(st.sampled_from(LETTERS), max_size=24)
terms = st.builds(
    Term,
    st.tuples(st.text(st.sampled_from(LETTERS), min_size=1, max_size=5)),
    st.sampled_from([*[Occur.SHOULD] * 4, Occur.MUST, Occur.MUST_NOT]),
)
queries = st.lists(terms, max_size=4).map(lambda several: TextQuery(tuple(several)))


def ids(found: Any) -> list[Any]:
    return [hit.id for hit in found]


def places(term: Term, text: str) -> int:
    """Count the places at which a term begins in a text, overlapping ones too."""
    (wanted,) = term.words
    folded, wanted = fold_case(text), fold_case(wanted)
    return sum(folded.startswith(wanted, at) for at in range(len(folded)))


def reference(
    rows: Mapping[str, Sequence[str]], query: TextQuery, weights: Sequence[float]
) -> dict[str, float]:
    """BM25 with FTS5's formula over substrings, texts as long as their trigrams: id -> relevance."""

    def holds(row: Sequence[str], term: Term) -> bool:
        return any(places(term, text) for text in row)

    def length(row: Sequence[str]) -> int:
        return sum(max(0, len(text) - 2) for text in row)

    def score(row: Sequence[str]) -> float:
        total = 0.0
        for term in query.scored:
            holders = sum(holds(other, term) for other in rows.values())
            idf = max(1e-6, math.log((len(rows) - holders + 0.5) / (holders + 0.5)))
            frequency = sum(w * places(term, text) for w, text in zip(weights, row, strict=True))
            relative = length(row) / mean if mean else 1.0
            total += idf * frequency * 2.2 / (frequency + 1.2 * (0.25 + 0.75 * relative))
        return total

    mean = sum(map(length, rows.values())) / len(rows)
    return {
        id: score(row)
        for id, row in rows.items()
        if any(holds(row, term) for term in query.scored)
        and all(holds(row, term) for term in query.required)
        and not any(holds(row, term) for term in query.excluded)
    }


@pytest.fixture
def notes() -> Notes:
    return Notes(tokenizer="trigram")


@pytest.fixture
def store(empty_store: Datastore, notes: Notes) -> Datastore:
    """A store over the host's empty tables, instead of ours."""
    return notes.over(empty_store)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, 2.0), (4.0, 0.5)])
def test_substrings_match_and_score_as_the_reference_does(
    empty_store: Datastore, weights: tuple[float, float]
) -> None:
    notes = Notes(tokenizer="trigram", weights=dict(zip(COLUMNS, weights, strict=True)))
    store = notes.over(empty_store)
    row = st.tuples(texts, texts)

    @given(st.lists(row, min_size=1, max_size=8), queries, st.sampled_from([3, 100]))
    def check(stored: list[tuple[str, str]], query: TextQuery, limit: int) -> None:
        store.execute(sa.delete(notes.table))
        notes.fill(store, [{"title": title, "body": body} for title, body in stored])
        rows = {f"n{n}": row for n, row in enumerate(stored, 1)}
        expected = reference(rows, query, weights)
        found = store.full_text_search("notes", COLUMNS, query, limit)
        assert len(found) == min(limit, len(expected))
        best = sorted(expected.values(), reverse=True)[:limit]
        assert [hit.relevance for hit in found] == pytest.approx(best, rel=1e-9, abs=1e-15)
        for hit in found:
            assert hit.relevance == pytest.approx(expected[hit.id], rel=1e-9, abs=1e-15)

    check()


def test_every_text_that_holds_a_substring_is_found(store: Datastore, notes: Notes) -> None:
    anything = st.text(st.characters(exclude_categories=["Cs", "Lu"], exclude_characters="\0"))

    @given(st.lists(anything, max_size=5), anything, st.data())
    def check(others: list[str], text: str, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(text)))
        wanted = text[at : at + data.draw(st.integers(1, 6))]
        stored = [*others, text]
        store.execute(sa.delete(notes.table))
        notes.fill(store, [{"body": body} for body in stored])
        expected = [
            f"n{n}"
            for n, body in enumerate(stored, 1)
            if wanted and fold_case(wanted) in fold_case(body)
        ]
        query = TextQuery((Term((wanted,)),))
        assert sorted(ids(store.full_text_search("notes", COLUMNS, query))) == sorted(expected)

    check()


@pytest.mark.parametrize(
    ("stored", "queries"),
    [
        ("全文検索エンジンは東京で作られた", ["検索", "検索エンジン", "東", "京で作", "は東京"]),
        ("データベースの部分一致", ["ベース", "タベ", "ス", "部分一致"]),
        ("数据库支持全文检索和向量检索", ["检索", "全文检索", "库", "和向量"]),
        ("데이터베이스에서 부분 문자열을 찾는다", ["베이스", "찾", "부분", '"분 문자"']),
        ("การค้นหาข้อความย่อย", ["ค้นหา", "ข้อ", "ย่อย", "ก"]),
        ("call foo.bar(x) in C++ and C#", ["foo.bar(", "o.ba", "C++", "c#", "(x)", ")", "++"]),
        ("self.__init__(snake_caseName)", ["__init__", "ake_case", "CASENAME", "f._", "_"]),
        ("100% of C:\\temp\\*.txt", ["0%", "%", '"0% o"', "\\t", "*.txt", "C:\\temp", "\\*"]),
        ("a [b-c]{2} (?=d)^$|e", ["[b-c]", "{2}", "(?=d)", "^$|", "$", "?="]),
        ("Robert'); DROP TABLE--", ["');", "'", "--", "ERT')"]),
        ("👩‍👩‍👧 family 𠮷野家", ["👩‍👩", '"👧 fam"', "𠮷", "𠮷野家"]),
        ("two  words\nhere", ['"two  words"', '"s\nh"', '"  w"']),
        ("Straße, ΟΔΟΣ, Москва", ["strAßE", "οδος", "ΔΟΣ", "моск", "ВА"]),
        ("ﬁne ½ m² ①", ["ﬁn", "½", "M²", "①"]),
    ],
)
def test_substrings_of_every_script_are_found(
    store: Datastore, notes: Notes, stored: str, queries: list[str]
) -> None:
    notes.fill(store, [{"body": stored}, {"body": "something else"}, {"body": None}])
    for query in queries:
        assert ids(store.full_text_search("notes", COLUMNS, query)) == ["n1"], query


@pytest.mark.parametrize(
    ("stored", "query"),
    [("日本 語", "日本語"), ("foo_bar", "foo.bar"), ("creme", "crème"), ("cre\u0300me", "crème"),
     ("İstanbul", "istanbul"), ("abc", "abcd"), ("ab", "abc"), ("", "a"), ("aXb", '"a b"')],
)  # fmt: skip
def test_what_is_no_substring_is_not_found(
    store: Datastore, notes: Notes, stored: str, query: str
) -> None:
    notes.fill(store, [{"body": stored}])
    assert ids(store.full_text_search("notes", COLUMNS, query)) == []


def test_no_substring_spans_two_columns(store: Datastore, notes: Notes) -> None:
    notes.fill(store, [{"title": "red", "body": "apple"}, {"title": "redapple"}])
    for query in ("redapple", "da", '"d a"'):
        expected = ["n2"] if " " not in query else []
        assert ids(store.full_text_search("notes", COLUMNS, query)) == expected


@pytest.mark.parametrize("term", ["aa", "aaa", "anan", "--"])
def test_overlapping_places_count(store: Datastore, notes: Notes, term: str) -> None:
    stored = ["aaaaaaaa ananananan ------", "aaa anan -- and aa anan aaa --", *["other"] * 5]
    notes.fill(store, [{"body": body} for body in stored])
    query = TextQuery((Term((term,)),))
    expected = reference(
        {f"n{n}": ("", body) for n, body in enumerate(stored, 1)}, query, (1.0, 1.0)
    )
    found = store.full_text_search("notes", COLUMNS, query)
    relevance = {hit.id: hit.relevance for hit in found}
    assert relevance == pytest.approx(expected, rel=1e-9)
    assert len(found) == 2


def test_conditions_and_phrases_are_understood(store: Datastore, notes: Notes) -> None:
    bodies = ["red apple", "green apple", "red pear", "redder apples", "東京の検索", "京都の検索"]
    notes.fill(store, [{"body": body} for body in bodies])
    for query, expected in {
        "+apple -green": ["n1", "n4"],
        '"red apple"': ["n1"],
        '"d ap"': ["n1"],
        "appl*": ["n1", "n2", "n4"],
        "+検索 -東京": ["n6"],
        "+検索 東京": ["n5", "n6"],
        "-apple": [],
        "+red pear": ["n1", "n3", "n4"],
        "+re +ap": ["n1", "n2", "n4"],
    }.items():
        found = ids(store.full_text_search("notes", COLUMNS, query))
        assert sorted(found) == expected, query
    assert ids(store.full_text_search("notes", COLUMNS, "+検索 東京"))[0] == "n5"


def test_equal_relevance_is_ordered_by_id_in_binary_order(store: Datastore, notes: Notes) -> None:
    notes.fill(store, [{"id": name, "body": "検索する"} for name in ("b", "é", "B", "a", "Z")])
    for query in ("検索", "検索す"):
        assert ids(store.full_text_search("notes", COLUMNS, query, 4)) == ["B", "Z", "a", "b"]


@pytest.mark.parametrize("query", ["検索", "検索す", "+検索す -x", "索 す"])
def test_a_filter_costs_no_hits_and_leaves_the_relevance(
    store: Datastore, notes: Notes, query: str
) -> None:
    rows = [{"body": "検索する" + "も" * n, "kind": "many"} for n in range(30)]
    rows += [{"body": "長い文章の検索する方法", "kind": "few"} for _ in range(5)]
    notes.fill(store, [*rows, *[{"body": "なし"}] * 50])
    table = notes.table
    everything = store.full_text_search("notes", COLUMNS, query, 100)
    assert len(everything) == 35
    expected = [(hit.id, hit.relevance) for hit in everything if hit.row["kind"] == "few"]
    other = sa.select(table.c.rid).where(table.c.kind == "few")
    filters: list[Any] = [{"kind": "few"}, table.c.kind == "few", table.c.rid.in_(other)]
    for condition in filters:
        found = store.full_text_search("notes", COLUMNS, query, 5, filter=condition)
        assert [(hit.id, hit.relevance) for hit in found] == expected


def test_updates_and_deletes_are_seen(store: Datastore, notes: Notes) -> None:
    table = notes.table
    notes.fill(store, [{"body": "検索する"}, {"body": "検索する"}, {"body": "検索する"}])
    store.execute(sa.update(table).where(table.c.rid == 1).values(body="東京タワー"))
    store.execute(sa.update(table).where(table.c.rid == 3).values(body=None, title="東京タワー"))
    store.execute(sa.delete(table).where(table.c.rid == 2))
    for gone, there in (("検索", "東京"), ("検索す", "京タワ")):
        assert ids(store.full_text_search("notes", COLUMNS, gone)) == []
        assert ids(store.full_text_search("notes", COLUMNS, there)) == ["n1", "n3"]


def test_a_collection_of_texts_without_trigrams_is_searched(store: Datastore, notes: Notes) -> None:
    notes.fill(store, [{"body": "東京"}, {"body": "京都"}, {"body": "奈良"}])
    found = store.full_text_search("notes", COLUMNS, "東京")
    assert ids(found) == ["n1"]
    assert found[0].relevance == pytest.approx(math.log(2.5 / 1.5))


def test_snippets_mark_substrings(store: Datastore, notes: Notes) -> None:
    notes.fill(store, [{"body": "全文検索エンジン"}])
    (hit,) = store.full_text_search("notes", COLUMNS, "検索", marks=("<b>", "</b>"))
    assert hit.snippet is not None
    assert hit.snippet.strip() == "全文<b>検索</b>エンジン"


def test_hybrid_search_fuses_substrings_and_vectors(store: Datastore, notes: Notes) -> None:
    rows = [
        {"body": "全文検索", "embedding": [0, 1, 0, 0]},
        {"body": "東京", "embedding": [1, 0, 0, 0]},
    ]
    notes.fill(store, rows)
    found = store.hybrid_search("notes", text="検索", vector=[0, 1, 0, 0], marks=("[", "]"))
    assert (found[0].id, found[0].score) == ("n1", pytest.approx(1.0))
    assert found[0].snippet == "全文[検索]"


@pytest.mark.parametrize("source", ["nasty", "naughty"])
def test_no_text_raises(store: Datastore, notes: Notes, source: str) -> None:
    path = DATA / "strings" / "blns.json"
    if source == "naughty" and not path.exists():
        pytest.skip("no data sets beside the project")
    strings = NASTY if source == "nasty" else json.loads(path.read_text(encoding="utf-8"))
    storable = [s[:2000] for s in strings if "\0" not in s and not any("\ud800" <= c <= "\udfff" for c in s)]  # fmt: skip
    notes.fill(store, [{"body": text} for text in storable])
    for number, text in enumerate(strings):
        found = store.full_text_search("notes", COLUMNS, text, 1000)
        assert all(0 < hit.score < 1 for hit in found)
        if text in storable and '"' not in text and not text.isspace() and text:
            quoted = store.full_text_search("notes", COLUMNS, f'"{text}"', 1000)
            assert f"n{storable.index(text) + 1}" in ids(quoted), number


def test_every_backend_finds_the_same_hits_in_the_same_order(
    backend_stores: Sequence[Datastore],
) -> None:
    answers = []
    for empty in backend_stores:
        notes = Notes(tokenizer="trigram", weights={"title": 3.0})
        store = notes.over(empty)
        generator = random.Random(3)
        notes.fill(store, [
            {
                "title": "".join(generator.choices("abc日本語 ", k=4)),
                "body": "".join(generator.choices("abcd日本語検索 ", k=generator.randint(1, 60))),
                "embedding": [generator.gauss(0, 1) for _ in range(DIMENSIONS)],
            }
            for _ in range(150)
        ])  # fmt: skip
        found = []
        for _ in range(40):
            words = ["".join(generator.choices("abcd日本語検索", k=generator.randint(1, 4))) for _ in range(3)]  # fmt: skip
            query, vector = " ".join(words), [generator.gauss(0, 1) for _ in range(DIMENSIONS)]
            hits = store.full_text_search("notes", COLUMNS, query, 30)
            found.append((ids(hits), ids(store.hybrid_search("notes", text=query, vector=vector))))
        answers.append(found)
    assert answers[0] == answers[1]
    assert sum(len(hits) for hits, _ in answers[0]) > 300


@needs_real_data
def test_every_backend_finds_the_same_in_real_texts(backend_stores: Sequence[Datastore]) -> None:
    files = [row["content"][:5000] for row in records("markdown/rust-rfcs.jsonl.gz")]
    queries = [
        "borrow checker",
        "async fn",
        "::",
        "&mut self",
        "-> Result<",
        "lifetime 'a",
        "é",
        "#[",
    ]
    answers = []
    for empty in backend_stores:
        notes = Notes(tokenizer="trigram")
        store = notes.over(empty)
        notes.fill(store, [{"body": text} for text in files])
        found = [store.full_text_search("notes", COLUMNS, query, 50) for query in queries]
        answers.append([[(hit.id, hit.relevance) for hit in hits] for hits in found])
    for one, other in zip(*answers, strict=True):
        assert [id for id, _ in one] == [id for id, _ in other]
        assert [r for _, r in one] == pytest.approx([r for _, r in other], rel=1e-9)


@pytest.mark.parametrize(
    ("name", "key", "column", "index"),
    [("t", "number", "term", "g"), ("f", "key", "text", "found"),
     ("Mixed Case", 'k"ey', "per%cent", "it's {0}"), ("back\\slash", "a:b", "$$", "$$ %s")],
)  # fmt: skip
def test_any_names_will_do(
    empty_store: Datastore, name: str, key: str, column: str, index: str
) -> None:
    columns = (sa.Column(key, RowKey(), primary_key=True), sa.Column(column, Text()))
    table = sa.Table(name, sa.MetaData(), *columns, sa.Column("other", Text()))
    FullTextIndex(index, column_of := table.c[column], table.c.other, tokenizer="trigram")
    with empty_store.engine.begin() as connection:
        table.metadata.create_all(connection)
    empty_store.execute(
        table.insert(), [{key: 1, column: "全文検索"}, {key: 2, column: "検索する"}]
    )
    for query in ("検索", "文検索", "検索 文検索"):
        found = empty_store.full_text_search(
            table, [column, "other"], query, filter=column_of.startswith("全")
        )
        assert ids(found) == [1]
    with empty_store.engine.begin() as connection:
        table.metadata.drop_all(connection)
    assert empty_store.schema().tables == {}


def test_the_server_says_that_it_can(empty_store: Datastore) -> None:
    assert Capability.TRIGRAM in empty_store.capabilities


class TestFolding:
    #: Letters that were given a small or a capital form after Unicode 6.1, whose cases FTS5 takes
    #: for two letters: Cherokee, Georgian capitals, Osage, Vithkuqi, Old Hungarian, Garay, Warang
    #: Citi, Medefaidrin, Adlam, and rare ones of Greek, Cyrillic, Glagolitic and Latin.
    LATER = (
        (0x37F, 0x37F), (0x528, 0x52E), (0x13A0, 0x13F5), (0x1C89, 0x1CBF), (0x2C2F, 0x2C2F),
        (0xA698, 0xA69A), (0xA796, 0xA7FF), (0x104B0, 0x104D3), (0x10570, 0x10595),
        (0x10C80, 0x10CB2), (0x10D50, 0x10D65), (0x118A0, 0x118BF), (0x16E40, 0x16EFF),
        (0x1E900, 0x1E943),
    )  # fmt: skip

    def is_later(self, code: int) -> bool:
        return any(first <= code <= last for first, last in self.LATER)

    def test_every_character_is_folded_as_in_python(self, empty_store: Datastore) -> None:
        metadata = sa.MetaData()
        table = sa.Table(
            "characters",
            metadata,
            sa.Column("id", RowKey(), primary_key=True),
            sa.Column("body", Text()),
        )
        FullTextIndex("character_index", table.c.body, tokenizer="trigram")
        with empty_store.engine.begin() as connection:
            metadata.create_all(connection)
        cased = [
            code
            for code in range(1, sys.maxunicode + 1)
            if not 0xD800 <= code <= 0xDFFF
            and (len({chr(code).lower(), chr(code).upper(), chr(code).casefold(), chr(code)}) > 1
                 or chr(code) in "".join(CASE_VARIANTS))
            and not self.is_later(code)
        ]  # fmt: skip
        assert len(cased) > 2000
        empty_store.execute(table.insert(), [{"id": c, "body": f"<<{chr(c)}>>"} for c in cased])
        by_fold: dict[str, list[int]] = {}
        for code in cased:
            by_fold.setdefault(fold_case(chr(code)), []).append(code)
        for folded, codes in by_fold.items():
            for character in {chr(codes[0]), chr(codes[-1])}:
                query = TextQuery((Term((f"<<{character}>>",)),))
                found = empty_store.full_text_search(table, "body", query, 10)
                assert ids(found) == codes, (folded, character)

    def test_later_letters_are_found_as_they_stand(self, store: Datastore, notes: Notes) -> None:
        letters = [chr(first) for first, _ in self.LATER]
        notes.fill(store, [{"body": f"<<{letter}>>"} for letter in letters])
        for number, letter in enumerate(letters, 1):
            query = TextQuery((Term((f"<{letter}>",)),))
            assert ids(store.full_text_search("notes", COLUMNS, query)) == [f"n{number}"]
