"""Many candidates at a time: each is fitted in every fold, and what was scored before is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from threading import Lock

import numpy as np

from mulde.density.estimator import MuldeDensity
from mulde.devices import choose_threads, pool_of_fits
from mulde.errors import MuldeError
from mulde.pipeline.tuning.scoring import Folds, Footage, Recipe, ScoreTables, StreamRows, score, training_of
from mulde.records import Float64

NO_TIME = "no time left"
Scored = tuple[list[Float64] | None, str]
"""Scores of each video that judges, or None and a sentence on why there are none."""
RowReader = Callable[[str, Footage], StreamRows]


@dataclass
class Scorer:
    """Scores recipes. folds: those of which trainings are kept from one call to the next; is_over: whether the time is
    up, from when on nothing is fitted."""

    folds: Folds
    tables: ScoreTables
    seed: int
    device: str
    is_over: Callable[[], bool]
    _trained: dict[tuple[str, Footage], dict[str, MuldeDensity]] = field(default_factory=dict)

    def score(
        self, jobs: Sequence[tuple[Recipe, Folds]], advance: Callable[[int], None] = lambda amount: None
    ) -> list[Scored]:
        """The scores of recipes in their folds, or a sentence why there are none; those that were kept are read. The
        cores work on all recipes and folds at the same time, in order, so the first are there when the time is up."""
        parts = [(recipe, fold) for recipe, folds in jobs for fold in folds]
        groups: dict[tuple[str, Footage, str], list[int]] = {}  # of one training, one after the other
        for i, (recipe, fold) in enumerate(parts):
            groups.setdefault((recipe.stream, fold, training_of(recipe, self.seed, self.device)), []).append(i)
        callers = choose_threads(self.device) if self.device == "cpu" else 1
        rows_of = self._row_reader(parts, callers)

        def make(group: list[int]) -> list[Scored]:
            made = []
            for i in group:
                made.append(self._score_part(*parts[i], rows_of))
                advance(1)
            return made

        made: dict[int, Scored] = {}
        with pool_of_fits(callers, "candidate") as pool:
            for group, results in zip(groups.values(), pool.map(make, groups.values()), strict=True):
                made |= dict(zip(group, results, strict=True))
        ends = np.cumsum([len(folds) for _, folds in jobs]).tolist()
        return [_joined([made[i] for i in range(first, end)]) for first, end in pairwise([0, *ends])]

    def _row_reader(self, parts: Sequence[tuple[Recipe, Footage]], callers: int) -> RowReader:
        """Reads the rows of a stream in a fold once, whichever caller needs them first, and keeps those in use."""
        locks = {(recipe.stream, fold): Lock() for recipe, fold in parts}

        @lru_cache(maxsize=callers + 1)
        def read(stream: str, fold: Footage) -> StreamRows:
            rows = StreamRows(stream, fold, self.seed)
            if fold in self.folds:  # the same rows each time
                rows.trained = self._trained.setdefault((stream, fold), rows.trained)
            return rows

        def rows_of(stream: str, fold: Footage) -> StreamRows:
            with locks[stream, fold]:
                return read(stream, fold)

        return rows_of

    def _score_part(self, recipe: Recipe, fold: Footage, rows_of: RowReader) -> Scored:
        """The scores of one recipe in one fold."""
        path = self.tables.path(recipe, fold)
        if (known := self.tables.read(path, fold)) is not None:
            return known, ""
        if self.is_over():
            return None, NO_TIME
        rows = rows_of(recipe.stream, fold)
        try:
            scores = score(recipe, rows, fold, self.seed, self.device)
        except MuldeError as error:
            return None, str(error)
        self.tables.write(path, scores)
        return scores, ""


def _joined(parts: Sequence[Scored]) -> Scored:
    """The scores of the videos of all folds, or the first sentence on why those of one are missing."""
    scores: list[Float64] = []
    for values, note in parts:
        if values is None:
            return None, note
        scores += values
    return scores, ""
