"""Pictures: they are there, have something on them, and show what they are given."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mulde.records import ScoreTrack
from mulde.report.curves import Line, TradeOff
from mulde.report.plots import plot_scores, plot_trade_off


def track(name: str = "a", num_frames: int = 200) -> ScoreTrack:
    scores = np.sin(np.arange(num_frames) / 20) + 2
    return ScoreTrack(name, np.arange(num_frames), np.arange(num_frames) / 25, scores, scores)


def share_of(path, colour_rgb: tuple[int, int, int], within: int = 12) -> float:
    """Share of the pixels that differ from a colour by no more than `within`."""
    picture = cv2.imread(str(path))[:, :, ::-1].astype(int)
    return float((np.abs(picture - colour_rgb).max(axis=2) <= within).mean())


ORANGE, BLUE, SHADE = (230, 159, 0), (0, 114, 178), (247, 226, 178)


def test_truth_is_shaded_as_wide_as_it_is(tmp_path):
    for name, spans in (("none", []), ("half", [(0, 100)]), ("all", [(0, 200)])):
        plot_scores(track(), tmp_path / f"{name}.png", anomalous_spans=spans)
    none, half, whole = (share_of(tmp_path / f"{name}.png", SHADE) for name in ("none", "half", "all"))
    assert none == 0
    assert half == pytest.approx(whole / 2, rel=0.1)
    assert whole > 0.4


def test_each_part_adds_to_the_picture(tmp_path):
    p_values = np.linspace(1, 0.001, 200)
    extras = {
        "plain": {},
        "level": {"alarm_level": 2.5},
        "p": {"p_values": p_values},
        "moments": {"moments": [(5, np.full((20, 30, 3), 128, np.uint8))]},
    }
    for name, extra in extras.items():
        plot_scores(track(), tmp_path / f"{name}.png", **extra)
    shapes = {name: cv2.imread(str(tmp_path / f"{name}.png")).shape for name in extras}
    assert shapes["plain"] == shapes["level"] < shapes["p"]
    assert shapes["plain"] < shapes["moments"]
    assert share_of(tmp_path / "level.png", (0, 0, 0), 80) > 1.1 * share_of(tmp_path / "plain.png", (0, 0, 0), 80)
    assert all(share_of(tmp_path / f"{name}.png", BLUE) > 0.001 for name in extras)


def test_a_peak_of_one_frame_in_many_is_drawn(tmp_path):
    flat = np.zeros(300_000)
    peak = flat.copy()
    peak[150_000] = 1.0
    for name, values in (("flat", flat), ("peak", peak)):
        one = ScoreTrack(name, np.arange(len(flat)), np.arange(len(flat)) / 25, np.zeros(len(flat)), values)
        plot_scores(one, tmp_path / f"{name}.png")
    columns = [(cv2.imread(str(tmp_path / f"{n}.png"))[:, 200:, 2] < 60).sum(axis=0).max() for n in ("flat", "peak")]
    assert columns[1] > columns[0] + 100


@pytest.mark.parametrize("name", ["$x^", '<b>&"x', "日本"])
def test_odd_names_are_titles(tmp_path, name):
    plot_scores(track(name), tmp_path / f"{name}.png")
    assert share_of(tmp_path / f"{name}.png", BLUE) > 0


def test_a_video_without_frames(tmp_path):
    plot_scores(track(num_frames=0), tmp_path / "a.png", p_values=np.zeros(0))
    assert (tmp_path / "a.png").stat().st_size > 0


def test_lines_of_a_trade_off(tmp_path):
    x = np.linspace(0, 1, 50)
    results = tuple(Line(name, x, x ** (1 / n)) for n, name in ((2, "raw"), (4, "causal"), (8, "centred")))
    nulls = tuple(Line(name, x, x**n, never_looks=True) for n, name in ((1, "a"), (2, "b"), (3, "c")))
    plot_trade_off(TradeOff("roc", "t", "x", "y", results + nulls, (0, 1)), tmp_path / "six.png")
    plot_trade_off(TradeOff("one", "t", "x", "y", results[:1], steps=True), tmp_path / "one.png")
    assert share_of(tmp_path / "six.png", BLUE) > 0.001
    assert share_of(tmp_path / "six.png", ORANGE) > 0.0005
    assert share_of(tmp_path / "one.png", BLUE) > 0.001  # a lone line has the plainest style
    assert share_of(tmp_path / "one.png", ORANGE) == 0
