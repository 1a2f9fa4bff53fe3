"""Files: written atomically, and read within bounds, so that no file can block the program or fill its memory."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import socket
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from mulde.errors import FileError, MuldeError, cannot
from mulde.names import MAX_NAME_BYTES, json_text, valid_text

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MAX_BYTES = 2**24
"""Of a file that is read whole, unless its reader says otherwise."""
_MAX_VALUES, MAX_DEPTH, _MAX_DIGITS = 2**23, 64, 40
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_PARTIAL = re.compile(r"\.mulde-[0-9a-f]{8}-(?P<pid>\d+)-(?P<place>[0-9a-f]{8})\..*", re.DOTALL)
_PARTIAL_TABLE = re.compile(r"\..+\.parquet\.(?P<host>.+)\.(?P<pid>\d+)\.[0-9a-f]{8}", re.DOTALL)
"""As version 0.1 named the tables of a store while it wrote them."""
_DAY_S = 86_400


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path, with the suffix of `path`, that replaces `path` when the block succeeds.

    The temporary file is removed when the block fails. Raises FileError, which names `path`, where it cannot be
    written.
    """
    partial = _begin(path)
    _active.add(partial)
    try:
        mode = stat.S_IMODE(partial.stat().st_mode)
        yield partial
        if stat.S_IMODE(partial.stat().st_mode) != mode:  # the writer created the file again
            partial.chmod(mode)
        os.replace(partial, path)
    except OSError as error:
        named = error.filename is None or Path(os.fsdecode(error.filename)).name == partial.name
        if isinstance(error, MuldeError) or not named:  # of something that was read meanwhile
            raise
        raise cannot("written", path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        _active.discard(partial)


_active: set[Path] = set()
_swept: set[tuple[int, Path]] = set()


def _begin(path: Path) -> Path:
    """An empty file beside `path`, whose name tells which process writes it."""
    head = f".mulde-{uuid.uuid4().hex[:8]}-{os.getpid()}-{_place()}."
    tail = path.name.encode("utf-8", "surrogateescape")[-(MAX_NAME_BYTES - len(head)) :]
    partial = path.with_name(head + tail.decode("utf-8", "ignore"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise FileError(f"{path} cannot be written", expected="the name of a file", got="a folder")
        _sweep(path.parent)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except (FileExistsError, NotADirectoryError):
        in_the_way = next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), path.parent)
        raise FileError(f"{path} cannot be written", expected="a folder", got=f"the file {in_the_way}") from None
    except MuldeError:
        raise
    except OSError as error:
        raise cannot("written", path, error) from error
    return partial


def _place() -> str:
    """Identifies the machine and container, within which process ids are unique."""
    with suppress(OSError):
        return hashlib.sha256(f"{socket.gethostname()}{os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:8]
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _sweep(folder: Path) -> None:
    """Once per process and folder, delete the partial files of processes that no longer run."""
    key = (os.getpid(), folder.absolute())
    if key in _swept:
        return
    _swept.add(key)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _is_left_over(Path(entry.path)):
                Path(entry.path).unlink(missing_ok=True)


def _is_left_over(path: Path) -> bool:
    if match := _PARTIAL_TABLE.fullmatch(path.name):
        return match["host"] == socket.gethostname() and not is_alive(int(match["pid"]))
    match = _PARTIAL.fullmatch(path.name)
    if match is None:
        return False
    if match["place"] == _place():
        pid = int(match["pid"])
        return path not in _active if pid == os.getpid() else not is_alive(pid)
    return time.time() - path.lstat().st_mtime > _DAY_S  # of another machine or container: nothing was written since


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def write_bytes(path: Path, content: bytes) -> None:
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file, whole or not at all."""
    import numpy as np
    from safetensors.numpy import save

    # The library writes memory as it lies there, so that a transposed array would come back as another one.
    write_bytes(path, save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata))


def write_text(path: Path, text: str) -> None:
    """UTF-8; bytes of names that are not UTF-8 as `\\xe9`."""
    write_bytes(path, valid_text(text).encode())


def write_json(path: Path, data: object) -> None:
    """UTF-8; bytes of names that are not UTF-8 as `\\xe9`, which `user_path` finds again."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, json_text(text).encode())


def read_bytes(path: Path, *, max_bytes: int = MAX_BYTES, error: type[MuldeError] = MuldeError) -> bytes:
    """The content of a regular file.

    Raises `error` for anything else (a folder, a pipe, a device), without waiting for it, and for a file of more than
    `max_bytes`.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(number)
            data = _read(number, max_bytes + 1) if stat.S_ISREG(status.st_mode) else None
        finally:
            os.close(number)
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the path
        raise error(f"{path} cannot be read ({getattr(problem, 'strerror', None) or problem})") from None
    if data is None:
        raise error(f"{path} cannot be read", expected="a file", got=file_kind(status.st_mode))
    if len(data) > max_bytes:
        raise error(f"{path} is too large to read", expected=f"at most {max_bytes:,} bytes")
    return data


def _read(number: int, size: int) -> bytes:
    with os.fdopen(number, "rb", closefd=False) as file:
        return file.read(size)


def file_kind(mode: int) -> str:
    """The kind of something that is no regular file, in words, from its mode."""
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for test, name in kinds.items() if test(mode)), "a device")


def read_text(path: Path, *, max_bytes: int = MAX_BYTES, error: type[MuldeError] = MuldeError) -> str:
    """The text of a file in UTF-8, or UTF-16 where its first two bytes say so.

    Raises `error` like `read_bytes`, and for text in neither encoding or with a NUL.
    """
    data = read_bytes(path, max_bytes=max_bytes, error=error)
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not text", expected="UTF-8", got=f"{problem.reason} at byte {problem.start}") from None
    if "\0" in text:
        raise error(f"{path} is not text", expected="UTF-8", got=f"a NUL at character {text.index(chr(0))}")
    return text


def read_json(
    path: Path, *, max_bytes: int = MAX_BYTES, allow_nan: bool = False, error: type[MuldeError] = MuldeError
) -> Any:
    """The data of a JSON file. Raises `error` for a file that cannot be read, and like `parse_json`."""
    return parse_json(read_text(path, max_bytes=max_bytes, error=error), str(path), allow_nan=allow_nan, error=error)


def parse_json(text: str, name: str, *, allow_nan: bool = False, error: type[MuldeError] = MuldeError) -> Any:
    """The data of JSON text.

    Raises `error`, with `name` in its sentence, for text that is not JSON, is nested more than 64 deep, or holds more
    than 8 million values, a number that is not finite (unless `allow_nan`) or one of more than 40 digits.
    """
    if sum(map(text.count, "[{,")) > _MAX_VALUES:
        raise error(f"{name} is too large to read", expected=f"at most {_MAX_VALUES:,} values")
    try:
        data = json.loads(
            text,
            parse_constant=None if allow_nan else _refuse_constant,
            parse_float=float if allow_nan else _finite,
            parse_int=_short_int,
        )
        if re.search(r"\\u[dD][89a-fA-F]", text):  # half of a pair cannot be written again
            json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise error(f"{name} is not JSON (half of a surrogate pair)") from None
    except RecursionError:
        raise error(f"{name} is nested too deep", expected=f"at most {MAX_DEPTH} levels") from None
    except ValueError as problem:
        raise error(f"{name} is not JSON ({problem})") from None
    if is_deep(data):
        raise error(f"{name} is nested too deep", expected=f"at most {MAX_DEPTH} levels")
    return data


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large for a number")
    return value


def _short_int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def is_deep(data: object) -> bool:
    """Whether lists and tables are nested more than MAX_DEPTH deep, so that a recursive walk could fail."""
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def whole_number(text: str) -> int:
    """A cell as a whole number. Raises ValueError for anything else, and for more than 18 digits."""
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text):
        raise ValueError(f"{text[:30]!r} is not a whole number")
    return int(text)


def csv_cell(text: str) -> str:
    """The text as a CSV cell: with an apostrophe before what a spreadsheet would run as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def cell_text(cell: str) -> str:
    """The text from which `csv_cell` made a cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def write_csv(frame: pd.DataFrame, path: Path, *, float_format: str | None = None) -> None:
    """Write a table in which a spreadsheet finds no formula in any cell or heading; numbers are unchanged."""
    safe = frame.copy(deep=False)
    safe.columns = [csv_cell(str(name)) for name in frame.columns]
    texts = []
    for i, kind in enumerate(frame.dtypes):
        if kind.kind == "O":  # text among others
            texts.append([csv_cell(cell) if isinstance(cell, str) else cell for cell in frame.iloc[:, i]])
            safe.isetitem(i, texts[-1])
    breaks = any(isinstance(cell, str) and "\r" in cell for cell in (*safe.columns, *chain(*texts)))
    quoting: Literal[0, 2] = (
        csv.QUOTE_NONNUMERIC if breaks else csv.QUOTE_MINIMAL
    )  # pandas quotes no lone carriage return by itself
    with atomic_write(path) as partial:
        safe.to_csv(
            partial,
            index=False,
            float_format=float_format,
            quoting=quoting,
            encoding="utf-8",
            errors="backslashreplace",
        )


@dataclass(frozen=True)
class CsvTable:
    """A table in text. columns: the headings. rows: the cells of each row by heading, with the line where the row ends,
    from 1; empty rows are left out, and missing cells are empty."""

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]


def read_csv(path: Path, *, max_bytes: int = 2**26, error: type[MuldeError] = MuldeError) -> CsvTable:
    """Read a table in text, written by `write_csv`, a spreadsheet or a person.

    The separator is the comma, or the semicolon or tab where the headings have no comma. Raises `error` for a file that
    cannot be read, is not CSV, names a column twice or has a row with too many cells.
    """
    text = read_text(path, max_bytes=max_bytes, error=error)
    if sum(map(text.count, ",;\t\n\r")) > _MAX_VALUES:
        raise error(f"{path} is too large to read", expected=f"at most {_MAX_VALUES:,} cells")
    head = text.lstrip("\r\n").partition("\n")[0]
    separator = next((sign for sign in ",;\t" if sign in head), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        lines = [(reader.line_num, [cell_text(cell) for cell in cells]) for cells in reader if any(cells)]
    except csv.Error as problem:
        raise error(f"{path}, line {reader.line_num}: not CSV ({problem})") from None
    if not lines:
        return CsvTable((), ())
    columns = tuple(cell.strip() for cell in lines[0][1])
    if doubled := {name for name in columns if name and columns.count(name) > 1}:
        raise error(f"{path}: two columns {sorted(doubled)[0]!r}", expected="each column once")
    for number, cells in lines[1:]:
        if any(cells[len(columns) :]):
            raise error(f"{path}, line {number}", expected=f"{len(columns)} cells", got=len(cells))
    return CsvTable(columns, tuple((number, _row(columns, cells)) for number, cells in lines[1:]))


def _row(columns: tuple[str, ...], cells: list[str]) -> dict[str, str]:
    return {name: cells[i] if i < len(cells) else "" for i, name in enumerate(columns)}
