"""A text that points to other files or addresses is no video, and no name of a file is taken for an address.

Relatives looked for: lists of files (ffconcat), HLS with files and with addresses, DASH, SDP (which would open a
socket), ASX and AVI references, metadata and subtitles in a video's name, a text drawn as a picture (tty), raw samples;
names with a colon, with a protocol or with a pattern; the same by decord.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from mulde.errors import VideoError
from mulde.media import open_video, write_video

from .media_samples import pictures

HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\n"
MPD = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-main:2011">'
)
TEXTS = {
    "concat.mp4": "ffconcat version 1.0\nfile real.mp4\n",
    "concat.ffconcat": "ffconcat version 1.0\nfile real.mp4\n",
    "files.m3u8": HLS.format("real.mp4"),
    "files.mp4": HLS.format("real.mp4"),
    "address.mkv": HLS.format("http://127.0.0.1:9/a.ts"),
    "session.sdp": SDP,
    "session.mp4": SDP,
    "manifest.mpd": MPD,
    "meta.mp4": ";FFMETADATA1\ntitle=caf\N{LATIN SMALL LETTER E WITH ACUTE}\n",
    "subtitles.mp4": "1\n00:00:01,000 --> 00:00:02,000\nhello\n",
    "links.wmv": '<asx version="3.0"><entry><ref href="real.mp4"/></entry></asx>',
    "links.avi": "[Reference]\nRef1=http://127.0.0.1:9/a.asf\n",
    "notes.txt": "a text of any kind\n" * 100,
}


@pytest.fixture
def real(tmp_path: Path) -> Path:
    write_video(tmp_path / "real.mp4", pictures(5), Fraction(25))
    return tmp_path / "real.mp4"


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_refused_and_nothing_it_names_is_opened(real: Path, name: str, decoder: str) -> None:
    text = real.with_name(name)
    text.write_text(TEXTS[name], encoding="utf-8")
    first = TEXTS[name].splitlines()[0][:20].replace("[", r"\[").replace("?", r"\?")
    with pytest.raises(VideoError, match=rf"{name} is a text file, not a video: got .*{first}.*are never opened"):
        open_video(text, decoder=decoder)


@pytest.mark.parametrize("name", ["grey.yuv", "art.ans", "art.xbin", "frames.v210"])
def test_bytes_of_no_kind_are_not_guessed_by_their_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(range(1, 256)) * 40)
    with pytest.raises(
        VideoError, match=r"cannot be opened as a video: got (a kind of file that is not read|Invalid data)"
    ):
        open_video(tmp_path / name)


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize(
    "name", ["a:b.mp4", "file:a.mp4", "http:a.mp4", "concat:real.mp4|real.mp4", "%03d.mp4", "-i.mp4", "pipe:0.mp4"]
)
def test_a_name_is_a_name(real: Path, name: str, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(real.parent)
    real.with_name(name).write_bytes(real.read_bytes())
    with open_video(Path(name), decoder=decoder) as reader:
        assert sum(len(batch.frame_index) for batch in reader) == 5
