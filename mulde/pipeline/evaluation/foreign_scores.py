"""Per-frame scores of another program as those of the test videos of a data set: matched by name, filled, oriented."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulde.datasets.base import Video, listing
from mulde.errors import MuldeError, UsageError
from mulde.evaluation.smoothing import smooth
from mulde.filetypes import is_clutter, natural_key, suffix_of
from mulde.media import FrameTimes, read_frame_times
from mulde.names import valid_text
from mulde.pipeline.evaluation.score_files import SUFFIXES, read_score_file
from mulde.progress import Reporter
from mulde.records import Float64, ScoredVideo, ScoreTrack


@dataclass(frozen=True)
class ForeignScores:
    """Where the scores of another program lie, and what has to be declared of them.

    column: of a table. skipped: how many frames at the start and at the end of each video have no score.
    """

    path: Path
    column: str | None = None
    skipped: tuple[int, int] = (0, 0)
    lower_is_anomalous: bool = False


def read_foreign_scores(
    foreign: ForeignScores, videos: Sequence[Video], smoothing_s: float, reporter: Reporter
) -> tuple[dict[str, ScoredVideo], list[str]]:
    """The scores of each of the `videos`, one for every frame that its source lists, and sentences on how they were
    read.

    Frames without a score get that of the nearest frame with one. smoothing_s: sigma in seconds, as for scores of our
    own. Raises MuldeError for a video without scores and for lengths that do not fit.
    """
    path, (first, last) = foreign.path, foreign.skipped
    times: dict[str, FrameTimes] = {}
    with reporter.bar("count frames", len(videos), "videos") as advance:
        for video in videos:
            times[video.name] = read_frame_times(video.path, video.frame_rate, boxes=video.boxes)
            advance(1)
    short = [name for name, found in times.items() if len(found.time_s) <= first + last]
    if short:
        got = f"{len(times[short[0]].time_s)} frames in {short[0]}"
        raise UsageError("--skipped-frames", expected=f"videos of more than {first + last} frames", got=got)
    scores, how = _by_video(foreign, times, reporter)
    _check_lengths(foreign, scores, times)
    notes = [
        f"The scores were made elsewhere and read from {valid_text(str(path))}{how}. Row raw is what was given; causal "
        f"and centred are smoothed here, with {smoothing_s:g} s as scores of mulde are."
    ]
    if foreign.lower_is_anomalous:
        notes.append("Lower scores were declared more anomalous: every score was negated.")
    if first or last:
        num_filled, num_frames = (first + last) * len(times), sum(len(found.time_s) for found in times.values())
        notes.append(
            f"{_skipped_text(first, last)} of each video have no score: {num_filled:,} of {num_frames:,} frames repeat "
            "the nearest score of their video, so that every labelled frame counts."
        )
    sign = -1.0 if foreign.lower_is_anomalous else 1.0
    scored = {name: _scored(name, sign * scores[name], found, foreign, smoothing_s) for name, found in times.items()}
    return scored, notes


def _scored(name: str, scores: Float64, times: FrameTimes, foreign: ForeignScores, smoothing_s: float) -> ScoredVideo:
    filled = np.pad(scores, foreign.skipped, mode="edge")
    sigma_frames = smoothing_s * float(times.rate)
    track = ScoreTrack(name, np.arange(len(filled)), times.time_s, filled, smooth(filled, sigma_frames, "centred"))
    return ScoredVideo(track, sigma_frames, sum(foreign.skipped), float(times.rate))


def _skipped_text(first: int, last: int) -> str:
    """The frames without a score in words."""
    ends = [
        f"the {word} frame" if count == 1 else f"the {word} {count} frames"
        for word, count in (("first", first), ("last", last))
        if count
    ]
    text = " and ".join(ends)
    return text[0].upper() + text[1:]


def _by_video(
    foreign: ForeignScores, times: Mapping[str, FrameTimes], reporter: Reporter
) -> tuple[dict[str, Float64], str]:
    """The scores of each video as they were given, and how they were found, as half a sentence."""
    path = foreign.path
    if path.is_dir():
        given = _read_folder(path, foreign.column, reporter)
    else:
        file = read_score_file(path, foreign.column)
        if not file.videos:
            return _cut(foreign, file.scores, times)
        given = file.by_video()
    matched, how = match_names(list(given), list(times), str(path))
    if unused := [name for name in given if name not in matched.values()]:
        reporter.warn(f"scores without a video, which are not used: {listing(unused)}")
    if how:
        first = next(iter(matched))
        how = f", matched with the videos by {how} ({valid_text(matched[first])} is {first})"
    return {video: given[name] for video, name in matched.items()}, how


def _read_folder(folder: Path, column: str | None, reporter: Reporter) -> dict[str, Float64]:
    """Scores by name: what a column `video` says, else the path in the folder without its ending."""
    files: dict[str, Path] = {}
    others, repeated = [], []
    for path in sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: (natural_key(str(p)), str(p))):
        inside = path.relative_to(folder)
        if any(map(is_clutter, inside.parts)):
            continue
        suffix, name = suffix_of(path.name), os.path.splitext(str(inside))[0]
        if suffix not in SUFFIXES:
            others.append(str(inside))
        elif name not in files:
            files[name] = path
        else:
            best = min(files[name], path, key=lambda p: SUFFIXES.index(suffix_of(p.name)))
            repeated.append(str((path if best is files[name] else files[name]).relative_to(folder)))
            files[name] = best
    if others:
        reporter.say(f"no files of scores, which are left out: {listing(others, 5)}")
    if repeated:
        reporter.say(f"the same names in another form, which are left out: {listing(repeated, 5)}")
    given: dict[str, Float64] = {}
    for name, path in files.items():
        file = read_score_file(path, column)
        if len(set(file.videos)) > 1:
            got = f"{len(set(file.videos))} in its column video"
            raise MuldeError(f"{path}", expected="scores of one video", got=got, hint="name this file as --scores")
        key = file.videos[0] if file.videos else name
        if key in given:
            raise MuldeError(f"scores in {folder}", expected="each video once", got=f"{key} twice")
        given[key] = file.scores
    if not given:
        got = f"{len(others)} other files" if others else "none"
        raise MuldeError(f"scores in {folder}", expected=f"files *{', *'.join(SUFFIXES)}", got=got)
    return given


def _cut(foreign: ForeignScores, scores: Float64, times: Mapping[str, FrameTimes]) -> tuple[dict[str, Float64], str]:
    """One array over all videos, cut at their ends."""
    lengths = {name: len(found.time_s) - sum(foreign.skipped) for name, found in times.items()}
    if len(scores) != sum(lengths.values()):
        short = sum(len(found.time_s) for found in times.values()) - len(scores)
        declared = f", without {_skipped_text(*foreign.skipped).lower()} of each" if any(foreign.skipped) else ""
        expected = f"{sum(lengths.values())} numbers, one for each frame of {len(times)} test videos{declared}"
        hint = _skip_hint({short // len(times)} if short % len(times) == 0 else set())
        raise UsageError(f"scores in {foreign.path}", expected=expected, got=len(scores), hint=hint)
    parts = np.split(scores, np.cumsum(list(lengths.values()))[:-1])
    names = list(times)
    order = "" if len(names) == 1 else f", one array over {len(names)} videos in the order {listing(names, 3)}"
    return dict(zip(names, parts, strict=True)), order


def _check_lengths(foreign: ForeignScores, scores: Mapping[str, Float64], times: Mapping[str, FrameTimes]) -> None:
    for name, found in times.items():
        num_frames = len(found.time_s)
        expected = num_frames - sum(foreign.skipped)
        if len(scores[name]) != expected:
            text = f"{expected}, one for each of its {num_frames} frames"
            if any(foreign.skipped):
                text += f" but {_skipped_text(*foreign.skipped).lower()}"
            hint = _skip_hint({len(times[each].time_s) - len(values) for each, values in scores.items()})
            raise UsageError(f"scores of {name} in {foreign.path}", expected=text, got=len(scores[name]), hint=hint)


def _skip_hint(differences: set[int]) -> str | None:
    """What may help where all videos have as many frames more than scores."""
    if len(differences) != 1 or (number := next(iter(differences))) < 1:
        return None
    more = f", or two numbers that sum to {number} where frames at the end have none too" if number > 1 else ""
    return f"--skipped-frames {number} if the first frames of each video have no score{more}"


def match_names(given: Sequence[str], videos: Sequence[str], where: str) -> tuple[dict[str, str], str]:
    """The given name of each video, and by what they were matched, "" for the whole name.

    Tried in this order, each for all videos together: the whole name; the last part of the path in any case and way of
    writing; all numbers in it; its last number. A way counts only where it leads to exactly one name for each video.
    Raises MuldeError, naming the videos without scores and what is ambiguous.
    """
    best: dict[str, list[str]] = {}
    for how, key in _KEYS.items():
        keys = {name: key(name) for name in videos}
        if len(set(keys.values())) < len(videos):
            continue
        found = {name: [other for other in given if key(other) == keys[name]] for name in videos if keys[name]}
        if all(len(found.get(name, ())) == 1 for name in videos):
            return {name: others[0] for name, others in found.items()}, how
        found = {name: others for name, others in found.items() if others}
        best = max(best, found, key=len)
    doubled = [f"{name} ({listing(others)})" for name, others in best.items() if len(others) > 1]
    if doubled and len(best) == len(videos):
        raise MuldeError(
            f"scores in {where}", expected="one file of scores for each test video", got=f"several for {doubled[0]}"
        )
    without = [name for name in videos if name not in best]
    raise MuldeError(
        f"scores in {where}",
        expected=f"scores of each of the {len(videos)} test videos, named as these",
        got=f"none for {listing(without, 5)}; there are {listing([valid_text(name) for name in given], 5)}",
    )


def _last_part(name: str) -> str:
    return unicodedata.normalize("NFC", valid_text(name).rpartition("/")[2]).casefold()


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", _last_part(name)))


_KEYS: Mapping[str, Callable[[str], Hashable]] = {
    "": valid_text,
    "the last part of their names": _last_part,
    "the numbers in their names": _numbers,
    "the last number in their names": lambda name: _numbers(name)[-1:],
}
