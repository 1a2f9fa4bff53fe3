"""The page of `mulde tune`: what was chosen, by which figures, on which inserted anomalies. No network, no script."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulde.files import write_text
from mulde.report.evaluation_tables import Table
from mulde.report.plots import Bar, plot_candidates
from mulde.report.templating import render, run_facts

PAGE = "tuning.html"


@dataclass(frozen=True)
class TuningPicture:
    """A JPEG of an inserted anomaly, and what it shows."""

    jpeg: bytes
    text: str


def write_tuning_page(
    folder: Path,
    *,
    title: str,
    subtitle: str,
    remarks: Sequence[str],
    first: Sequence[Table],
    groups: Mapping[str, Sequence[Bar]],
    tables: Sequence[Table],
    pictures: Sequence[TuningPicture],
    record: Mapping[str, Any],
    settings: str,
) -> Path:
    """Write `<folder>/tuning.html`; its path. groups: the candidates of each stage, for the plot; first, tables: before
    and behind it."""
    plot = base64.b64encode(plot_candidates(groups)).decode("ascii") if groups else ""
    page = render(
        "tuning.html",
        title=title,
        subtitle=subtitle,
        remarks=remarks,
        first=first,
        plot=plot,
        plot_text="; ".join(f"{stage}: {len(bars)} candidates" for stage, bars in groups.items()),
        tables=tables,
        pictures=[
            {"jpeg": base64.b64encode(picture.jpeg).decode("ascii"), "text": picture.text} for picture in pictures
        ],
        **run_facts(record, settings),
    )
    write_text(folder / PAGE, page)
    return folder / PAGE
