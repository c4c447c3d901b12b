"""Texts that nobody would type, and that search has to take all the same."""

from __future__ import annotations

import random
import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache

from datastore.folding import ACCENTS, NEW_CAPITALS, WORD, fold

_WORDS = (
    "apple apples red tree trees run running runner technology possibly is js café cafés naïve "
    "straße İstanbul dışarı ﬁsh ὀδός οδος Σίσυφος йод и\u0306од ёлка 日本語 "
    "がっこう か\u3099っこう 한국어 한국 ภาษาไทย हिन\u094dदी ש\u05b8\u05c1לו\u05b9ם م\u064eرح\u064eب\u064bا x² ½ Ⅷ ٤٢ "
    "015e82a6 1e5 3e ḋ\u0323 \u212a \u212b \ufa10 \u0958 \ue000 😀 🤖 👨\u200d👩\u200d👧 ❤️ \u2067abc\u2069"
)  # fmt: skip
_OPERATORS = (
    '" " " + - +" -" * "* ( ) : ^ | & ! <-> <2> \\ \' \'\' % %% ? $1 $$ ; -- /* */ { } [ ] , . ~ @ # = '
    "NEAR NEAR(a,2) AND OR NOT TO_TSQUERY websearch :name %(name)s ${name} {0} body: title:apple {body}: "
    '{"a":"b"} [null] </b> <b> apple* ap* +apple -red +"red tree" -"red tree" \'apple\':* \' OR 1=1 --'
)
WORDS, OPERATORS = _WORDS.split(), _OPERATORS.split()
CONTROLS = [
    *map(chr, range(32)), "\x7f", "\x85", "\xa0", "\xad", "\u200b", "\u200d", "\u2028", "\u202e",
    "\ufeff", "\ufffd", "\ufffe", "\uffff", "\ud800", "\udc80", "\udfff", "\ud83d\ude00", "\U0010ffff",
    "\u0301", "\u0305", "\u0345", "\u3099", "\u093c", "\u20dd", "\u0378", "\U000e0041",
]  # fmt: skip
#: What Python takes for white space and what it does not, to be put between the rest.
GAPS = ["", "", "", " ", " ", " ", "\n", "\t", "\u3000", "_", "-"]
#: Runs that have been the undoing of parsers.
LONG = ("-", "- ", '"', '" ', "(", "+a ", "-a ", '"a', "a*", "ab* ", "x", "ж", "日", "\u0301", "or ", "NOT ", "😀", "\x00")  # fmt: skip

_CAPITAL = re.compile(f"[{NEW_CAPITALS}]")
_PART_OF_A_WORD = re.compile(WORD)


def hostile_texts(count: int, seed: int) -> Iterator[str]:
    """Yield texts of words, operators, controls and any characters; one in fifty is very long."""
    chance = random.Random(seed)
    for _ in range(count):
        if chance.random() < 0.02:
            yield chance.choice(LONG) * chance.choice([60, 70, 700, 5_000])
            continue
        parts = (
            _part(chance) + chance.choice(GAPS) for _ in range(chance.choice([0, 1, 2, 3, 4, 6, 9]))
        )
        yield "".join(parts)


def _part(chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.4:
        return chance.choice(WORDS)
    if kind < 0.7:
        return chance.choice(OPERATORS)
    if kind < 0.8:
        return chance.choice(CONTROLS)
    if kind < 0.95:
        return chr(chance.choice(_blocks()) + chance.randrange(256))
    return chr(chance.randrange(sys.maxunicode + 1))


@cache
def _blocks() -> list[int]:
    """The beginnings of the blocks of 256 code points that are in use."""
    starts = range(0, sys.maxunicode, 256)
    return [n for n in starts if any(unicodedata.name(chr(n + at), "") for at in range(256))]


def is_agreed(character: str) -> bool:
    """Tell whether both tokenizers treat a character alike (docs/search.md says where not)."""
    if not _PART_OF_A_WORD.match(character):
        return True
    # Other numbers than digits, such as those of a script that came later, are known to one alone.
    known = character.isalpha() or unicodedata.category(character) in ("Nd", "Nl")
    return (known or character in ACCENTS) and not _CAPITAL.match(character)


def is_stemmed_alike(text: str) -> bool:
    """Tell whether both stemmers treat the words of a text alike."""
    return all(
        re.fullmatch("[a-z0-9]{1,64}|[^a-z]+", word)
        and not re.search("([chjkqvwxy0-9])\\1(ed|ing)", word)
        for word in fold(text).split()
    )


def storable(text: str) -> str:
    """Return what both engines store of a text, and index alike."""
    return "".join(filter(is_agreed, re.sub("[\0\ud800-\udfff]", "", text)))
