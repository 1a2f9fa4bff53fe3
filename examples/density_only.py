"""The density alone, on rows of numbers from anywhere: learn normal rows, score others.

python examples/density_only.py normal.csv new.csv                  # numbers, a row per line, no header
python examples/density_only.py                                     # rows on a ring, and rows off it
"""

from __future__ import annotations

import argparse

import numpy as np

import mulde


def ring(num_rows: int, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Rows (N, 2) around the origin."""
    angle = rng.uniform(0, 2 * np.pi, num_rows)
    distance = radius + rng.normal(0, 0.1, num_rows)
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("normal", nargs="?", help="CSV of normal rows")
    parser.add_argument("new", nargs="?", help="CSV of rows to score")
    args = parser.parse_args()
    if args.normal and not args.new:
        parser.error("name rows to score as well")

    if args.normal:
        normal, new = (np.loadtxt(path, delimiter=",", ndmin=2) for path in (args.normal, args.new))
        density = mulde.MuldeDensity()
    else:
        rng = np.random.default_rng(0)
        normal, new = ring(2000, 2.0, rng), np.concatenate([ring(5, 2.0, rng), ring(5, 0.5, rng)])
        density = mulde.MuldeDensity(hidden=(64, 64), steps=500)

    density.fit(normal)  # scikit-learn's manner: set_params, get_params, clone and pipelines work
    scores = density.anomaly_score(new)  # higher = more anomalous
    is_outlier = density.predict(new) == -1  # beyond all but `contamination` of the normal rows
    for row, score, outlier in zip(new, scores, is_outlier, strict=True):
        print(f"{score:10.3f}  {'outlier' if outlier else '       '}  {np.round(row, 2)}")


if __name__ == "__main__":
    main()
