"""The embedder that a text names, on a command line: an import, a server, or a model.

| text                          | what it is                                                |
|-------------------------------|-----------------------------------------------------------|
| `package.module:name`         | an `Embedder`, its class, or a callable that gives arrays |
| `https://host/v1#model`       | a server with the HTTP interface of OpenAI                |
| `sentence-transformers:model` | a model in this process                                   |

Behind `#` stands the name of the model, which an import may have as well.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from datastore.errors import ConfigurationError
from repositories.embedders import CallableEmbedder, Embedder
from repositories.files import shown
from repositories.http_embedder import HTTPEmbedder
from repositories.sentence_transformer import SentenceTransformerEmbedder

#: What begins the name of a model in this process.
TRANSFORMERS = "sentence-transformers:"


def load_embedder(name: str, api_key: SecretStr | None = None) -> Embedder:
    """Return what `name` names; raise `ConfigurationError` where that cannot be had."""
    if name.startswith(TRANSFORMERS):
        return SentenceTransformerEmbedder(name.removeprefix(TRANSFORMERS))
    place, _, model = name.partition("#")
    if place.startswith(("http://", "https://")):
        if not model:
            raise ConfigurationError(
                "--embedder: expected the model behind the URL, as in URL#MODEL"
            )
        return HTTPEmbedder(place, model, api_key=api_key)
    found = _imported(place)
    if isinstance(found, type):
        found = found()
    if isinstance(found, Embedder) and not model:
        return found
    if not callable(found):
        raise ConfigurationError(f"--embedder: {place} is neither an Embedder nor callable")
    return CallableEmbedder(found, model or None)


def _imported(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # a module may raise whatever it likes while it is imported
        told = f": {error}" if isinstance(error, ImportError | SyntaxError) else ""
        if isinstance(error, ModuleNotFoundError):
            told += (
                f", among what is installed, in PYTHONPATH and in the folder '{shown(Path.cwd())}'"
            )
        raise ConfigurationError(
            f"--embedder: {name} cannot be imported ({type(error).__name__}{told}); "
            "expected package.module:callable, URL#MODEL or sentence-transformers:MODEL"
        ) from error
    return found
