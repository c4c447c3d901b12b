"""Texts that nobody would type, and that search has to take all the same."""

from __future__ import annotations

import random
import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import cache

from datastore.folding import ACCENTS, NEW_CAPITALS, WORD, fold

WORDS = (
    "apple apples red tree trees run running runner technology possibly is js caf\u00e9 caf\u00e9s na\u00efve "
    "stra\u00dfe \u0130stanbul d\u0131\u015far\u0131 \ufb01sh \u1f40\u03b4\u03cc\u03c2 \u03bf\u03b4\u03bf\u03c2 \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u0439\u043e\u0434 \u0438\u0306\u043e\u0434 \u0451\u043b\u043a\u0430 \u65e5\u672c\u8a9e "
    "\u304c\u3063\u3053\u3046 \u304b\u3099\u3063\u3053\u3046 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab\u1100\u116e\u11a8 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940 \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd \u0645\u064e\u0631\u062d\u064e\u0628\u064b\u0627 x\u00b2 \u00bd \u2167 \u0664\u0662 "
    "015e82a6 1e5 3e \u1e0b\u0323 \u212a \u212b \ufa10 \u0958 \ue000 \U0001f600 \U0001f916 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \u2067abc\u2069"
).split()  # fmt: skip
OPERATORS = (
    '" " " + - +" -" * "* ( ) : ^ | & ! <-> <2> \\ \' \'\' % %% ? $1 $$ ; -- /* */ { } [ ] , . ~ @ # = '
    "NEAR NEAR(a,2) AND OR NOT TO_TSQUERY websearch :name %(name)s ${name} {0} body: title:apple {body}: "
    '{"a":"b"} [null] </b> <b> apple* ap* +apple -red +"red tree" -"red tree" \'apple\':* \' OR 1=1 --'
).split(" ")
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
    known = character.isalnum() or character in ACCENTS
    return known and not _CAPITAL.match(character)


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
