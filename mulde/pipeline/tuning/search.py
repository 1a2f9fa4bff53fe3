"""The staged search, which begins with all that was given: the smoothing, streams that are left out, the density of
each that stays and what else belongs to it, the averaging along tracks. Every change is judged within the whole.

How streams are combined is not tried: each insertion is odd in one respect by its making, which speaks for the maximum
whatever real anomalies are like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from mulde.config import Settings
from mulde.errors import FitError
from mulde.pipeline.model.calibration import combine
from mulde.pipeline.tuning.candidates import (
    AVERAGE_S,
    FLOW_STEPS,
    ONLY_HIGH,
    SMOOTHING_S,
    DensityCandidate,
    densities_for,
)
from mulde.pipeline.tuning.judging import Figure, Judge
from mulde.pipeline.tuning.scorer import NO_TIME, Scored, Scorer
from mulde.pipeline.tuning.scoring import Folds, Recipe
from mulde.progress import Reporter
from mulde.records import Float64

ALONE = "each stream alone"
"""The stage that chooses nothing."""
T = TypeVar("T")


@dataclass
class Tried:
    """A candidate of a stage and its figure; None where it could not be scored, and `note` says why."""

    stage: str
    name: str
    figure: Figure | None
    note: str = ""
    is_chosen: bool = False


@dataclass(frozen=True)
class StreamChoice:
    """What was chosen for one stream; step: of the flow, where it was tried."""

    density: DensityCandidate
    only_high: bool
    step: int | None = None


@dataclass(frozen=True)
class Choice:
    """All that was chosen; streams in the order of the settings."""

    streams: Mapping[str, StreamChoice]
    combine: str
    smoothing_s: float
    average_frames: int


Option = tuple[str, Choice, Mapping[str, list[Float64]], str]
"""A candidate: its name, the choice that it would be, the scores of its streams and a sentence on missing ones."""


@dataclass
class Search:
    """folds: with features of the given settings; folds_of: those of a stream with another step (None where there is
    no time for it); judge: of the videos that judge in all folds, in their order; is_over: whether the time is up.
    `tried` holds the candidates in order, `left_out` sentences on what there was no time for."""

    settings: Settings
    folds: Folds
    folds_of: Callable[[str, int], Folds | None]
    judge: Judge
    scorer: Scorer
    reporter: Reporter
    is_over: Callable[[], bool]
    rate: float
    tried: list[Tried] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def run(self) -> Choice | None:
        """The choice; None where there was no time to score any stream. Raises FitError where none can be fitted."""
        choice = self._given()
        if choice is None:
            return None
        choice = self._choose_smoothing(choice)
        choice = self._choose_streams(choice)
        choice = self._choose_densities(choice)
        for stream in choice.streams:
            choice = self._refine(choice, stream)
        return self._choose_average(choice)

    def _given(self) -> Choice | None:
        """All streams as they are in the settings, each of them shown alone; without those that cannot be scored.

        Raises FitError where none can, for want of anything but time.
        """
        given = self.settings
        own = {
            stream: StreamChoice(densities_for(given.density, stream)[0], stream in given.only_high)
            for stream in given.streams
        }
        choice = Choice(own, given.fusion.combine, given.fusion.smoothing_s, given.tracks.average_frames)
        with self.reporter.bar("fit streams", len(own) * len(self.folds), "fits") as advance:
            made = self._scored(choice, advance)
        for stream, (scores, note) in made.items():
            self._keep(self._fused(ALONE, stream, {stream: scores} if scores is not None else {}, choice, note))
        found = {stream: own[stream] for stream, (scores, _) in made.items() if scores is not None}
        if not found and all(note != NO_TIME for _, note in made.values()):
            raise FitError(
                "tuning", expected="a stream that can be fitted", got=next(note for _, note in made.values())
            )
        return replace(choice, streams=found) if found else None

    # smoothing

    def _choose_smoothing(self, choice: Choice) -> Choice:
        scores = self._scores_of(choice)
        all_of = [replace(choice, smoothing_s=seconds) for seconds in _first(choice.smoothing_s, SMOOTHING_S)]
        return self._best_of("smoothing", [(f"{one.smoothing_s:g} s", one, scores, "") for one in all_of])

    # streams

    def _choose_streams(self, choice: Choice) -> Choice:
        """Of all streams, those without which the rest is surely better are left out, the worst first."""
        scores = self._scores_of(choice)
        current = self._keep(self._fused("streams", " + ".join(choice.streams), scores, choice))
        while len(choice.streams) > 1:
            less = []
            for stream in choice.streams:
                own = {name: one for name, one in choice.streams.items() if name != stream}
                tried = self._fused("streams", " + ".join(own), {name: scores[name] for name in own}, choice)
                less.append((self._keep(tried), replace(choice, streams=own)))
            best, without = max(less, key=lambda pair: pair[0].figure.rank if pair[0].figure else (0.0, 0.0))
            if not _beats(best, current):
                break
            current, choice = best, without
        current.is_chosen = True
        return choice

    # densities

    def _choose_densities(self, choice: Choice) -> Choice:
        """The density of each stream beside all others, one stream after the other."""
        lines = {stream: densities_for(self.settings.density, stream) for stream in choice.streams}
        with self.reporter.bar("try densities", sum(map(len, lines.values())) * len(self.folds), "fits") as advance:
            order = [(stream, line) for stream, densities in lines.items() for line in densities]
            jobs = [(self._recipe(stream, replace(choice.streams[stream], density=line)), self.folds)
                    for stream, line in order]  # fmt: skip
            results = self.scorer.score(jobs, advance)
        for stream in lines:
            rest = self._scores_of(choice)
            options: list[Option] = []
            for (name, line), (scores, note) in zip(order, results, strict=True):
                if name == stream:
                    own = replace(choice.streams[stream], density=line)
                    options.append((line.name, _with(choice, stream, own), _and(rest, stream, scores), note))
            choice = self._best_of(f"density of {stream}", options)
        return choice

    def _refine(self, choice: Choice, stream: str) -> Choice:
        """Whether only high values count, and the step of the flow, with the density that was chosen."""
        own = choice.streams[stream]
        rest = self._scores_of(choice)
        if stream in ONLY_HIGH:
            names = {False: "all values count", True: "only high values count"}
            both = [replace(own, only_high=value) for value in (own.only_high, not own.only_high)]
            results = self.scorer.score([(self._recipe(stream, one), self.folds) for one in both])
            choice = self._best_of(f"values of {stream}", [
                (names[one.only_high], _with(choice, stream, one), _and(rest, stream, scores), note)
                for one, (scores, note) in zip(both, results, strict=True)
            ])  # fmt: skip
            own = choice.streams[stream]
        if stream in FLOW_STEPS:
            given = self._given_step(stream)
            options: list[Option] = []
            for step in (given, *(step for step in FLOW_STEPS[stream] if step != given)):
                one = replace(own, step=step)
                scores, note = self._scored(_with(choice, stream, one))[stream]
                name = f"{step} frame" + "s" * (step > 1)
                options.append((name, _with(choice, stream, one), _and(rest, stream, scores), note))
            choice = self._best_of(f"flow step of {stream}", options)
        return choice

    # averaging

    def _choose_average(self, choice: Choice) -> Choice:
        """Averaging along tracks changes the rows, so the chosen densities are fitted again."""
        if "tracks" not in self.folds[0].heldout[0].stored.passports:
            return choice
        options: list[Option] = []
        counts = _first(choice.average_frames, [round(s * self.rate) for s in AVERAGE_S if round(s * self.rate)])
        total = len(counts) * len(choice.streams) * len(self.folds)
        with self.reporter.bar("average along tracks", total, "fits") as advance:
            for count in counts:
                one = replace(choice, average_frames=count)
                made = self._scored(one, advance)
                note = next((note for _, note in made.values() if note), "")
                name = f"over {count} frames on both sides" if count else "none"
                scores = {stream: scores for stream, (scores, _) in made.items() if scores is not None}
                options.append((name, one, {} if note else scores, note))
        return self._best_of("averaging along tracks", options)

    # what all stages do

    def _recipe(self, stream: str, own: StreamChoice) -> Recipe:
        return Recipe(stream, own.density.settings, own.only_high)

    def _given_step(self, stream: str) -> int:
        return int(self.settings.features.for_extractor(stream).model_dump()["step"])

    def _scored(self, choice: Choice, advance: Callable[[int], None] = lambda amount: None) -> dict[str, Scored]:
        """Of each stream of a choice its scores, or a sentence on why there are none."""
        found: dict[str, Scored] = {stream: (None, NO_TIME) for stream in choice.streams}
        jobs: dict[str, tuple[Recipe, Folds]] = {}
        for stream, own in choice.streams.items():
            given = own.step is None or own.step == self._given_step(stream)
            folds = self.folds if given else self.folds_of(stream, own.step or 0)
            if folds is not None:
                if choice.average_frames != self.settings.tracks.average_frames:
                    folds = tuple(fold.averaged(choice.average_frames) for fold in folds)
                jobs[stream] = self._recipe(stream, own), folds
        return found | dict(zip(jobs, self.scorer.score(list(jobs.values()), advance), strict=True))

    def _scores_of(self, choice: Choice) -> dict[str, list[Float64]]:
        return {stream: scores for stream, (scores, _) in self._scored(choice).items() if scores is not None}

    def _best_of(self, stage: str, options: Sequence[Option]) -> Choice:
        """The choice of the first option unless others beat it; each is judged by the scores of all its streams."""
        found = []
        for name, choice, scores, note in options:
            whole = scores if len(scores) == len(choice.streams) else {}
            found.append(self._keep(self._fused(stage, name, whole, choice, note)))
        best = pick(found)
        if best is None:
            return options[0][1]
        best.is_chosen = True
        return options[found.index(best)][1]

    def _keep(self, tried: Tried) -> Tried:
        self.tried.append(tried)
        return tried

    def _fused(
        self, stage: str, name: str, scores: Mapping[str, list[Float64]], choice: Choice, note: str = ""
    ) -> Tried:
        """A candidate by the scores of its streams; without any it has no figure."""
        if not scores:
            if note == NO_TIME:
                self.left_out.append(f"{stage}: {name}")
            return Tried(stage, name, None, note)
        fused = [
            combine({stream: values[i] for stream, values in scores.items()}, choice.combine)
            for i in range(len(self.judge.videos))
        ]
        return Tried(stage, name, self.judge.figure(fused, choice.smoothing_s), note)


def pick(found: Sequence[Tried]) -> Tried | None:
    """The first of the candidates, unless one behind it beats it, unless one behind that beats that one, and so on;
    None without any figure. So what is taken is no worse than the first, and is not simply the luckiest."""
    best = None
    for tried in found:
        if _beats(tried, best):
            best = tried
    return best


def _beats(one: Tried, other: Tried | None) -> bool:
    """Anything with a figure beats what has none."""
    return one.figure is not None and (other is None or other.figure is None or one.figure.beats(other.figure))


def _with(choice: Choice, stream: str, own: StreamChoice) -> Choice:
    return replace(choice, streams={**choice.streams, stream: own})


def _and(rest: Mapping[str, list[Float64]], stream: str, scores: list[Float64] | None) -> Mapping[str, list[Float64]]:
    """The scores of all streams, with other ones of this stream; none where it has none."""
    return {} if scores is None else {**rest, stream: scores}


def _first(given: T, others: Sequence[T]) -> list[T]:
    return [given, *(other for other in others if other != given)]
