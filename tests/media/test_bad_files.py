"""Files that cannot be read, or not to their end: a sentence, what can be had, never another decoder in silence."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mulde.errors import UsageError, VideoError
from mulde.media import open_video
from mulde.media.container import DecodeDamage, packets
from mulde.media.reader import missing_text
from mulde.media.source_file import SourceFile

from .media_samples import copy_packets, encode, encode_sound, encode_streams, index_of, pictures, write_images

DECODERS = ["decord", "pyav"]
Changed = Callable[[Callable[[bytes], bytes], str], Path]


def indices(path: Path, decoder: str) -> list[int]:
    with open_video(path, decoder=decoder, batch_size=8) as reader:
        found = [index_of(image) for batch in reader for image in batch.images]
        assert reader.num_frames_decoded == len(found)
        return found


def _missing(folder: Path, clip: Path) -> Path:
    return folder / "nowhere.mp4"


def _empty_file(folder: Path, clip: Path) -> Path:
    (folder / "a.mp4").touch()
    return folder / "a.mp4"


def _text(folder: Path, clip: Path) -> Path:
    (folder / "a.mp4").write_text("this is no video\n" * 50)
    return folder / "a.mp4"


def _sound(folder: Path, clip: Path) -> Path:
    return encode_sound(folder / "a.mp4")


def _sound_with_a_cover(folder: Path, clip: Path) -> Path:
    return encode_sound(folder / "a.mp4", cover=True)


def _no_index(folder: Path, clip: Path) -> Path:
    plain = encode(folder / "whole.mp4", pictures(30))  # its index comes last
    (folder / "a.mp4").write_bytes(plain.read_bytes()[:-1200])
    return folder / "a.mp4"


def _noise_inside(folder: Path, clip: Path) -> Path:
    content = bytearray(clip.read_bytes())
    start = content.index(b"mdat") + 4
    content[start:] = bytes(len(content) - start)
    (folder / "a.mp4").write_bytes(content)
    return folder / "a.mp4"


def _empty_folder(folder: Path, clip: Path) -> Path:
    (folder / "frames").mkdir()
    return folder / "frames"


def _folder_without_images(folder: Path, clip: Path) -> Path:
    (folder / "frames" / "deeper").mkdir(parents=True)
    (folder / "frames" / "notes.txt").write_text("x")
    (folder / "frames" / ".hidden.png").write_text("x")
    return folder / "frames"


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (_missing, r"nowhere\.mp4 does not exist"),
        (_empty_file, r"a\.mp4 is empty \(0 bytes\)"),
        (_text, r"a\.mp4 is a text file, not a video: got 'this is no video'"),
        (_sound, r"a\.mp4 has no video stream: expected moving pictures, got audio"),
        (_sound_with_a_cover, r"a\.mp4 has no video stream: expected moving pictures, got audio and video"),
        (_no_index, r"a\.mp4 is cut off: .* its index \(moov\) is missing"),
        (_noise_inside, r"No picture of .*a\.mp4 could be decoded: got 40 video packets"),
        (_empty_folder, r"The folder .*frames is empty"),
        (_folder_without_images, r"frames holds no images directly in it: expected .*\.png.*, got 3 other entries"),
    ],
)
@pytest.mark.timeout(30)
def test_bad_sources_are_refused_at_opening(
    tmp_path: Path, clip: Path, decoder: str, build: Callable[[Path, Path], Path], sentence: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = build(tmp_path, clip)
    capfd.readouterr()
    with pytest.raises(VideoError, match=sentence):
        open_video(path, decoder=decoder)
    assert capfd.readouterr() == ("", "")


def test_settings_that_cannot_be_used(clip: Path) -> None:
    with pytest.raises(UsageError, match="Unknown decoder 'magic': expected pyav or decord"):
        open_video(clip, decoder="magic")
    with pytest.raises(UsageError, match="batch_size: expected at least 1 frame, got 0"):
        open_video(clip, batch_size=0)
    with pytest.raises(UsageError, match="frame_rate: expected more than 0 frames per second, got 0"):
        open_video(clip, frame_rate=0)
    with pytest.raises(UsageError, match=r"working_size_px: expected 0 .* got -1"):
        open_video(clip, working_size_px=-1)
    with pytest.raises(UsageError, match="start_frame: expected at least 0, got -1"):
        open_video(clip, start_frame=-1)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("number", [-1, 2])
def test_a_stream_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, decoder: str, number: int) -> None:
    path = encode_streams(tmp_path / "a.mkv", [pictures(3), pictures(3, (96, 128))])
    with pytest.raises(VideoError, match=rf"one of 0 \(mpeg4, 64 x 48\), 1 \(mpeg4, 128 x 96\), got stream {number}"):
        open_video(path, decoder=decoder, stream=number)
    with pytest.raises(VideoError, match="expected stream 0 or auto, got stream 1"):
        open_video(write_images(tmp_path / "frames", pictures(2)), decoder=decoder, stream=1)


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        ([range(7, 8)], "frame 7 is missing"), ([range(3, 5)], "frames 3-4 are missing"),
        ([range(120, 132), range(140, 141)], "frames 120-131 and 140 are missing"),
        ([range(a, a + 2) for a in range(0, 60, 10)], "frames 0-1, 10-11, 20-21, 30-31, 40-41 and 2 more are missing"),
    ],
)  # fmt: skip
def test_missing_frames_in_words(missing: list[range], text: str) -> None:
    assert missing_text(missing) == text


def test_a_decoder_that_is_not_installed_is_named_with_the_other(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(UsageError, match=r"needs the library decord, which is not installed.*'pyav'"):
        open_video(clip, decoder="decord")
    assert indices(clip, "pyav") == list(range(40))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match="need PyAV, which is not installed"):
        open_video(clip, decoder="pyav")


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_whole_file_gives_no_warning(clip: Path, decoder: str, caplog: pytest.LogCaptureFixture) -> None:
    assert indices(clip, decoder) == list(range(40))
    assert not caplog.records


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_cut_avi_gives_its_frames_and_a_warning(
    tmp_path: Path, decoder: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = encode(tmp_path / "whole.avi", pictures(40), codec="mjpeg", pix_fmt="yuvj420p")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found = indices(cut, decoder)
    assert 10 < len(found) < 30
    assert found[:-1] == list(range(len(found) - 1))  # the last picture may be there in part
    assert re.search(rf"cut\.avi: decoded {len(found)} frames where the file promises 40", caplog.text)
    with open_video(cut, decoder=decoder) as reader:
        assert reader.num_frames_from_header == 40


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_cut_mkv_is_short_of_its_duration(tmp_path: Path, decoder: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = encode(tmp_path / "whole.mkv", pictures(40), rate=10, codec="mjpeg", pix_fmt="yuvj420p")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found = indices(cut, decoder)
    assert 10 < len(found) < 30
    assert found[:-1] == list(range(len(found) - 1))  # the last picture may be there in part
    assert (
        f"decoded {len(found)} frames, which end at {len(found) / 10:.1f} s where the file promises 4.0" in caplog.text
    )


def test_a_cut_mp4_with_its_index_in_front(changed: Changed, caplog: pytest.LogCaptureFixture) -> None:
    cut = changed(lambda content: content[: len(content) * 8 // 10], "cut.mp4")
    found = indices(cut, "pyav")
    assert 10 < len(found) < 40
    assert found[:-1] == list(range(len(found) - 1))  # the last picture may be there in part
    assert f"decoded {len(found)} frames where the file promises 40" in caplog.text
    with pytest.raises(VideoError, match=r"decord cannot read .*cut\.mp4: .*got 0 .*Try: use the decoder 'pyav'"):
        indices(cut, "decord")


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_a_recording_that_starts_between_two_key_frames(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its first packets cannot be decoded by anybody: both decoders deliver what follows, from time 0."""
    whole = encode(tmp_path / "whole.mkv", pictures(40), options={"g": "20"})
    middle = copy_packets(whole, tmp_path / f"middle.{suffix}", first=7)
    for decoder in DECODERS:
        with open_video(middle, decoder=decoder, batch_size=64) as reader:
            (batch,) = reader
        assert 20 <= len(batch) < 33
        assert [index_of(image) for image in batch.images] == list(range(40 - len(batch), 40))
        assert batch.time_s.tolist() == pytest.approx([index / 25 for index in range(len(batch))])
        assert re.search(rf"decoded {len(batch)} frames where the file promises \d+", caplog.text)
        caplog.clear()


def test_decord_never_passes_copies_for_frames_it_lost(tmp_path: Path) -> None:
    """decord loses the first frames of such a file, and by default repeats others in their place."""
    path = encode(tmp_path / "a.ts", pictures(24), codec="mpeg2video")
    assert indices(path, "pyav") == list(range(24))
    with pytest.raises(
        VideoError, match=r"decord cannot read .*expected 24 frames, got \d+ \(.*Try: use the decoder 'pyav'"
    ):
        indices(path, "decord")


def test_times_stay_true_behind_a_packet_that_cannot_be_decoded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = encode(tmp_path / "whole.avi", pictures(40), codec="mjpeg", pix_fmt="yuvj420p")
    content = whole.read_bytes()
    start = content.index(b"00dc", content.index(b"movi")) + 8
    for _ in range(10):  # to the tenth picture
        start = content.index(b"00dc", start) + 8
    size = int.from_bytes(content[start - 4 : start], "little")
    (tmp_path / "hole.avi").write_bytes(content[:start] + b"\xff" * size + content[start + size :])
    with open_video(tmp_path / "hole.avi", decoder="pyav", batch_size=64) as reader:
        (batch,) = reader
    expected = [index for index in range(40) if index != 10]
    assert [index_of(image) for image in batch.images] == expected
    assert batch.time_s.tolist() == pytest.approx([index / 25 for index in expected])
    assert batch.frame_index.tolist() == expected
    assert reader.missing == [range(10, 11)]
    assert "frame 10 is missing" in caplog.text
    assert "damaged places: 1" in caplog.text
    with pytest.raises(VideoError, match="decord cannot read"):
        indices(tmp_path / "hole.avi", "decord")
    assert capfd.readouterr() == ("", "")


def test_a_frame_size_that_changes_is_an_error(tmp_path: Path) -> None:
    one = encode(tmp_path / "one.ts", pictures(10))
    two = encode(tmp_path / "two.ts", pictures(10, (80, 96)))
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(VideoError, match=r"both\.ts changes its frame size: expected 48 x 64 .*, got 80 x 96"):
        indices(both, "pyav")


def test_a_stream_that_appears_in_the_middle_ends_the_packets(clip: Path) -> None:
    class Container:
        def demux(self, stream: object) -> Iterator[object]:
            yield SimpleNamespace(size=1)
            raise IndexError("list index out of range")  # what PyAV does then

    damage = DecodeDamage()
    with SourceFile(clip) as source:
        assert [packet is None for packet in packets(source, Container(), None, damage)] == [False, True]
    assert damage.reasons == ["list index out of range"]


def test_a_header_that_claims_an_absurd_length_does_not_end_the_process(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mulde.media.decord_reader._MAX_FRAMES_CLAIMED", 39)
    with pytest.raises(VideoError, match="its header claims 40 frames"):
        open_video(clip, decoder="decord")


def test_warnings_go_through_logging(changed: Changed, caplog: pytest.LogCaptureFixture) -> None:
    indices(changed(lambda content: content[: len(content) * 8 // 10], "cut.mp4"), "pyav")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name.startswith("mulde.media")
