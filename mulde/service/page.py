"""The page of the service, and the files that it loads."""

from __future__ import annotations

from dataclasses import dataclass

from mulde.service.schema import Mode


@dataclass(frozen=True)
class Asset:
    """A file that the page loads."""

    content: bytes
    media_type: str


def render(run: str, mode: Mode) -> str:
    """The page of a run as HTML; it loads what `asset` has and asks the service for everything else."""
    return "<!doctype html><meta charset=utf-8><title>mulde</title><p>mulde</p>\n"


def asset(name: str) -> Asset | None:
    """The file `/static/NAME`; None where there is none."""
    return None
