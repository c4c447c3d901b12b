"""How like two names are, and the pieces by which like ones are found.

A name is cut into the first and the last two letters of each word and every three letters in a row,
which stand in the column `grams` as the words of a full-text index: so misspelt names are found by
the pieces that were spelt right, with one ranking on both engines and no extension of either. What
was found is then compared letter by letter, here.
"""

from __future__ import annotations

from collections.abc import Iterator

#: Letters of a folded name that are looked at: longer ones are sentences rather than names.
LONGEST = 256


def grams(normalized: str) -> str:
    """Return the pieces of a folded name, a space between two of them."""
    return " ".join(piece for word in _words(normalized) for piece in _pieces(word))


def _words(normalized: str) -> list[str]:
    return normalized[:LONGEST].split()


def _pieces(word: str) -> Iterator[str]:
    yield word[:2]
    yield from (word[start : start + 3] for start in range(len(word) - 2))
    if len(word) > 2:
        yield word[-2:]


def likeness(one: str, other: str) -> float:
    """Return how like two folded names are, from 0 to 1 for the same.

    The greater of two measures: one is blind to the order of words, the other to few letters.
    """
    first, second = _words(one), _words(other)
    return max(_dice(first, second), _edit_similarity(" ".join(first), " ".join(second)))


def _dice(one: list[str], other: list[str]) -> float:
    """Return Dice's coefficient of the trigrams, words padded as by PostgreSQL's pg_trgm."""
    first, second = _trigrams(one), _trigrams(other)
    total = len(first) + len(second)
    return 2 * len(first & second) / total if total else 1.0


def _trigrams(words: list[str]) -> set[str]:
    padded = [f"  {word} " for word in words]
    return {word[start : start + 3] for word in padded for start in range(len(word) - 2)}


def _edit_similarity(one: str, other: str) -> float:
    longest = max(len(one), len(other))
    return 1 - edit_distance(one, other) / longest if longest else 1.0


def edit_distance(one: str, other: str) -> int:
    """Count the letters to insert, delete, replace or swap with the next one, none of them twice.

    A column of the table of distances is kept in the bits of two numbers (Hyyrö, "A Bit-Vector
    Algorithm for Computing Levenshtein and Damerau Edit Distances", 2003): `up` and `down` say
    where it grows and falls by one from a letter of `one` to the next.
    """
    everywhere, last = (1 << len(one)) - 1, (1 << len(one)) >> 1
    places = _places(one)
    up, down, same, before, distance = everywhere, 0, 0, 0, len(one)
    for letter in other:
        here = places.get(letter, 0)
        swapped = ((~same & here) << 1) & before
        same = ((((here & up) + up) ^ up) | here | down | swapped) & everywhere
        rises, falls = down | (everywhere & ~(same | up)), same & up
        distance += bool(rises & last) - bool(falls & last) if one else 1
        rises, falls = (rises << 1) | 1, falls << 1
        up, down = (falls | ~(same | rises)) & everywhere, rises & same
        before = here
    return distance


def _places(text: str) -> dict[str, int]:
    """Return where each letter stands, as the bits of a number."""
    places: dict[str, int] = {}
    for place, letter in enumerate(text):
        places[letter] = places.get(letter, 0) | 1 << place
    return places
