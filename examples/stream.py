"""Score a camera, or a file as if it were one: each frame as it comes.

python examples/stream.py door.safetensors rtsp://10.0.0.5/stream2
python examples/stream.py door.safetensors new.mp4
python examples/stream.py                                           # on a small synthetic world
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from small_world import QUICK, small_world

import mulde


def frames_of(source: str) -> Iterator[tuple[np.ndarray, float]]:
    """RGB images (H, W, 3) with their times in seconds; whatever yields such pairs can be scored."""
    with av.open(source) as container:
        for frame in container.decode(video=0):
            if frame.time is not None:
                yield frame.to_ndarray(format="rgb24"), frame.time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a model of mulde.train or `mulde train`")
    parser.add_argument("source", nargs="?", help="an address of a camera, or a video")
    parser.add_argument("--p-value", type=float, default=0.01, help="print frames that are less likely than this")
    args = parser.parse_args()
    if args.model and not args.source:
        parser.error("name a camera or a video as well")

    with TemporaryDirectory() as folder:
        if args.model:
            model = mulde.load_model(args.model)
        else:
            world = small_world(Path(folder) / "world")
            model, args.source = mulde.train(world / "train", settings=QUICK), str(world / "test" / "test01.mp4")

        stream = model.stream(frames_of(args.source))
        print(f"results come {stream.delay} frames later than their frames")
        highest = None
        for frame in stream:
            if frame.p_value is not None and frame.p_value < args.p_value:
                print(f"{frame.time_s:.2f} s: p = {frame.p_value:.4f}, {len(frame.objects)} objects")
            if highest is None or frame.anomaly_score > highest.anomaly_score:
                highest = frame
        if highest is not None:
            oddest = max(highest.objects, key=lambda thing: thing.anomaly_score, default=None)
            where = f", its oddest object at {oddest.box_xyxy}" if oddest else ""
            print(f"highest: {highest.anomaly_score:.2f} at {highest.time_s:.2f} s{where}")


if __name__ == "__main__":
    main()
