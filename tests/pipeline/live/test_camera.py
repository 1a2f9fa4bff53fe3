"""The thread of a camera: what it hands out, how it comes back, and that it always ends."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from mulde.errors import StreamLost, StreamRefused, StreamTimeout
from mulde.pipeline.live.camera import CameraReader, Clocks
from mulde.pipeline.live.frames import LiveFrame
from mulde.pipeline.live.status import CameraState

from .fake_cameras import JOIN_S, FakeStream, FakeTime, Opener, Shot, steady, wait_until

LOST = StreamLost("cam was lost")


class Ran:
    """A camera of a plan, read to its end by a consumer that takes each frame at once, or never."""

    def __init__(self, fake: FakeTime, opener: Opener, fps: float = 0, *, takes: bool = True) -> None:
        self.frames: list[LiveFrame] = []
        self.packets: list[tuple[float, int]] = []
        self.states: list[CameraState] = []
        self.takes = takes
        self.reader = CameraReader("yard", opener, fps, on_packet=self._on_packet, clocks=fake.clocks())
        self.reader.start()
        deadline = time.monotonic() + JOIN_S
        while not self.reader.status().is_finished:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert self.reader.stop(JOIN_S)
        self.status = self.reader.status()

    def _on_packet(self, packet: object, utc_s: float, session: int) -> None:
        self.packets.append((utc_s, session))
        self.states.append(self.reader.status().state)
        frame = self.reader.take(0) if self.takes else None
        if frame is not None:
            self.frames.append(frame)

    @property
    def sessions(self) -> list[int]:
        return list(dict.fromkeys(frame.session for frame in self.frames))


def test_frames_come_with_their_session_number_and_times():
    fake = FakeTime()
    started_utc_s = fake.now_s + fake.utc_offset_s
    ran = Ran(fake, Opener(FakeStream(fake, steady(30, value=1))), fps=5)
    frames = ran.frames
    assert [frame.number for frame in frames] == list(range(15))
    # The first picture cannot be told from a backlog: the session begins with the second.
    assert [frame.image[0, 0, 0] for frame in frames] == list(range(2, 31, 2))
    assert [frame.is_first for frame in frames] == [True] + [False] * 14
    assert {frame.camera for frame in frames} == {"yard"}
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(15) / 5, atol=1e-9)
    np.testing.assert_allclose([frame.utc_s - started_utc_s for frame in frames], 0.2 + np.arange(15) / 5, atol=1e-5)
    assert ran.sessions == [round((started_utc_s + 0.2) * 1000)]
    assert ran.packets[0][1] == 0
    assert {session for _, session in ran.packets[1:]} == {*ran.sessions}
    assert ran.status.num_received == 30
    assert ran.status.num_connects == {"ok": 1, "refused": 0, "timeout": 0, "lost": 0}
    assert ran.states == [CameraState.CONNECTING] + [CameraState.LIVE] * 29
    assert frames[0].image.dtype == np.uint8


def test_nobody_takes_and_the_newest_frame_stays():
    fake = FakeTime()
    ran = Ran(fake, Opener(FakeStream(fake, steady(30))), fps=5, takes=False)
    assert ran.status.num_skipped == {
        "busy": 14,
        "corrupt": 0,
        "backlog": 1,
        "light": 0,
    }  # the very first, which may be old
    frame = ran.reader.take(0)
    assert (frame.number, frame.is_first) == (14, True)
    assert ran.reader.take(0) is None


def test_the_backlog_of_a_new_connection_is_left_out():
    fake = FakeTime()
    old = [Shot(n / 10, 0.001, 1) for n in range(40)]
    ran = Ran(fake, Opener(FakeStream(fake, old + steady(10, stamp_s=4.0, value=100))), fps=5)
    assert ran.frames[0].image[0, 0, 0] == 100
    assert len(ran.sessions) == 1
    assert ran.frames[0].number == 0
    assert ran.status.num_skipped == {"busy": 0, "corrupt": 0, "backlog": 20, "light": 0}


def test_after_a_stall_only_the_newest_are_taken_with_their_true_times():
    fake = FakeTime()
    stall = [Shot(10 + n / 10, 10.0 if n == 0 else 0.0, 1) for n in range(100)]
    shots = steady(100) + stall + steady(50, stamp_s=20.0, value=200)
    ran = Ran(fake, Opener(FakeStream(fake, shots)), fps=5)
    assert len(ran.sessions) == 1
    late = [frame for frame in ran.frames if frame.image[0, 0, 0] == 1]
    assert len(late) <= 6  # those of the last second, at most as old as a camera may be late
    assert ran.status.num_skipped["backlog"] >= 44
    expected_utc_s = ran.frames[0].utc_s + np.array([frame.time_s for frame in ran.frames])
    np.testing.assert_allclose([frame.utc_s for frame in ran.frames], expected_utc_s, atol=1e-6)
    assert ran.frames[-1].time_s == pytest.approx(24.8)


def test_corrupt_pictures_are_counted_and_never_seen():
    fake = FakeTime()
    shots = steady(10) + [Shot(1 + n / 10, 0.1, 1, num_corrupt=1, has_picture=False) for n in range(5)]
    ran = Ran(fake, Opener(FakeStream(fake, shots + steady(10, stamp_s=1.5, value=100))))
    assert (ran.status.num_skipped["corrupt"], ran.status.num_decode_errors) == (5, 5)
    assert ran.status.num_received == 20
    assert len(ran.frames) == 19


@pytest.mark.parametrize(
    ("end", "outcome"),
    [(LOST, "lost"), (StreamTimeout("was silent"), "timeout"), (ValueError("rtsp://a:secret@b"), "lost")],
)
def test_it_tries_again_ever_more_slowly(end, outcome, caplog):
    fake = FakeTime()
    ran = Ran(fake, Opener(*[end] * 10))
    assert fake.waits_s == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert ran.status.num_connects == {"ok": 0, "refused": 0, "timeout": 0, "lost": 0} | {outcome: 10}
    assert ran.status.state is CameraState.LOST
    assert "secret" not in caplog.text


def test_the_reason_stands_in_the_status_and_since_when():
    fake = FakeTime()
    seen = []
    opener = Opener(FakeStream(fake, steady(10), LOST), ValueError("rtsp://a:secret@b"), StreamTimeout("was silent"))
    fake.at_wait = lambda: seen.append(reader.status())
    reader = CameraReader("yard", opener, 0, clocks=fake.clocks())
    with reader:
        wait_until(lambda: reader.status().is_finished)
    assert [status.reason for status in seen] == ["cam was lost", "unexpected ValueError", "was silent"]
    assert {status.state for status in seen} == {CameraState.LOST}
    assert len({status.since_utc_s for status in seen}) == 1
    assert seen[0].session == 0
    assert seen[0].next_try_in_s == 0.0  # the clock of the test has gone by


@pytest.mark.parametrize(("live_s", "waits_s"), [(70, [0.5, 1, 0.5]), (50, [0.5, 1, 2])])
def test_a_camera_that_was_live_for_a_minute_is_tried_quickly_again(live_s, waits_s):
    fake = FakeTime()
    Ran(fake, Opener(LOST, LOST, FakeStream(fake, steady(live_s * 10), LOST)))
    assert fake.waits_s == waits_s


def test_a_refusal_is_tried_twice_and_then_once_an_hour():
    fake = FakeTime()
    ran = Ran(fake, Opener(*[StreamRefused("no")] * 4, LOST, StreamRefused("no")))
    assert fake.waits_s == [0.5, 3600, 3600, 3600, 1, 3600]
    assert ran.status.num_connects["refused"] == 5


def test_a_retry_asks_at_once():
    fake, times = FakeTime(), iter(range(100))
    fake.at_wait = lambda: next(times) == 2 and reader.retry()
    reader = CameraReader("yard", Opener(*[StreamRefused("no")] * 6), 0, clocks=fake.clocks())
    with reader:
        wait_until(lambda: reader.status().is_finished)
    assert fake.waits_s == [0.5, 3600, 3600, 1, 3600, 3600]


@pytest.mark.parametrize("end", [LOST, None])
def test_every_end_is_a_loss_and_begins_a_session(end):
    fake = FakeTime()
    ran = Ran(fake, Opener(FakeStream(fake, steady(10), end), FakeStream(fake, steady(10, value=50), LOST)), fps=5)
    first, second = ran.sessions
    assert second > first
    assert [frame.is_first for frame in ran.frames].count(True) == 2
    assert [frame.number for frame in ran.frames if frame.session == second] == list(range(5))
    assert ran.status.num_connects["ok"] == 2


def test_a_jump_of_the_stamps_begins_a_session():
    fake = FakeTime()
    shots = steady(20) + steady(20, stamp_s=3600.0) + steady(20, stamp_s=50.0)
    ran = Ran(fake, Opener(FakeStream(fake, shots)))
    assert len(ran.sessions) == 3
    np.testing.assert_allclose(np.diff([frame.utc_s for frame in ran.frames]), 0.1, atol=1e-5)
    assert [frame.number for frame in ran.frames] == [*range(19), *range(20), *range(20)]


def test_the_full_hour_begins_a_session_named_by_utc():
    fake = FakeTime(utc_offset_s=1_795_935_600.0 - 1000.0 - 3)
    ran = Ran(fake, Opener(FakeStream(fake, steady(60))))
    before, after = ran.sessions
    assert after == 1_795_935_600_000
    assert before == 1_795_935_600_000 - 2800
    assert sum(frame.session == after for frame in ran.frames) == 31


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_a_clock_of_this_machine_that_is_set_begins_a_session(step_s):
    fake = FakeTime()

    def step() -> None:
        fake.utc_offset_s += step_s

    shots = [*steady(20), Shot(2.0, do=step), *steady(20, stamp_s=2.1)]
    ran = Ran(fake, Opener(FakeStream(fake, shots)))
    assert len(ran.sessions) == 2
    gaps_s = np.diff([frame.utc_s for frame in ran.frames])
    np.testing.assert_allclose(np.sort(gaps_s)[[0, -1]], sorted([0.1, 0.1 + step_s]), atol=1e-5)
    arrivals = [frame.arrived_s for frame in ran.frames]
    assert arrivals == sorted(arrivals)


def test_two_sessions_never_have_one_id():
    fake = FakeTime()

    def back() -> None:
        fake.utc_offset_s -= 2.0  # the next picture has the time of the session's first

    ran = Ran(fake, Opener(FakeStream(fake, [*steady(21), Shot(2.1, do=back)])))
    first, second = ran.sessions
    assert second - first == 1
    assert ran.frames[-1].utc_s == pytest.approx(ran.frames[0].utc_s)


def test_odd_stamps_are_said_once_in_the_status_and_the_log(caplog):
    fake = FakeTime()
    ran = Ran(fake, Opener(FakeStream(fake, [Shot(None) for _ in range(3000)])))
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "camera yard: its pictures carry no time stamps" in caplog.text
    assert len(ran.frames) == 2999


def test_a_consumer_of_packets_that_fails_does_not_stop_the_camera(caplog):
    fake = FakeTime()

    def fail(*_: object) -> None:
        raise RuntimeError("disk full")

    reader = CameraReader("yard", Opener(FakeStream(fake, steady(20))), 0, on_packet=fail, clocks=fake.clocks())
    with reader:
        wait_until(lambda: reader.status().is_finished)
    assert reader.status().num_received == 20
    assert caplog.text.count("its packets cannot be handed on: disk full") == 1


def test_a_camera_without_pictures_is_stalled():
    fake, blocked, seen = FakeTime(), threading.Event(), []
    shots = [*steady(10), Shot(1.0, do=lambda: blocked.wait(JOIN_S))]
    reader = CameraReader("yard", Opener(FakeStream(fake, shots)), 0, clocks=fake.clocks())
    with reader:
        wait_until(lambda: reader.status().num_received == 10)
        seen.append(reader.status())
        fake.now_s += 2.5
        seen.append(reader.status())
        blocked.set()
    assert [status.state for status in seen] == [CameraState.LIVE, CameraState.STALLED]
    assert seen[1].since_utc_s == pytest.approx(seen[0].last_utc_s)
    assert seen[1].reason == "connected, but no picture that can be trusted came for 2.5 s"


def test_a_camera_that_never_sent_a_picture_to_trust_is_stalled_too():
    fake, blocked, seen = FakeTime(), threading.Event(), []
    damaged = [Shot(0.1 * n, has_picture=False, num_corrupt=1) for n in range(5)]
    opener = Opener(FakeStream(fake, [*damaged, Shot(1.0, do=lambda: blocked.wait(JOIN_S))]))
    with CameraReader("yard", opener, 0, clocks=fake.clocks()) as reader:
        wait_until(lambda: reader.status().num_decode_errors == 5)
        seen.append(reader.status())
        fake.now_s += 2.0
        seen.append(reader.status())
        blocked.set()
    assert [status.state for status in seen] == [CameraState.CONNECTING, CameraState.STALLED]
    assert seen[1].reason == "connected, but no picture that can be trusted came for 2.5 s"


def test_the_offset_of_the_cameras_clock_is_told():
    fake = FakeTime()
    stream = FakeStream(fake, steady(10))
    stream.camera_time_s = fake.now_s + fake.utc_offset_s + 7.6
    seen = []
    reader = CameraReader(
        "yard", Opener(stream), 0, on_packet=lambda *_: seen.append(reader.status()), clocks=fake.clocks()
    )
    with reader:
        wait_until(lambda: reader.status().is_finished)
    assert seen[-1].clock_offset_s == pytest.approx(7.5, abs=1e-3)
    assert reader.status().clock_offset_s is None


def hour_long() -> Clocks:
    return Clocks(uniform=lambda a, b: 7200.0)


class Hangs:
    """A server that answers when the test says so."""

    def __init__(self) -> None:
        self.entered, self.released = threading.Event(), threading.Event()

    def __call__(self):
        self.entered.set()
        self.released.wait(JOIN_S)
        raise StreamLost("at last")


def test_it_can_be_stopped_before_it_was_started():
    assert CameraReader("yard", Opener(), 0).stop()


def test_it_can_be_stopped_while_a_first_connect_hangs():
    hangs = Hangs()
    reader = CameraReader("yard", hangs, 0)
    reader.start()
    assert hangs.entered.wait(JOIN_S)
    assert not reader.stop(0.05)
    hangs.released.set()
    assert reader.stop(JOIN_S)


@pytest.mark.parametrize("end", [LOST, StreamRefused("no")])
def test_it_can_be_stopped_while_it_waits_to_try_again(end):
    reader = CameraReader("yard", Opener(end), 0, clocks=hour_long())
    reader.start()
    wait_until(lambda: reader.status().next_try_in_s is not None)
    assert reader.status().next_try_in_s > 3000
    assert reader.stop(JOIN_S)


def test_it_can_be_stopped_while_nobody_takes_its_frames():
    fake, packets = FakeTime(), []
    opener = Opener(FakeStream(fake, steady(10)))
    reader = CameraReader(
        "yard", opener, 0, lossless=True, on_packet=lambda *_: packets.append(1), clocks=fake.clocks()
    )
    reader.start()
    wait_until(lambda: reader.status().num_received == 2)
    assert reader.stop(JOIN_S)
    assert packets == [1]


def test_after_a_stop_nothing_is_handed_on():
    fake, blocked, packets = FakeTime(), threading.Event(), []
    shots = [*steady(10), Shot(1.0, do=lambda: blocked.wait(JOIN_S)), *steady(10, stamp_s=1.1)]
    reader = CameraReader(
        "yard", Opener(FakeStream(fake, shots)), 0, on_packet=lambda *_: packets.append(1), clocks=fake.clocks()
    )
    reader.start()
    wait_until(lambda: len(packets) == 10)
    assert not reader.stop(0)
    blocked.set()
    assert reader.stop(JOIN_S)
    assert len(packets) == 10
    assert reader.take(0) is not None
    assert reader.take(JOIN_S) is None  # does not wait: there will be no other
