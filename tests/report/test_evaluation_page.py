"""The page of an evaluation: whole HTML, every figure as printed, names escaped, nothing from elsewhere."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import asdict
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from mulde.evaluation.protocol import evaluate_tracks
from mulde.evaluation.regions import RegionCurves, RegionPool
from mulde.evaluation.smoothing import smooth
from mulde.progress import Reporter
from mulde.records import LabelTrack, ScoredVideo, ScoreTrack
from mulde.report.evaluation_page import write_evaluation_page
from mulde.report.video_panels import show_videos

NASTY = '<b>&"x'
VOID = {"meta", "img", "rect", "polyline", "line", "br", "link"}
RECORD = {"mulde": "9.9", "command": ["run", "<i>"], "versions": {"torch": "2.99"}, "model_sha256": "abc123"}


class Page(HTMLParser):
    """Checks that tags are closed in order; keeps headings, tables, pictures and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def scored_video(name: str, fused: np.ndarray, frame_index: np.ndarray | None = None) -> ScoredVideo:
    index = np.arange(len(fused)) if frame_index is None else frame_index
    return ScoredVideo(ScoreTrack(name, index, index / 25, fused, smooth(fused, 2.0, "centred")), 2.0, 0, 25.0)


def made_up(names: list[str], num_frames: int = 80):
    rng = np.random.default_rng(len(names))
    labels = {name: LabelTrack(name, (np.arange(num_frames) // 20) % 2 == i % 2) for i, name in enumerate(names)}
    scored = {name: scored_video(name, rng.random(num_frames) + labels[name].anomalous) for name in names}
    return scored, labels


def evaluated(scored, labels, **options):
    return evaluate_tracks({name: one.track.fused for name, one in scored.items()}, labels, 2.0, **options)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page with everything on it: its folder, text and evaluation."""
    folder = tmp_path_factory.mktemp("run") / "evaluation"
    scored, labels = made_up(["v10", "v2", NASTY])
    labels["v2"] = LabelTrack("v2", np.ones(80, np.bool_))
    evaluation = evaluated(
        scored, labels, rates=25.0, levels={"centred": {"label-free": 1.1}}, regions=RegionPool([]), compat="reiss"
    )
    x = np.linspace(0, 1, 50)
    path = write_evaluation_page(
        folder, evaluation, scored, labels, Reporter(quiet=True),
        title="made <up>", notes=["A promise & its footage."], record=RECORD, settings="[run]\nseeds = [0]",
        region_curves=RegionCurves(x, x, x, x, x), alarm_level=1.1,
        p_values={"v10": np.linspace(1, 0.002, 80)},
    )  # fmt: skip
    return folder, path.read_text(encoding="utf-8"), evaluation


def test_it_is_whole_html_that_can_be_heard(written):
    page = Page(written[1])
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("title")) == len(page.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in zip([0, *levels], levels, strict=False))
    assert len(page.all("table")) == len(page.all("caption")) == 5
    assert all(cell.get("scope") in ("row", "col", "rowgroup") for cell in page.all("th"))
    assert all(picture["alt"] for picture in page.all("img"))
    assert all(one.get("aria-label") for one in page.all("svg") if one.get("role") == "img")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in page.all("a")} == {f"#{one}" for one in ids}


def test_nothing_comes_from_elsewhere(written):
    page = Page(written[1])
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in page.all("img"))
    assert not re.search(r"(src|href)=\"(?!data:|#)|url\(|@import|https?:", written[1])


def test_names_from_outside_are_escaped(written):
    assert NASTY not in written[1]
    assert "<i>" not in written[1]
    words = Page(written[1]).words
    assert words.count(NASTY) == 2  # in the table and above its curve
    assert "made <up>: evaluation" in words
    assert "A promise & its footage." in words
    labels = [one["aria-label"] for one in Page(written[1]).all("svg") if "aria-label" in one]
    assert any(NASTY in label for label in labels)


def test_every_figure_is_there_as_printed(written):
    _, text, evaluation = written
    words = Page(text).words

    def assert_percent(value: float | None) -> None:
        assert value is None or f" {100 * value:.2f} " in words.replace("[", " ").replace("]", " ").replace(",", " ")

    figures = [f for row in evaluation.rows for f in (row.result, *row.nulls.values())]
    for one in figures:
        for name in ("micro_auc", "macro_auc", "macro_padded_auc", "average_precision", "equal_error_rate"):
            assert_percent(getattr(one, name))
    assert "macro AUC % (2 of 3 videos)" in words
    assert f"chance {100 * evaluation.rows[0].result.average_precision_chance:.2f}" in words
    assert evaluation.rows[0].intervals
    for row in evaluation.rows:
        for bound in np.ravel(list(row.intervals.values())):
            assert_percent(bound)
    points = [point for row in evaluation.rows for point in row.alarms]
    assert {"label-free", "oracle 1/h"} <= {point.name for point in points}
    for point in points:
        printed = asdict(point)
        assert {printed["name"], f"{point.level:.4g}", f"{point.num_found} of {point.num_true_events}"} <= set(
            Cells(text)
        )
        best, recall = max(point.null_recall.items(), key=lambda item: item[1])
        assert f"{best} {100 * recall:.2f}" in Cells(text)
        for count in ("num_alarms", "num_false_alarms", "num_frames_flagged", "num_normal_frames_flagged"):
            assert str(printed[count]) in Cells(text)
        for number in ("delay_s_median", "delay_s_mean", "false_alarms_per_hour"):
            assert printed[number] is None or f"{printed[number]:,.2f}" in Cells(text)
    for one in (evaluation.compat.result, *evaluation.compat.nulls.values()):
        for name in evaluation.compat.reported:
            assert_percent(getattr(one, name))
    assert evaluation.compat.not_comparable in words
    assert all(remark in words for remark in evaluation.remarks())
    assert "3 videos, 240 frames, 160 labelled anomalous" in words


class Cells(list):
    """The texts of all cells of all tables."""

    def __init__(self, text: str) -> None:
        found = re.findall(r"<t[dh][^>]*>(?:<a[^>]*>)?(?:<bdi>)?([^<]*)", text)
        super().__init__(found)


def test_it_says_how_it_was_made(written):
    words = Page(written[1]).words
    assert all(part in words for part in ("9.9", "run <i>", '"torch": "2.99"', "abc123", "seeds = [0]"))


def test_pictures_lie_beside_the_page_and_in_it(written):
    folder, text, _ = written
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "evaluation.html", "roc.png", "pr.png", "pixel-roc.png", "rbdc.png", "tbdc.png",
        "curves/v2.png", "curves/v10.png", f"curves/{NASTY}.png",
    }  # fmt: skip
    for name in names - {"evaluation.html"}:
        picture = cv2.imread(str(folder / name))
        assert picture.shape[0] > 300
        assert len(np.unique(picture.astype(int) @ (1, 256, 65536))) > 20
    inlined = [base64.b64decode(picture["src"].split(",")[1]) for picture in Page(text).all("img")]
    assert inlined == [(folder / f"{key}.png").read_bytes() for key in ("roc", "pr", "pixel-roc", "rbdc", "tbdc")]


def test_videos_stand_in_natural_order_with_their_own_figures(written):
    text = written[1]
    summaries = re.findall(r"<h3>(.*?)</h3> <span class=\"muted\">(.*?)</span>", text)
    facts = {name.removeprefix("<bdi>").removesuffix("</bdi>"): fact for name, fact in summaries}
    assert [*facts] == ["&lt;b&gt;&amp;&#34;x", "v2", "v10"]
    assert all(name.startswith("<bdi>") for name, _ in summaries)  # names may be written from right to left
    assert facts["v2"] == "80 frames, 100.0 % anomalous, AUC undefined (one class only)"
    assert re.fullmatch(r"80 frames, 50.0 % anomalous, AUC \d+\.\d\d %", facts["v10"])
    assert "Labelled anomalous: frames 0-19, 40-59." in text
    assert text.count('class="level"') == 4  # three curves and the key
    assert text.count('<polyline class="p-value"') == 1


def test_curves_share_a_scale_and_keep_a_peak():
    flat, peak = np.zeros(100_000), np.zeros(100_000)
    peak[77_777] = 8.0
    tracks = {name: scored_video(name, fused).track for name, fused in (("flat", flat), ("peak", peak))}
    labels = {name: LabelTrack(name, np.arange(100_000) < 25_000) for name in tracks}
    one, other = show_videos(tracks, labels, None, {})

    def points(view):
        return np.array([pair.split(",") for pair in dict(view.panels[0].lines)["raw"].split()], int)

    assert points(other)[:, 1].min() == 0
    assert points(other)[points(other)[:, 1].argmin(), 0] == 778
    assert set(points(one)[:, 1]) == {500}  # at the bottom of the scale of both
    assert len(points(other)) <= 1202
    assert one.spans == [(0, 250)]
    assert one.ticks[0] == "frame 0 (0.0 s)"
    assert one.ticks[-1] == "frame 99999 (1:06:40)"


def test_truth_and_curve_agree_where_frames_are_missing():
    index = np.array([0, 1, 50, 51, 100])
    tracks = {"a": scored_video("a", np.arange(5.0), index).track}
    labels = {"a": LabelTrack("a", np.array([False, False, True, True, False]))}
    (view,) = show_videos(tracks, labels, None, {})
    assert view.spans == [(495, 20)]
    assert view.caption == "Labelled anomalous: frames 50-51."
    assert [pair.split(",")[0] for pair in dict(view.panels[0].lines)["raw"].split()] == [
        "0",
        "10",
        "500",
        "510",
        "1000",
    ]


@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_the_shortest_videos(tmp_path, num_frames):
    names = ["a", "b"]
    scored = {name: scored_video(name, np.zeros(num_frames)) for name in names}
    labels = {name: LabelTrack(name, np.full(num_frames, name == "a")) for name in names}
    path = write_evaluation_page(
        tmp_path, evaluated(scored, labels), scored, labels, Reporter(quiet=True), title="short"
    )
    assert "nan" not in path.read_text(encoding="utf-8")


def test_one_class_says_that_nothing_is_defined(tmp_path):
    scored, _ = made_up(["a"])
    labels = {"a": LabelTrack("a", np.zeros(80, np.bool_))}
    path = write_evaluation_page(
        tmp_path, evaluated(scored, labels), scored, labels, Reporter(quiet=True), title="normal"
    )
    page = Page(path.read_text(encoding="utf-8"))
    assert "All frames are of one class: no figure of frames is defined." in page.words
    assert page.all("img") == []
    assert not (tmp_path / "roc.png").exists()


def test_many_videos_are_folded_and_the_page_stays_small(written, tmp_path, monkeypatch):
    monkeypatch.setattr("mulde.report.evaluation_page.plot_scores", lambda *_, **__: None)
    scored, labels = made_up([f"v{i}" for i in range(300)], num_frames=1300)
    evaluation = evaluated(scored, labels, bootstrap=0)
    path = write_evaluation_page(tmp_path, evaluation, scored, labels, Reporter(quiet=True), title="many")
    text = path.read_text(encoding="utf-8")
    assert text.count('<details class="video">') == len(scored)
    assert written[1].count('<details class="video" open>') == 3
    assert path.stat().st_size < 10e6


def test_colours_of_words_can_be_read(written):
    """WCAG contrast of every text colour on every light ground is at least 4.5."""
    style = re.search("<style>(.*?)</style>", written[1], re.S).group(1)

    def luminance(colour: str) -> float:
        full = colour if len(colour) == 6 else "".join(2 * c for c in colour)
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array([*bytes.fromhex(full)]) / 255
        ]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    words = set(re.findall(r"[{;\s]color: #([0-9a-f]+)", style))
    grounds = set(re.findall(r"background: #([0-9a-f]+)", style))
    assert len(words) >= 3
    assert len(grounds) >= 3
    assert min((luminance(g) + 0.05) / (luminance(w) + 0.05) for g in grounds for w in words) >= 4.5


def test_the_record_is_shown_as_json(written):
    text = Page(written[1]).words
    assert " ".join(json.dumps(RECORD["versions"], indent=2).split()) in text
