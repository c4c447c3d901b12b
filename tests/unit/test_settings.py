"""What settings accept, where they come from, which source wins, and what they never show."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr
from sqlalchemy import URL, make_url

from datastore.errors import ConfigurationError
from datastore.settings import Settings, SqliteSettings, display_url

CANARY = "c4n4ry-S3cret"
EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
NAMES = ("DATABASE_URL", "SQLITE_", "PG_", "DATASTORE_", "APP_DB_PASSWORD")


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(NAMES):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    def setenv(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return setenv


def write_yaml(text: str, name: str = "config.yaml") -> None:
    Path(name).write_text(text, encoding="utf-8")


def write_dotenv(text: str) -> None:
    Path(".env").write_text(text, encoding="utf-8")


def names_of(value: object) -> list[str]:
    return list(type(value).model_fields) if isinstance(value, BaseModel) else []


def refusal(**arguments: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**arguments)
    return str(caught.value)


def connect_arguments(url: URL) -> dict[str, Any]:
    """What SQLAlchemy's dialect makes of a URL and hands to psycopg."""
    return dict(url.get_dialect()().create_connect_args(url)[1])


# --- defaults -----------------------------------------------------------------------------------


class TestDefaults:
    def test_nothing_set_means_a_sqlite_file_in_the_home_directory(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        settings = Settings()
        expected = tmp_path / ".local/share/datastore/memory.db"
        assert (settings.type, settings.sqlite.path) == ("sqlite", expected)
        assert settings.database_url() == URL.create("sqlite", database=str(expected))

    def test_pools_and_timeouts_have_the_documented_defaults(self) -> None:
        settings = Settings()
        assert settings.sqlite.model_dump(exclude={"path"}) == {
            "wal": True,
            "pool_size": 5,
            "busy_timeout": 30,
        }
        assert settings.postgresql.model_dump() == {
            "host": "localhost",
            "port": 5432,
            "database": None,
            "user": None,
            "password": None,
            "pool_size": 10,
            "connect_timeout": 10,
            "statement_timeout": 30,
            "lock_timeout": 5,
            "idle_in_transaction_timeout": 60,
            "pool_timeout": 10,
            "sslmode": None,
            "target_session_attrs": None,
        }

    def test_the_rest_has_the_documented_defaults(self) -> None:
        settings = Settings()
        assert settings.embedding.model_dump() == {
            "model": "default",
            "dimensions": None,
            "metric": "cosine",
            "normalized": None,
            "api_key": None,
        }
        assert settings.metadata == "repositories.tables:metadata"
        assert settings.logging == "WARNING"
        assert settings.url is None

    @pytest.mark.parametrize("change", [("type", "postgresql"), ("url", None)])
    def test_settings_are_immutable(self, change: tuple[str, Any]) -> None:
        with pytest.raises(ValueError, match="frozen"):
            setattr(Settings(), *change)

    def test_sections_are_immutable(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            Settings().sqlite.wal = False

    def test_load_is_the_constructor(self) -> None:
        assert Settings.load(logging="INFO") == Settings(logging="INFO")


# --- sources ------------------------------------------------------------------------------------


class TestEnvironment:
    @pytest.mark.parametrize(
        ("name", "value", "section", "key", "expected"),
        [
            ("SQLITE_PATH", "/data/a.db", "sqlite", "path", Path("/data/a.db")),
            ("SQLITE_WAL", "false", "sqlite", "wal", False),
            ("PG_HOST", "db", "postgresql", "host", "db"),
            ("PG_PORT", "6432", "postgresql", "port", 6432),
            ("PG_DATABASE", "other", "postgresql", "database", "other"),
            ("PG_USER", "ann", "postgresql", "user", "ann"),
            ("PG_PASSWORD", "pw", "postgresql", "password", SecretStr("pw")),
            ("PG_POOL_SIZE", "3", "postgresql", "pool_size", 3),
            ("PG_CONNECT_TIMEOUT", "4", "postgresql", "connect_timeout", 4),
            ("DATASTORE_SQLITE__BUSY_TIMEOUT", "1.5", "sqlite", "busy_timeout", 1.5),
            ("DATASTORE_POSTGRESQL__SSLMODE", "require", "postgresql", "sslmode", "require"),
            ("DATASTORE_EMBEDDING__DIMENSIONS", "384", "embedding", "dimensions", 384),
        ],
    )
    @pytest.mark.parametrize("source", ["environment", ".env"])
    def test_each_section_setting_has_its_variable(
        self, env: Any, source: str, name: str, value: str, section: str, key: str, expected: Any
    ) -> None:
        variables = {"DATASTORE_TYPE": "postgresql", "PG_DATABASE": "app", name: value}
        if source == "environment":
            env(**variables)
        else:
            write_dotenv("".join(f"{n}={v}\n" for n, v in variables.items()))
        assert getattr(getattr(Settings(), section), key) == expected

    def test_each_top_level_setting_has_its_variable(self, env: Any) -> None:
        env(DATASTORE_TYPE="sqlite", DATASTORE_LOGGING="debug", DATASTORE_METADATA="app.db:tables")
        settings = Settings()
        assert (settings.logging, settings.metadata) == ("DEBUG", "app.db:tables")

    def test_an_empty_variable_counts_as_unset(self, env: Any) -> None:
        env(DATABASE_URL="", PG_HOST="", DATASTORE_TYPE="", DATASTORE_CONFIG="")
        assert Settings().type == "sqlite"

    def test_foreign_variables_are_ignored(self, env: Any) -> None:
        env(PGHOST="elsewhere", SQLITE_TMPDIR="/tmp", PG_COLOR="always")
        write_dotenv("OTHER_APP=1\nPG_COLOR=auto\n")
        assert Settings() == Settings(type="sqlite")

    def test_two_variables_of_one_setting_are_refused(self, env: Any) -> None:
        env(SQLITE_PATH="/a.db", DATASTORE_SQLITE__PATH="/b.db")
        message = refusal()
        assert "(SQLITE_PATH)" in message
        assert "(DATASTORE_SQLITE__PATH)" in message

    def test_a_dotenv_that_is_not_text_is_named(self) -> None:
        Path(".env").write_bytes(b"PG_PASSWORD=\xff\xfe")
        assert refusal() == ".env is not UTF-8 text"


class TestArguments:
    def test_a_section_is_given_as_a_mapping_or_as_its_model(self) -> None:
        as_mapping = Settings(sqlite={"path": "/a.db"})
        assert as_mapping == Settings(sqlite=SqliteSettings(path=Path("/a.db")))

    def test_none_counts_as_unset(self, env: Any) -> None:
        env(DATABASE_URL="sqlite:////a.db")
        assert Settings(url=None, type=None).database_url().database == "/a.db"

    def test_a_url_may_be_a_secret(self) -> None:
        assert Settings(url=SecretStr("sqlite:////a.db")).database_url().database == "/a.db"


class TestOrder:
    def set_everywhere(self, env: Any, *sources: str) -> None:
        if "environment" in sources:
            env(DATASTORE_EMBEDDING__MODEL="environment")
        if ".env" in sources:
            write_dotenv("DATASTORE_EMBEDDING__MODEL=.env\n")
        write_yaml("datastore: {embedding: {model: yaml, metric: l2}}")

    def test_arguments_come_first(self, env: Any) -> None:
        self.set_everywhere(env, "environment", ".env")
        assert Settings(embedding={"model": "argument"}).embedding.model == "argument"

    def test_the_environment_comes_second(self, env: Any) -> None:
        self.set_everywhere(env, "environment", ".env")
        assert Settings().embedding.model == "environment"

    def test_dotenv_comes_third(self, env: Any) -> None:
        self.set_everywhere(env, ".env")
        assert Settings().embedding.model == ".env"

    def test_yaml_comes_before_the_defaults(self, env: Any) -> None:
        self.set_everywhere(env)
        assert Settings().embedding.model == "yaml"

    def test_sources_are_merged_key_by_key(self, env: Any) -> None:
        self.set_everywhere(env, "environment")
        embedding = Settings(embedding={"dimensions": 8}).embedding
        assert (embedding.model, embedding.dimensions, embedding.metric) == ("environment", 8, "l2")


class TestYaml:
    def test_the_example_loads_as_it_is(self, env: Any) -> None:
        env(DATASTORE_CONFIG=str(EXAMPLE))
        assert Settings().type == "sqlite"

    def test_the_example_of_a_password_is_a_variable(self, env: Any) -> None:
        lines = EXAMPLE.read_text(encoding="utf-8").replace("    # password:", "    password:")
        write_yaml(lines)
        env(APP_DB_PASSWORD=CANARY)
        password = Settings().postgresql.password
        assert password is not None
        assert password.get_secret_value() == CANARY

    def test_the_example_names_every_setting(self, env: Any) -> None:
        env(DATASTORE_CONFIG=str(EXAMPLE))
        text = EXAMPLE.read_text(encoding="utf-8")
        keys = [key for name, value in Settings() for key in (name, *names_of(value))]
        assert [key for key in keys if not re.search(rf"^ +(# )?{key}:", text, re.M)] == []

    def test_the_example_shows_the_defaults_and_needs_nothing(self, env: Any) -> None:
        env(DATASTORE_CONFIG=str(EXAMPLE))
        shown = Settings().model_dump()
        env(DATASTORE_CONFIG="")
        assert shown == Settings().model_dump()

    def test_another_file_is_named_by_a_variable(self) -> None:
        write_yaml("datastore: {logging: INFO}", "other.yaml")
        write_dotenv("DATASTORE_CONFIG=other.yaml\n")
        assert Settings().logging == "INFO"

    def test_a_named_file_that_is_missing_is_an_error(self, env: Any) -> None:
        env(DATASTORE_CONFIG="missing.yaml")
        assert refusal() == "DATASTORE_CONFIG names missing.yaml, which is not a file"

    @pytest.mark.parametrize("text", ["", "# nothing\n", "datastore:\n", "datastore: {sqlite: }"])
    def test_an_empty_file_or_section_sets_nothing(self, text: str) -> None:
        write_yaml(text)
        assert Settings() == Settings(type="sqlite")

    def test_a_variable_is_replaced_from_the_environment_before_dotenv(self, env: Any) -> None:
        env(NAME_A="environment")
        write_dotenv("NAME_A=dotenv\nNAME_B=dotenv\n")
        write_yaml('datastore: {embedding: {model: "${NAME_A}-${NAME_B}"}}')
        assert Settings().embedding.model == "environment-dotenv"

    def test_a_variable_may_stand_for_a_number(self, env: Any) -> None:
        env(DIMENSIONS="12")
        write_yaml('datastore: {embedding: {dimensions: "${DIMENSIONS}"}}')
        assert Settings().embedding.dimensions == 12

    def test_a_replaced_value_is_not_replaced_again(self, env: Any) -> None:
        env(OUTER="${INNER}", INNER="no")
        write_yaml('datastore: {embedding: {model: "${OUTER}"}}')
        assert Settings().embedding.model == "${INNER}"

    def test_a_doubled_dollar_escapes(self) -> None:
        write_yaml('datastore: {embedding: {model: "$${HOME} $5 $$"}}')
        assert Settings().embedding.model == "${HOME} $5 $$"

    @pytest.mark.parametrize("set_to", [None, ""])
    def test_a_missing_variable_names_itself_and_the_key(
        self, env: Any, set_to: str | None
    ) -> None:
        if set_to is not None:
            env(APP_DB_PASSWORD=set_to)
        write_yaml('datastore: {postgresql: {password: "${APP_DB_PASSWORD}"}}')
        expected = "datastore.postgresql.password in config.yaml: the variable APP_DB_PASSWORD "
        assert refusal() == expected + "is not set"

    @pytest.mark.parametrize("text", [f"${{PW:-{CANARY}}}", f"${{{CANARY}", "${}"])
    def test_a_malformed_variable_shows_nothing_of_the_value(self, text: str) -> None:
        write_yaml(f"datastore: {{postgresql: {{password: '{text}'}}}}")
        message = refusal()
        assert message.startswith("datastore.postgresql.password in config.yaml")
        assert CANARY not in message

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            (f"datastore:\n  type: [{CANARY}\n", 3),
            (f"datastore:\n  - {CANARY}: x: y\n", 2),
            (f"datastore:\n\ttype: {CANARY}\n", 2),
            (f"datastore:\n  type: !!python/name:os.{CANARY}\n", 2),
            (f"datastore:\n  type: !{CANARY} x\n", 2),
            (f"datastore:\n  type: &a {CANARY}\n  logging: *a\n", 3),
        ],
    )
    def test_a_malformed_file_is_named_with_its_line_and_no_content(
        self, text: str, line: int
    ) -> None:
        write_yaml(text)
        message = refusal()
        assert message.startswith(f"config.yaml, line {line}: ")
        assert CANARY not in message

    @pytest.mark.parametrize("value", ["!!timestamp x", "2020-99-99", "!!bool x", "!!int ''"])
    def test_a_value_that_yaml_cannot_make_is_an_error_of_the_file(self, value: str) -> None:
        write_yaml(f"datastore: {{logging: {value}}}")
        assert refusal().startswith("config.yaml")

    @pytest.mark.parametrize("text", [f"- {CANARY}\n", f"{CANARY}\n", f"a: &b {CANARY}\nc: *b\n"])
    def test_a_file_of_the_hosts_by_the_default_name_is_none_of_our_business(
        self, env: Any, text: str
    ) -> None:
        write_yaml(text)
        assert Settings().type == "sqlite"
        env(DATASTORE_CONFIG="config.yaml")
        message = refusal()
        assert "config.yaml" in message
        assert CANARY not in message

    def test_an_alias_bomb_is_refused(self) -> None:
        lines = ["a0: &a0 [x, x]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
        write_yaml("\n".join(["datastore: {}", *lines]))
        assert refusal().startswith("config.yaml, line 3: ")

    def test_a_file_nested_too_deeply_is_refused(self) -> None:
        write_yaml("datastore: " + "[" * 2_000)
        assert refusal().startswith("config.yaml")


# --- errors that name the key -------------------------------------------------------------------


class TestUnknownKeys:
    def test_in_yaml(self) -> None:
        write_yaml("datastore: {sqlite: {paht: x}}")
        assert refusal() == (
            "datastore.sqlite.paht in config.yaml is unknown; "
            "did you mean datastore.sqlite.path (SQLITE_PATH)?"
        )

    def test_in_the_environment(self, env: Any) -> None:
        env(DATASTORE_EMBEDDING__METRICS="l2")
        assert refusal() == (
            "datastore.embedding.metrics (DATASTORE_EMBEDDING__METRICS) is unknown; "
            "did you mean datastore.embedding.metric (DATASTORE_EMBEDDING__METRIC)?"
        )

    def test_in_dotenv(self) -> None:
        write_dotenv("DATASTORE_TPYE=sqlite\n")
        assert refusal() == (
            "datastore.tpye (DATASTORE_TPYE in .env) is unknown; "
            "did you mean datastore.type (DATASTORE_TYPE)?"
        )

    def test_among_the_arguments(self) -> None:
        message = refusal(postgresql={"hots": "x"})
        assert message.startswith("datastore.postgresql.hots (argument) is unknown")
        assert "datastore.postgresql.host (PG_HOST)" in message

    def test_of_pydantic_settings_own_arguments(self) -> None:
        assert refusal(_env_file=None) == "datastore._env_file (argument) is unknown"

    def test_at_the_top_of_yaml(self) -> None:
        write_yaml("datastroe: {type: sqlite}")
        assert refusal().startswith("datastroe in config.yaml: unknown, `datastore` is the one")

    @pytest.mark.parametrize("value", ["x", "", "{}", "{deeper: x}"])
    def test_whatever_their_value(self, value: str) -> None:
        write_yaml(f"datastore: {{sqlit: {value}}}")
        assert "datastore.sqlit" in refusal()

    def test_all_of_them_are_named(self, env: Any) -> None:
        env(DATASTORE_XYZZY="1")
        message = refusal(plugh=1)
        assert "datastore.xyzzy (DATASTORE_XYZZY) is unknown" in message
        assert "datastore.plugh (argument) is unknown" in message


class TestWrongValues:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("PG_PORT", "0"),
            ("PG_PORT", "65536"),
            ("PG_PORT", "many"),
            ("PG_HOST", "db:port"),
            ("PG_HOST", "db1,,db2"),
            ("PG_HOST", "db:99999"),
            ("PG_POOL_SIZE", "0"),
            ("PG_CONNECT_TIMEOUT", "1.5"),
            ("SQLITE_WAL", "perhaps"),
            ("DATASTORE_SQLITE__BUSY_TIMEOUT", "-1"),
            ("DATASTORE_SQLITE__BUSY_TIMEOUT", "nan"),
            ("DATASTORE_POSTGRESQL__LOCK_TIMEOUT", "inf"),
            ("DATASTORE_EMBEDDING__DIMENSIONS", "0"),
            ("DATASTORE_EMBEDDING__DIMENSIONS", "16001"),
            ("DATASTORE_EMBEDDING__METRIC", "manhattan"),
            ("DATASTORE_LOGGING", "chatty"),
            ("DATASTORE_METADATA", "package.module"),
            ("DATASTORE_SQLITE", "x"),
        ],
    )
    def test_are_refused_naming_the_variable(self, env: Any, name: str, value: str) -> None:
        env(DATASTORE_TYPE="sqlite", **{name: value})
        assert f"({name})" in refusal()

    def test_are_refused_naming_the_key_and_the_file(self) -> None:
        write_yaml("datastore: {type: sqlite, postgresql: {password: 12345}}")
        message = refusal()
        assert message.startswith("datastore.postgresql.password in config.yaml: ")
        assert "12345" not in message

    def test_are_refused_naming_the_argument(self) -> None:
        assert refusal(sqlite={"wal": []}).startswith("datastore.sqlite.wal (argument): ")

    def test_are_all_named(self) -> None:
        message = refusal(sqlite={"wal": []}, logging="x")
        assert "datastore.sqlite.wal" in message
        assert "datastore.logging" in message


# --- which database -----------------------------------------------------------------------------


class TestContradictions:
    @pytest.mark.parametrize(
        ("kind", "url"), [("sqlite", "postgres://h/db"), ("postgresql", "sqlite:///x.db")]
    )
    def test_type_and_url_that_disagree(self, env: Any, kind: str, url: str) -> None:
        env(DATASTORE_TYPE=kind, DATABASE_URL=url)
        message = refusal()
        assert "DATASTORE_TYPE" in message
        assert "DATABASE_URL" in message

    def test_type_and_url_of_different_files(self) -> None:
        write_yaml("datastore: {type: sqlite}")
        write_dotenv("DATABASE_URL=postgres://h/db\n")
        assert refusal() == (
            "datastore.type in config.yaml contradicts datastore.url (DATABASE_URL in .env): "
            "keep one of them"
        )

    @pytest.mark.parametrize("url", ["postgres://u@h/db", "sqlite:///x.db"])
    @pytest.mark.parametrize(
        "part", ["SQLITE_PATH", "PG_HOST", "PG_PORT", "PG_DATABASE", "PG_USER"]
    )
    def test_a_url_and_a_part_in_the_same_source(self, env: Any, url: str, part: str) -> None:
        env(DATABASE_URL=url, **{part: "1"})
        message = refusal()
        assert f"({part})" in message
        assert "(DATABASE_URL)" in message

    def test_a_password_beside_a_url_that_holds_one(self, env: Any) -> None:
        env(DATABASE_URL=f"postgres://u:{CANARY}@h/db", PG_PASSWORD="other")
        assert "(PG_PASSWORD)" in refusal()

    @pytest.mark.parametrize("part", ["PG_HOST", "PG_DATABASE", "PG_USER"])
    def test_postgresql_parts_without_a_type(self, env: Any, part: str) -> None:
        env(**{part: "x"})
        message = refusal()
        assert f"({part})" in message
        assert "DATASTORE_TYPE" in message

    def test_postgresql_parts_beside_the_type_sqlite_are_no_contradiction(self, env: Any) -> None:
        env(DATASTORE_TYPE="sqlite", PG_HOST="db", SQLITE_PATH="/a.db")
        assert Settings().database_url().database == "/a.db"


class TestUrlAndOtherSources:
    def test_a_url_alone_names_the_type(self, env: Any) -> None:
        env(DATABASE_URL="postgres://h/db")
        assert Settings().type == "postgresql"

    def test_a_url_replaces_the_parts_of_lower_sources(self, env: Any) -> None:
        env(DATABASE_URL="postgresql://h/db")
        write_dotenv("PG_HOST=low\nPG_PORT=1\nPG_USER=low\nPG_PASSWORD=low\n")
        url = URL.create("postgresql+psycopg", host="h", database="db")
        assert Settings().database_url() == url

    def test_a_url_leaves_pools_and_tls_of_lower_sources(self, env: Any) -> None:
        env(DATABASE_URL="postgresql://h/db")
        write_yaml("datastore: {postgresql: {pool_size: 2, sslmode: verify-full}}")
        settings = Settings()
        assert settings.postgresql.pool_size == 2
        assert settings.database_url().query == {"sslmode": "verify-full"}

    def test_an_option_in_the_url_wins_over_lower_sources(self, env: Any) -> None:
        env(DATABASE_URL="postgresql://h/db?sslmode=require")
        write_yaml("datastore: {postgresql: {sslmode: verify-full}}")
        assert Settings().database_url().query == {"sslmode": "require"}

    def test_a_password_may_stand_beside_a_url_without_one(self, env: Any) -> None:
        env(DATABASE_URL="postgresql://u@h/db", PG_PASSWORD="pw")
        assert Settings().database_url().password == "pw"

    def test_a_part_of_a_higher_source_replaces_that_part_of_the_url(self, env: Any) -> None:
        write_dotenv("DATABASE_URL=postgresql://u:pw@h:1/db\n")
        env(PG_HOST="other", PG_DATABASE="new")
        assert Settings().database_url() == make_url("postgresql+psycopg://u:pw@other:1/new")

    def test_a_port_of_a_higher_source_replaces_that_of_the_url(self, env: Any) -> None:
        write_dotenv("DATABASE_URL=postgresql://u@h:1/db\n")
        env(PG_PORT="2")
        assert Settings().database_url() == make_url("postgresql+psycopg://u@h:2/db")

    def test_a_path_of_a_higher_source_replaces_a_sqlite_url(self, env: Any) -> None:
        write_dotenv("DATABASE_URL=sqlite:////low.db\n")
        env(SQLITE_PATH="/high.db")
        assert Settings().database_url().database == "/high.db"

    def test_a_path_of_a_higher_source_replaces_a_postgresql_url(self, env: Any) -> None:
        env(DATABASE_URL="postgresql://h/db")
        settings = Settings(sqlite={"path": "/a.db"})
        assert (settings.type, settings.url) == ("sqlite", None)

    def test_typed_parts_of_a_higher_source_replace_a_sqlite_url(self, env: Any) -> None:
        write_dotenv("DATABASE_URL=sqlite:////low.db\n")
        env(DATASTORE_TYPE="postgresql", PG_HOST="h", PG_DATABASE="db")
        assert Settings().database_url().host == "h"

    def test_parts_of_the_other_engine_leave_a_typed_url_alone(self, env: Any) -> None:
        write_dotenv("DATABASE_URL=sqlite:////low.db\nDATASTORE_TYPE=sqlite\n")
        env(PG_HOST="h")
        assert Settings().database_url().database == "/low.db"

    def test_untyped_postgresql_parts_over_a_sqlite_url_need_the_type(self, env: Any) -> None:
        write_dotenv("DATABASE_URL=sqlite:////low.db\n")
        env(PG_HOST="h")
        assert "DATASTORE_TYPE" in refusal()

    @pytest.mark.parametrize(
        ("outside", "kept"),
        [
            ({}, True),
            ({"PG_HOST": "H"}, True),
            ({"PG_HOST": "a,h:2"}, True),
            ({"PG_HOST": "other"}, False),
            ({"DATABASE_URL": "postgresql://u@h:1/db"}, True),
            ({"DATABASE_URL": "postgresql://u@other/db"}, False),
            ({"DATASTORE_TYPE": "postgresql", "PG_DATABASE": "db"}, False),
        ],
    )
    def test_a_password_goes_to_no_host_but_its_own(
        self, env: Any, outside: dict[str, str], kept: bool
    ) -> None:
        env(PG_PASSWORD="pw", **outside)
        password = Settings(url="postgresql://postgres@h/other").database_url().password
        assert password == ("pw" if kept else None)

    @pytest.mark.parametrize(
        ("url", "password"),
        [
            ("postgresql://u@127.0.0.1/db", "pw"),
            ("postgresql://u@localhost:7/db", "pw"),
            ("postgresql://u:own@localhost/db", "own"),
            ("postgresql://u@localhost,other/db", None),
            ("postgresql://u@localhost/db?hostaddr=6.6.6.6", None),
            ("postgresql:///db?service=other", None),
            ("postgresql:///db", None),
            ("sqlite:////a.db", None),
        ],
    )
    def test_a_password_of_this_machine_stays_on_it(
        self, env: Any, url: str, password: str | None
    ) -> None:
        write_dotenv("PG_PASSWORD=pw\nPG_HOST=localhost\n")
        assert Settings(url=url).database_url().password == password

    def test_what_is_wrong_is_said_in_our_words(self, env: Any) -> None:
        env(SQLITE_WAL="perhaps", DATASTORE_SQLITE__POOL_SIZE="many")
        message = refusal()
        assert "Input should" not in message
        assert "expected a valid integer" in message
        assert "expected a valid boolean" in message

    def test_yaml_that_cannot_be_read_names_the_line(self) -> None:
        write_yaml("datastore:\n  sqlite: [\n  path: x\n")
        assert refusal() == "config.yaml, line 4: a syntax error in what begins in line 2"

    def test_a_url_among_the_arguments_overrules_everything_outside(self, env: Any) -> None:
        env(DATASTORE_TYPE="postgresql", PG_HOST="h", PG_DATABASE="db")
        write_yaml("datastore: {sqlite: {path: /low.db}}")
        settings = Settings(url="sqlite:////a.db")
        assert (settings.type, settings.database_url().database) == ("sqlite", "/a.db")


class TestSqliteUrl:
    @pytest.mark.parametrize(
        ("url", "database"),
        [
            ("sqlite:////data/a.db", "/data/a.db"),
            ("sqlite+pysqlite:////data/a@b.db", "/data/a@b.db"),
            ("sqlite:////data/a%20b.db", "/data/a b.db"),
            ("sqlite://", ":memory:"),
            ("sqlite:///:memory:", ":memory:"),
            ("sqlite:///file:a.db?mode=ro&uri=true", "file:a.db"),
        ],
    )
    def test_is_read(self, url: str, database: str) -> None:
        read = Settings(url=url).database_url()
        assert (read.drivername, read.database) == ("sqlite", database)

    @pytest.mark.parametrize("scheme", ["sqlite+aiosqlite", "postgresql+asyncpg", "postgres+foo"])
    def test_refuses_another_driver(self, scheme: str) -> None:
        message = refusal(url=f"{scheme}://")
        assert scheme.partition("+")[2] in message
        assert "expected" in message

    def test_is_absolute(self, tmp_path: Path) -> None:
        assert Settings(url="sqlite:///a.db").database_url().database == str(tmp_path / "a.db")
        assert Settings(sqlite={"path": "b.db"}).database_url().database == str(tmp_path / "b.db")

    def test_expands_the_home_directory(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert Settings(url="sqlite:///~/a.db").database_url().database == str(tmp_path / "a.db")

    def test_keeps_memory(self) -> None:
        assert Settings(sqlite={"path": ":memory:"}).database_url().database == ":memory:"

    def test_refuses_a_home_directory_that_is_unknown(self) -> None:
        message = refusal(sqlite={"path": "~nobody-of-that-name/a.db"})
        assert message.startswith("datastore.sqlite.path (SQLITE_PATH): the home directory")

    def test_refuses_two_slashes(self) -> None:
        assert "three slashes" in refusal(url="sqlite://a.db")


class TestPostgresqlUrl:
    @pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
    def test_is_read_under_each_name(self, scheme: str) -> None:
        read = Settings(url=f"{scheme}://u:p%40w@h:1/db?sslmode=require").database_url()
        expected = make_url("postgresql+psycopg://u:p%40w@h:1/db?sslmode=require")
        assert read == expected

    def test_is_built_of_its_parts(self, env: Any) -> None:
        env(DATASTORE_TYPE="postgresql", PG_HOST="h", PG_DATABASE="db", PG_USER="u")
        env(PG_PASSWORD="p@:/?#w", DATASTORE_POSTGRESQL__SSLMODE="require")
        assert connect_arguments(Settings().database_url()) == {
            "host": "h",
            "port": 5432,
            "dbname": "db",
            "user": "u",
            "password": "p@:/?#w",
            "sslmode": "require",
        }

    def test_needs_a_database(self) -> None:
        message = refusal(type="postgresql")
        assert "datastore.postgresql.database (PG_DATABASE)" in message
        assert "PG_DATABASE" in refusal(url="postgresql://h")

    def test_finds_the_database_in_the_query_too(self) -> None:
        read = Settings(url="postgresql://h?dbname=db").database_url()
        assert connect_arguments(read)["dbname"] == "db"

    @pytest.mark.parametrize("hosts", ["h1:1,h2:2", "h1:1, h2"])
    def test_several_hosts_become_the_form_of_sqlalchemy(self, hosts: str) -> None:
        parts = {"host": hosts, "port": 2, "database": "db", "target_session_attrs": "primary"}
        read = Settings(type="postgresql", postgresql=parts).database_url()
        assert read.query == {"host": ("h1:1", "h2:2"), "target_session_attrs": "primary"}
        expected = {"host": "h1,h2", "port": "1,2", "dbname": "db"}
        assert connect_arguments(read) == expected | {"target_session_attrs": "primary"}

    def test_several_hosts_of_a_libpq_url_are_translated(self) -> None:
        read = Settings(url="postgresql://u:p@h1:5432,h2:5433/db").database_url()
        form = "postgresql+psycopg://u:p@/db?host=h1%3A5432&host=h2%3A5433"
        assert read == make_url(form)

    def test_several_hosts_without_ports_leave_the_port_to_libpq(self) -> None:
        read = Settings(url="postgresql://h1,h2/db").database_url()
        assert connect_arguments(read)["host"] == "h1,h2"

    def test_the_form_of_sqlalchemy_is_kept(self) -> None:
        url = "postgresql+psycopg://u@/db?host=h1%3A1&host=h2%3A2"
        assert Settings(url=url).database_url() == make_url(url)

    @pytest.mark.parametrize(
        ("hosts", "host", "port"),
        [
            ("[::1]:1", "::1", 1),
            ("::1", "::1", 5432),
            ("[::1]:1,[::2]", "::1,::2", "1,5432"),
            ("/run/postgresql", "/run/postgresql", "5432"),
        ],
    )
    def test_addresses_with_colons_and_socket_directories_reach_the_driver(
        self, hosts: str, host: str, port: int | str
    ) -> None:
        parts = {"host": hosts, "database": "db"}
        read = Settings(type="postgresql", postgresql=parts).database_url()
        assert connect_arguments(read) == {"host": host, "port": port, "dbname": "db"}

    def test_a_socket_directory_in_a_url_is_percent_encoded(self) -> None:
        read = Settings(url="postgresql://%2Frun%2Fpostgresql:1/db").database_url()
        assert connect_arguments(read) == {"host": "/run/postgresql", "port": "1", "dbname": "db"}

    @pytest.mark.parametrize("special", ["@", "/", "@/", "?", "/x@", "?x="])
    def test_a_password_that_is_not_percent_encoded_is_refused(
        self, env: Any, special: str
    ) -> None:
        env(DATABASE_URL=f"postgresql://u:{CANARY}{special}{CANARY}@h/db")
        message = refusal()
        assert message.startswith("datastore.url (DATABASE_URL): ")
        assert "percent-encoded" in message
        assert CANARY not in message

    def test_a_password_may_hold_what_cannot_be_mistaken(self) -> None:
        assert Settings(url="postgresql://u:p:#%25w@h/db").database_url().password == "p:#%w"

    @pytest.mark.parametrize("url", ["", "db", "://h/db", "postgresql:/h", "postgresql://h:x/db"])
    def test_what_is_no_url_is_refused(self, url: str) -> None:
        assert "DATABASE_URL" in refusal(url=url)


class TestOtherBackends:
    def test_a_url_passes_through(self, env: Any) -> None:
        env(DATABASE_URL="duckdb+native://u:p@h:1/a?x=y")
        settings = Settings()
        assert settings.type == "duckdb"
        assert settings.database_url() == make_url("duckdb+native://u:p@h:1/a?x=y")

    def test_a_type_needs_a_url(self) -> None:
        message = refusal(type="duckdb")
        assert "DATASTORE_TYPE" in message
        assert "DATABASE_URL" in message

    def test_a_url_with_two_at_signs_is_refused(self) -> None:
        assert "percent-encoded" in refusal(url="mysql://u:p@w@h/db")


# --- secrets ------------------------------------------------------------------------------------


class TestDisplayUrl:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("sqlite:////a.db", "sqlite:////a.db"),
            (f"postgres://u:{CANARY}@h:1/db", "postgresql+psycopg://u:***@h:1/db"),
            (f"postgres://u@h/db?password={CANARY}", "postgresql+psycopg://u:***@h/db"),
            (
                f"postgres://u:{CANARY}@h1:1,h2:2/db?sslmode=require",
                "postgresql+psycopg://u:***@/db?sslmode=require&host=h1:1&host=h2:2",
            ),
            (f"duckdb:///a?password={CANARY}&port=1", "duckdb:///a?password=***&port=1"),
            (f"mssql:///?odbc_connect={CANARY}", "mssql:///?odbc_connect=***"),
            (f"postgres://u:{CANARY}@{CANARY}@h/db", "***"),
            (CANARY, "***"),
        ],
    )
    def test_shows_the_place_and_no_secret(self, url: str, shown: str) -> None:
        assert display_url(url) == shown

    def test_takes_a_url_object(self) -> None:
        url = URL.create("postgresql", "u", CANARY, "h", query={"password": (CANARY, CANARY)})
        assert display_url(url) == "postgresql://u:***@h?password=***&password=***"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class TestSecrets:
    @pytest.mark.parametrize(
        "arguments",
        [
            {"url": f"postgresql://u:{CANARY}@h/db"},
            {"url": f"postgresql://u@h/db?password={CANARY}"},
            {"type": "postgresql", "postgresql": {"database": "db", "password": CANARY}},
        ],
    )
    def test_are_in_the_url_and_in_no_text(self, arguments: dict[str, Any]) -> None:
        settings = Settings(**arguments)
        url = settings.database_url()
        assert url.password == CANARY
        texts = [repr(settings), str(settings), repr(url), str(url), display_url(url)]
        texts += [repr(settings.model_dump()), settings.model_dump_json()]
        assert CANARY not in "".join(texts)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"url": CANARY},
            {"url": [CANARY]},
            {"url": f"postgresql://u:{CANARY}"},
            {"url": f"postgresql://u:{CANARY}@{CANARY}@h/db"},
            {"url": f"postgresql://u:p/{CANARY}@h/db"},
            {"url": f"postgresql://u:1?{CANARY}@h/db"},
            {"url": f"postgresql://u:{CANARY}@h:port/db"},
            {"url": f"postgresql://u:{CANARY}@h"},
            {"url": f"mysql://u:{CANARY}@h:port/db"},
            {"url": f"sqlite://u:{CANARY}@h/db"},
            {"url": f"postgresql://u:{CANARY}@h/db", "type": "sqlite"},
            {"url": f"postgresql://u:{CANARY}@h/db", "postgresql": {"password": CANARY}},
            {"url": f"postgresql://u:{CANARY}@h/db", "unknown": CANARY},
            {"url": f"postgresql://u:{CANARY}@h/db", "logging": CANARY},
            {"type": CANARY},
            {"sqlite": CANARY},
            {"sqlite": {"wal": CANARY, "pool_size": CANARY, "pasword": CANARY}},
            {"postgresql": {"host": f"{CANARY}@h", "port": CANARY}},
            {"postgresql": {"password": [CANARY]}, "type": "postgresql"},
            {"postgresql": {"pasword": CANARY}},
            {"embedding": {"metric": CANARY, "dimensions": CANARY}},
            {"metadata": CANARY},
        ],
    )
    def test_are_in_no_error_nor_in_what_caused_it(self, arguments: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Settings(**arguments)
        for error in chain(caught.value):
            assert CANARY not in f"{error!s}{error!r}{vars(error)}"
        lines = traceback.format_exception(caught.value, chain=True)
        assert CANARY not in "".join(lines)

    @pytest.mark.parametrize("text", [f"datastore: [{CANARY}", f"datastore: !{CANARY}"])
    def test_of_a_malformed_file_are_in_no_error(self, text: str) -> None:
        write_yaml(text)
        with pytest.raises(ConfigurationError) as caught:
            Settings()
        assert [CANARY in str(error) for error in chain(caught.value)] == [False]

    def test_are_not_in_the_debug_log_of_pydantic_settings(
        self, env: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        env(DATASTORE_TYPE="postgresql", PG_DATABASE="db", PG_PASSWORD=CANARY)
        monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
        with caplog.at_level("DEBUG"):
            Settings()
        assert CANARY not in caplog.text
