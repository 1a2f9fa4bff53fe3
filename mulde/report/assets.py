"""The script and the style that all interactive pages share, joined with those of one page.

Scripts are plain ones in one scope, joined in order: they work in a file that is opened from disk and behind a policy
that knows no inline script.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_SHARED = Path(__file__).parent / "shared"
_SCRIPTS = ("elements.js", "keys.js", "list.js", "marking.js", "painting.js")


def script(own: Iterable[Path]) -> str:
    """The script of a page: what pages share, then its own files."""
    return (
        "(() => {\n'use strict';\n" + "\n".join(map(_text, (*(_SHARED / name for name in _SCRIPTS), *own))) + "})();\n"
    )


def style(own: Iterable[Path]) -> str:
    """The style of a page: what pages share, then its own files."""
    return "\n".join(map(_text, (_SHARED / "base.css", *own)))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
