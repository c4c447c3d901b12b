"""What the help shows otherwise than typer would."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command whose flags are shown without the type of a value that they do not take."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters, that of --help among them."""
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """The same of the program itself."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters, that of --help among them."""
        return _without_types(super().get_params(ctx))


def _without_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters
