"""Pictures of neighbourhoods: whatever a name says, it stays a label."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repositories import Entity, Neighborhood, Relationship
from repositories.grams import edit_distance, grams, likeness
from repositories.layout import SPACING, positions
from repositories.pictures import shown

AWKWARD = [
    '"]; click n0 "javascript:alert(1)"',
    "</title></svg><script>alert(1)</script>",
    "end\n  n9 --> n0",
    'quote " backslash \\',
    "\\N \\G \\",
    "&lt;b&gt; &amp; #35;",
    "`code` %%{init}%% |pipe|",
    "\u202egnorw\u2069\x00\x1b[31m",
    "<b onmouseover='x'>",
    "",
]
texts = st.sampled_from(AWKWARD) | st.text(max_size=12)
neighborhoods = st.builds(
    lambda names, kinds, type_: Neighborhood(
        [(Entity(f"id{n}", name, type_), min(n, 2)) for n, name in enumerate(names)],
        [Relationship("id0", f"id{n % len(names)}", kind) for n, kind in enumerate(kinds)],
        truncated=False,
    ),
    st.lists(texts, min_size=1, max_size=4),
    st.lists(texts, max_size=4),
    texts,
)


@given(found=neighborhoods)
def test_mermaid_has_a_line_for_each_thing_and_plain_labels(found: Neighborhood) -> None:
    head, *lines = found.to_mermaid().splitlines()
    assert head == "flowchart LR"
    label = r'"(?:[^\W_]|[ ,;\'()]|#\d+;)+"'
    node, edge = rf"    n\d+(\(\[{label}\]\)|\[{label}\])", rf"    n\d+ -->\|{label}\| n\d+"
    count = len(found.entities)
    assert len(lines) == count + len(found.relationships)
    assert all(re.fullmatch(node, line) for line in lines[:count])
    assert all(re.fullmatch(edge, line) for line in lines[count:])


@pytest.mark.parametrize("name", ["1. a", "- a", "+ a", "https://a", "_a_", "*a*", "`a`"])
def test_mermaid_makes_nothing_of_markdown_and_addresses(name: str) -> None:
    found = Neighborhood([(Entity("a", name, "t"), 0)], [], truncated=False)
    (label,) = re.findall(r'"(.*)"', found.to_mermaid())
    assert not set(label) & set(".-+/:_*`")
    assert re.sub(r"#(\d+);", lambda match: chr(int(match[1])), label) == name


@given(found=neighborhoods)
def test_dot_gives_back_the_labels(found: Neighborhood) -> None:
    lines = found.to_dot().splitlines()
    assert (lines[0], lines[-1]) == ("digraph neighborhood {", "}")
    quoted = r'"((?:[^"\\]|\\\\|\\")*)"'
    node = rf"    n\d+ \[label={quoted}, tooltip={quoted}(?:, penwidth=2)?\];"
    edge = rf"    n\d+ -> n\d+ \[label={quoted}\];"
    count = len(found.entities)
    nodes = [re.fullmatch(node, line) for line in lines[3 : 3 + count]]
    edges = [re.fullmatch(edge, line) for line in lines[3 + count : -1]]
    expected = [shown(entity.name or entity.id) for entity, _ in found.entities]
    assert [unquoted(match[1]) for match in nodes if match] == expected
    assert [unquoted(match[1]) for match in edges if match] == [
        shown(edge.type) for edge in found.relationships
    ]


def unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text).replace("&amp;", "&")


class Reader(HTMLParser):
    """Collects what a page consists of."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.cells: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["td"]:
            self.cells[-1] += data


@given(found=neighborhoods)
def test_a_page_holds_nothing_that_runs_or_loads(found: Neighborhood) -> None:
    page = found.to_html()
    reader = Reader()
    reader.feed(page)
    names = {name for name, _ in reader.attributes}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "href"}
    assert set(reader.tags) <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "span", "i", "svg",
        "defs", "marker", "path", "g", "line", "text", "circle", "table", "tr", "th", "td",
    }  # fmt: skip
    assert reader.tags.count("circle") == len(found.entities)
    assert reader.cells[::5][: len(found.entities)] == [
        shown(entity.name) for entity, _ in found.entities
    ]
    assert "default-src 'none'" in page


def test_a_page_says_what_is_missing() -> None:
    found = Neighborhood([(Entity("a", "A & B", "t"), 0)], [], truncated=True)
    page = found.to_html()
    assert "<title>A &amp; B</title>" in page
    assert "there are more" in html.unescape(page)


class TestLayout:
    def test_the_same_graph_stands_the_same(self) -> None:
        depths, edges = [0, 1, 1, 2], [(0, 1), (0, 2), (2, 3), (3, 3)]
        np.testing.assert_array_equal(positions(depths, edges), positions(depths, edges))

    @pytest.mark.parametrize("count", [1, 2, 60])
    def test_no_two_nodes_stand_together(self, count: int) -> None:
        depths = [0, *[1] * min(count - 1, 20), *[2] * max(count - 21, 0)][:count]
        edges = [(0 if n <= 20 else n % 20 + 1, n) for n in range(1, count)]
        places = positions(depths, edges)
        apart = np.linalg.norm(places[:, None] - places[None], axis=2)
        assert apart[~np.eye(count, dtype=bool)].min(initial=SPACING) > SPACING / 6

    def test_very_many_nodes_stay_on_circles_apart_from_each_other(self) -> None:
        count = 30_000
        places = positions([0, *[1] * 1_000, *[2] * (count - 1_001)], [(0, 1)])
        assert places.shape == (count, 2)
        ordered = places[np.lexsort(places.T)]
        assert np.abs(np.diff(ordered, axis=0)).sum(axis=1).min() > 0
        outer = places[1_001:]
        assert np.linalg.norm(np.diff(outer, axis=0), axis=1).min() > SPACING / 6

    def test_nodes_are_taken_in_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        edges = [(0, n) for n in range(1, 40)]
        whole = positions([0] + [1] * 39, edges)
        monkeypatch.setattr("repositories.layout.BLOCK", 7)
        np.testing.assert_allclose(positions([0] + [1] * 39, edges), whole)

    def test_what_is_connected_is_nearer(self) -> None:
        edges = [(0, 1), (0, 2), (1, 2), (0, 3), (3, 4), (3, 5), (4, 5)]
        places = positions([0, 1, 1, 1, 2, 2], edges)
        apart = np.linalg.norm(places[:, None] - places[None], axis=2)
        assert max(apart[1, 2], apart[4, 5]) < min(apart[1, 4], apart[2, 5])


class TestLikeness:
    @given(one=st.text("abc ", max_size=9), other=st.text("abc ", max_size=9))
    def test_edits_are_counted_as_by_the_table(self, one: str, other: str) -> None:
        table = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(other) + 1)]
                 for i in range(len(one) + 1)]  # fmt: skip
        for i, a in enumerate(one, 1):
            for j, b in enumerate(other, 1):
                ways = [table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a != b)]
                if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                    ways.append(table[i - 2][j - 2] + 1)
                table[i][j] = min(ways)
        assert edit_distance(one, other) == table[-1][-1]

    @given(one=st.text("abcd ", max_size=12), other=st.text("abcd ", max_size=12))
    def test_it_is_even_handed_and_bounded(self, one: str, other: str) -> None:
        assert 0 <= likeness(one, other) <= 1
        assert likeness(one, other) == likeness(other, one)
        assert likeness(one, one) == 1

    def test_words_may_change_places(self) -> None:
        assert likeness("smith john", "john smith") == 1
        assert likeness("jonh", "john") == 0.75

    def test_pieces(self) -> None:
        assert grams("john de a") == "jo joh ohn hn de a"
        assert grams("") == ""
