"""Stems of words, as FTS5's tokenizer `porter` makes them, for every engine.

It follows Porter's own implementation, which departs from his paper (and so from Snowball's
`porter`) in three points: words of one or two letters stay; `-logi` becomes `-log`; and `-bli`
becomes `-ble`, not `-abli` alone (M. Porter, "The Porter Stemming Algorithm", tartarus.org, "Points
of difference from the published algorithm").
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import snowballstemmer

# What stands before these endings has to have a vowel and a consonant behind it, in Porter's terms
# a measure above zero. Written so that Python and PostgreSQL read them alike, in text as in words.
_MEASURE = "(?:[aeiou][^aeiou ]|[^aeiou ]y[^aeiouy ])[^ ]*"
_ENDING = "(?:y|i|ies)(?![^ ])"
#: Patterns of the endings that Snowball's `porter` treats otherwise, and what they become.
ENDINGS = ((f"({_MEASURE}log){_ENDING}", r"\1"), (f"({_MEASURE}bl){_ENDING}", r"\1e"))
#: Bytes, as FTS5 counts them: shorter words stay as they are.
SHORTEST = 3


@lru_cache
def stemmer(language: str) -> Callable[[str], str]:
    """Return what turns a folded word into its stem; nothing happens but to English."""
    if language != "english":
        return lambda word: word
    snowball: Any = snowballstemmer.stemmer("porter")

    def stem(word: str) -> str:
        if len(word.encode()) < SHORTEST:
            return word
        for pattern, ending in ENDINGS:
            word = re.sub(pattern, ending, word)
        return str(snowball.stemWord(word))

    return lru_cache(maxsize=10_000)(stem)
