"""The record of a reproduction as a Markdown page, with nothing that is not in the JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mulde.evaluation.formatting import UNDEFINED, percent, with_spread
from mulde.report.published import CAVEAT

Plain = dict[str, Any]

_PROVENANCE = (
    "videos", "videos_sha256", "labels_sha256", "models_sha256", "made_from", "training", "frames_without_rows",
    "missing_frames", "failed", "versions",
)  # fmt: skip


def to_markdown(record: Plain) -> str:
    """The page: figures, null scores, seeds, published figures, settings, digests, and what is volatile at the end."""
    num_seeds = len(record["seeds"])
    spread = f"mean of {num_seeds} seeds (sample standard deviation)" if num_seeds > 1 else "one seed"
    remarks = sorted({sentence for sentences in record["remarks"].values() for sentence in sentences})
    sections = {
        f"Figures in percent, {spread}": _figures_table(record["figures"])
        + "\n\nThe scores below `mulde` never look at the video.",
        "Remarks": "\n".join(f"- {sentence}" for sentence in remarks),
        "Each seed": _seeds_table(record),
        "Beside published figures": f"{_published_table(record)}\n\n{CAVEAT}",
        "Alarm levels": _alarms_table(record["figures"]),
        "Protocol variant: not comparable": _facts(record["compat"]),
        "More of the evaluation": _facts(record["evaluation"]),
        "Settings that differ from the config": _changes_table(record["settings_changed"]) or "None.",
        "Settings": f"```toml\n{_toml(record['settings'])}```",
        "Digests, counts and versions": _facts({key: record[key] for key in _PROVENANCE}),
        "Volatile: differs between machines and days": _volatile(record["volatile"]),
    }
    title = f"# {record['dataset']}, {record['features']}, seeds {', '.join(map(str, record['seeds']))}"
    return "\n\n".join([title, *(f"## {name}\n\n{text}" for name, text in sections.items() if text)]) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[name.replace("_", " ").replace(" auc", " AUC") for name in header], ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _facts(data: Any) -> str:
    return "\n".join(f"- {path}: {text}" for path, text in leaves(data)) if data else ""


def _figures_table(figures: Plain) -> str:
    columns = list(next(iter(figures.values()))["scores"]["mulde"])
    rows = [
        [
            smoothing if name == "mulde" else "",
            name,
            *(_percent(column, values.get(column)) for column in columns),
        ]
        for smoothing, row in figures.items()
        for name, values in row["scores"].items()
    ]
    return _table(["smoothing", "score", *columns], rows)


def _seeds_table(record: Plain) -> str:
    """The figures of each seed and their intervals; the latter are about videos, not about seeds."""
    first = next(iter(record["figures"].values()))
    columns, intervals = list(first["scores"]["mulde"]), list(first.get("intervals") or {})
    rows = []
    for smoothing, row in record["figures"].items():
        for seed in map(str, record["seeds"]):
            values = [(name, of_seed(row["scores"]["mulde"][name], seed)) for name in columns]
            values += [(name, of_seed(row["intervals"].get(name), seed)) for name in intervals]
            rows.append([smoothing, seed, *(_percent(name, value) for name, value in values)])
    return _table(["smoothing", "seed", *columns, *(f"{name}, 95 % interval" for name in intervals)], rows)


def _published_table(record: Plain) -> str:
    ours = [
        [f"**this run, {smoothing}**", record["features"], _percent("micro_auc", row["scores"]["mulde"]["micro_auc"])]
        for smoothing, row in record["figures"].items()
    ]
    papers = [
        [p["method"], p["kind"] or "", f"{p['micro_auc_percent']:.1f}", p["source"]]
        for p in sorted(record["published"], key=lambda p: -p["micro_auc_percent"])
    ]
    return _table(["method", "features", "micro AUC %", "source"], [*([*row, ""] for row in ours), *papers])


def _alarms_table(figures: Plain) -> str:
    levels = [
        [(smoothing, name, level) for name, level in row["alarms"].items() if isinstance(level, Mapping)]
        for smoothing, row in figures.items()
        if isinstance(row.get("alarms"), Mapping)
    ]
    rows = [entry for entries in levels for entry in entries]
    if not rows:
        return ""
    columns = [name for name in rows[0][2] if name != "name"]
    cells = [[smoothing, name, *(_text(level.get(column)) for column in columns)] for smoothing, name, level in rows]
    return _table(["smoothing", "level", *("score" if c == "level" else c for c in columns)], cells)


def _changes_table(changed: Plain) -> str:
    rows = [[key, _text(change["config"]), _text(change["here"])] for key, change in changed.items()]
    return _table(["setting", "config", "here"], rows) if rows else ""


def _volatile(facts: Plain) -> str:
    stages = list(dict.fromkeys(stage for run in facts["runs"].values() for stage in run["wall_time_s"]))
    times = [
        [seed, *(f"{run['wall_time_s'][stage]:.1f}" if stage in run["wall_time_s"] else "-" for stage in stages)]
        for seed, run in facts["runs"].items()
    ]
    runs = {seed: {key: run[key] for key in run if key != "wall_time_s"} for seed, run in facts["runs"].items()}
    table = _table(["seed", *(f"{stage}, s" for stage in stages)], times)
    caption = "Wall time; `extract` computes what is not in the store yet, which is nothing once one seed is through."
    return f"{caption}\n\n{table}\n\n{_facts({**facts, 'runs': runs})}"


def of_seed(value: Any, seed: str) -> Any:
    """The value of one seed, where seeds differ."""
    return value["seeds"].get(seed) if isinstance(value, Mapping) and "seeds" in value else value


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of plain data as its dotted path and its text; a mean with its spread is one leaf."""
    if isinstance(value, Mapping) and value and "mean" not in value:
        of_seeds = value["seeds"] if value.keys() == {"seeds"} else value
        for key in sorted(of_seeds):
            yield from leaves(of_seeds[key], f"{path}.{key}" if path else str(key))
    else:
        yield path, _text(value)


def _percent(name: str, value: Any) -> str:
    """A share as percent with two digits; counts (`num_...`) as they are."""
    if isinstance(value, Mapping):
        return with_spread(value["mean"], value["std"] or None, lambda number: _percent(name, number))
    if isinstance(value, list):
        return " to ".join(_percent(name, entry) for entry in value)
    return f"{value:g}" if name.startswith("num_") and value is not None else percent(value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping) and "mean" in value:
        return with_spread(value["mean"], value["std"] or None, _text)
    if isinstance(value, Mapping) and value:
        return ", ".join(f"{name} {_text(entry)}" for name, entry in sorted(value.items()))
    if isinstance(value, float):
        return f"{value:.4f}"
    if value is None:
        return UNDEFINED
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _toml(settings: Plain) -> str:
    import tomli_w

    return tomli_w.dumps({key: settings[key] for key in sorted(settings)})
