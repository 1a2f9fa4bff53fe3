"""Names from outside: paths that people give, the output files of a video of any name, text that is safe to show."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path

from mulde.errors import MuldeError, UsageError

MAX_NAME_BYTES = 255
"""Of one name, on the file systems of Linux, macOS and Windows."""
_MAX_STEM_BYTES = MAX_NAME_BYTES - len(".parquet")
"""The longest suffix that is used, so that all files of a video have the same stem."""
_MAX_TREE_BYTES = 2048
"""Of a video's name with its folders; whole paths may have 4096."""
_CUT = re.compile(r"~[0-9a-f]{8}$")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WRITTEN_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")
_OUTPUTS = (".parquet", ".csv", ".json", ".npy", ".png", ".jpg", ".mp4")


def user_path(text: str | Path) -> Path:
    """The path that a person or a file of ours means: `~` and `~user` are expanded, bytes that are written as `\\xe9`
    are found where a path has them. Variables are the shell's affair.

    Raises UsageError for a text that cannot be a path: empty, an unknown user, a variable that the shell left.
    """
    text = os.fspath(text)
    if not text or "\0" in text:
        raise UsageError("path", expected="the name of a file or folder", got="nothing" if not text else repr(text))
    path = Path(text)
    first = path.parts[0] if path.parts else ""  # "."
    if first.startswith("~") and not os.path.lexists(first):
        try:
            return path.expanduser()
        except RuntimeError:
            raise UsageError(
                f"path {text}", expected="~ or ~user", got="no such user", hint=f"write ./{text}"
            ) from None
    for part in path.parts:
        named = _VARIABLE.search(part)
        if named and (named[1] or named[2]) in os.environ and not os.path.lexists(part):
            raise UsageError(
                f"path {text}", expected="a path, in which variables are not expanded", got=named[0],
                hint="put it in double quotes, or write it out",
            )  # fmt: skip
    return path if os.path.lexists(path) else on_disk(path)


def on_disk(path: Path) -> Path:
    """The path that `valid_text` wrote as `path`, if it exists."""
    raw = _WRITTEN_BYTE.sub(lambda match: bytes([int(match[1], 16)]), os.fsencode(path))
    return Path(os.fsdecode(raw)) if os.path.lexists(raw) else path


def valid_text(name: str) -> str:
    """A name from the file system as valid Unicode: bytes that are not UTF-8 as `\\xe9`."""
    return _SURROGATE.sub(lambda match: _shown(match[0]), name)


def json_text(text: str) -> str:
    """`valid_text` of a whole JSON document."""
    return _SURROGATE.sub(lambda match: _shown(match[0]).replace("\\", "\\\\"), text)


def printable(text: object) -> str:
    """Text that can be shown: control, escape and direction characters as `\\x1b`, bytes that are not UTF-8 too."""
    return "".join(map(_shown, str(text)))


def shown(value: object) -> object:
    """A value as a page shows it: text of several lines of which each is `printable`; what is markup stays."""
    if type(value) is not str:
        return value
    return "\n".join(map(printable, value.split("\n")))


def _shown(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _BIDI:
        return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"
    return char


def output_path(folder: Path, video_name: str, suffix: str = "") -> Path:
    """The file, or without `suffix` the folder, for a video of any name below `folder`: `<folder>/<name><suffix>`.

    Folders in the name stay. What is too long for a file system is cut and gets a digest, so that no two names share a
    path; bytes that are not UTF-8 are escaped. Raises MuldeError for a name that would leave the folder.
    """
    name = valid_text(video_name)
    parts = name.split("/")
    if not name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise MuldeError("name of a video", expected="one that stays in its folder", got=repr(video_name))
    if len(name.encode()) > _MAX_TREE_BYTES:
        return folder / (_cut(parts[-1], name) + suffix)
    parts = [_fitting(part) for part in parts]
    parents = [_cut(part) if part.endswith(_OUTPUTS) else part for part in parts[:-1]]  # else the file of another video
    return folder.joinpath(*parents, parts[-1] + suffix)


def _fitting(part: str) -> str:
    """A name that is short enough, not hidden, and different from every name that was changed here."""
    as_it_is = len(part.encode()) <= _MAX_STEM_BYTES and not part.startswith(".") and not _CUT.search(part)
    return part if as_it_is else _cut(part)


def _cut(part: str, whole: str = "") -> str:
    digest = hashlib.sha256((whole or part).encode()).hexdigest()[:8]
    start = f"_{part[1:]}" if part.startswith(".") else part
    return f"{start.encode()[: _MAX_STEM_BYTES - 9].decode('utf-8', 'ignore')}~{digest}"
