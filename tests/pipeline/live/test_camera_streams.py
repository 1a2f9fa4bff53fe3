"""A camera's thread against real streams: files, and servers that die, fall silent, stall and refuse."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mulde.media import open_video
from mulde.media.file_stream import FileAsStream
from mulde.media.stream import open_stream
from mulde.media.stream_source import StreamSource
from mulde.pipeline.live.camera import CameraReader, Clocks
from mulde.pipeline.live.status import CameraState
from tests.conftest import moving_square
from tests.media.media_samples import encode
from tests.media.stream_servers import Proxy, Refusal, rtsp_server

from .fake_cameras import JOIN_S, wait_until


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    encode(tmp_path / "cam.mp4", list(moving_square(50)), options={"g": "10", "bf": "0", "tune": "zerolatency"})
    return tmp_path


@pytest.mark.parametrize("fps", [0, 10])
def test_a_file_as_a_camera_gives_the_frames_of_the_file(footage, fps):
    with open_video(footage / "cam.mp4") as video:
        batches = list(video)
    images, times_s = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("images", "time_s"))
    expected: dict[int, np.ndarray] = {}
    for image, time_s in zip(images, times_s, strict=True):
        expected.setdefault(int(time_s * fps + 0.1) if fps else len(expected), image)
    ready = threading.Event()
    opener = FileAsStream(footage / "cam.mp4", speed=0).open
    got = []
    with CameraReader("yard", opener, fps, lossless=True, ready=ready) as reader:
        while len(got) < len(expected):
            assert ready.wait(JOIN_S)
            ready.clear()
            while (frame := reader.take(0)) is not None:
                got.append(frame)
        wait_until(lambda: reader.status().is_finished)
    assert [frame.number for frame in got] == list(expected)
    assert all(np.array_equal(frame.image, expected[frame.number]) for frame in got)
    status = reader.status()
    assert (status.state, status.reason) == (CameraState.LOST, f"{footage / 'cam.mp4'} is over")
    assert status.num_skipped == {"busy": 0, "corrupt": 0, "backlog": 0, "light": 0}


def test_a_server_that_is_killed_and_comes_back(footage):
    """Against a real server: the camera is live, lost, and live again in a session of its own."""
    with rtsp_server(footage) as port, Proxy(port) as proxy:
        source = StreamSource(f"rtsp://127.0.0.1:{proxy.port}/cam.mp4?play_count=100", read_timeout_s=2)
        clocks = Clocks(uniform=lambda a, b: 0.2)
        with CameraReader("yard", partial(open_stream, source), 5, clocks=clocks) as reader:
            first = reader.take(JOIN_S)
            assert reader.status().state is CameraState.LIVE
            assert abs(reader.status().clock_offset_s) < 60
            proxy.cut()
            wait_until(lambda: reader.status().state is CameraState.LOST)
            assert f"127.0.0.1:{proxy.port}/cam.mp4 was" in reader.status().reason
            wait_until(lambda: reader.status().num_connects["lost"] >= 2)
            proxy.listen()
            wait_until(lambda: reader.status().num_connects["ok"] == 2)
            wait_until(lambda: reader.status().state is CameraState.LIVE)
            while (frame := reader.take(JOIN_S)).session == first.session:
                pass
        assert frame.is_first
        assert frame.session > first.session
        assert abs(frame.utc_s - time.time()) < 30


def test_a_server_that_falls_silent_is_stalled_and_lost(footage):
    with rtsp_server(footage) as port, Proxy(port) as proxy:
        source = StreamSource(f"rtsp://127.0.0.1:{proxy.port}/cam.mp4?play_count=100", read_timeout_s=1.5)
        opener = partial(open_stream, source)
        with CameraReader("yard", opener, 5, stalled_after_s=0.3) as reader:
            assert reader.take(JOIN_S) is not None
            proxy.flowing.clear()
            wait_until(lambda: reader.status().state is CameraState.STALLED)
            wait_until(lambda: reader.status().state is CameraState.LOST)
            assert "was silent for" in reader.status().reason
            proxy.flowing.set()


def test_a_real_stall_leaves_a_backlog_and_the_session_goes_on(footage):
    with rtsp_server(footage) as port, Proxy(port) as proxy:
        source = StreamSource(f"rtsp://127.0.0.1:{proxy.port}/cam.mp4?play_count=100", read_timeout_s=JOIN_S)
        with CameraReader("yard", partial(open_stream, source), 5) as reader:
            first = reader.take(JOIN_S)
            proxy.flowing.clear()
            received = reader.status().num_received
            time.sleep(3)
            proxy.flowing.set()
            wait_until(lambda: reader.status().num_received > received + 60)
            frame = reader.take(JOIN_S)
            assert frame.session == first.session
            assert frame.number > first.number + 8
            assert reader.status().num_skipped["backlog"] > 4
            assert abs(frame.utc_s - first.utc_s - frame.time_s + first.time_s) < 1


def test_a_wrong_password_is_tried_twice_and_stands_nowhere(caplog, capfd):
    caplog.set_level("DEBUG")
    with Refusal() as server:
        source = StreamSource(f"rtsp://127.0.0.1:{server.port}/x", user="viewer", password="c@n:a/r?y#%ü")
        with CameraReader("yard", partial(open_stream, source), 0, clocks=Clocks(uniform=lambda a, b: 0.1)) as reader:
            wait_until(lambda: (reader.status().next_try_in_s or 0) > 3000)
            status = reader.status()
        assert server.credentials == ["viewer:c@n:a/r?y#%ü"] * 2
    assert status.state is CameraState.REFUSED
    assert "asks for another user or password (401)" in status.reason
    said = [repr(status), caplog.text, *capfd.readouterr()]
    assert not any(hidden in text for text in said for hidden in ("c@n", "c%40n", "viewer"))
