"""How text is cut into chunks."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from repositories.chunking import GREATEST_SIZE, chunk_text

LINES = st.lists(
    st.one_of(
        st.just(""),
        st.just("# Heading"),
        st.just("```"),
        st.just("   "),
        st.text(alphabet="abc é#`\t", max_size=80),
        st.integers(1, 5000).map("x".__mul__),
    ),
    max_size=60,
)


def paragraphs(count: int) -> list[str]:
    return [f"Paragraph {number} " + f"word{number} " * 30 for number in range(count)]


@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]))
def test_every_line_with_text_is_in_a_chunk_that_names_it(lines: list[str], end: str) -> None:
    chunks = chunk_text("a.md", end.join(lines))
    named = {n for chunk in chunks for n in range(chunk.start_line, chunk.end_line + 1)}
    assert {n for n, line in enumerate(lines, 1) if line.strip()} <= named


@given(LINES)
def test_the_content_is_that_of_its_lines_unless_one_line_alone_is_too_long(
    lines: list[str],
) -> None:
    for chunk in chunk_text("a.md", "\n".join(lines)):
        source = "\n".join(lines[chunk.start_line - 1 : chunk.end_line])
        if chunk.content != source:
            assert chunk.start_line == chunk.end_line
            assert chunk.content in source


@given(LINES)
def test_chunks_stand_in_order_and_overlap_nowhere_but_in_a_long_line(lines: list[str]) -> None:
    chunks = chunk_text("a.md", "\n".join(lines))
    for before, after in pairwise(chunks):
        assert before.end_line < after.start_line or before.end_line == before.start_line


@given(LINES)
def test_no_chunk_is_much_larger_than_the_greatest_size(lines: list[str]) -> None:
    blank_lines = sum(len(line) + 1 for line in lines if not line.strip())
    for chunk in chunk_text("a.md", "\n".join(lines)):
        assert len(chunk.content) <= GREATEST_SIZE + blank_lines


@given(LINES)
def test_ids_are_unique_within_a_file_and_the_same_every_time(lines: list[str]) -> None:
    text = "\n".join(lines)
    ids = [chunk.id for chunk in chunk_text("a.md", text)]
    assert len(set(ids)) == len(ids)
    assert ids == [chunk.id for chunk in chunk_text("a.md", text)]


def test_the_same_text_in_another_file_has_other_ids() -> None:
    (here,), (there,) = chunk_text("a.md", "same"), chunk_text("b.md", "same")
    assert here.id != there.id


def test_a_heading_begins_a_chunk_and_stands_with_what_follows() -> None:
    chunks = chunk_text("a.md", "intro\n\n# One\n\n## Sub\n\ntext\n\n# Two\n\nmore")
    assert [chunk.content for chunk in chunks] == [
        "intro",
        "# One\n\n## Sub\n\ntext",
        "# Two\n\nmore",
    ]


def test_a_hash_in_fenced_code_is_no_heading() -> None:
    text = "text\n\n```sh\n# a comment\n\n# another\n```\n\nafter"
    (chunk,) = chunk_text("a.md", text)
    assert chunk.content == text


def test_an_edit_changes_only_the_chunks_around_it() -> None:
    before = paragraphs(200)
    after = [*before[:20], "A new paragraph. " * 40, *before[20:]]
    old = {chunk.content for chunk in chunk_text("a.txt", "\n\n".join(before))}
    new = {chunk.content for chunk in chunk_text("a.txt", "\n\n".join(after))}
    assert len(old) > 20
    assert len(old - new) <= 3


def test_a_byte_order_mark_is_not_content() -> None:
    (chunk,) = chunk_text("a.txt", "\ufeffhello")
    assert chunk.content == "hello"


def test_text_without_words_gives_no_chunks() -> None:
    assert chunk_text("a.txt", " \n\t\n\r\n") == []


@given(LINES)
@example(["```", "y" * 2000, "", "y" * 2000, "```"])
@example(["x", " " * 5000 + "x"])
def test_no_chunk_is_blank(lines: list[str]) -> None:
    assert all(chunk.content.strip() for chunk in chunk_text("a.md", "\n".join(lines)))


def test_chunks_hold_line_ends_of_one_kind() -> None:
    (chunk,) = chunk_text("a.txt", "one\r\ntwo\rthree")
    assert re.findall(r"[\r\n]+", chunk.content) == ["\n", "\n"]
