"""`mulde watch` as a child: what it scored and raised, and what it takes from the machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 180.0
"""How long a machine that does something else may take for what an idle one does in seconds."""


@dataclass(frozen=True)
class Usage:
    """What a process has taken: seconds of CPU, MiB of memory, threads, and descriptors but for those of files in its
    run folder, which come and go with alerts and clips."""

    cpu_s: float
    rss_mib: float
    num_threads: int
    num_descriptors: int

    @classmethod
    def of(cls, pid: int, run: Path) -> Usage:
        place = Path("/proc") / str(pid)
        stat = (place / "stat").read_text().rpartition(")")[2].split()
        pages = int((place / "statm").read_text().split()[1])
        return cls(
            (int(stat[11]) + int(stat[12])) / _TICKS,
            pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            len(os.listdir(place / "task")),
            sum(not _target(link).startswith(str(run.absolute())) for link in (place / "fd").iterdir()),
        )


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # closed since it was listed
        return ""


@dataclass
class Seen:
    """The lines of a log of `spied`: dictionaries as it writes them."""

    scores: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Seen:
        seen = cls()
        text = path.read_text() if path.exists() else ""
        for line in text.splitlines():
            entry = json.loads(line)
            (seen.scores if entry["what"] == "score" else seen.alerts).append(entry)
        return seen

    def of(self, camera: str) -> list[dict[str, Any]]:
        """The scores of a camera, in order."""
        return [score for score in self.scores if score["camera"] == camera]

    def count_between(self, camera: str, from_s: float, to_s: float) -> int:
        return sum(from_s <= score["at_s"] < to_s for score in self.of(camera))


class Watcher:
    """`mulde watch` of cameras by name and address, all with one model. As a context it is started, and told to end at
    the end. false_alarms_per_hour: what sets the alarm level; 0 is the default, many make many alerts."""

    def __init__(
        self,
        folder: Path,
        cameras: Mapping[str, str],
        model: Path,
        *,
        false_alarms_per_hour: float = 0.0,
        record: bool = False,
    ) -> None:
        self.run, self.log_path, self.recorded = folder / "run", folder / "log.jsonl", folder / "recorded"
        folder.mkdir(parents=True, exist_ok=True)
        self.cameras, self._record = dict(cameras), record
        self.file = folder / "cameras.toml"
        lines = [
            f"[defaults]\nmodel = {json.dumps(str(model.absolute()))}\n"
            f"false_alarms_per_hour = {false_alarms_per_hour:g}\n"
        ]
        lines += [f"[cameras.{name}]\nurl = {json.dumps(address)}\n" for name, address in cameras.items()]
        self.file.write_text("\n".join(lines))
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.end()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        record = ["--record", str(self.recorded)] if self._record else []
        words = ["watch", str(self.file), "--out", str(self.run), "--device", "cpu", "--quiet"]
        command = [sys.executable, "-m", "benchmarks.watching.spied", *record, str(self.log_path), "--", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        # Ctrl-C is for the benchmark, which tells the child to end.
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)

    def end(self) -> int:
        """Tell it to end by SIGTERM, wait until it has, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def seen(self) -> Seen:
        return Seen.read(self.log_path)

    def usage(self) -> Usage:
        return Usage.of(self.pid, self.run)

    def wait_until(self, is_so: Callable[[Seen], bool], what: str, patience_s: float = PATIENCE_S) -> Seen:
        """What was seen once `is_so` holds. Raises RuntimeError where the child ends, or it takes too long."""
        began_s = time.monotonic()
        while not is_so(seen := self.seen()):
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"mulde watch has ended while {what} was waited for")
            if time.monotonic() - began_s > patience_s:
                raise RuntimeError(f"{what}: not within {patience_s:.0f} s")
            time.sleep(0.05)
        return seen

    def wait_for_all(self, count: int = 1) -> Seen:
        """Until each camera has so many scores."""
        return self.wait_until(
            lambda seen: all(len(seen.of(name)) >= count for name in self.cameras),
            f"{count} scores of each camera",
            PATIENCE_S + count,
        )

    def state(self) -> dict[str, Any]:
        """What the process says of its cameras, by name, as of the last seconds."""
        return dict(json.loads((self.run / "live.json").read_text())["cameras"])


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50 and p95; nothing of no values."""
    if not len(values):
        return {}
    return {"p50": float(np.quantile(values, 0.5)), "p95": float(np.quantile(values, 0.95))}
