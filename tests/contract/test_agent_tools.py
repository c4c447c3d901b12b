"""What an agent may do with a memory, called from Python and over the Model Context Protocol."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from datastore import Datastore
from datastore.errors import DatastoreError, InvalidValueError, NotFoundError
from repositories import Chunk, ChunkRepository, Entity, GraphRepository, Relationship
from repositories.mcp_server import build_server
from repositories.tools import MOST_ANSWER, MOST_CONTENT, MOST_RELATIONSHIPS, MOST_TEXT, Tool, tools


@pytest.fixture
def memory(store: Datastore) -> Datastore:
    """A store with some texts and a small graph."""
    ChunkRepository(store).add_many(
        [
            Chunk("tea", "tea.md", 1, 3, "Boil water, then pour it over the leaves."),
            Chunk("long", "long.md", 1, 1, "kettle " * MOST_CONTENT),
        ]
    )
    graph = GraphRepository(store)
    graph.add_entities([Entity("tea", "Green tea", "drink"), Entity("leaf", "leaf", "thing")])
    graph.add_relationships([Relationship("tea", "leaf", "made of")])
    graph.link("tea", ["tea"])
    return store


def named(store: Datastore) -> dict[str, Tool]:
    return {tool.name: tool for tool in tools(store)}


class TestCalls:
    def test_a_search_finds_a_text_and_its_id_leads_to_all_of_it(self, memory: Datastore) -> None:
        found = named(memory)["memory_search"]({"query": "boiling water", "limit": 1})["hits"][0]
        assert (found["path"], found["reasons"]) == ("tea.md", ["text"])
        whole = named(memory)["memory_get"]({"id": found["id"]})
        assert whole["content"] == "Boil water, then pour it over the leaves."

    def test_a_long_text_is_cut_and_says_so(self, memory: Datastore) -> None:
        (hit,) = named(memory)["memory_search"]({"query": "kettle"})["hits"]
        assert (len(hit["content"]), hit["truncated"]) == (MOST_CONTENT, True)

    def test_a_text_of_any_length_is_read_in_parts(self, memory: Datastore) -> None:
        get, content = named(memory)["memory_get"], "".join(str(n) for n in range(50_000))
        ChunkRepository(memory).add(Chunk("endless", "endless.md", 1, 1, content))
        parts, more = [""], True
        while more:
            part = get({"id": "endless", "offset": sum(map(len, parts))})
            parts.append(part["content"])
            more = part["truncated"]
        assert ("".join(parts), max(map(len, parts))) == (content, MOST_TEXT)
        assert get({"id": "endless", "offset": 10**6})["content"] == ""

    def test_no_answer_is_too_long(self, memory: Datastore) -> None:
        text, made = "kettle " * 1_000, named(memory)
        ChunkRepository(memory).add_many(Chunk(f"c{n}", "c", 1, 1, text) for n in range(60))
        graph = GraphRepository(memory)
        graph.add_entities(Entity(f"e{n:02}", "Thing", "thing", text) for n in range(60))
        graph.add_relationships(
            Relationship("e00", f"e{n:02}", "to", description=text) for n in range(60)
        )
        for answer in (
            made["memory_search"]({"query": "kettle", "limit": 50}),
            made["knowledge_search"]({"name": "thing", "limit": 50}),
            made["knowledge_neighborhood"]({"entity_id": "e00", "max_entities": 60}),
        ):
            assert answer["truncated"]
            assert MOST_ANSWER / 2 < len(json.dumps(answer)) < MOST_ANSWER + 1_000

    def test_a_search_with_the_graph_says_what_led_to_a_hit(self, memory: Datastore) -> None:
        found = named(memory)["memory_search"]({"query": "green tea", "use_graph": True})
        assert [(hit["id"], hit["reasons"]) for hit in found["hits"]] == [("tea", ["graph"])]

    def test_a_name_leads_to_an_entity_and_that_to_its_neighbours(self, memory: Datastore) -> None:
        (first, *_) = named(memory)["knowledge_search"]({"name": "green tea"})["entities"]
        around = named(memory)["knowledge_neighborhood"]({"entity_id": first["id"]})
        assert [(each["id"], each["hops"]) for each in around["entities"]] == [
            ("tea", 0),
            ("leaf", 1),
        ]
        assert [each["type"] for each in around["relationships"]] == ["made of"]
        assert around["truncated"] is False

    def test_a_dense_neighbourhood_is_cut_to_its_strongest_relationships(
        self, memory: Datastore
    ) -> None:
        graph = GraphRepository(memory)
        ids = [f"node-{number}" for number in range(30)]
        graph.add_entities([Entity(id_, id_, "node") for id_ in ids])
        graph.add_relationships(
            [Relationship(a, b, "to", strength=1 + (a == ids[0])) for a in ids for b in ids]
        )
        around = named(memory)["knowledge_neighborhood"]({"entity_id": ids[0]})
        assert len(around["relationships"]) == MOST_RELATIONSHIPS < 30 * 30
        assert around["truncated"] is True
        assert {each["source"] for each in around["relationships"][:30]} == {ids[0]}

    def test_a_namespace_is_never_left(self, memory: Datastore) -> None:
        others = {tool.name: tool for tool in tools(memory, namespace="another")}
        assert others["memory_search"]({"query": "boiling water"})["hits"] == []
        with pytest.raises(NotFoundError):
            others["memory_get"]({"id": "tea"})


class TestArguments:
    def test_the_schema_is_derived_from_the_signature(self, memory: Datastore) -> None:
        schema = named(memory)["memory_search"].parameters
        assert schema["required"] == ["query"]
        assert schema["additionalProperties"] is False
        limit = schema["properties"]["limit"]
        assert (limit["type"], limit["minimum"], limit["maximum"]) == ("integer", 1, 50)
        assert schema["properties"]["query"]["maxLength"] == 2000

    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {"query": ""},
            {"query": None},
            {"query": ["a"]},
            {"query": "secret-word" * 2000},
            {"query": "secret-word", "limit": 0},
            {"query": "secret-word", "limit": 51},
            {"query": "secret-word", "limit": "5"},
            {"query": "secret-word", "limit": True},
            {"query": "secret-word", "filter": "1 = 1"},
            {"query": "x", "secret-word": 1},
            {"query": "x", **{f"secret-word {n}": n for n in range(1_000)}},
            None,
            [],
            "secret-word",
        ],
        ids=lambda arguments: repr(arguments)[:30],
    )
    def test_what_does_not_fit_is_refused_and_not_repeated(
        self, memory: Datastore, arguments: Any
    ) -> None:
        with pytest.raises(InvalidValueError, match=r"^memory_search: ") as refused:
            named(memory)["memory_search"](arguments)
        assert "secret-word" not in str(refused.value)
        assert len(str(refused.value)) < 600

    def test_any_text_gets_an_answer_or_an_error_of_ours(self, memory: Datastore) -> None:
        made = named(memory)

        @given(st.text(max_size=60))
        def ask(text: str) -> None:
            for name, key in (
                ("memory_search", "query"),
                ("memory_get", "id"),
                ("knowledge_search", "name"),
                ("knowledge_neighborhood", "entity_id"),
            ):
                with suppress(DatastoreError):
                    made[name]({key: text})

        ask()


class TestProtocol:
    """With the client of the protocol's own package."""

    def test_a_client_sees_the_tools_with_their_schemas(self, memory: Datastore) -> None:
        async def look(client: Client) -> None:
            listed = (await client.list_tools()).tools
            assert {tool.name for tool in listed} == set(named(memory))
            search = next(tool for tool in listed if tool.name == "memory_search")
            assert search.input_schema == named(memory)["memory_search"].parameters
            assert "best first" in (search.description or "")

        with_client(memory, look)

    def test_a_call_is_answered_as_from_python(self, memory: Datastore) -> None:
        async def call(client: Client) -> None:
            answer = await client.call_tool("memory_search", {"query": "boiling water"})
            assert not answer.is_error
            assert answer.structured_content == named(memory)["memory_search"](
                {"query": "boiling water"}
            )

        with_client(memory, call)

    def test_an_error_is_an_answer_that_says_what_was_wrong(self, memory: Datastore) -> None:
        async def call(client: Client) -> None:
            missing = await client.call_tool("memory_get", {"id": "nothing"})
            assert missing.is_error
            assert "NotFoundError: there is no such chunk" in missing.content[0].text
            wrong = await client.call_tool("memory_search", {"query": "x", "limit": 500})
            assert wrong.is_error
            assert "less than or equal to 50" in wrong.content[0].text

        with_client(memory, call)

    @pytest.mark.parametrize(
        "arguments", [{"limit": "5"}, {"secret-word": 1}, {"query": 5}, {"query": ["secret-word"]}]
    )
    def test_arguments_are_checked_as_from_python(
        self, memory: Datastore, arguments: dict[str, Any]
    ) -> None:
        async def call(client: Client) -> None:
            given = {"query": "tea", **arguments}
            wrong = await client.call_tool("memory_search", given)
            assert wrong.is_error
            with pytest.raises(InvalidValueError) as refused:
                named(memory)["memory_search"](given)
            assert wrong.content[0].text == f"InvalidValueError: {refused.value}"
            assert (await client.call_tool("secret-word", {})).is_error

        with_client(memory, call)

    def test_an_embedder_that_prints_is_heard_by_nobody(
        self, memory: Datastore, migrated_url: str, tmp_path: Path
    ) -> None:
        (tmp_path / "loud_embedder.py").write_text(
            "import os\nprint('loading')\nos.system('echo still loading')\n"
            "def embed(texts):\n    print('embedding')\n    return [[1.0, 2.0]] * len(texts)\n"
        )

        async def serve() -> None:
            server = StdioServerParameters(
                command=sys.executable,
                args=["-m", "datastore.cli", "mcp", "--embedder", "loud_embedder:embed"],
                env={
                    **os.environ,
                    "DATABASE_URL": migrated_url,
                    "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
                },
            )
            async with Client(stdio_client(server), read_timeout_seconds=30) as client:
                answer = await client.call_tool("memory_search", {"query": "tea leaves"})
                assert not answer.is_error

        anyio.run(serve)

    def test_the_command_serves_on_standard_streams(
        self, memory: Datastore, migrated_url: str
    ) -> None:
        async def serve() -> None:
            server = StdioServerParameters(
                command=sys.executable,
                args=["-m", "datastore.cli", "mcp"],
                env={**os.environ, "DATABASE_URL": migrated_url},
            )
            async with Client(stdio_client(server)) as client:
                answer = await client.call_tool("memory_get", {"id": "tea"})
                assert answer.structured_content is not None
                assert answer.structured_content["path"] == "tea.md"

        anyio.run(serve)


def with_client(store: Datastore, use: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Client(build_server(tools(store))) as client:
            await use(client)

    anyio.run(run)
