"""The rate of a video is what its time stamps come to, whatever its header names, by both decoders.

Relatives looked for: stamps in milliseconds, uneven stamps, bursts, pauses, a hole, two frames, one frame; clocks that
drift, jump by years or are set back; stamps that are missing or come twice; a header that claims 1000 or 90000; NTSC
rates, which stay exact; frames left out at the front and hidden by an edit list; telecined and dropped frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mulde.media import open_video
from mulde.media.rate import NO_STAMP, steady_rate, true_rate

from .media_samples import copy_packets, encode, pictures, remux

NUM = 60
NTSC = Fraction(30000, 1001)
EVEN = 100 * np.arange(NUM)
UNEVEN = EVEN + np.append(np.random.default_rng(1).integers(0, 60, NUM - 1), 0)
BURSTS = 500 * (np.arange(NUM) // 5) + 4 * (np.arange(NUM) % 5)
PAUSE = EVEN + 900_000 * (np.arange(NUM) >= 20)
MS_NTSC = np.rint(np.arange(NUM) * 1001 / 30).astype(int)
TIMES_MS = {"even": EVEN, "uneven": UNEVEN, "bursts": BURSTS, "pause": PAUSE, "rounded": MS_NTSC}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return encode(path, pictures(NUM), rate=1000, options={"bf": "0", "preset": "ultrafast"})


def rates(path: Path) -> set[Fraction]:
    found = set()
    for decoder in ("pyav", "decord"):
        with open_video(path, decoder=decoder) as reader:
            found.add(reader.rate)
    return found


@pytest.mark.parametrize("times", TIMES_MS)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.ts", "a.mov", "a.flv"])
def test_the_rate_is_that_of_the_stamps(tmp_path: Path, clip: Path, name: str, times: str) -> None:
    ms = TIMES_MS[times]
    path = remux(clip, tmp_path / name, ms, "matroska" if name == "a.webm" else None)
    (rate,) = rates(path)
    expected = NTSC if times == "rounded" else Fraction(1000 * (NUM - 1), int(ms[-1] - ms[0]))
    assert float(rate) == pytest.approx(float(expected), rel=1e-4)
    assert rate in (expected, 10) or times in ("uneven", "bursts", "pause")
    assert max(rate.numerator, rate.denominator) < 2**31


@pytest.mark.parametrize("rate", [25, 24, NTSC, Fraction(24000, 1001), Fraction(60000, 1001), 15, Fraction(25, 2)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_constant_rate_stays_exact(tmp_path: Path, rate: Fraction, name: str) -> None:
    assert rates(encode(tmp_path / name, pictures(20), rate=rate, options={"bf": "0"})) == {Fraction(rate)}


def test_reordered_and_cut_recordings(tmp_path: Path) -> None:
    whole = encode(tmp_path / "a.ts", pictures(NUM), rate=NTSC, options={"bf": "2", "g": "20"})
    assert rates(copy_packets(whole, tmp_path / "cut.ts", 7)) == {NTSC}


def test_a_clock_that_was_set_back(tmp_path: Path) -> None:
    """Two recordings of one camera, one behind the other in a file: the second begins at 0 again."""
    parts = [encode(tmp_path / f"{i}.ts", pictures(NUM), rate=10, options={"bf": "0"}) for i in range(2)]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_video(tmp_path / "both.ts") as reader:
        times_s = np.concatenate([batch.time_s for batch in reader])
    assert reader.rate == 10
    np.testing.assert_allclose(times_s, np.arange(2 * NUM) / 10)


def find(
    pts: Sequence[int],
    *,
    named: Sequence[Fraction | int] = (),
    coded: Sequence[int] = (),
    usable: bool = True,
    per_s: int = 1000,
) -> tuple[Fraction, str]:
    stamps, decoding = np.array(pts, np.int64), np.array(coded or pts, np.int64)
    found = true_rate(stamps, decoding, usable, Fraction(1, per_s), [Fraction(rate) for rate in named], Fraction(25))
    return found.value, found.remark


@pytest.mark.parametrize("named", [[], [25], [1000], [90_000, 1000], [Fraction(1, 1000)]])
def test_no_header_overrules_the_stamps(named: list[Fraction | int]) -> None:
    assert find(EVEN.tolist(), named=named) == (10, "")


@pytest.mark.parametrize(
    ("pts", "named", "rate"),
    [
        ([], [], 25),
        ([], [12], 12),
        ([5], [], 25),
        ([5], [NTSC], NTSC),
        ([5], [1000], 25),
        ([0, 40], [], 25),
        ([0, 40], [1000], 25),
        ([0, 33], [NTSC], NTSC),
        ([0, 1000, 10_000], [], Fraction(1, 5)),
        (range(0, 3_600_040, 40), [25], 25),
        (range(0, 3_600_400, 40), [24], 25),  # a camera's clock that runs fast by 0.1 s an hour
        (np.rint(np.arange(100_000) * 1001 / 30), [30], NTSC),
        (np.rint(np.arange(1000) * 1000 / 23.976), [NTSC, Fraction(24000, 1001)], Fraction(24000, 1001)),  # telecined
        (np.delete(np.arange(0, 40_000, 40), np.arange(7, 900, 10)), [25], Fraction(909 * 1000, 39_960)),  # dropped
    ],
)  # fmt: skip
def test_few_stamps_and_many(pts: Sequence[int], named: list[Fraction], rate: Fraction) -> None:
    found, remark = find([int(one) for one in pts], named=named)
    assert (float(found), remark) == (pytest.approx(float(rate), rel=2e-4), "")


@pytest.mark.parametrize(
    ("named", "coded", "rate"),
    [
        ([25], [NO_STAMP] * 5, 25),
        ([12], range(0, 500, 100), 10),  # decoding times are better than a header that contradicts them
        ([10], [0, NO_STAMP, 200, NO_STAMP, 400], 10),
        ([1000], [500, 600, 0, 100, 200], 10),  # set back
        ([10], [0, 0, 200, 200, 400], 10),  # doubled
    ],
)
def test_stamps_that_are_no_times(named: list[int], coded: Sequence[int], rate: int) -> None:
    assert find(range(5), named=named, coded=list(coded), usable=False) == (rate, "")


@pytest.mark.parametrize(
    ("pts", "options", "rate", "remark"),
    [
        (range(5), {"named": [90_000], "coded": [NO_STAMP] * 5, "usable": False}, 25, "its header claims 90000 frames"),
        (range(5), {"named": [1000]}, 25, "its time stamps come to 1000 frames per second; 25 are taken"),
        (range(5), {"per_s": 90_000, "named": [30]}, 30, "come to 90000 frames per second; 30 are taken"),
        (range(0, 300_000, 60_000), {}, Fraction(1, 60), "its time stamps come to one frame in 60 s"),
        ([0, 40, 80, 10**12, 10**12 + 40, 10**12 + 80], {}, 25, "its clock jumps by 11574 days"),
    ],
)
def test_what_no_camera_has_is_said(
    pts: Sequence[int], options: dict[str, object], rate: Fraction, remark: str
) -> None:
    found, said = find(list(pts), **options)
    assert found == rate
    assert remark in said


def test_the_remark_is_said_once_a_reading(tmp_path: Path, clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = remux(clip, tmp_path / "a.mkv", range(0, NUM * 60_000, 60_000))
    with open_video(path) as reader:
        assert reader.rate == Fraction(1, 60)
        list(reader)
    assert caplog.messages == [f"{path}: its time stamps come to one frame in 60 s"]


@pytest.mark.parametrize(
    ("steps", "steady"),
    [
        ([40] * 20, 25),  # even: the mean rate
        ([33, 33, 34] * 7, 30),  # rounded to milliseconds: the mean rate, exactly
        ([40] * 17 + [2000] * 3, 25),  # still pictures left out
        ([40] * 10 + [4000] + [40] * 10, 25),  # a hole
        ([1, 1, 1, 397] * 5, 10),  # bursts: the mean rate
        ([40, 200] * 10, Fraction(25, 3)),  # half of the steps are pauses: the mean rate
        ([40] * 4 + [2000], Fraction(125, 54)),  # too few to say
    ],
)
def test_steady_rate_leaves_out_pauses(steps: list[int], steady: Fraction) -> None:
    stamps = np.cumsum([0, *steps])
    mean = find(stamps.tolist())[0]
    assert steady_rate(stamps, Fraction(1, 1000), mean) == steady


def test_both_readers_know_the_steady_rate(tmp_path: Path, clip: Path) -> None:
    """Steps of 40 ms, but one of 4 s in the middle."""
    pts = [40 * i + 4000 * (i > NUM // 2) for i in range(NUM)]
    path = remux(clip, tmp_path / "pause.mkv", pts)
    for decoder in ("pyav", "decord"):
        with open_video(path, decoder=decoder) as reader:
            assert reader.steady_rate == 25
            assert reader.rate == Fraction((NUM - 1) * 1000, pts[-1])


def test_a_stream_without_times_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = encode(tmp_path / "cam.mjpeg", pictures(5), rate=10, codec="mjpeg", pix_fmt="yuvj420p")
    with open_video(path) as reader:
        list(reader)
    assert caplog.messages == [f"{path}: it holds no times, 25 frames per second are taken"]
