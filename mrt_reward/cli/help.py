"""Help of a verb: its options under headings, the verb's own first."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperCommand

from mrt_reward.mistakes import did_you_mean


class HeadedCommand(TyperCommand):
    """A command that lists the options of each heading by themselves, in the order in which headings first come.

    Arguments go by their names in capitals, as the descriptions call them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - typer's own
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.param_type_name == "argument" and parameter.metavar is None:
                parameter.metavar = f"{parameter.name}".upper()

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 - typer keeps a click of its own
        """What follows the command's name; an argument that must be given stands without braces."""
        return [re.sub(r"^\{(\w+)\}", r"\1", piece) for piece in super().collect_usage_pieces(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer keeps a click of its own
        """As typer does; a wrong word is refused with the nearest right one."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = _in_words(error.message)
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer keeps a click of its own
        """Write arguments, then options without a heading, then each heading's."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None:
                own = "Arguments" if parameter.param_type_name == "argument" else "Options"
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or own, []).append(row)
        for heading, rows in sections.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def _in_words(message: str) -> str:
    """What is wrong with a flag, without the words of the library that found it."""
    message = message.removeprefix("Value error, ")
    if found := re.fullmatch(r"'(.*)' is not one of (.*)\.", message):
        got, choices = found.groups()
        near = did_you_mean(got, re.findall(r"'([^']*)'", choices))
        return f"expected one of {choices}, got {got!r}{near}"
    return message
