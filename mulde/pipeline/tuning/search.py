"""The staged search: the density of each stream, what else belongs to a stream, the set of streams, then the fusion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from mulde.config import Settings
from mulde.pipeline.model.calibration import combine
from mulde.pipeline.tuning.candidates import (
    AVERAGE_S,
    COMBINE,
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

ALONE = "density of {}, alone"
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
    _scores: dict[tuple[str, ...], list[Float64]] = field(default_factory=dict)

    def run(self) -> Choice | None:
        """The choice; None where there was no time to score any stream."""
        choices = self._choose_densities()
        if not choices:
            return None
        for stream in list(choices):
            choices[stream] = self._refine(stream, choices[stream])
        given = self.settings
        choice = Choice(choices, given.fusion.combine, given.fusion.smoothing_s, given.tracks.average_frames)
        streams = self._choose_streams(choice)
        choice = replace(choice, streams={name: choices[name] for name in choices if name in streams})
        choice = self._choose_fusion(choice)
        return self._choose_average(choice)

    # densities

    def _choose_densities(self) -> dict[str, StreamChoice]:
        """The given densities of all streams first, so that there is something to choose from when the time is up."""
        lines = {stream: densities_for(self.settings.density, stream) for stream in self.settings.streams}
        total = sum(map(len, lines.values())) * len(self.folds)
        tried: dict[str, list[Tried]] = {stream: [] for stream in lines}
        with self.reporter.bar("try densities", total, "fits") as advance:
            for part in (slice(0, 1), slice(1, None)):
                order = [(stream, line) for stream, densities in lines.items() for line in densities[part]]
                jobs = [(self._recipe(stream, line), self.folds) for stream, line in order]
                for (stream, line), (scores, note) in zip(order, self.scorer.score(jobs, advance), strict=True):
                    alone = {stream: scores} if scores is not None else {}
                    tried[stream].append(self._judged(ALONE.format(stream), line.name, alone, note))
        chosen = {}
        for stream, found in tried.items():
            self.tried += found
            best = pick(found)
            if best is not None:
                best.is_chosen = True
                line = lines[stream][found.index(best)]
                chosen[stream] = StreamChoice(line, stream in self.settings.fusion.only_high)
        return chosen

    def _recipe(self, stream: str, line: DensityCandidate, only_high: bool | None = None) -> Recipe:
        given = stream in self.settings.fusion.only_high
        return Recipe(stream, line.settings, given if only_high is None else only_high)

    def _refine(self, stream: str, choice: StreamChoice) -> StreamChoice:
        """Whether only high values count, and the step of the flow, with the density that was chosen."""
        if stream in ONLY_HIGH:
            options = [choice.only_high, not choice.only_high]
            names = {False: "all values count", True: "only high values count"}
            recipes = [self._recipe(stream, choice.density, option) for option in options]
            results = self.scorer.score([(recipe, self.folds) for recipe in recipes])
            stage = f"values of {stream}, alone"
            found = self._all_judged(stage, [names[option] for option in options], stream, results)
            if (best := pick(found)) is not None:
                choice = replace(choice, only_high=options[found.index(best)])
        if stream in FLOW_STEPS:
            choice = self._choose_step(stream, choice)
        return choice

    def _choose_step(self, stream: str, choice: StreamChoice) -> StreamChoice:
        given = int(self.settings.features.for_extractor(stream).model_dump()["step"])
        steps = [given, *(step for step in FLOW_STEPS[stream] if step != given)]
        recipe, stage = self._recipe(stream, choice.density, choice.only_high), f"flow step of {stream}, alone"
        results: list[Scored] = []
        for step in steps:
            folds = self.folds if step == given else None
            if folds is None and not self.is_over():
                folds = self.folds_of(stream, step)
            results += self.scorer.score([(recipe, folds)]) if folds is not None else [(None, NO_TIME)]
            if (scores := results[-1][0]) is not None:
                self._scores[(stream, f"step {step}")] = scores
        found = self._all_judged(stage, [f"{step} frame" + "s" * (step > 1) for step in steps], stream, results)
        best = pick(found)
        return choice if best is None else replace(choice, step=steps[found.index(best)])

    # streams

    def _choose_streams(self, choice: Choice) -> list[str]:
        """Greedily: the best stream, then those that add more than chance; the whole of the given set where that is
        better; then without as many as all that were found so far do not beat."""
        scores = self._chosen_scores(choice)
        order = list(scores)

        def judged(names: Sequence[str], note: str = "") -> Tried:
            names = [name for name in order if name in names]
            known = next((t for t in self.tried if (t.stage, t.name) == ("streams", " + ".join(names))), None)
            return known or self._keep(self._fused("streams", " + ".join(names), scores, names, choice, note))

        singles = [judged([name]) for name in order]
        current = max(singles, key=lambda tried: tried.figure.rank if tried.figure else (0, 0))
        names = [order[singles.index(current)]]
        while len(names) < len(order):
            more = {name: judged([*names, name]) for name in order if name not in names}
            best = max(more, key=lambda name: _rank(more[name]))
            if not _beats(more[best], current):
                break
            names, current = [*names, best], more[best]
        whole = judged(order, "all of them")
        if _beats(whole, current):
            names, current = order, whole
        most = current  # by which each smaller set is measured, lest many small losses add up
        while len(names) > 1:
            less = {name: judged([other for other in names if other != name]) for name in names}
            best = max(less, key=lambda name: _rank(less[name]))
            if _beats(most, less[best]):
                break
            names, current = [name for name in names if name != best], less[best]
        current.is_chosen = True
        return names

    def _chosen_scores(self, choice: Choice) -> dict[str, list[Float64]]:
        recipes = {stream: self._recipe(stream, own.density, own.only_high) for stream, own in choice.streams.items()}
        made = self.scorer.score([(recipe, self.folds) for recipe in recipes.values()])
        found = {}
        for (stream, own), (scores, _) in zip(choice.streams.items(), made, strict=True):
            scores = self._scores.get((stream, f"step {own.step}"), scores)
            if scores is not None:
                found[stream] = scores
        return found

    # fusion

    def _choose_fusion(self, choice: Choice) -> Choice:
        scores = self._chosen_scores(choice)
        names = list(choice.streams)
        if len(names) > 1:
            ways = _first(choice.combine, COMBINE)
            found = [
                self._keep(self._fused("combination", way, scores, names, replace(choice, combine=way))) for way in ways
            ]
            if (best := pick(found)) is not None:
                best.is_chosen = True
                choice = replace(choice, combine=ways[found.index(best)])
        seconds = _first(choice.smoothing_s, SMOOTHING_S)
        found = [
            self._keep(self._fused("smoothing", f"{s:g} s", scores, names, replace(choice, smoothing_s=s)))
            for s in seconds
        ]
        if (best := pick(found)) is not None:
            best.is_chosen = True
            choice = replace(choice, smoothing_s=seconds[found.index(best)])
        return choice

    def _choose_average(self, choice: Choice) -> Choice:
        """Averaging along tracks changes the rows, so the chosen densities are fitted again."""
        if "tracks" not in self.folds[0].heldout[0].stored.passports:
            return choice
        counts = _first(choice.average_frames, [round(s * self.rate) for s in AVERAGE_S if round(s * self.rate)])
        jobs: dict[tuple[int, str], tuple[Recipe, Folds]] = {}
        for count in counts:
            for stream, own in choice.streams.items():
                base = self.folds_of(stream, own.step) if own.step else self.folds
                if base is not None:
                    averaged = tuple(fold.averaged(count) for fold in base)
                    jobs[count, stream] = self._recipe(stream, own.density, own.only_high), averaged
        results = dict(zip(jobs, self.scorer.score(list(jobs.values())), strict=True))
        found = []
        for count in counts:
            made = {stream: results.get((count, stream), (None, NO_TIME)) for stream in choice.streams}
            scores = {stream: values for stream, (values, _) in made.items() if values is not None}
            note = next((note for _, note in made.values() if note), "")
            name = f"over {count} frames on both sides" if count else "none"
            names = list(scores) if len(scores) == len(made) else []
            found.append(self._keep(self._fused("averaging along tracks", name, scores, names, choice, note)))
        if (best := pick(found)) is not None:
            best.is_chosen = True
            choice = replace(choice, average_frames=counts[found.index(best)])
        return choice

    # what all stages do

    def _all_judged(self, stage: str, names: Sequence[str], stream: str, results: Sequence[Scored]) -> list[Tried]:
        found = [
            self._keep(self._judged(stage, name, {stream: scores} if scores is not None else {}, note))
            for name, (scores, note) in zip(names, results, strict=True)
        ]
        if (best := pick(found)) is not None:
            best.is_chosen = True
        return found

    def _keep(self, tried: Tried) -> Tried:
        self.tried.append(tried)
        return tried

    def _judged(self, stage: str, name: str, scores: Mapping[str, list[Float64]], note: str) -> Tried:
        choice = Choice({}, self.settings.fusion.combine, self.settings.fusion.smoothing_s, 0)
        return self._fused(stage, name, scores, list(scores), choice, note)

    def _fused(
        self,
        stage: str,
        name: str,
        scores: Mapping[str, list[Float64]],
        names: Sequence[str],
        choice: Choice,
        note: str = "",
    ) -> Tried:
        """A candidate by the scores of some streams; without any it has no figure."""
        if not names:
            if note == NO_TIME:
                self.left_out.append(f"{stage}: {name}")
            return Tried(stage, name, None, note)
        fused = [
            combine({stream: scores[stream][i] for stream in names}, choice.combine)
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


def _rank(tried: Tried) -> tuple[float, float]:
    return tried.figure.rank if tried.figure is not None else (-1.0, -1.0)


def _beats(one: Tried, other: Tried | None) -> bool:
    """Anything with a figure beats what has none."""
    return one.figure is not None and (other is None or other.figure is None or one.figure.beats(other.figure))


def _first(given: T, others: Sequence[T]) -> list[T]:
    return [given, *(other for other in others if other != given)]
