"""Consoles on which text is only text: no name is markup or steers the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from mulde.names import printable

_UNFIT_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class PlainConsole(Console):
    """Shows text, also in the cells of tables, as `printable` writes it."""

    def __init__(self, *, stderr: bool = False, width: int | None = None, soft_wrap: bool = False) -> None:
        super().__init__(stderr=stderr, width=width, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def output(width: int) -> PlainConsole:
    """Standard output: as wide as the terminal, or `width` where it is none."""
    console = PlainConsole()
    return console if console.is_terminal else PlainConsole(width=width)


def print_json(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> None:
    """Print JSON on standard output; names are shown as they are, with any character."""
    text = json.dumps(rows, indent=2, ensure_ascii=False)
    print(_UNFIT_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text))
