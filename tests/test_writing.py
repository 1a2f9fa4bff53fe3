"""Files that appear whole or not at all, and exceptions that become sentences.

Relatives looked for: a parent that is a file, a folder in the place of the file, no right to write, a full disk before,
while and after the writer runs, a limit on the size of files, a writer that makes its file anew, a killed writer.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys

import pytest

from mulde import files
from mulde.errors import FileError, MuldeError, first_line, sentence
from mulde.files import atomic_write, write_text


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "deep" / "a.txt"

    def fail():
        with atomic_write(path) as partial:
            partial.write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert not list(path.parent.iterdir())
    write_text(path, "é")
    assert path.read_bytes() == "é".encode()
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_file_has_the_rights_of_the_umask_however_it_is_written(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.txt") as partial:
            partial.unlink()
            os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("length", [200, 247, 255])
def test_a_name_of_full_length_can_be_written(tmp_path, length):
    write_text(tmp_path / ("x" * (length - 5) + ".json"), "{}")


def test_what_lies_in_the_way_is_named(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"out cannot be written: expected the name of a file, got a folder"):
        write_text(tmp_path / "out", "x")
    with pytest.raises(FileError, match=r"a\.csv cannot be written: expected a folder, got the file .*/file$"):
        write_text(tmp_path / "file" / "deep" / "a.csv", "x")


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("when", ["open", "write", "replace"])
def test_a_disk_that_takes_no_more_is_said_with_the_path(tmp_path, monkeypatch, code, when):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    if when != "write":
        monkeypatch.setattr(files.os, when, refuse)
    with pytest.raises(FileError) as caught, atomic_write(tmp_path / "a.csv"):
        refuse()
    assert str(caught.value).startswith(f"{tmp_path / 'a.csv'} cannot be written: {os.strerror(code)}")
    assert caught.value.errno == code
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_a_limit_on_the_size_of_files_is_said(tmp_path):
    code = """
import resource, signal, sys
from pathlib import Path
from mulde.files import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_bytes(Path(sys.argv[1]), bytes(20_000))
except Exception as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True)
    assert found.stdout.startswith(f"{tmp_path / 'a'} cannot be written: {os.strerror(errno.EFBIG)}"), found.stderr
    assert not list(tmp_path.iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 10_000


def test_what_a_killed_writer_left_goes_with_the_next_file(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from mulde.files import atomic_write
with atomic_write(Path(sys.argv[1])) as partial:
    partial.write_bytes(bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.mp4")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    old, mine = tmp_path / ".mulde-01234567-1-89abcdef.a", tmp_path / ".mulde-nothing"
    new = tmp_path / ".mulde-01234567-2-89abcdef.a"  # of another machine, perhaps at work
    for path in (old, new, mine):
        path.touch()
    os.utime(old, (0, 0))
    with atomic_write(tmp_path / "b.mp4") as other:  # of this process, at work
        files._swept.clear()
        write_text(tmp_path / "c.mp4", "")
        assert {path.name for path in tmp_path.iterdir()} == {new.name, mine.name, other.name, "c.mp4"}


def test_any_exception_is_a_sentence():
    known = MuldeError("as it is")
    assert sentence(known, "x") is known
    for error, says in [
        (OSError(errno.EACCES, "Permission denied", "/a/b"), r"/a/b cannot be read: Permission denied. Try:"),
        (OSError(errno.EIO, "Input/output error"), "v.mp4 cannot be read: Input/output error"),
        (OSError(errno.ENOSPC, "No space left on device"), "v.mp4 cannot be written: No space left on device. Try:"),
        (OSError(errno.EROFS, "x", b"/c"), "/c cannot be written: Read-only file system"),
        (MemoryError(), "v.mp4: not enough memory"),
        (RecursionError("x"), "v.mp4: nested too deep"),
        (ZeroDivisionError("division by zero"), "v.mp4: unexpected ZeroDivisionError: division by zero"),
    ]:
        assert str(sentence(error, "v.mp4")).startswith(says)


@pytest.mark.parametrize(
    ("text", "line"),
    [("one\ntwo", "one"), ("\n  one  \ntwo", "one  "), ("", "ValueError"), ("x" * 1000, "x" * 300 + "...")],
)
def test_of_an_error_the_first_line_is_shown(text, line):
    assert first_line(ValueError(text)) == line
