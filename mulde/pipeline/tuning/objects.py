"""Objects that are cut out of videos, to be inserted: of the footage itself, and of other footage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from mulde.errors import MuldeError
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.training.folds import Fold, Share
from mulde.pipeline.tuning.figures import CutOut, cut_out, empty_ground
from mulde.pipeline.tuning.scene import tracks_of
from mulde.progress import Reporter
from mulde.records import UInt8

_CUT_OUTS_PER_VIDEO, _MAX_CUT_OUTS = 8, 40
_EXPECTED = "objects that differ from the ground, before a camera that stands still"


def cut_outs_of(shares: Sequence[Share], plan: ExtractionPlan, reporter: Reporter) -> list[CutOut]:
    """Objects of these videos, each without the ground behind it."""
    found: list[CutOut] = []
    with reporter.bar("cut out", len(shares), "videos") as advance:
        for share in shares:
            tracks = sorted(tracks_of(share), key=len, reverse=True)[:_CUT_OUTS_PER_VIDEO]
            if tracks and len(found) < _MAX_CUT_OUTS:
                ground = empty_ground(share, plan)
                made = (cut_out(share, track, plan, ground) for track in tracks)
                found += [one for one in made if one is not None]
            advance(1)
    return found


def cut_outs_by_fold(folds: Sequence[Fold], plan: ExtractionPlan, reporter: Reporter) -> list[list[CutOut]]:
    """The objects that each fold holds out, so that its densities have not seen what is inserted; where it has none,
    those of the others. Raises MuldeError where there are none at all."""
    found = [cut_outs_of(fold.heldout, plan, reporter) for fold in folds]
    every = [one for several in found for one in several]
    if not every:
        raise MuldeError(
            "no object of the videos can be cut out",
            expected=_EXPECTED,
            hint="other footage, or boxes alone",
        )
    return [several or every for several in found]


def foreign_cut_outs(
    videos: Sequence[StoredVideo], plan: ExtractionPlan, reporter: Reporter, *, coloured: bool
) -> list[CutOut]:
    """The objects of other footage, grey unless `coloured`. Raises MuldeError where there are none."""
    found = cut_outs_of([Share(video, 0, video.end_frame) for video in videos], plan, reporter)
    if not found:
        raise MuldeError(
            "no object of the other footage can be cut out", expected=_EXPECTED, hint="other --objects, or --detector"
        )
    return found if coloured else [replace(one, crops=tuple(map(_grey, one.crops))) for one in found]


def _grey(picture: UInt8) -> UInt8:
    """A picture (H, W, 3) RGB with three equal channels."""
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8)
