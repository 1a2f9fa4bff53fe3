"""What `mulde data` prints on standard output: tables and findings for a person, JSON for a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table

from mulde.console import output, print_json
from mulde.datasets.facts import Facts
from mulde.datasets.registry import DATASETS, find_dataset
from mulde.pipeline.data_check.findings import FAULT, CheckReport

_WIDTH = 160
_SHOWN = {"direct": "mulde data get", "by hand": "by hand", "none": ""}


def print_data_sets(*, json_: bool = False) -> None:
    """The supported data sets: contents, size, address, how to get them."""
    data_sets = [find_dataset(name).facts for name in DATASETS]
    if json_:
        print_json([asdict(facts) for facts in data_sets])
        return
    console = output(_WIDTH)
    table = Table("name", "data set")
    for name in ("train videos", "test videos", "train frames", "test frames", "GB"):
        table.add_column(name, justify="right")
    table.add_column("how to get it")
    for facts in data_sets:
        table.add_row(facts.name, facts.title, *_numbers(facts), _SHOWN[facts.link])
    console.print(table)
    for facts in data_sets:
        if facts.address:
            lines = [
                facts.address,
                *([f"dead link: {facts.dead_link}"] if facts.dead_link else []),
                facts.how,
                f"unpacks to: {facts.unpacks_to}",
                f"licence: {facts.licence}",
                f"cite: {facts.citation}",
                f"checked: {facts.checked}",
            ]
            for line in (facts.name, *(f"  {line}" for line in lines)):
                console.print(line, soft_wrap=True)


def print_report(report: CheckReport, *, json_: bool = False) -> None:
    """The findings of a check, faults first, each with what to do."""
    if json_:
        print_json([finding.as_json() for finding in report.findings])
        return
    console = output(_WIDTH)
    advised: set[str] = set()
    for finding in report.findings:
        style = "red" if finding.severity == FAULT else "dim"
        place = f"{finding.video}: " if finding.video else ""
        console.print(finding.severity, style=style, end=" ")
        console.print(f"{place}{finding.kind}: {finding.what}", soft_wrap=True)
        if finding.kind not in advised:
            advised.add(finding.kind)
            console.print(f"      to do: {finding.advice}", soft_wrap=True)
    videos = ", ".join(
        f"{count} {split} videos ({report.num_frames.get(split, 0):,} frames)"
        for split, count in report.num_videos.items()
    )
    notes = len(report.findings) - len(report.faults)
    console.print(f"{report.dataset} in {report.root}: {videos or 'no video could be opened'}", soft_wrap=True)
    console.print(f"{_counted(len(report.faults), 'fault')}, {_counted(notes, 'note')}")


def print_sentences(sentences: Sequence[str]) -> None:
    console = output(_WIDTH)
    for sentence in sentences:
        console.print(sentence, soft_wrap=True)


def _numbers(facts: Facts) -> list[str]:
    counts = (facts.num_train_videos, facts.num_test_videos, facts.num_train_frames, facts.num_test_frames)
    unknown = "" if facts.link == "none" else "?"
    size = unknown if facts.size_bytes is None else f"{facts.size_bytes / 1e9:,.1f}"
    return [*(unknown if count is None else f"{count:,}" for count in counts), size]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
