"""A look at each camera before it is watched: what it sends, how fast, and whether its model fits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from mulde.errors import MuldeError, StreamEnded
from mulde.pipeline.live.watched import CameraSpec
from mulde.pipeline.model.world import World, match, size_text

_LOOK_S = 3.0
_MAX_PICTURES = 60


def look(specs: Mapping[str, CameraSpec]) -> Iterator[tuple[str, bool]]:
    """A line for each camera, in order, and whether it can be watched."""
    with ThreadPoolExecutor(max(len(specs), 1), "look") as pool:
        yield from pool.map(_look, specs.values())


def _look(spec: CameraSpec) -> tuple[str, bool]:
    stamps: list[float] = []
    began_s = time.monotonic()
    try:
        with spec.opener() as stream:
            opened_s = time.monotonic() - began_s
            with suppress(StreamEnded):  # a short video
                for packet in stream:
                    stamps += [picture.stamp_s for picture in packet.pictures if picture.stamp_s is not None]
                    is_over = time.monotonic() - began_s - opened_s > _LOOK_S or len(stamps) >= _MAX_PICTURES
                    if is_over and packet.pictures:
                        break
            size_hw, camera_s = stream.size_hw, stream.camera_time_s
    except MuldeError as error:
        return f"{spec.name}: {error}", False
    except Exception as error:  # of one camera; its text may hold anything, an address with a password too
        return f"{spec.name}: unexpected {type(error).__name__}", False
    rate = (len(stamps) - 1) / (stamps[-1] - stamps[0]) if len(stamps) > 1 and stamps[-1] > stamps[0] else None
    facts = [size_text(size_hw), "an unknown rate" if rate is None else f"{rate:.3g} frames a second"]
    facts.append(f"first packet after {opened_s:.2f} s")
    if camera_s is not None and stamps:
        facts.append(f"its clock is {camera_s + stamps[-1] - time.time():+.1f} s off")
    try:
        facts += _fit(spec, size_hw, rate)
    except MuldeError as error:
        return f"{spec.name}: {', '.join(facts)}; {error}", False
    return f"{spec.name}: {', '.join(facts)}", True


def _fit(spec: CameraSpec, size_hw: tuple[int, int], rate: float | None) -> tuple[str, ...]:
    """What is done to its frames. Raises VideoError where the model cannot score them."""
    video = spec.predictor.settings.video
    found = match(
        spec.predictor.bundle.world or World(),
        Path(spec.name),
        size_hw,
        Fraction(rate or 1).limit_denominator(1000),
        video.match_training,
        rate_is_known=rate is not None,
        analysis_fps=video.analysis_fps,
    )
    return found.remarks or ("the model fits",)
