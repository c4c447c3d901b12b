"""What stands behind the search indexes on PostgreSQL, and how it is found again.

A full-text index is a generated `tsvector` column with a GIN index, and a generated column with the
number of words, which BM25 needs. With trigrams, the first is a column of folded text instead, and
its GIN index has the operators of pg_trgm. A vector index is a check that keeps zero vectors out:
pgvector's type, or the domain in its place, refuses all else that is no vector. The fingerprint is
the comment of the GIN index or of the check.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles

from datastore.backends.base import SearchObjects
from datastore.backends.postgresql.fallback import ENABLE, uses_pgvector
from datastore.backends.postgresql.hnsw import DIGITS, graphs, name_prefix
from datastore.backends.substrings import length_of
from datastore.ddl import (
    CreateFullTextIndex,
    CreateVectorIndex,
    DropFullTextIndex,
    DropVectorIndex,
    EnableVectors,
    Script,
)
from datastore.definitions import (
    FINGERPRINT,
    FullTextIndexDefinition,
    IndexDefinition,
    VectorIndexDefinition,
    from_fingerprint,
)
from datastore.folding import ACCENTED, ACCENTS, NOT_FOLDED, SEPARATORS, VARIANTS
from datastore.stemming import ENDINGS
from datastore.textquery import CASE_VARIANTS

#: Text search configurations of ours. `english` stems by Porter's original algorithm and drops no
#: stop words, so that both engines index the same words; `simple` only folds.
CONFIGURATIONS = {"english": "datastore_english", "simple": "simple"}
#: Which characters are letters, and their lower case: in collation "C" only those of ASCII are.
COLLATION = "datastore_unicode"
#: setweight() knows four labels, so an index has at most four different weights.
LABELS = "ABCD"
#: Stands between the folded texts of two columns, and in no folded text.
COLUMN_END = "\uffff"

_ENABLE_TRIGRAMS = "CREATE EXTENSION IF NOT EXISTS pg_trgm"

_CREATE_CONFIGURATION = """\
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_ts_config WHERE cfgname = 'datastore_english'
                 AND cfgnamespace = current_schema()::regnamespace) THEN
    CREATE TEXT SEARCH DICTIONARY datastore_porter (TEMPLATE = snowball, Language = porter);
    CREATE TEXT SEARCH CONFIGURATION datastore_english (COPY = simple);
    ALTER TEXT SEARCH CONFIGURATION datastore_english
      ALTER MAPPING REPLACE simple WITH datastore_porter;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_collation WHERE collname = 'datastore_unicode'
                 AND collnamespace = current_schema()::regnamespace) THEN
    IF current_setting('server_version_num')::int >= 170000 THEN
      CREATE COLLATION datastore_unicode (PROVIDER = builtin, LOCALE = 'C.UTF-8');
    ELSIF EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i') THEN
      CREATE COLLATION datastore_unicode (PROVIDER = icu, LOCALE = 'und');
    ELSE
      CREATE COLLATION datastore_unicode (LOCALE = 'C.UTF-8');
    END IF;
  END IF;
END $$"""
#: Keeps in one piece what the parser would cut, but FTS5 does not (`015e82a6` behind the number
#: `015e82`), and whole what the stemmer would shorten (words of two letters). It is a letter to
#: every parser and no ending to the stemmer; behind the word it leaves prefixes as they are.
MARK = "ˢ"
_NOT_KEPT = "(?<![^ ])(?:[0-9]+(?=e)|[0-9a-z]s(?![^ ]))"
#: Words of two letters that the stemmer would shorten, and that are the stems of longer ones: these
#: stand for them (`use` for `us`, `eye` for `ey`).
_LIKE_USE = "(?<![^ ])[aeiou][sy](?![^ ])"
_ENDED = "words"
for _pattern, _ending in ENDINGS:
    _ENDED = f"regexp_replace({_ENDED}, '{_pattern}' COLLATE \"C\", '{_ending}', 'g')"
_VARIANTS, _PLAIN = "".join(VARIANTS), "".join(VARIANTS.values())
_LETTERS, _PLAIN_LETTERS = _VARIANTS + "".join(ACCENTED), _PLAIN + "".join(ACCENTED.values())
_NOT_PLAIN = "\\u0080-\\u1fff\\u212a\\u212b"  # where all of _LETTERS and ACCENTS are
# Text that is composed, as nearly every one is, loses its accents by being taken apart: translate()
# alone does the same, but takes ten times as long for the many letters. Ranges of characters, and
# not [[:alnum:]], since that depends on versions and providers of collations.
_CREATE_FOLDING = f"""\
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_proc WHERE proname = 'datastore_folded'
                 AND pronamespace = current_schema()::regnamespace) THEN
    CREATE FUNCTION datastore_lowered(given text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN lower(given COLLATE {COLLATION}) COLLATE "C";
    CREATE FUNCTION datastore_plain(lowered text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN CASE
      WHEN lowered COLLATE "C" !~ '[{_NOT_PLAIN}]' THEN lowered
      WHEN lowered IS NFC NORMALIZED AND strpos(lowered COLLATE "C", '{NOT_FOLDED}') = 0
      THEN translate(normalize(regexp_replace(normalize(lowered, NFD) COLLATE "C",
        '(?<=[a-z])[{ACCENTS}]+', '', 'g'), NFC), '{_VARIANTS}{ACCENTS}', '{_PLAIN}')
      ELSE translate(lowered, '{_LETTERS}{ACCENTS}', '{_PLAIN_LETTERS}')
    END;
    CREATE FUNCTION datastore_folded(given text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN btrim(regexp_replace(datastore_plain(datastore_lowered(given)),
      '[{SEPARATORS}]+' COLLATE "C", ' ', 'g'));
    CREATE FUNCTION datastore_kept(words text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN regexp_replace(words, '{_NOT_KEPT}' COLLATE "C", '\\&{MARK}', 'g');
    CREATE FUNCTION datastore_english_words(words text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN regexp_replace(CASE
      WHEN words COLLATE "C" ~ '(log|bl)(y|i|ies)(?![^ ])' THEN {_ENDED} ELSE words
    END, '{_LIKE_USE}' COLLATE "C", '\\&e', 'g');
  END IF;
END $$"""
# Other indexes may still need it, or it may be another role's: then it stays.
_DROP_CONFIGURATION = """\
DO $$ BEGIN
  DROP TEXT SEARCH CONFIGURATION IF EXISTS datastore_english;
  DROP TEXT SEARCH DICTIONARY IF EXISTS datastore_porter;
  DROP FUNCTION IF EXISTS datastore_english_words(text);
  DROP FUNCTION IF EXISTS datastore_kept(text);
  DROP FUNCTION IF EXISTS datastore_folded(text);
  DROP FUNCTION IF EXISTS datastore_plain(text);
  DROP FUNCTION IF EXISTS datastore_lowered(text);
  DROP COLLATION IF EXISTS datastore_unicode;
EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN NULL;
END $$"""


@compiles(EnableVectors, "postgresql")
def _enable_vectors(element: EnableVectors, compiler: Any, **_: Any) -> Script:
    native = uses_pgvector(compiler.dialect)
    return Script("CREATE EXTENSION IF NOT EXISTS vector" if native else ENABLE)


@compiles(CreateVectorIndex, "postgresql")
def _create_vector_index(element: CreateVectorIndex, compiler: Any, **_: Any) -> Script:
    definition, quote = element.definition, compiler.preparer.quote
    name, table = quote(definition.name), _table(definition, compiler)
    column, native = quote(definition.column), uses_pgvector(compiler.dialect)
    check = f"vector_norm({column}) > 0" if native else _array_check(definition, column)
    return Script(
        f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({check})",
        # Kept within its row where that fits a page, a vector is read four times faster.
        f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE MAIN",
        f"COMMENT ON CONSTRAINT {name} ON {table} IS {_literal(definition.fingerprint())}",
    )


def _array_check(definition: VectorIndexDefinition, column: str) -> str:
    # The domain knows no length, which pgvector's type does.
    length = definition.dimensions
    fixed = "" if length is None else f" AND cardinality({column}) = {length}"
    return f"0::real <> ANY ({column}){fixed}"


@compiles(DropVectorIndex, "postgresql")
def _drop_vector_index(element: DropVectorIndex, compiler: Any, **_: Any) -> Script:
    definition = element.definition
    name = compiler.preparer.quote(definition.name)
    table = _table(definition, compiler)
    return Script(
        _drop_graphs(table, definition), f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}"
    )


def _drop_graphs(table: str, definition: VectorIndexDefinition) -> str:
    """Render what drops the indexes that `optimize()` has built."""
    return f"""\
DO $graphs$ DECLARE graph regclass; BEGIN
  FOR graph IN SELECT x.indexrelid FROM pg_index AS x
      JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_am AS a ON a.oid = i.relam
      WHERE x.indrelid = {_literal(table)}::regclass AND a.amname = 'hnsw'
      AND left(i.relname, -{DIGITS}) = {_literal(name_prefix(definition))}
      AND right(i.relname, {DIGITS}) ~ '^[0-9a-f]+$' LOOP
    EXECUTE 'DROP INDEX ' || graph;
  END LOOP;
END $graphs$"""


@compiles(CreateFullTextIndex, "postgresql")
def _create_full_text_index(element: CreateFullTextIndex, compiler: Any, **_: Any) -> Script:
    definition, quote = element.definition, compiler.preparer.quote
    table, name = _table(definition, compiler), quote(definition.name)
    indexed, length = quote(indexed_column(definition)), quote(length_column(definition))
    is_trigram = definition.tokenizer == "trigram"
    generated = _folded_columns if is_trigram else _lexemes_columns
    of_indexed, of_length = generated(definition, quote)
    create_index = f"CREATE INDEX {name} ON {table} USING gin ({indexed})"
    return Script(
        _CREATE_CONFIGURATION,
        _CREATE_FOLDING,
        *([_ENABLE_TRIGRAMS] if is_trigram else []),
        f"ALTER TABLE {table} ADD COLUMN {indexed} {of_indexed} STORED, "
        f"ADD COLUMN {length} {of_length} STORED",
        _with_operators(create_index) if is_trigram else create_index,
        # Scanned alone for the mean length, several times faster than the table.
        f"CREATE INDEX {length} ON {table} ({length})",
        f"COMMENT ON INDEX {_in_schema(definition, compiler)} IS "
        f"{_literal(definition.fingerprint())}",
    )


@compiles(DropFullTextIndex, "postgresql")
def _drop_full_text_index(element: DropFullTextIndex, compiler: Any, **_: Any) -> Script:
    definition, quote = element.definition, compiler.preparer.quote
    indexed, length = quote(indexed_column(definition)), quote(length_column(definition))
    return Script(
        f"ALTER TABLE {_table(definition, compiler)} DROP COLUMN IF EXISTS {indexed}, "
        f"DROP COLUMN IF EXISTS {length}",
        _DROP_CONFIGURATION,
    )


def lexemes_column(definition: FullTextIndexDefinition) -> str:
    """Return the name of the generated `tsvector` column."""
    return f"{definition.name}_lexemes"


def folded_column(definition: FullTextIndexDefinition) -> str:
    """Return the name of the generated column of folded text that a trigram index has instead."""
    return f"{definition.name}_folded"


def indexed_column(definition: FullTextIndexDefinition) -> str:
    """Return the name of the column that the GIN index is over."""
    is_trigram = definition.tokenizer == "trigram"
    return folded_column(definition) if is_trigram else lexemes_column(definition)


def length_column(definition: FullTextIndexDefinition) -> str:
    """Return the name of the generated column with the number of words."""
    return f"{definition.name}_length"


def labels(definition: FullTextIndexDefinition) -> dict[float, str]:
    """Give each different weight its label."""
    return dict(zip(sorted(set(definition.weights)), LABELS, strict=False))


def words_of(expression: str, language: str) -> str:
    """Render the words of a text so that to_tsvector() makes the lexemes that FTS5 makes."""
    words = f"datastore_folded({expression})"
    if language == "english":
        words = f"datastore_english_words({words})"
    return f"datastore_kept({words})"


def case_folded(expression: str) -> str:
    """Render a text as `textquery.fold_case` gives it."""
    variants, folded_variants = CASE_VARIANTS
    # Taking every character through translate() would take six times as long.
    plain = (
        f"CASE WHEN {expression} COLLATE \"C\" ~ '[{variants}]' "
        f"THEN translate({expression}, '{variants}', '{folded_variants}') ELSE {expression} END"
    )
    return f'lower(({plain}) COLLATE {COLLATION}) COLLATE "C"'


def column_text(table: sa.Table, name: str, compiler: Any) -> str:
    """Render a column that is not among those of `table`, for `literal_column`."""
    text = f"{compiler.preparer.format_table(table)}.{compiler.preparer.quote(name)}"
    # Percent signs in names are doubled already, and literal_column() doubles them again.
    return text.replace("%%", "%")


def _folded_columns(definition: FullTextIndexDefinition, quote: Any) -> tuple[str, str]:
    """Render type and expression of the folded texts, and of the number of trigrams."""
    texts = (case_folded(_text_of(column, quote)) for column in definition.columns)
    columns = [quote(column) for column in definition.columns]
    length = length_of(columns, length="char_length", greatest="greatest")
    between = f" || '{COLUMN_END}' || "
    return (
        f'text COLLATE "C" GENERATED ALWAYS AS ({between.join(texts)})',
        f"integer GENERATED ALWAYS AS ({length})",
    )


def _with_operators(create_index: str) -> str:
    """Complete the CREATE INDEX of one column by operators from the extension's own schema."""
    begun = _literal(create_index.removesuffix(")"))
    schema = "SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_trgm'"
    command = f"BEGIN EXECUTE {begun} || ' ' || ({schema}) || '.gin_trgm_ops)'; END"
    return f"DO {_literal(command)}"


def _lexemes_columns(definition: FullTextIndexDefinition, quote: Any) -> tuple[str, str]:
    """Render type and expression of the lexemes, and of the number of words."""
    return (
        f"tsvector GENERATED ALWAYS AS ({_lexemes(definition, quote)})",
        f"integer GENERATED ALWAYS AS ({_length(definition, quote)})",
    )


def _lexemes(definition: FullTextIndexDefinition, quote: Any) -> str:
    configuration = CONFIGURATIONS[definition.language]
    label_of = labels(definition)
    texts = [
        words_of(_text_of(column, quote), definition.language) for column in definition.columns
    ]
    vectors = [
        f"setweight(to_tsvector('{configuration}', {words}), '{label_of[weight]}')"
        for words, weight in zip(texts, definition.weights, strict=True)
    ]
    if len(vectors) == 1:
        return vectors[0]
    # A gap between two columns, left by a lexeme that no text has, so that no phrase spans them.
    return f"ts_delete({' || $$-:1$$::tsvector || '.join(vectors)}, '-')"


def _length(definition: FullTextIndexDefinition, quote: Any) -> str:
    return " + ".join(
        f"cardinality(string_to_array(datastore_folded({_text_of(column, quote)}), ' '))"
        for column in definition.columns
    )


def _text_of(column: str, quote: Any) -> str:
    return f"coalesce({quote(column)}, '')"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _table(definition: IndexDefinition, compiler: Any) -> str:
    return _qualified(definition.schema, definition.table, compiler)


def _in_schema(definition: IndexDefinition, compiler: Any) -> str:
    return _qualified(definition.schema, definition.name, compiler)


def _qualified(schema: str | None, name: str, compiler: Any) -> str:
    quote = compiler.preparer.quote
    return f"{quote(schema)}.{quote(name)}" if schema else str(quote(name))


_FINGERPRINTS = sa.text("""\
WITH marked AS (
  SELECT c.conrelid AS relation, obj_description(c.oid, 'pg_constraint') AS mark, true AS whole
  FROM pg_constraint AS c WHERE c.contype = 'c'
  UNION ALL
  SELECT x.indrelid, obj_description(i.oid, 'pg_class'),
    x.indisvalid AND (SELECT count(*) = 2 FROM pg_attribute AS a
                      WHERE a.attrelid = x.indrelid AND NOT a.attisdropped
                      AND a.attname IN (i.relname || '_lexemes', i.relname || '_folded',
                                        i.relname || '_length'))
  FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
)
SELECT m.mark, m.whole, n.nspname AS schema, pg_table_is_visible(t.oid) AS visible
FROM marked AS m JOIN pg_class AS t ON t.oid = m.relation
JOIN pg_namespace AS n ON n.oid = t.relnamespace
WHERE starts_with(m.mark, :fingerprint)""")


def search_objects(connection: Connection) -> SearchObjects:
    """Read the search indexes from their comments.

    They are those of tables that are found without naming a schema, and those of tables that were
    declared with the schema they are in.
    """
    rows = connection.execute(_FINGERPRINTS, {"fingerprint": FINGERPRINT}).all()
    marked = [(from_fingerprint(row.mark), row) for row in rows]
    found = [(d, row.whole) for d, row in marked if d is not None and _is_meant(d, row)]
    texts = [d for d, _ in found if isinstance(d, FullTextIndexDefinition)]
    vectors = [d for d, _ in found if isinstance(d, VectorIndexDefinition)]
    return SearchObjects(
        tuple(definition for definition, _ in found),
        damaged=tuple(definition.name for definition, whole in found if not whole),
        columns=frozenset(
            (d.table, column) for d in texts for column in (indexed_column(d), length_column(d))
        ),
        indexes=frozenset(
            [
                *((d.table, name) for d in texts for name in (d.name, length_column(d))),
                *((d.table, graph.name) for d in vectors for graph in graphs(connection, d)),
            ]
        ),
    )


def _is_meant(definition: IndexDefinition, row: Any) -> bool:
    return bool(row.visible if definition.schema is None else row.schema == definition.schema)
