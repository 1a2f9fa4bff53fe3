"""What there is to know of a data set before it is opened: where it is, how large, under what licence, who opens it.

None stands for what is not known with certainty. `checked` says what the facts rest on: they were read in November 2026
in published scripts, papers and tables. No address was opened, so a link may be dead without being marked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mulde.datasets.base import Dataset


@dataclass(frozen=True)
class Download:
    """A file that can be had without asking anybody. `checksum` is "md5:..." or "sha256:..." of the file."""

    address: str
    size_bytes: int | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Facts:
    """A data set by the name it is opened with. Frames and videos are those of its publication.

    `link` is "direct" (the files of `downloads`), "by hand" (a page, form or cloud drive: `how` says what to do) or
    "none" (nothing to obtain). `unpacks_to` is what unpacking makes. `one_size_hw` is given where all frames are of one
    size, `exact` where a whole copy has exactly these numbers of frames, however it is decoded.
    """

    name: str
    title: str
    address: str
    link: str
    how: str
    licence: str
    citation: str
    checked: str
    size_bytes: int | None = None
    dead_link: str | None = None
    downloads: tuple[Download, ...] = ()
    num_train_videos: int | None = None
    num_test_videos: int | None = None
    num_train_frames: int | None = None
    num_test_frames: int | None = None
    one_size_hw: tuple[int, int] | None = None
    exact: bool = False
    unpacks_to: str = ""


@dataclass(frozen=True)
class DatasetSpec:
    """What a line of the registry names: the facts of a data set, and `open`, which finds it in a folder.

    `open` lists folders but reads no label files, and raises UsageError for a folder without the data set. `config` is
    the name of its pinned settings where that is not its own name. `is_own_footage`: its videos are known by the name
    of the folder that was opened.
    """

    facts: Facts
    open: Callable[[Path], Dataset]
    config: str = ""
    is_own_footage: bool = False

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def config_name(self) -> str:
        return self.config or self.name
