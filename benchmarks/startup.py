"""How long `mulde --help` and each sub-command's `--help` take to answer, as whole processes.

    .venv/bin/python benchmarks/startup.py [RUNS]

Prints median seconds of each, beside a bare `python -c pass` of the same interpreter, and fails above the promise.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

PROMISE_S = 0.5
COMMANDS = (
    *("", "extract", "train", "score", "evaluate", "run", "demo", "toy", "export", "settings", "models"),
    *("export-detector", "cache ls", "cache verify", "cache prune", "cache export", "cache import"),
)


def median_s(command: list[str], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(runs: int) -> int:
    print(f"python -c pass          {median_s([sys.executable, '-c', 'pass'], runs):.3f} s")
    worst = 0.0
    for name in COMMANDS:
        seconds = median_s([sys.executable, "-m", "mulde.cli", *name.split(), "--help"], runs)
        worst = max(worst, seconds)
        print(f"{f'mulde {name} --help'.replace('  ', ' '):<23} {seconds:.3f} s")
    print(f"worst {worst:.3f} s, promised under {PROMISE_S} s")
    return int(worst >= PROMISE_S)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
