"""A figure beside its limit, as a line of JSON and as rows of a table."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """A number, NaN where it could not be had. limit: what is promised of it on a machine that does nothing else; None
    where nothing is."""

    name: str
    value: float
    limit: float | None = None
    kind: Literal["at most", "at least"] = "at most"

    @property
    def is_met(self) -> bool:
        if self.limit is None:
            return True
        return self.value <= self.limit if self.kind == "at most" else self.value >= self.limit


@dataclass(frozen=True)
class Result:
    """What one measurement found. facts: what it was measured on."""

    what: str
    figures: tuple[Figure, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_met(self) -> bool:
        return all(figure.is_met for figure in self.figures)

    def __getitem__(self, name: str) -> float:
        """The value of a figure."""
        return next(figure.value for figure in self.figures if figure.name == name)

    def as_json(self) -> str:
        figures = {
            figure.name: {
                "value": None if math.isnan(figure.value) else figure.value,
                **({} if figure.limit is None else {figure.kind: figure.limit, "met": figure.is_met}),
            }
            for figure in self.figures
        }
        line = {"what": self.what, "figures": figures, "facts": self.facts, "load": os.getloadavg()[0]}
        return json.dumps(line, allow_nan=False)

    def rows(self) -> list[str]:
        rows = []
        for figure in self.figures:
            promise = "" if figure.limit is None else f"{figure.kind} {figure.limit:,.6g}"
            verdict = "" if figure.limit is None else ("yes" if figure.is_met else "NO")
            rows.append(f"{self.what:20} {figure.name:38} {figure.value:14,.6g}  {promise:16} {verdict}".rstrip())
        return rows
