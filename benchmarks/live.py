"""What `mulde watch` promises of live cameras, each promise measured beside its limit.

    python -m benchmarks.live parity rate latency frame servers kills --footage PED2 --work /tmp/live
    python -m benchmarks.live rate --footage PED2 --fps 2 --detector yolov8n_int8_openvino_model
    python -m benchmarks.live day --hours 24

From the root of the checkout. All but `frame`, `day` and `deliveries` need GStreamer's RTSP server, on Debian the
packages gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good, gstreamer1.0-plugins-bad and python3-gi.

parity   a camera is recorded by stream copy while it is watched, and the recording scored by `mulde score --causal`:
         largest difference of a score, and alerts (by id) that only one of them raises
rate     --cameras cameras (8) at --fps (5): the share of the frames that are wanted which was scored, of the camera
         with the least; CPU in percent of a core, and memory
latency  --cameras cameras (4) at --fps (2), many alerts: from the arrival of a picture to its score, and from when a
         picture was taken until the alert that it opens is in the ledger
frame    CPU per frame: scoring alone (densities, from the features on) and everything, of one camera and of 8 whose
         frames are scored together; scoring all frames of one in a single call, as of a file
servers  the server of one of 4 cameras is killed, and stopped, --times times (10) each, for 1 to --longest seconds
         (60), with --rest seconds (65) between: from when it is there again to the next score of its camera; what the
         others lost; threads and descriptors more than before
kills    `mulde watch` of 4 cameras with many alerts is killed --times times (20), each at a random moment: stretches
         of scores above the level, as the killed processes saw them, without an alert, under another id, and alerts
         twice, gone or left open
day      --hours (24) of 4 cameras at --fps (2), as fast as they can be scored, with anomalies at known times: slope of
         the memory behind the first hour with its 95 % bound, threads, descriptors, anomalies that have no alert or
         several, false alarms beside the interval that their level promises
deliveries  alerts of 4 cameras to mosquitto (Debian: mosquitto), which is away at the start, at the end and in between,
         from a process that is killed --times times (20): revisions that did not arrive, that arrived twice or in
         disorder, alerts that did not end, retained topics that are wrong behind a new start of either side
corrupt  a camera behind a proxy that drops 1 % of the RTP packets, for --seconds: scored frames whose picture is none
         of the camera's, bit for bit, and whether the process lives

Blocked queues, clocks that step and hostile streams are not measured here: tests/pipeline/live and tests/media prove
what is promised of those.

Cameras play the test clips of --footage, a folder with Train/*.mp4 and Test/*.mp4 such as Ped2, encoded as cameras send
them; without it, a synthetic plaza. The model is trained on the normal clips with default settings at the rate that is
measured, once for each --work. Each measurement prints a line of JSON and a row for each figure; the exit code is 1
where one is beyond its limit. Limits hold on two cores that do nothing else.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.watching import corruption, day, deliveries, frame, kills, outages, parity, steady
from benchmarks.watching.figures import Result
from benchmarks.watching.footage import Footage, given_footage, settings_of, synthetic_footage, trained

START_S = 180.0
"""By how much cameras go on longer than they are measured: for what watches them to start, and to start again."""
MANY_ALERTS = ("fusion.smoothing_s=0.2",)
"""So that scores rise above the level and fall below it often."""


class Bench:
    """The measurements as the options want them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.work = options, options.work
        self.extra = tuple(options.set)

    def parity(self) -> Result:
        seconds = self.options.seconds or 60.0
        footage = self._footage(1)
        model = self._model(footage, 0.0)
        watching = self._cameras("parity", footage, model, 1, float(footage.fps), seconds)
        watching = replace(watching, false_alarms_per_hour=kills.many_alarms_per_hour(model))
        return parity.measure(watching, round(seconds * footage.fps))

    def rate(self) -> Result:
        count, fps = self.options.cameras or 8, self.options.fps or 5.0
        seconds = self.options.seconds or 600.0
        footage = self._footage(count)
        model = self._model(footage, fps, detector=True)
        what = "rate, detector" if self.options.detector else "rate"
        return steady.measure(what, self._cameras("rate", footage, model, count, fps, seconds), seconds, steady.RATE)

    def latency(self) -> Result:
        count, fps = self.options.cameras or 4, self.options.fps or 2.0
        seconds = self.options.seconds or 300.0
        footage = self._footage(count)
        model = self._model(footage, fps, *MANY_ALERTS)
        watching = self._cameras("latency", footage, model, count, fps, seconds)
        watching = replace(watching, false_alarms_per_hour=kills.many_alarms_per_hour(model))
        return steady.measure("latency", watching, seconds, steady.LATENCY)

    def frame(self) -> Result:
        count = self.options.cameras or 8
        footage = self._footage(count)
        model = self._model(footage, self.options.fps or 2.0, detector=True)
        return frame.measure(model, footage.cameras, footage.fps, self.options.frames, count)

    def servers(self) -> Result:
        times, longest_s, rest_s = self.options.times or 10, self.options.longest, self.options.rest
        count, fps = self.options.cameras or 4, self.options.fps or 2.0
        footage = self._footage(count)
        # Each outage takes its time, the way back and the rest.
        seconds = 2 * times * (longest_s + outages.LATE_S + rest_s)
        watching = self._cameras("servers", footage, self._model(footage, fps), count, fps, seconds)
        return outages.measure(watching, times, min(1.0, longest_s), longest_s, rest_s, self.options.seed)

    def kills(self) -> Result:
        times, life_s = self.options.times or 20, self.options.seconds or 20.0
        count, fps = self.options.cameras or 4, self.options.fps or 2.0
        footage = self._footage(count)
        model = self._model(footage, fps, *MANY_ALERTS)
        watching = self._cameras("kills", footage, model, count, fps, START_S)
        watching = replace(watching, false_alarms_per_hour=kills.many_alarms_per_hour(model))
        return kills.measure(watching, times, life_s, min(3.0, life_s), self.options.seed)

    def day(self) -> Result:
        hours = self.options.hours
        plan = day.Plan(hours, fps=self.options.fps or 2.0, settings=self.extra, seed=self.options.seed)
        if self.options.cameras:
            plan = replace(plan, num_cameras=self.options.cameras)
        if hours < 1:  # to try it out
            plan = replace(plan, stretch_s=900 * hours, num_normal=6, normal_s=60.0)
        return day.measure(plan, self.work)

    def corrupt(self) -> Result:
        seconds, fps = self.options.seconds or 120.0, self.options.fps or 2.0
        footage = self._footage(1)
        watching = self._cameras("corrupt", footage, self._model(footage, fps), 1, fps, seconds)
        return corruption.measure(watching, footage.cameras[0], seconds, self.options.drop, self.options.seed)

    def deliveries(self) -> Result:
        folder = self.work / "deliveries"
        shutil.rmtree(folder, ignore_errors=True)
        return deliveries.measure(folder.absolute(), self.options.alerts, self.options.times or 20, self.options.seed)

    def _footage(self, count: int) -> Footage:
        if self.options.footage is not None:
            return given_footage(self.options.footage, self.work, count)
        return synthetic_footage(self.work, count)

    def _model(self, footage: Footage, fps: float, *extra: str, detector: bool = False) -> Path:
        weights = self.options.detector if detector else None
        return trained(footage.normal, self.work, settings_of(fps, weights, (*self.extra, *extra)))

    def _cameras(
        self, what: str, footage: Footage, model: Path, count: int, fps: float, seconds: float
    ) -> steady.Cameras:
        """In a folder of its own, which is emptied first."""
        folder = self.work / what
        shutil.rmtree(folder, ignore_errors=True)
        files = steady.camera_files(footage, self.work / "looped", count, seconds + START_S)
        return steady.Cameras(folder, files, model, fps)


MEASUREMENTS: dict[str, Callable[[Bench], Result]] = {
    "parity": Bench.parity, "rate": Bench.rate, "latency": Bench.latency, "frame": Bench.frame,
    "servers": Bench.servers, "kills": Bench.kills, "day": Bench.day, "corrupt": Bench.corrupt,
    "deliveries": Bench.deliveries,
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.live", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("what", nargs="+", choices=MEASUREMENTS, help="what to measure, in this order")
    made.add_argument("--work", type=Path, default=Path("runs/live-benchmark"), help="for footage, models and runs")
    made.add_argument("--footage", type=Path, help="folder with Train/*.mp4 and Test/*.mp4; default: synthetic")
    made.add_argument("--detector", type=Path, help="weights of YOLO, for rate and frame")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the models")
    made.add_argument("--cameras", type=int, help="how many")
    made.add_argument("--fps", type=float, help="frames a second that are looked at")
    made.add_argument("--seconds", type=float, help="to watch; of kills: the longest life")
    made.add_argument("--times", type=int, help="kills and stops")
    made.add_argument("--longest", type=float, default=60.0, help="seconds that a server is away")
    made.add_argument("--rest", type=float, default=65.0, help="seconds between two outages of a server")
    made.add_argument("--hours", type=float, default=24.0, help="of a day; below 1 with less footage")
    made.add_argument("--frames", type=int, default=100, help="of each camera, for frame")
    made.add_argument("--drop", type=float, default=0.01, help="share of RTP packets that is dropped")
    made.add_argument("--alerts", type=int, default=50, help="of all cameras, for deliveries")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--out", type=Path, help="file that the lines of JSON are added to")
    return made


def main() -> int:
    options = parser().parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    bench, all_met = Bench(options), True
    for what in options.what:
        result = MEASUREMENTS[what](bench)
        all_met &= result.is_met
        print(result.as_json())
        print("\n".join(result.rows()), flush=True)
        if options.out is not None:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(result.as_json() + "\n")
    return int(not all_met)


if __name__ == "__main__":
    sys.exit(main())
