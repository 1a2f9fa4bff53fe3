"""The page of the service, and the files that it loads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mulde.report import assets, templating
from mulde.service.schema import Mode

_STATIC = Path(__file__).parent / "static"
_SCRIPTS = ("connection.js", "picture.js", "scores.js", "tiles.js", "alerts.js", "alert.js", "camera.js", "app.js")


@dataclass(frozen=True)
class Asset:
    """A file that the page loads."""

    content: bytes
    media_type: str


def render(run: str, mode: Mode, *, has_report: bool = False) -> str:
    """The page of a run as HTML; it loads what `asset` has and asks the service for everything else. has_report:
    whether `/report.html` is there."""
    return templating.render("page.html", "mulde.service", run=run, mode=mode, has_report=has_report)


@cache
def asset(name: str) -> Asset | None:
    """The file `/static/NAME`; None where there is none."""
    match name:
        case "page.js":
            text, media_type = assets.script(_STATIC / each for each in _SCRIPTS), "text/javascript"
        case "page.css":
            text, media_type = assets.style([_STATIC / "page.css"]), "text/css"
        case "icon.svg":
            text, media_type = (_STATIC / name).read_text(encoding="utf-8"), "image/svg+xml"
        case _:
            return None
    return Asset(text.encode(), media_type)
