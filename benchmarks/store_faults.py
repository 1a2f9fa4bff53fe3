"""Videos that fail or change while their features are made, at moments of the clock; read errors need strace (Linux).

    python benchmarks/store_faults.py [--runs 20]

Five disturbances: read errors of `mulde extract`, injected from the n-th read of the video on, and the file cut,
written over in place with its time restored, replaced, or appended to after a while. After each run the store is
compared with those of the contents that the file had, then extracted again undisturbed. Prints a line of figures for
each disturbance and exits with 1 if any table lies under the hash of another content.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from mulde.datasets.base import Video
from mulde.media import write_video
from mulde.pipeline.extraction.engine import extract
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.progress import Reporter
from mulde.settings_file import load_settings
from mulde.store.store import FeatureStore

SETTINGS = ('features.extractors=["flow_histogram"]', "video.batch_frames=4")
Tables = dict[str, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    runs, chance = parser.parse_args().runs, random.Random(0)
    changes: dict[str, Callable[[Path], None] | None] = {
        "cut": cut, "written over": write_over, "replaced": replace, "appended to": append, "read errors": None,
    }  # fmt: skip
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(2):
            noise = np.random.default_rng(seed).integers(0, 255, (64, 96, 128, 3)).astype(np.uint8)
            write_video(folder / f"{seed}.mp4", iter(noise[np.arange(200) % 64]), Fraction(25))
        extracted(folder / "0.mp4", folder / "first run, which loads libraries")
        for label, change in changes.items():
            found = [disturb(folder, change, chance) for _ in range(runs)]
            poisoned, said, right = (sum(one[i] for one in found) for i in range(3))
            print(
                f"{label}: {runs} runs, {said} said so, {poisoned} tables of another content, next run right: {right}"
            )
            wrong += poisoned + runs - right
    return int(wrong > 0)


def disturb(folder: Path, change: Callable[[Path], None] | None, chance: random.Random) -> tuple[int, bool, bool]:
    """Tables under the hash of another content, whether the run said that something was wrong, whether the next one was
    right."""
    clip, store = folder / "clip.mp4", folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copyfile(folder / "0.mp4", clip)
    sound = tables_of(clip, folder)
    if change is None:
        inject = f"inject=read,pread64:error=EIO:when={chance.randrange(1, 40)}+"
        strace = [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-o",
            "/dev/null",
            "-P",
            str(clip),
            "-e",
            "trace=read,pread64",
        ]
        command = [
            sys.executable,
            "-m",
            "mulde.cli",
            "extract",
            str(clip),
            "--store",
            str(store),
            "-q",
            "--device",
            "cpu",
        ]
        options = [text for setting in SETTINGS for text in ("--set", setting)]
        said = (
            subprocess.run([*strace, "-e", inject, *command, *options], capture_output=True, check=False).returncode
            != 0
        )
    else:
        timer = threading.Timer(chance.uniform(0, 1.1 * _seconds[0]), change, [clip])
        timer.start()
        said = extracted(clip, store)
        timer.join()
    poisoned = content(store).items() - {**tables_of(clip, folder), **sound}.items()
    extracted(clip, store)
    return len(poisoned), said, content(store).items() >= tables_of(clip, folder).items()


def extracted(clip: Path, store: Path) -> bool:
    """Extract in this process; whether the video failed."""
    plan = ExtractionPlan(load_settings(overrides=list(SETTINGS)), "cpu")
    return bool(extract([Video("clip", "all", clip)], plan, FeatureStore(store), Reporter(quiet=True)).failures)


_known: dict[str, Tables] = {}
_seconds: list[float] = []


def tables_of(clip: Path, folder: Path) -> Tables:
    """The tables of an undisturbed run on this content."""
    digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    if digest not in _known:
        start = time.monotonic()
        extracted(clip, folder / f"store of {digest}")
        _seconds.append(time.monotonic() - start)
        _known[digest] = content(folder / f"store of {digest}")
    return _known[digest]


def content(store: Path) -> Tables:
    return {
        str(p.relative_to(store)): hashlib.sha256(p.read_bytes()).hexdigest() for p in store.glob("*/[a-z]*.parquet")
    }


def cut(clip: Path) -> None:
    os.truncate(clip, clip.stat().st_size * 2 // 3)


def write_over(clip: Path) -> None:
    found = clip.stat()
    with clip.open("r+b") as file:
        file.seek(found.st_size // 2)
        file.write(bytes(100_000))
    os.utime(clip, ns=(found.st_atime_ns, found.st_mtime_ns))


def replace(clip: Path) -> None:
    shutil.copyfile(clip.with_name("1.mp4"), clip.with_name("other.mp4"))
    clip.with_name("other.mp4").replace(clip)


def append(clip: Path) -> None:
    with clip.open("ab") as file:
        file.write(b"\0\0\0\x10free" + bytes(8))


if __name__ == "__main__":
    sys.exit(main())
