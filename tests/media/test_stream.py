"""Streams against real servers on loopback: what they deliver is right, and every way in which they end is noticed."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from mulde.errors import StreamEnded, StreamLost, StreamRefused, StreamTimeout, UsageError
from mulde.media.stream import open_stream
from mulde.media.stream_source import StreamSource

from .media_samples import encode, index_of, picture
from .stream_servers import Proxy, Refusal, free_port, http_server, rtsp_server

RATE, NUM_PICTURES, KEY_EVERY = 20, 60, 10
LIVE = {"g": str(KEY_EVERY), "bf": "0", "tune": "zerolatency", "sc_threshold": "0"}
CANARY = "p@s:s/w?o#r%dü&€"


def noisy(index: int) -> np.ndarray:
    """A picture that says its number, over texture that moves: a wrong reference shows."""
    texture = np.random.default_rng(0).integers(0, 40, (48, 64, 1)).astype(np.uint8)
    return picture(index) + np.roll(texture, index, axis=1) - 20


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("camera")
    encode(folder / "cam.mp4", [noisy(n) for n in range(NUM_PICTURES)], rate=RATE, options=LIVE)
    return folder


@pytest.fixture(scope="module")
def originals(footage) -> list[np.ndarray]:
    """The pictures as a plain decoder gives them."""
    with av.open(str(footage / "cam.mp4")) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


@pytest.fixture(scope="module")
def server(footage) -> Iterator[int]:
    with rtsp_server(footage) as port:
        yield port


@contextlib.contextmanager
def open_listener() -> Iterator[int]:
    """A port that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def camera(port: int, *, plays: int = 100, **options: object) -> StreamSource:
    return StreamSource(f"rtsp://127.0.0.1:{port}/cam.mp4?play_count={plays}", **options)


def pictures_of(source: StreamSource, count: int) -> list[tuple[float | None, np.ndarray]]:
    with open_stream(source) as stream:
        every = ((one.stamp_s, np.array(one.load())) for packet in stream for one in packet.pictures)
        return list(itertools.islice(every, count))


def remuxed(path: Path, target: Path, container: str) -> bytes:
    with av.open(str(path)) as old, av.open(str(target), "w", format=container) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target.read_bytes()


def test_a_camera_delivers_its_pictures_with_their_stamps(server, originals):
    started_s = time.monotonic()
    with open_stream(camera(server)) as stream:
        packets = list(itertools.islice(stream, 70))
        assert stream.size_hw == (48, 64)
        assert abs(stream.camera_time_s - time.time()) < 60
        assert stream.template.codec_context.name == "h264"
    assert packets[0].is_key
    assert all(started_s <= a.arrived_s <= b.arrived_s for a, b in itertools.pairwise(packets))
    # The first has no stamp, the second has 0. The server sends a picture twice now and then, which is damage.
    pictures = [(one, packet.is_key) for packet in packets for one in packet.pictures]
    numbers = [0 if one.stamp_s is None else round(one.stamp_s * RATE) + 1 for one, _ in pictures]
    num_corrupt = sum(packet.num_corrupt for packet in packets)
    assert num_corrupt <= 2 * KEY_EVERY
    assert len(pictures) == 70 - num_corrupt
    assert numbers[0] == 0
    assert numbers[-1] > 57
    assert num_corrupt or set(np.diff(numbers)) == {1}
    for number, (one, is_key) in zip(numbers, pictures, strict=True):
        assert is_key == (number % KEY_EVERY == 0)
        assert one.stamp_s is None or abs(one.stamp_s - (number - 1) / RATE) < 1e-9
        assert one.size_hw == (48, 64)
        np.testing.assert_array_equal(one.load(), originals[number % NUM_PICTURES])


@pytest.mark.parametrize("num_answers", range(5), ids=["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "no packet"])
def test_a_server_that_falls_silent_while_connecting_is_noticed(server, num_answers):
    answers = itertools.count()

    def silent(unit: bytes) -> bytes:
        return unit if not unit.startswith(b"$") and next(answers) < num_answers else b""

    with Proxy(server, silent) as proxy:
        started_s = time.monotonic()
        with (
            pytest.raises(StreamTimeout, match=r"was silent for 0\.\d s"),
            open_stream(camera(proxy.port, open_timeout_s=0.5)),
        ):
            pass
        assert time.monotonic() - started_s < 10
        assert proxy.num_connects == 1


def test_a_port_that_accepts_and_says_nothing_is_noticed():
    with open_listener() as port, pytest.raises(StreamTimeout), open_stream(camera(port, open_timeout_s=0.3)):
        pass


def test_a_server_that_falls_silent_in_mid_stream_is_noticed(server):
    with Proxy(server) as proxy, open_stream(camera(proxy.port, read_timeout_s=0.5)) as stream:
        packets = iter(stream)
        for _ in range(20):
            next(packets)
        proxy.flowing.clear()
        with pytest.raises(StreamTimeout, match=r"127.0.0.1:\d+/cam.mp4 was silent"):
            for _ in packets:
                pass


def test_a_camera_is_opened_by_its_first_pictures(server):
    """By default libav looks at seconds of a stream, which are old when they are delivered."""
    count = itertools.count()

    def few(unit: bytes) -> bytes:
        return b"" if unit[:2] == b"$\0" and next(count) >= 15 else unit

    with Proxy(server, few) as proxy:
        started_s = time.monotonic()
        with open_stream(camera(proxy.port, open_timeout_s=60)) as stream:
            assert time.monotonic() - started_s < 30
            assert len(list(itertools.islice(stream, 10))) == 10


@pytest.mark.parametrize("how", ["end", "cut"])
def test_every_end_is_a_loss(server, how):
    with Proxy(server) as proxy, open_stream(camera(proxy.port, plays=1)) as stream:
        packets = iter(stream)
        next(packets)
        if how == "cut":
            proxy.cut()
        with pytest.raises(StreamLost) as loss:
            for _ in packets:
                pass
    assert not isinstance(loss.value, StreamEnded | StreamRefused)


def test_a_closed_port_is_a_loss_at_once():
    with pytest.raises(StreamLost, match="Connection refused"), open_stream(camera(free_port())):
        pass


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_told_apart_and_not_repeated(status):
    with Refusal(status) as server:
        source = camera(server.port, user="viewer", password="wrong")
        with pytest.raises(StreamRefused, match=rf"\({status}\)"), open_stream(source):
            pass
        assert server.credentials == ["viewer:wrong"]


def test_http_refuses_as_well():
    with (
        http_server({}) as port,
        pytest.raises(StreamRefused, match="404"),
        open_stream(StreamSource(f"http://127.0.0.1:{port}/cam.ts")),
    ):
        pass


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_password_reaches_the_server_and_nothing_else(scheme, caplog, capfd):
    caplog.set_level("DEBUG")
    with Refusal() as server:
        source = StreamSource(f"{scheme}://127.0.0.1:{server.port}/x", user="us@r", password=CANARY)
        said = [repr(source), str(source), source.shown]
        with pytest.raises(StreamLost) as caught, open_stream(source):
            pass
        error = caught.value
        assert error.__cause__ is error.__context__ is None
        said += [str(error), repr(error), *traceback.format_exception(error)]
        with_locals = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        said.append(with_locals[with_locals.index("mulde/media/stream.py") :])
        assert server.credentials == [f"us@r:{CANARY}"]
        if scheme == "rtsp":
            assert not any("ser" in request or "us%40r" in request for request in server.requests)
    out, err = capfd.readouterr()
    said += [out, err, caplog.text]
    for hidden in (CANARY, StreamSource("http://h/", password=CANARY).address()[9:-3], "us@r", "us%40r", "w%3Fo"):
        assert not any(hidden in text for text in said), hidden
    assert len(said) > 8


def test_a_password_can_stand_where_the_camera_wants_it():
    with http_server({}) as port:
        source = StreamSource(
            f"http://127.0.0.1:{port}/flv?user={{user}}&password={{password}}", user="a&b", password="c d/e"
        )
        assert source.address() == f"http://127.0.0.1:{port}/flv?user=a%26b&password=c%20d%2Fe"
        with pytest.raises(StreamRefused, match=f"http://127.0.0.1:{port}/flv: "), open_stream(source):
            pass


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://viewer:secret@10.0.0.5/x", "carries a user or a password.*password_env or password_file"),
        ("rtsp://viewer@10.0.0.5/x", "carries a user"),
        ("rtsp://viewer:se/cret@10.0.0.5/x", "carries a user"),
        ("rtsp://viewer:se#cret@10.0.0.5/x", "carries a user"),
        ("http://10.0.0.5/video?user=a&pwd=secret", "carries a user or a password"),
        ("rtsp://10.0.0.5/user=a_password=secret_channel=1.sdp", "carries a user or a password"),
        ("file:///etc/passwd", "of another kind: expected rtsp, rtsps, rtmp, rtmps, http, https or /dev/video"),
        ("/etc/passwd", "of another kind"),
        ("/dev/video0/../../etc/passwd", "of another kind"),
        ("/dev/sda", "of another kind"),
        ("device://x", "of another kind"),
        ("concat:rtsp://a/b", "of another kind"),
        ("udp://239.0.0.1:1234", "of another kind"),
        ("clip.mp4", "of another kind"),
        ("", "of another kind"),
        ("rtsp:///stream", "cannot be read: expected rtsp://HOST"),
        ("rtsp://host:port/stream", "cannot be read"),
        ("rtsp://host/a b", "blanks"),
        ("rtsp://host/a\r\nX: y", "blanks or control"),
    ],
)
def test_an_address_of_another_kind_or_with_a_secret_is_refused(url, expected):
    with pytest.raises(UsageError, match=expected) as refusal:
        StreamSource(url)
    assert "secret" not in str(refusal.value)
    assert "se/cret" not in str(refusal.value)


def test_what_may_be_opened_cannot_be_widened():
    with pytest.raises(UsageError, match="cannot set protocol_whitelist"):
        StreamSource("http://h/x", options={"protocol_whitelist": "file"})
    with pytest.raises(UsageError, match="more than 0 s"):
        StreamSource("http://h/x", open_timeout_s=0)
    with pytest.raises(UsageError, match="RTMP takes no user or password with") as refusal:
        StreamSource("rtmp://h/x", user="me", password=CANARY)
    assert CANARY not in str(refusal.value)
    assert StreamSource("/dev/video0").libav_options()["format_whitelist"] == "video4linux2,v4l2"


def test_a_stream_over_http(footage, originals, tmp_path):
    files = {"cam.ts": remuxed(footage / "cam.mp4", tmp_path / "cam.ts", "mpegts")}
    with http_server(files) as port:
        got = pictures_of(StreamSource(f"http://127.0.0.1:{port}/cam.ts?token=x"), 50)
        np.testing.assert_allclose(np.diff([stamp_s for stamp_s, _ in got]), 1 / RATE, atol=1e-9)
        for (_, image), original in zip(got, originals, strict=False):
            np.testing.assert_array_equal(image, original)
        with pytest.raises(StreamLost, match=r"/cam\.ts was lost"):
            pictures_of(StreamSource(f"http://127.0.0.1:{port}/cam.ts"), 1000)


def with_sound(path: Path, num_pictures: int, num_sounds: int) -> bytes:
    with av.open(str(path), "w") as file:
        video, sound = file.add_stream("libx264", rate=RATE, options=LIVE), file.add_stream("aac", rate=8000)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        for number in range(num_pictures):
            file.mux(video.encode(av.VideoFrame.from_ndarray(noisy(number), format="rgb24")))
        file.mux(video.encode(None))
        for number in range(num_sounds):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, number * 1024
            file.mux(sound.encode(frame))
        file.mux(sound.encode(None))
    return path.read_bytes()


def test_sound_alone_is_silence(tmp_path):
    seconds = itertools.count()  # the clock: one more each time it is asked
    with http_server({"cam.ts": with_sound(tmp_path / "cam.ts", 20, 400)}) as port:
        source = StreamSource(f"http://127.0.0.1:{port}/cam.ts", open_timeout_s=30, read_timeout_s=30)
        with open_stream(source, clock=lambda: float(next(seconds))) as stream:
            packets = iter(stream)
            for _ in range(15):  # the last ones wait for those behind them
                assert len(next(packets).pictures) == 1
            with pytest.raises(StreamTimeout, match="was silent for 3"):
                list(packets)


def playlist(*segments: str) -> bytes:
    lines = "".join(f"#EXTINF:3,\n{segment}\n" for segment in segments)
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n{lines}#EXT-X-ENDLIST\n".encode()


def test_a_playlist_is_read_at_the_pace_of_its_stamps(footage, tmp_path):
    files = {
        "live.m3u8": playlist("a.ts"),
        "a.ts": remuxed(footage / "cam.mp4", tmp_path / "cam.ts", "mpegts"),
    }
    with http_server(files) as port, open_stream(StreamSource(f"http://127.0.0.1:{port}/live.m3u8")) as stream:
        packets = list(itertools.islice(stream, 30))
    assert packets[-1].arrived_s - packets[0].arrived_s > 29 / RATE - 0.1
    assert [index_of(one.load()) for packet in packets for one in packet.pictures] == list(range(30))


def test_a_playlist_opens_no_file_and_no_address_of_another_kind(footage, tmp_path):
    """The file it names is a video that could be played: only the rule keeps it from being opened."""
    secret = tmp_path / "secret.ts"
    remuxed(footage / "cam.mp4", secret, "mpegts")
    with open_listener() as port:
        named = [
            f"file://{secret}",
            str(secret),
            f"concat:{secret}",
            f"tcp://127.0.0.1:{port}/x.ts",
            f"rtmp://127.0.0.1:{port}/x/y.ts",
            f"subfile,,start,0,end,100000,,:{secret}",
            "file:///etc/passwd",
        ]
        for address in named:
            files = {
                "live.m3u8": playlist(address),
                "list.ffconcat": f"ffconcat version 1.0\nfile {address}\n".encode(),
                "moved.ts": address,
            }
            with http_server(files) as http_port:
                for name in files:
                    source = StreamSource(f"http://127.0.0.1:{http_port}/{name}", open_timeout_s=2)
                    with pytest.raises(StreamLost):
                        pictures_of(source, 1)


def test_a_picture_of_another_size_ends_the_stream(tmp_path):
    small, large = (
        remuxed(
            encode(tmp_path / f"{size}.mp4", [picture(n, size) for n in range(20)], rate=RATE, options=LIVE),
            tmp_path / f"{size}.ts",
            "mpegts",
        )
        for size in ((48, 64), (96, 128))
    )
    with http_server({"cam.ts": small + large}) as port:
        source = StreamSource(f"http://127.0.0.1:{port}/cam.ts")
        with pytest.raises(StreamLost, match=r"the size of its picture: expected 48 x 64 .* got 96 x 128"):
            pictures_of(source, 1000)
        assert all(image.shape == (48, 64, 3) for _, image in pictures_of(source, 15))


def test_rtp_packets_that_are_lost_leave_nothing_that_is_wrong(server, originals):
    """Every thirteenth packet of video is dropped: whatever is delivered is as it was encoded."""
    count = itertools.count()

    def lossy(unit: bytes) -> bytes:
        return b"" if unit[:2] == b"$\0" and next(count) % 13 == 7 else unit

    with Proxy(server, lossy) as proxy, open_stream(camera(proxy.port)) as stream:
        packets = list(itertools.islice(stream, 130))
    pictures = [one for packet in packets for one in packet.pictures]
    assert 10 < len(pictures) < 120
    for one in pictures:
        image = one.load()
        np.testing.assert_array_equal(image, originals[index_of(image)])


def test_connecting_again_and_again_leaves_nothing_behind(footage, tmp_path):
    files = {"cam.ts": remuxed(footage / "cam.mp4", tmp_path / "cam.ts", "mpegts")}
    closed = camera(free_port())
    with http_server(files) as port:
        source = StreamSource(f"http://127.0.0.1:{port}/cam.ts")
        pictures_of(source, 2)
        before = (threading.active_count(), len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")))
        for _ in range(100):
            assert len(pictures_of(source, 2)) == 2
            with pytest.raises(StreamLost), open_stream(closed):
                pass
        deadline = time.monotonic() + 20  # threads of the server end when they notice
        while time.monotonic() < deadline and threading.active_count() > before[0]:
            time.sleep(0.05)
        assert threading.active_count() <= before[0]
        assert len(os.listdir("/proc/self/task")) <= before[1]  # fewer: another test's may have ended meanwhile
        assert len(os.listdir("/proc/self/fd")) <= before[2]
