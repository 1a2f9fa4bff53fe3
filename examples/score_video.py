"""Learn from normal videos, score another one, and write a report to review its events from.

python examples/score_video.py normal/ new.mp4 --report report.html
python examples/score_video.py                                      # on a small synthetic world
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from small_world import QUICK, small_world

import mulde


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("normal", nargs="?", help="a folder of normal videos")
    parser.add_argument("video", nargs="?", help="the video to score")
    parser.add_argument("--detector", help="weights of an object detector, as yolov8n.pt")
    parser.add_argument("--model", type=Path, help="where to keep the model")
    parser.add_argument("--report", type=Path, help="where to write a page with the events")
    args = parser.parse_args()
    if args.normal and not args.video:
        parser.error("name a video to score as well")

    with TemporaryDirectory() as folder:
        settings = None
        if not args.normal:
            world = small_world(Path(folder) / "world")
            args.normal, args.video, settings = world / "train", world / "test", QUICK

        model = mulde.train(args.normal, detector=args.detector, settings=settings)
        if args.model:
            model.save(args.model)

        result = model.score(args.video)
        print(result)
        for event in result.events.itertuples():
            print(f"{event.video}, {event.start_s:.1f} to {event.end_s:.1f} s, p = {event.p_value:.4f}: {event.reason}")
        if args.report:
            print(f"report: {result.report(args.report)}")


if __name__ == "__main__":
    main()
