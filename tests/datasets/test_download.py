"""`mulde data list` and `get`: facts of every data set; downloads from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from mulde.commands.console.data import print_data_sets, print_report
from mulde.datasets import DATASETS
from mulde.datasets import download as data_get
from mulde.datasets.download import DownloadError, get_data, unpack
from mulde.datasets.facts import DatasetSpec, Download, Facts
from mulde.datasets.folder.dataset import open_folder
from mulde.datasets.registry import find_dataset
from mulde.errors import UsageError
from mulde.pipeline.data_check.findings import CheckReport, Finding
from mulde.progress import Reporter

QUIET = Reporter(quiet=True)
FACTS = {name: find_dataset(name).facts for name in DATASETS}


def archive() -> bytes:
    """A small .tar.gz as a data set is packed."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        for name in ("Set/Train/001.txt", "Set/Test/001.txt"):
            info = tarfile.TarInfo(name)
            info.size = 5000
            packed.addfile(info, io.BytesIO(name.encode().ljust(5000, b".")))
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Serves server.files with Range; counts the bytes; breaks off after server.break_after of them, once."""

    def do_GET(self):
        content = self.server.files.get(self.path.partition("?")[0])
        self.server.asked.append(self.headers.get("Range"))
        if content is None:
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if self.server.ranges else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = self.server.break_after or len(content)
        self.server.break_after = None
        self.wfile.write(content[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.files = {"/data/set.tar.gz": archive()}
        running.asked, running.ranges, running.break_after = [], True, None
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def known(server, monkeypatch) -> Facts:
    """A data set on that server, under the name "tiny"."""
    checksum = f"sha256:{hashlib.sha256(archive()).hexdigest()}"
    download = Download(f"http://127.0.0.1:{server.server_port}/data/set.tar.gz?download=1", None, checksum)
    entry = Facts("tiny", "Tiny", "http://x", "direct", "-", "free", "us", "here", downloads=(download,))
    monkeypatch.setattr(sys.modules[__name__], "TINY", DatasetSpec(entry, open_folder), raising=False)
    monkeypatch.setitem(DATASETS, "tiny", f"{__name__}:TINY")
    return entry


def contents(out: Path) -> dict[str, int]:
    return {path.relative_to(out).as_posix(): path.stat().st_size for path in out.rglob("*") if path.is_file()}


WHOLE = {"set.tar.gz": len(archive()), "Set/Train/001.txt": 5000, "Set/Test/001.txt": 5000}


def test_a_whole_download_is_unpacked(known, tmp_path):
    said = get_data("tiny", tmp_path / "out", QUIET)
    assert contents(tmp_path / "out") == WHOLE
    assert "mulde data check tiny:" in said[0]


def test_a_second_time_nothing_is_downloaded(known, server, tmp_path):
    get_data("tiny", tmp_path, QUIET)
    get_data("tiny", tmp_path, QUIET)
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_off_is_gone_on_with(known, server, tmp_path, ranges):
    server.ranges, server.break_after = ranges, 100
    with pytest.raises(DownloadError, match="broke off"):
        get_data("tiny", tmp_path, QUIET)
    assert contents(tmp_path) == {"set.tar.gz.part": 100}
    get_data("tiny", tmp_path, QUIET)
    assert contents(tmp_path) == WHOLE
    assert server.asked == [None, "bytes=100-"]


def test_a_part_that_is_already_whole(known, server, tmp_path):
    (tmp_path / "set.tar.gz.part").write_bytes(archive())
    get_data("tiny", tmp_path, QUIET)
    assert contents(tmp_path) == WHOLE


def test_a_wrong_checksum(known, server, tmp_path):
    server.files["/data/set.tar.gz"] = archive()[:-1] + b"!"
    with pytest.raises(DownloadError, match=r"set\.tar\.gz is damaged or another version \(sha256\)") as caught:
        get_data("tiny", tmp_path, QUIET)
    assert hashlib.sha256(archive()).hexdigest() in str(caught.value)
    assert list(contents(tmp_path)) == ["set.tar.gz.bad"]


def test_a_dead_link(known, server, tmp_path):
    server.files.clear()
    with pytest.raises(DownloadError, match=r"the link is dead: http://127\.0\.0\.1.*got 404"):
        get_data("tiny", tmp_path, QUIET)
    assert contents(tmp_path) == {}


def test_no_network(known, monkeypatch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/set.zip"
    with pytest.raises(DownloadError, match=r"no connection to .*refused.*put it into --out"):
        data_get.fetch(Download(address), tmp_path, QUIET)


def test_too_little_space(known, monkeypatch, tmp_path):
    monkeypatch.setattr(data_get.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    with pytest.raises(DownloadError, match=r"too little space .* expected 67 MB, got 1 MB"):
        get_data("tiny", tmp_path, QUIET)


@pytest.mark.parametrize("member", ["../evil.txt", "/evil.txt", "a/../../evil.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_that_lead_out_of_the_folder(tmp_path, kind, member):
    path = tmp_path / f"bad.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(member, "x")
    else:
        with tarfile.open(path, "w") as packed:
            info = tarfile.TarInfo(member)
            info.size = 1
            packed.addfile(info, io.BytesIO(b"x"))
    out = tmp_path / "in" / "out"
    out.mkdir(parents=True)
    if kind == "tar" and member.startswith("/"):  # made relative, as tar itself does
        unpack(path, out, QUIET)
    else:
        with pytest.raises(DownloadError, match=r"bad\.(zip|tar)"):
            unpack(path, out, QUIET)
    assert not list(tmp_path.glob("**/evil.txt")) or (out / "evil.txt").is_file()
    assert not Path("/evil.txt").exists()


def test_a_zip_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("Set/a b.txt", "x")
    unpack(tmp_path / "a.zip", tmp_path, QUIET)
    assert (tmp_path / "Set" / "a b.txt").read_text() == "x"
    (tmp_path / "b.zip").write_bytes(b"<html>")
    with pytest.raises(DownloadError, match=r"b\.zip: expected a \.zip or \.tar archive"):
        unpack(tmp_path / "b.zip", tmp_path, QUIET)


def test_what_cannot_be_downloaded_is_explained(tmp_path):
    for name, known in FACTS.items():
        if not known.downloads:
            said = " ".join(get_data(name, tmp_path / "out", QUIET))
            assert known.how in said
            assert known.licence in said
            assert known.dead_link is None or f"Dead: {known.dead_link}" in said
            assert known.unpacks_to in said
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="got 'ped2'"):
        get_data("ped2", tmp_path, QUIET)


def test_every_data_set_has_its_facts():
    for name, known in FACTS.items():
        assert known.name == name
        assert (known.link == "direct") == bool(known.downloads)
        assert all([known.title, known.how, known.licence, known.checked])
        assert known.link == "none" or (known.address.startswith("http") and known.citation and known.unpacks_to)
        for download in known.downloads:
            kind, _, digest = (download.checksum or "md5:" + "0" * 32).partition(":")
            assert len(digest) == 2 * hashlib.new(kind).digest_size


def test_the_list_is_for_people_and_programs(capsys):
    print_data_sets()
    table = capsys.readouterr().out
    assert all(name in table and known.address in table for name, known in FACTS.items())
    assert all(f"unpacks to: {known.unpacks_to}\n" in table for known in FACTS.values() if known.address)
    print_data_sets(json_=True)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["ucsd-ped2"]["num_test_frames"] == 2010
    assert set(rows) == set(DATASETS)


def test_a_report_is_for_people_and_programs(capsys):
    findings = [
        Finding("duplicate", "test/[a]", "every frame is that of train/b"),
        Finding("wholly anomalous", "test/c", "all frames are labelled anomalous"),
    ]
    report = CheckReport("folder", "/data", {"train": 1, "test": 2}, {"train": 1000, "test": 20}, findings)
    print_report(report)
    text = capsys.readouterr().out
    assert "fault test/[a]: duplicate: every frame is that of train/b" in text
    assert "1 train videos (1,000 frames), 2 test videos (20 frames)" in text
    assert text.endswith("1 fault, 1 note\n")
    print_report(report, json_=True)
    assert [row["severity"] for row in json.loads(capsys.readouterr().out)] == ["fault", "note"]
