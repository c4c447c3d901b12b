"""What a word is made of, and how its letters are folded: the rules of FTS5's `unicode61`.

Its rules cannot be changed, so that they are the rules of every engine: of queries (`fold`) and of
what PostgreSQL indexes. They rest on Unicode 6.1 (SQLite manual, FTS5, 4.3.1). A test compares the
tables here with FTS5 itself, for the first two planes and a sample of the rest.

A letter (L*) or digit (Nd, Nl) of Unicode 6.1 is part of a word, and so is every character that
came later, as far as it is none of `NEW_SYMBOLS`. Letters lose their case, those from a to z their
accents as well.
"""

from __future__ import annotations

import itertools
import re
import unicodedata

# Ranges are written as the inside of a bracket expression, which Python and PostgreSQL read alike.


def code_points(ranges: str) -> list[int]:
    """Return what a string of ranges holds, in the order of the code points."""
    found = re.findall(r"(\\[uU][0-9a-f]+)(?:-(\\[uU][0-9a-f]+))?", ranges)
    bounds = [(int(first[2:], 16), int((last or first)[2:], 16)) for first, last in found]
    return [code for first, last in bounds for code in range(first, last + 1)]


#: What came after Unicode 6.1 and separates words all the same, for FTS5 is told so: symbols and
#: punctuation in common use, such as emoji and signs of currencies, with the places beside them
#: that are still free, and the signs that isolate directions of writing.
NEW_SYMBOLS = (
    r"\u061c\u2065-\u2069\u2072\u2073\u208f\u209d-\u209f\u20ba-\u20cf\u20f1-\u20ff\u218a-\u218f"
    r"\u23f4-\u23ff\u2427-\u243f\u244b-\u245f\u2700\u2b4d-\u2b4f\u2b5a-\u2bff\u2e3c-\u2e7f"
    r"\U0001f02c-\U0001f02f\U0001f094-\U0001f09f\U0001f0af\U0001f0b0\U0001f0bf\U0001f0c0\U0001f0d0"
    r"\U0001f0e0-\U0001f0ff\U0001f10d-\U0001f10f\U0001f12f\U0001f16c-\U0001f16f"
    r"\U0001f19b-\U0001f1e5\U0001f203-\U0001f20f\U0001f23b-\U0001f23f\U0001f249-\U0001f24f"
    r"\U0001f252-\U0001f2ff\U0001f321-\U0001f32f\U0001f336\U0001f37d-\U0001f37f"
    r"\U0001f394-\U0001f39f\U0001f3c5\U0001f3cb-\U0001f3df\U0001f3f1-\U0001f3ff\U0001f43f"
    r"\U0001f441\U0001f4f8\U0001f4fd-\U0001f4ff\U0001f53e\U0001f53f\U0001f544-\U0001f54f"
    r"\U0001f568-\U0001f5fa\U0001f641-\U0001f644\U0001f650-\U0001f67f\U0001f6c6-\U0001f6ff"
    r"\U0001f774-\U0001faff"
)

#: Whatever separates words.
SEPARATORS = (
    r"\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf"
    r"\u00d7\u00f7\u02c2-\u02c5\u02d2-\u02df\u02e5-\u02eb\u02ed\u02ef-\u02ff\u0305\u030d\u030e"
    r"\u0310\u0312-\u031a\u031c-\u0322\u0329-\u032c\u032f\u0332-\u036f\u0375\u037e\u0384\u0385"
    r"\u0387\u03f6\u0482-\u0489\u055a-\u055f\u0589\u058a\u058f\u0591-\u05c7\u05f3\u05f4"
    r"\u0600-\u0604\u0606-\u061c\u061e\u061f\u064b-\u065f\u066a-\u066d\u0670\u06d4\u06d6-\u06e4"
    r"\u06e7-\u06ed\u06fd\u06fe\u0700-\u070d\u070f\u0711\u0730-\u074a\u07a6-\u07b0\u07eb-\u07f3"
    r"\u07f6-\u07f9\u0816-\u0819\u081b-\u0823\u0825-\u0827\u0829-\u082d\u0830-\u083e\u0859-\u085b"
    r"\u085e\u08e4-\u08fe\u0900-\u0903\u093a-\u093c\u093e-\u094f\u0951-\u0957\u0962-\u0965\u0970"
    r"\u0981-\u0983\u09bc\u09be-\u09c4\u09c7\u09c8\u09cb-\u09cd\u09d7\u09e2\u09e3\u09f2-\u09fb"
    r"\u0a01-\u0a03\u0a3c\u0a3e-\u0a42\u0a47\u0a48\u0a4b-\u0a4d\u0a51\u0a70\u0a71\u0a75"
    r"\u0a81-\u0a83\u0abc\u0abe-\u0ac5\u0ac7-\u0ac9\u0acb-\u0acd\u0ae2\u0ae3\u0af0\u0af1"
    r"\u0b01-\u0b03\u0b3c\u0b3e-\u0b44\u0b47\u0b48\u0b4b-\u0b4d\u0b56\u0b57\u0b62\u0b63\u0b70"
    r"\u0b72-\u0b77\u0b82\u0bbe-\u0bc2\u0bc6-\u0bc8\u0bca-\u0bcd\u0bd7\u0bf0-\u0bfa\u0c01-\u0c03"
    r"\u0c3e-\u0c44\u0c46-\u0c48\u0c4a-\u0c4d\u0c55\u0c56\u0c62\u0c63\u0c78-\u0c7f\u0c82\u0c83"
    r"\u0cbc\u0cbe-\u0cc4\u0cc6-\u0cc8\u0cca-\u0ccd\u0cd5\u0cd6\u0ce2\u0ce3\u0d02\u0d03"
    r"\u0d3e-\u0d44\u0d46-\u0d48\u0d4a-\u0d4d\u0d57\u0d62\u0d63\u0d70-\u0d75\u0d79\u0d82\u0d83"
    r"\u0dca\u0dcf-\u0dd4\u0dd6\u0dd8-\u0ddf\u0df2-\u0df4\u0e31\u0e34-\u0e3a\u0e3f\u0e47-\u0e4f"
    r"\u0e5a\u0e5b\u0eb1\u0eb4-\u0eb9\u0ebb\u0ebc\u0ec8-\u0ecd\u0f01-\u0f1f\u0f2a-\u0f3f"
    r"\u0f71-\u0f87\u0f8d-\u0f97\u0f99-\u0fbc\u0fbe-\u0fcc\u0fce-\u0fda\u102b-\u103e\u104a-\u104f"
    r"\u1056-\u1059\u105e-\u1060\u1062-\u1064\u1067-\u106d\u1071-\u1074\u1082-\u108d\u108f"
    r"\u109a-\u109f\u10fb\u135d-\u137c\u1390-\u1399\u1400\u166d\u166e\u1680\u169b\u169c"
    r"\u16eb-\u16ed\u1712-\u1714\u1732-\u1736\u1752\u1753\u1772\u1773\u17b4-\u17d6\u17d8-\u17db"
    r"\u17dd\u17f0-\u17f9\u1800-\u180e\u18a9\u1920-\u192b\u1930-\u193b\u1940\u1944\u1945"
    r"\u19b0-\u19c0\u19c8\u19c9\u19da\u19de-\u19ff\u1a17-\u1a1b\u1a1e\u1a1f\u1a55-\u1a5e"
    r"\u1a60-\u1a7c\u1a7f\u1aa0-\u1aa6\u1aa8-\u1aad\u1b00-\u1b04\u1b34-\u1b44\u1b5a-\u1b7c"
    r"\u1b80-\u1b82\u1ba1-\u1bad\u1be6-\u1bf3\u1bfc-\u1bff\u1c24-\u1c37\u1c3b-\u1c3f\u1c7e\u1c7f"
    r"\u1cc0-\u1cc7\u1cd0-\u1ce8\u1ced\u1cf2-\u1cf4\u1dc0-\u1de6\u1dfc-\u1dff\u1fbd\u1fbf-\u1fc1"
    r"\u1fcd-\u1fcf\u1fdd-\u1fdf\u1fed-\u1fef\u1ffd\u1ffe\u2000-\u2070\u2072-\u207e\u2080-\u208f"
    r"\u209d-\u2101\u2103-\u2106\u2108\u2109\u2114\u2116-\u2118\u211e-\u2123\u2125\u2127\u2129"
    r"\u212e\u213a\u213b\u2140-\u2144\u214a-\u214d\u214f-\u215f\u2189-\u2bff\u2ce5-\u2cea"
    r"\u2cef-\u2cf1\u2cf9-\u2cff\u2d70\u2d7f\u2de0-\u2e2e\u2e30-\u2e99\u2e9b-\u2ef3\u2f00-\u2fd5"
    r"\u2ff0-\u2ffb\u3000-\u3004\u3008-\u3020\u302a-\u3030\u3036\u3037\u303d-\u303f\u3099-\u309c"
    r"\u30a0\u30fb\u3190-\u319f\u31c0-\u31e3\u3200-\u321e\u3220-\u32fe\u3300-\u33ff\u4dc0-\u4dff"
    r"\ua490-\ua4c6\ua4fe\ua4ff\ua60d-\ua60f\ua66f-\ua67e\ua69f\ua6f0-\ua6f7\ua700-\ua716"
    r"\ua720\ua721\ua789\ua78a\ua802\ua806\ua80b\ua823-\ua82b\ua830-\ua839\ua874-\ua877"
    r"\ua880\ua881\ua8b4-\ua8c4\ua8ce\ua8cf\ua8e0-\ua8f1\ua8f8-\ua8fa\ua926-\ua92f\ua947-\ua953"
    r"\ua95f\ua980-\ua983\ua9b3-\ua9cd\ua9de\ua9df\uaa29-\uaa36\uaa43\uaa4c\uaa4d\uaa5c-\uaa5f"
    r"\uaa77-\uaa79\uaa7b\uaab0\uaab2-\uaab4\uaab7\uaab8\uaabe\uaabf\uaac1\uaade\uaadf"
    r"\uaaeb-\uaaf1\uaaf5\uaaf6\uabe3-\uabed\ue000\uf8ff\ufb1e\ufb29\ufbb2-\ufbc1\ufd3e\ufd3f"
    r"\ufdfc\ufdfd\ufe00-\ufe19\ufe20-\ufe26\ufe30-\ufe52\ufe54-\ufe66\ufe68-\ufe6b\ufeff"
    r"\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffe6\uffe8-\uffee\ufff9-\uffff"
    r"\U00010100-\U00010102\U00010107-\U00010133\U00010137-\U0001013f\U00010175-\U0001018a"
    r"\U00010190-\U0001019b\U000101d0-\U000101fd\U00010320-\U00010323\U0001039f\U000103d0"
    r"\U00010857-\U0001085f\U00010916-\U0001091b\U0001091f\U0001093f\U00010a01-\U00010a03"
    r"\U00010a05\U00010a06\U00010a0c-\U00010a0f\U00010a38-\U00010a3a\U00010a3f-\U00010a47"
    r"\U00010a50-\U00010a58\U00010a7d-\U00010a7f\U00010b39-\U00010b3f\U00010b58-\U00010b5f"
    r"\U00010b78-\U00010b7f\U00010e60-\U00010e7e\U00011000-\U00011002\U00011038-\U0001104d"
    r"\U00011052-\U00011065\U00011080-\U00011082\U000110b0-\U000110c1\U00011100-\U00011102"
    r"\U00011127-\U00011134\U00011140-\U00011143\U00011180-\U00011182\U000111b3-\U000111c0"
    r"\U000111c5-\U000111c8\U000116ab-\U000116b7\U00012470-\U00012473\U00016f51-\U00016f7e"
    r"\U00016f8f-\U00016f92\U0001d000-\U0001d0f5\U0001d100-\U0001d126\U0001d129-\U0001d1dd"
    r"\U0001d200-\U0001d245\U0001d300-\U0001d356\U0001d360-\U0001d371\U0001d6c1\U0001d6db"
    r"\U0001d6fb\U0001d715\U0001d735\U0001d74f\U0001d76f\U0001d789\U0001d7a9\U0001d7c3"
    r"\U0001eef0\U0001eef1\U0001f000-\U0001f10a\U0001f10d-\U0001faff\U000e0001"
    r"\U000e0020-\U000e007f\U000e0100-\U000e01ef\U000f0000\U000ffffd"
)

#: Capital letters that came after Unicode 6.1, or were given small ones later: they stay.
NEW_CAPITALS = (
    r"\u037f\u0528-\u052e\u13a0-\u13f5\u1c89-\u1cbf\u2c2f\ua698-\ua69a\ua796-\ua79e\ua7ab-\ua7f5"
    r"\U000104b0-\U00010595\U00010c80-\U00010d65\U000118a0-\U000118bf\U00016e40-\U00016e5f"
    r"\U0001e900-\U0001e921"
)

#: Accents, dropped wherever they stand by themselves.
ACCENTS = "".join(
    map(chr, [*range(0x300, 0x305), *range(0x306, 0x30D), 0x30F, 0x311, 0x31B, *range(0x323, 0x329),
              0x32D, 0x32E, 0x330, 0x331])
)  # fmt: skip

#: Small letters that are written in more than one way.
VARIANTS = dict(zip("µςϐϑϕϖϰϱϵ\u1fbeſẛ", "μσβθφπκρειss", strict=True))


def _accented() -> dict[str, str]:
    latin = map(chr, itertools.chain(range(0xC0, 0x250), range(0x1E00, 0x1F00)))
    parts = {letter: unicodedata.normalize("NFD", letter) for letter in latin if letter.islower()}
    return {
        letter: apart[0]
        for letter, apart in parts.items()
        if apart[0].isascii() and apart != letter != NOT_FOLDED
    }


#: The one letter from a to z with accents that keeps them.
NOT_FOLDED = "ǡ"
#: Small letters from a to z with accents, and the same without.
ACCENTED = _accented()

#: A word, for regular expressions: NUL and lone surrogates are no text.
WORD = rf"[^\0\ud800-\udfff{SEPARATORS}]"
_WORDS = re.compile(f"{WORD}+")
_WITH_CASE = re.compile(f"[^{NEW_CAPITALS}]+")
_FOLDED = str.maketrans({**VARIANTS, **ACCENTED, **dict.fromkeys(ACCENTS, "")})


def fold(text: str) -> str:
    """Return the words of `text`, lower-cased and without accents, a space between two of them."""
    if text.isascii():
        plain = text.lower()
    else:
        lowered = _WITH_CASE.sub(lambda match: match[0].lower(), _composed(text))
        plain = lowered.translate(_FOLDED)
    return " ".join(_WORDS.findall(plain))


def _composed(text: str) -> str:
    """Compose letters and marks, as nearly every text has them: FTS5 takes them as they come.

    Characters that stand for another one (such as the sign of kelvin) stay, as in what is indexed.
    """
    if unicodedata.is_normalized("NFC", text):
        return text
    return "".join(
        unicodedata.normalize("NFC", "".join(run)) if stays else "".join(run)
        for stays, run in itertools.groupby(text, lambda c: unicodedata.is_normalized("NFC", c))
    )
