"""`mulde data get`: downloads a data set where its files lie open, and says what to do where they do not."""

from __future__ import annotations

import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mulde.datasets.facts import Download, Facts
from mulde.datasets.registry import find_dataset
from mulde.digests import file_digest
from mulde.errors import MuldeError
from mulde.progress import Reporter

TIMEOUT_S = 60
_BLOCK_BYTES = 2**20
_SPARE_BYTES = 2**26


class DownloadError(MuldeError):
    """A file that cannot be had, or is not what it should be."""


def get_data(name: str, out: Path, reporter: Reporter) -> list[str]:
    """Download and unpack a data set into `out`; returns what there is to say, as sentences.

    Where there is no open address, nothing is downloaded and the sentences say how to obtain it. What was downloaded
    before is kept and gone on with. Raises UsageError for an unknown name, DownloadError for what fails.
    """
    known = find_dataset(name).facts
    if not known.downloads:
        return instructions(known)
    reporter.say(f"{known.title}: {known.licence}. Cite {known.citation}.")
    for download in known.downloads:
        archive = fetch(download, out, reporter)
        unpack(archive, out, reporter)
    return [
        f"{known.title} lies in {out}; next: mulde data check {name}:{out}",
        *([f"Unpacked to: {known.unpacks_to}"] if known.unpacks_to else []),
        "The archives are kept there; delete them when all is well.",
    ]


def instructions(known: Facts) -> list[str]:
    """What a person does to obtain a data set, in sentences."""
    sentences = [f"{known.title}: there is nothing to download automatically."] if known.link == "by hand" else []
    sentences += [f"Page: {known.address}"] if known.address else []
    sentences += [known.how]
    if known.unpacks_to:
        sentences += [f"Unpacks to: {known.unpacks_to}"]
        sentences += [f"Next: mulde data check {known.name}:FOLDER, with one of these or the folder that holds them"]
    sentences += [f"Dead: {known.dead_link}"] if known.dead_link else []
    sentences += [f"Size: about {known.size_bytes / 1e9:.1f} GB"] if known.size_bytes else []
    sentences += [f"Licence: {known.licence}"]
    sentences += [f"Cite: {known.citation}"] if known.citation else []
    return sentences


def fetch(download: Download, out: Path, reporter: Reporter) -> Path:
    """The file of a download in `out`, whole and with its checksum compared; a part from before is gone on with.

    Raises DownloadError for a dead link, no network, too little space, or another checksum.
    """
    path = out / unquote(urlsplit(download.address).path.rsplit("/", 1)[-1])
    out.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        part = path.with_name(f"{path.name}.part")
        _transfer(download, part, reporter)
        _compare(download, part, reporter)
        part.rename(path)
    else:
        reporter.say(f"{path} is there already")
        _compare(download, path, reporter)
    return path


def _transfer(download: Download, part: Path, reporter: Reporter) -> None:
    have = part.stat().st_size if part.exists() else 0
    with _open(download, have) as answer:
        if answer is None:  # the part is the whole file
            return
        if answer.status != 206:  # the server sends all of it again
            have = 0
        length = answer.headers.get("Content-Length")
        left = int(length) if length is not None else None
        _check_space(part.parent, left or max(0, (download.size_bytes or 0) - have), download)
        total = None if left is None else (have + left) / 1e6
        with part.open("ab" if have else "wb") as file, reporter.bar(part.stem, total, "MB") as advance:
            advance(have / 1e6)
            received = 0
            for block in _blocks(answer, download):
                file.write(block)
                received += len(block)
                advance(len(block) / 1e6)
    if left is not None and received < left:
        raise DownloadError(
            f"{download.address} broke off", expected=f"{left:,} bytes", got=f"{received:,}", hint=_AGAIN
        )


_AGAIN = "the same command again; it goes on where it stopped"


def _blocks(answer: HTTPResponse, download: Download) -> Iterator[bytes]:
    try:
        while block := answer.read(_BLOCK_BYTES):
            yield block
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{download.address} broke off", got=str(error), hint=_AGAIN) from None


@contextmanager
def _open(download: Download, start: int) -> Iterator[HTTPResponse | None]:
    """The answer to a request from byte `start` on; None where there is nothing behind it."""
    request = urllib.request.Request(download.address, headers={"User-Agent": "mulde"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            whole = error.headers.get("Content-Range", "").rpartition("/")[2]
            if error.code == 416 and whole == str(start):
                yield None
                return
        dead = "the link is dead" if error.code in (404, 410) else "the server refuses"
        raise DownloadError(
            f"{dead}: {download.address}", got=f"{error.code} {error.reason}", hint=_ELSEWHERE
        ) from None
    except (urllib.error.URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"no connection to {download.address}", got=str(reason), hint=_NETWORK) from None
    with answer:
        yield answer


_ELSEWHERE = "the page of the data set (mulde data list); put the file into --out under the same name"
_NETWORK = "again with a network; or fetch the file elsewhere and put it into --out under the same name"


def _check_space(folder: Path, needed_bytes: int, download: Download) -> None:
    free = shutil.disk_usage(folder).free
    if needed_bytes + _SPARE_BYTES > free:
        raise DownloadError(
            f"too little space in {folder} for {download.address}",
            expected=f"{(needed_bytes + _SPARE_BYTES) / 1e6:,.0f} MB",
            got=f"{free / 1e6:,.0f} MB",
            hint="--out on another disk",
        )


def _compare(download: Download, path: Path, reporter: Reporter) -> None:
    """Compare the checksum; a file that differs is put aside, so that the next try starts over."""
    if download.checksum is None:
        reporter.warn(f"{path.name}: no checksum is published, so it was not compared")
        return
    kind, _, expected = download.checksum.partition(":")
    got = file_digest(path, kind)
    if got != expected:
        bad = path.with_name(f"{path.name.removesuffix('.part')}.bad")
        path.replace(bad)
        raise DownloadError(
            f"{path.name.removesuffix('.part')} is damaged or another version ({kind}); it is kept as {bad.name}",
            expected=expected,
            got=got,
            hint="the same command again, which downloads it from the start",
        )


def unpack(archive: Path, out: Path, reporter: Reporter) -> None:
    """Unpack a .zip or .tar (compressed or not) into `out`. Raises DownloadError for members that lead out of it."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                _check_space(out, sum(info.file_size for info in packed.infolist()), Download(archive.name))
                members = packed.infolist()
                with reporter.bar(f"unpack {archive.name}", len(members), "files") as advance:
                    for info in members:
                        _check_inside(archive, info.filename, out)
                        packed.extract(info, out)
                        advance(1)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as packed_tar, reporter.bar(f"unpack {archive.name}", None, "files") as advance:
                for member in packed_tar:
                    packed_tar.extract(member, out, filter="data")
                    advance(1)
        else:
            raise DownloadError(f"{archive.name}", expected="a .zip or .tar archive", got="something else")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DownloadError(
            f"{archive.name} cannot be unpacked", got=str(error), hint="delete it and try again"
        ) from None


def _check_inside(archive: Path, member: str, out: Path) -> None:
    if not (out / member).resolve().is_relative_to(out.resolve()):
        raise DownloadError(f"{archive.name} holds a file that leads out of {out}", got=repr(member))
