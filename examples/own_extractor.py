"""Add an extractor of your own: the mean colour of each object, learnt beside what mulde knows.

python examples/own_extractor.py normal/ new.mp4
python examples/own_extractor.py                                    # on a small synthetic world
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from small_world import QUICK, small_world

import mulde
from mulde.extractors.boxes import crop
from mulde.extractors.registry import register_extractor
from mulde.extractors.spec import ExtractorSpec
from mulde.records import FeatureTable, Regions, Window

CHANNELS = ("red", "green", "blue")


class Colour:
    """Mean red, green and blue of each box, 0 to 1."""

    name, object_centric = "colour", True
    before = after = 0  # frames that it looks at before and after the one that it describes

    def fingerprint(self) -> dict[str, object]:
        """Everything that changes a result: stored features with another fingerprint are not used."""
        return {"extractor": self.name, "version": 1}

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        """A row for each box of `regions`, in their order."""
        boxes = zip(regions.box_xyxy, regions.frame_index, strict=True)
        means = [crop(window.image(int(frame)), box).mean(axis=(0, 1)) / 255 for box, frame in boxes]
        return FeatureTable(np.array(means, np.float32).reshape(-1, 3), regions.frame_index, regions.box_xyxy)


def describe(comparison: Any, settings: Any) -> tuple[str, dict[str, float]]:
    """What is unusual about a row, in words and numbers: the end of an event's reason."""
    difference = comparison.row - np.median(comparison.usual, axis=0)
    channel = int(np.abs(difference).argmax())
    more = "more" if difference[channel] > 0 else "less"
    return f"{more} {CHANNELS[channel]} than usual here", {"difference": float(difference[channel])}


# At the top level, so that worker processes, which run this file again, know the extractor too.
register_extractor(
    ExtractorSpec(
        name="colour",
        object_centric=True,
        build=lambda settings, shared: Colour(),
        column_groups=lambda dim, settings: CHANNELS,
        describe=describe,
    )
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("normal", nargs="?", help="a folder of normal videos")
    parser.add_argument("video", nargs="?", help="the video to score")
    args = parser.parse_args()
    if args.normal and not args.video:
        parser.error("name a video to score as well")

    settings: dict[str, Any] = {"features.extractors": ["velocity", "colour"]}
    with TemporaryDirectory() as folder:
        if not args.normal:
            world = small_world(Path(folder) / "world")
            args.normal, args.video, settings = world / "train", world / "test", {**settings, **QUICK}

        tables = mulde.extract(args.video, settings={"features.extractors": ["colour"]})
        print(tables["colour"].rename(columns=dict(zip(("f0", "f1", "f2"), CHANNELS, strict=True))).head())

        result = mulde.train(args.normal, settings=settings).score(args.video)
        print(result.frames[["score_velocity", "score_colour"]].describe().loc[["mean", "max"]])
        print(result.events[["video", "peak_s", "stream", "reason"]].to_string())


if __name__ == "__main__":
    main()
