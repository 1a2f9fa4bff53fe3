"""What a model learnt about its footage: sizes, rates, colour, objects; and what to do with other footage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mulde.errors import VideoError
from mulde.media import Conversion
from mulde.records import Int64

SAME_RATE = 0.12
"""Rates that differ by no more than this share are the same: a camera's true rate is seldom the one it names."""
_SAME_SHAPE = 0.01
_MANY, _SHARE_WITHOUT = 3.0, 0.5
_SHOWN = 3
_AS_IT_IS = "--set 'video.match_training=\"warn\"', which scores it as it is"
_SEPARATELY = "set video.working_size_px, or train a model per camera"

_Count = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class FrameSize(_Record):
    """A size of delivered frames, and how much of the footage has it."""

    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    videos: _Count
    frames: _Count

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.height, self.width


class FrameRate(_Record):
    """A rate in frames per second, and how much of the footage has it."""

    rate: Annotated[float, Field(gt=0)]
    videos: _Count
    frames: _Count


class ObjectCounts(_Record):
    """How many objects a frame has: median and 99 % quantile, and the share of frames without any."""

    median: Annotated[float, Field(ge=0)]
    q99: Annotated[float, Field(ge=0)]
    share_without: Annotated[float, Field(ge=0, le=1)]


class World(_Record):
    """The footage that a model was trained on. sizes and rates: those with the most frames first; rates: of videos
    whose rate is known. coloured, grey: numbers of videos; objects: None where nothing looks for objects."""

    sizes: tuple[FrameSize, ...] = Field((), strict=False)
    rates: tuple[FrameRate, ...] = Field((), strict=False)
    coloured: _Count = 0
    grey: _Count = 0
    objects: ObjectCounts | None = None


@dataclass(frozen=True)
class ObservedVideo:
    """What is looked at of one video. rate: None where nobody names it, as of a folder of frames; coloured: None where
    it cannot be said; num_objects (T,): of each described frame, None where nothing looks for objects."""

    name: str
    size_hw: tuple[int, int]
    rate: float | None
    num_frames: int
    coloured: bool | None = None
    num_objects: Int64 | None = None


def world_of(videos: Iterable[ObservedVideo]) -> World:
    """What these videos have in common, and how many of them have what."""
    sizes: dict[tuple[int, int], list[int]] = {}
    rates: dict[float, list[int]] = {}
    colours: Counter[bool | None] = Counter()
    counts: Counter[int] = Counter()
    looked_for_objects = False
    for video in videos:
        sizes.setdefault(video.size_hw, []).append(video.num_frames)
        if video.rate is not None:
            rates.setdefault(round(video.rate, 3), []).append(video.num_frames)
        colours[video.coloured] += 1
        if video.num_objects is not None:
            looked_for_objects = True
            values, times = np.unique(video.num_objects, return_counts=True)
            counts.update(dict(zip(values.tolist(), times.tolist(), strict=True)))
    return World(
        sizes=tuple(
            FrameSize(height=size[0], width=size[1], videos=len(frames), frames=sum(frames))
            for size, frames in sorted(sizes.items(), key=lambda item: -sum(item[1]))
        ),
        rates=tuple(
            FrameRate(rate=rate, videos=len(frames), frames=sum(frames))
            for rate, frames in sorted(rates.items(), key=lambda item: -sum(item[1]))
        ),
        coloured=colours[True],
        grey=colours[False],
        objects=_object_counts(counts) if looked_for_objects else None,
    )


def _object_counts(counts: Counter[int]) -> ObjectCounts:
    values, times = np.array(sorted(counts), np.int64), np.array([counts[value] for value in sorted(counts)])
    total, reached = times.sum(), np.cumsum(times)
    median, q99 = (float(values[np.searchsorted(reached, share * total)]) for share in (0.5, 0.99))
    return ObjectCounts(median=median, q99=q99, share_without=float(counts[0] / total))


def mixtures(world: World) -> list[str]:
    """What of the footage is not of one kind, each as a sentence that ends with what to do."""
    sentences = []
    if len(world.sizes) > 1:
        sizes = [f"{size_text(size.size_hw)} ({_videos(size.videos)})" for size in world.sizes]
        sentences.append(f"frames of several sizes: {_some(sizes)}; {_SEPARATELY}")
    if world.rates and not all(same_rate(learnt.rate, world.rates[0].rate) for learnt in world.rates):
        rates = [f"{learnt.rate:g} ({_videos(learnt.videos)})" for learnt in world.rates]
        sentences.append(
            f"several rates, in frames per second: {_some(rates)}; convert to one, or train a model per camera"
        )
    if world.coloured and world.grey:
        sentences.append(
            f"colour ({_videos(world.coloured)}) and grey ({_videos(world.grey)}) mixed; train a model for each, as "
            "for day and night"
        )
    return sentences


@dataclass(frozen=True)
class Match:
    """How a video is brought to what a model learnt: `conversion`, None for as it is; and what is to be said of it."""

    conversion: Conversion | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Difference:
    """what: the two sides; done: how it is converted, empty where that cannot be; hint: what helps then."""

    what: str
    done: str = ""
    hint: str = ""


def match(
    world: World,
    path: Path,
    size_hw: tuple[int, int],
    rate: Fraction,
    how: Literal["convert", "warn", "refuse"],
    *,
    rate_is_known: bool = True,
    imported: bool = False,
    analysis_fps: float = 0.0,
) -> Match:
    """What to do with a video whose frames have `size_hw` and come at `rate` a second, as `video.match_training` says.

    imported: features or boxes that were made elsewhere are used; they cannot be converted. analysis_fps: of how many
    frames a second the model looks at, 0 for all; its rates are those of the frames that it looks at. Raises VideoError
    where `how` asks for a refusal, or for a conversion that would not give the meaning learnt.
    """
    grid = Fraction(analysis_fps).limit_denominator(100_000)
    looked_at = min(rate, grid) if grid else rate
    target_hw, of_size = _match_size(world, size_hw)
    every, of_rate = _match_rate(world, float(looked_at), thins=not grid) if rate_is_known else (1, None)
    if grid:
        thinned, remarks = Conversion(size_hw, None, grid), _slower(rate, grid) if rate_is_known else ()
    else:
        thinned, remarks = None, ()
    differences = [difference for difference in (of_size, of_rate) if difference is not None]
    if how == "warn":
        return Match(thinned, (*remarks, *(f"{difference.what}; it is scored as it is" for difference in differences)))
    for difference in differences:
        if how == "refuse":
            raise VideoError(
                f"{path}: {difference.what}", hint=f"--set 'video.match_training=\"convert\"', or {_AS_IT_IS}"
            )
        if imported:
            raise VideoError(f"{path}: {difference.what}; what was imported cannot be converted", hint=_AS_IT_IS)
        if not difference.done:
            raise VideoError(f"{path}: {difference.what}", hint=f"{difference.hint}, or {_AS_IT_IS}")
    remarks += tuple(f"{difference.what}; {difference.done}" for difference in differences)
    if not rate_is_known and world.rates and not _knows_rate(world, float(looked_at)):
        taken = f"{float(rate):g} frames per second are taken, as nothing names its rate"
        remarks += (f"{taken}; the model learnt {world.rates[0].rate:g}: set video.frame_rate to its own",)
    if thinned is not None:
        return Match(replace(thinned, size_hw=target_hw), remarks)
    return Match(Conversion(target_hw, every, rate / every) if differences else None, remarks)


def _slower(rate: Fraction, grid: Fraction) -> tuple[str, ...]:
    """What to say of a video that has fewer frames than are to be looked at."""
    if rate >= grid or same_rate(float(rate), float(grid)):
        return ()
    return (f"{float(rate):.4g} frames per second, fewer than video.analysis_fps asks for: every frame is looked at",)


def _match_size(world: World, size_hw: tuple[int, int]) -> tuple[tuple[int, int], _Difference | None]:
    """The size to scale to, of those that were learnt the one with the most frames and the same shape."""
    if not world.sizes or any(size.size_hw == size_hw for size in world.sizes):
        return size_hw, None
    target = next((size.size_hw for size in world.sizes if _same_shape(size.size_hw, size_hw)), None)
    what = f"{size_text(size_hw)}, the model learnt {size_text(target or world.sizes[0].size_hw)}"
    if target is None:
        return size_hw, _Difference(f"{what}, a picture of another shape", hint="train on footage of this camera")
    return target, _Difference(what, "frames are scaled to it")


def _match_rate(world: World, rate: float, *, thins: bool) -> tuple[int, _Difference | None]:
    """Of how many frames one is kept, so that they come at a rate that was learnt; thins: whether frames may be left
    out for it."""
    if not world.rates or _knows_rate(world, rate):
        return 1, None
    for learnt in world.rates if thins else ():
        every = max(round(rate / learnt.rate), 1)
        nearest = min((every - 1, every, every + 1), key=lambda n: abs(np.log(rate / max(n, 0.5) / learnt.rate)))
        if nearest > 1 and same_rate(rate / nearest, learnt.rate):
            what = f"{rate:.4g} frames per second, the model learnt {learnt.rate:.4g}"
            return nearest, _Difference(what, f"one frame of {nearest} is kept, the others take its score")
    learnt = world.rates[0]
    what = f"{rate:.4g} frames per second, the model learnt {learnt.rate:.4g}"
    why = "frames cannot be added" if rate < learnt.rate else "no whole number of frames makes the one the other"
    return 1, _Difference(f"{what}; {why}", hint=f"convert the video to {learnt.rate:.4g} frames per second")


def _knows_rate(world: World, rate: float) -> bool:
    return any(same_rate(learnt.rate, rate) for learnt in world.rates)


def same_rate(rate: float, other: float) -> bool:
    """Whether two rates are about 10 % from each other, or less."""
    return max(rate, other) <= (1 + SAME_RATE) * min(rate, other)


def _same_shape(one_hw: tuple[int, int], other_hw: tuple[int, int]) -> bool:
    """Whether one is the other scaled, up to the rounding of sides to whole, or even, pixels."""
    small, large = sorted((one_hw, other_hw))
    height = large[0] * small[1] / large[1]
    return abs(height - small[0]) <= max(1.0, _SAME_SHAPE * small[0])


def other_colour(world: World, coloured: bool | None) -> str | None:
    """What to say of a video whose colour the model has not seen."""
    if coloured is None or not (world.coloured or world.grey):
        return None
    if coloured and not world.coloured:
        return "colour, the model learnt grey pictures; its scores may mean less"
    if not coloured and not world.grey:
        return "grey, the model learnt colour; its scores may mean less, train a model for such footage"
    return None


def other_objects(world: World, num_objects: Int64 | None) -> str | None:
    """What to say of a video with far fewer or far more objects per frame, num_objects (T,), than the model learnt."""
    learnt = world.objects
    if learnt is None or num_objects is None or not num_objects.size:
        return None
    usual = f"the model learnt {learnt.median:g} (median) and at most {learnt.q99:g} in 99 % of the frames"
    if not num_objects.any() and learnt.share_without < _SHARE_WITHOUT:
        return f"no object in any frame, {usual}; look whether the camera sees anything"
    median = float(np.median(num_objects))
    if median > _MANY * max(learnt.q99, 1.0):
        return f"{median:g} objects a frame (median), {usual}"
    return None


def in_lines(remarks: Iterable[tuple[str, str]]) -> list[str]:
    """(video, sentence) pairs as one line for each sentence, with the first videos that it is about."""
    videos: dict[str, list[str]] = {}
    for video, sentence in remarks:
        videos.setdefault(sentence, []).append(video)
    return [f"{_some(names)}: {sentence}" for sentence, names in videos.items()]


def size_text(size_hw: tuple[int, int]) -> str:
    """As a person writes it, width first."""
    return f"{size_hw[1]} x {size_hw[0]}"


def _videos(count: int) -> str:
    return f"{count} video{'s' * (count != 1)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
