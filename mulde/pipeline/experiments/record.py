"""The record of a reproduction, built from the run folders of its seeds.

What two people should have in common comes first, keys sorted, figures with a fixed number of digits. What differs from
one machine or day to the next stands in `volatile`, at the end.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mulde.config import Settings
from mulde.datasets.sources import open_source
from mulde.digests import file_digest, fingerprint
from mulde.errors import Failure, MuldeError
from mulde.evaluation.metrics import mean_and_std
from mulde.evaluation.protocol import evaluate_tracks
from mulde.evaluation.smoothing import Smoothing
from mulde.nested import differences, leaves, with_values
from mulde.pipeline.evaluation.labels import labelled_dataset, read_labels
from mulde.pipeline.run_folder import METRICS, RECORD, RunRecord, check_metrics, read_record
from mulde.pipeline.scoring.frames import read_scores
from mulde.records import LabelTrack, ScoredVideo
from mulde.report.published import PUBLISHED
from mulde.typed import Count, FileModel, Positive, known_fields, read_typed, validated

SCHEMA_VERSION = 1
_DIGITS = 6
Plain = dict[str, Any]
_ScoredAndLabelled = tuple[dict[str, ScoredVideo], dict[str, LabelTrack]]


@dataclass(frozen=True)
class Reproduction:
    """What was asked for and where it lies. digests: split -> video -> digest of its content; folders: by seed."""

    name: str
    source: str
    out: Path
    pinned: Settings
    settings: Settings
    digests: Mapping[str, Mapping[str, str]]
    folders: Mapping[int, Path]
    failures: Sequence[Failure]
    device: str
    compat: str | None = None


def build_record(done: Reproduction) -> Plain:
    """The record, from the files of the run folders. Raises MuldeError where a seed has no figures."""
    runs = {seed: _read_run(folder) for seed, folder in done.folders.items()}
    metrics = [_read_metrics(folder) for folder in done.folders.values()]
    first = next(iter(runs.values()))
    seeds, scored = list(done.folders), [_read_scores(done, folder) for folder in done.folders.values()]
    return {
        "schema": SCHEMA_VERSION,
        "dataset": done.name,
        "features": "object-centric" if first.made_from["regions"] else "frame-centric",
        "seeds": seeds,
        "figures": _figures(seeds, metrics),
        "evaluation": {
            key: across(seeds, [of_seed.get(key) for of_seed in metrics])
            for key in metrics[0]
            if key not in ("rows", "remarks", "method", "without_skipped")
        },
        "compat": None
        if done.compat is None
        else across(seeds, [_variant(of_seed, done.compat) for of_seed in scored]),
        "remarks": {str(seed): of_seed["remarks"] for seed, of_seed in zip(seeds, metrics, strict=True)},
        "published": [asdict(figure) for figure in PUBLISHED.get(done.name, ())],
        "videos": {split: len(videos) for split, videos in done.digests.items()},
        "videos_sha256": fingerprint(done.digests),
        "labels_sha256": _labels_digest(scored[0]),
        "missing_frames": first.missing_frames,
        "frames_without_rows": sum(first.frames_without_rows.values()),
        "failed": sorted(failure.video for failure in done.failures),
        "settings": portable(done.settings),
        "settings_changed": changed_settings(portable(done.pinned), portable(done.settings)),
        "made_from": first.made_from,
        "training": {str(seed): _training(run.training) for seed, run in runs.items()},
        "models_sha256": {str(seed): _learnt_digest(f / "model.safetensors") for seed, f in done.folders.items()},
        "versions": {"mulde": first.mulde, **first.versions},
        "volatile": _volatile(done, runs),
    }


class _StreamCounts(FileModel):
    rows: list[Count]
    heldout_rows: list[Count]
    columns: Count


class _Training(FileModel):
    heldout: list[list[str]]
    streams: dict[str, _StreamCounts]


class _SeedRun(RunRecord):
    """What a record of a reproduction takes from the run.json of a seed; all of it is there."""

    mulde: str
    started: str
    command: list[str]
    versions: dict[str, str]
    wall_time_s: dict[str, Positive]
    made_from: dict[str, Any]
    training: _Training  # type: ignore[assignment]


def _read_run(folder: Path) -> _SeedRun:
    record = read_record(folder).as_json()
    run = validated(record, _SeedRun, str(folder / RECORD), hint="mulde reproduce into another --out")
    if "regions" not in run.made_from:
        raise MuldeError(f"{folder / RECORD}: made_from", expected="the passport of regions", got="none")
    return run


def _read_metrics(folder: Path) -> Plain:
    path = folder / METRICS
    if not path.is_file():
        raise MuldeError(f"no figures in {folder}", expected=METRICS, hint="labelled test videos")
    metrics: Plain = read_typed(path, dict[str, Any], max_bytes=2**28)
    check_metrics(metrics, path)
    return metrics


def _figures(seeds: Sequence[int], metrics: Sequence[Plain]) -> Plain:
    """smoothing -> `scores` (mulde and each null score, figure by figure) and what else a row of the evaluation has."""
    table: Plain = {}
    for i, row in enumerate(metrics[0]["rows"]):
        rows = [of_seed["rows"][i] for of_seed in metrics]
        scores = {"mulde": across(seeds, [r["result"] for r in rows])}
        scores |= {name: across(seeds, [r["nulls"][name] for r in rows]) for name in row["nulls"]}
        rest = {key: across(seeds, [r.get(key) for r in rows]) for key in row if key not in _FIGURES_OF_ROW}
        table[row["smoothing"]] = {"scores": scores, **rest}
    return table


_FIGURES_OF_ROW = ("smoothing", "result", "nulls")


def across(seeds: Sequence[int], values: Sequence[Any]) -> Any:
    """What the seeds have in common, or mean, sample standard deviation and each value; tables entry by entry."""
    tables = [{} if value is None else value for value in values]  # what a seed lacks, its entries lack
    if all(isinstance(table, Mapping) for table in tables) and any(tables):
        keys = dict.fromkeys(key for table in tables for key in table)
        return {key: across(seeds, [table.get(key) for table in tables]) for key in keys}
    if all(_is_named_list(value) for value in values) and any(values):
        return across(seeds, [{entry["name"]: entry for entry in value} for value in values])
    numbers = [value for value in values if isinstance(value, float | int) and not isinstance(value, bool)]
    if any(isinstance(value, float) for value in numbers) or (numbers and len(set(values)) > 1):
        return _spread(seeds, values, [float(number) for number in numbers])
    if all(value == values[0] for value in values):
        return _rounded(values[0])
    return {"seeds": {str(seed): _rounded(value) for seed, value in zip(seeds, values, strict=True)}}


def _is_named_list(value: Any) -> bool:
    """Whether the entries of a list can be distinguished by name, whatever their order: alarm levels."""
    return isinstance(value, list) and all(isinstance(entry, Mapping) and "name" in entry for entry in value)


def _spread(seeds: Sequence[int], values: Sequence[Any], numbers: Sequence[float]) -> Plain:
    mean, std = mean_and_std(numbers)
    return {
        "mean": _rounded(mean),
        "std": _rounded(std),
        "seeds": {str(seed): _rounded(value) for seed, value in zip(seeds, values, strict=True)},
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    return [_rounded(entry) for entry in value] if isinstance(value, list) else value


def portable(settings: Settings) -> Plain:
    """The settings as plain data without what belongs to one machine: of local weights only their file names."""
    plain = {key: value for key, value in settings.model_dump(mode="json").items() if key != "run"}
    return with_values(plain, lambda name, value: Path(value).name if name == "weights" else value)


def changed_settings(config: Plain, here: Plain) -> Plain:
    """Dotted key -> value of the config and value here, where they differ; None where one has none."""
    return {key: {"config": was, "here": now} for key, was, now in differences(config, here)}


def _read_scores(done: Reproduction, folder: Path) -> _ScoredAndLabelled:
    """The scores of one seed and the labels that they were compared with."""
    dataset = labelled_dataset(open_source(done.source), done.source)
    scored = read_scores(folder / "scores")
    return scored, read_labels(dataset, scored)


def _labels_digest(with_labels: _ScoredAndLabelled) -> str:
    """Digest of the anomalous spans of every evaluated video: which label set was used, whatever it is called."""
    return fingerprint({name: [len(track), track.spans()] for name, track in with_labels[1].items()})


def _variant(with_labels: _ScoredAndLabelled, name: str) -> Plain:
    scored, labels = with_labels
    fused = {video: scored[video].track.fused for video in labels}
    smoothing = {video: Smoothing.of(scored[video]) for video in labels}
    figures = evaluate_tracks(fused, labels, smoothing, bootstrap=0, compat=name).to_dict()["compat"]
    return dict(figures) if isinstance(figures, dict) else {}


def _training(training: _Training) -> Plain:
    return {
        "heldout": training.heldout,
        "streams": {name: known_fields(counts) for name, counts in training.streams.items()},
    }


def _learnt_digest(model: Path) -> str:
    """Digest of what a bundle has learnt: its tensors, calibrations and options, without names of files and folders."""
    from safetensors import safe_open

    with safe_open(model, framework="np") as file:
        header = json.loads(file.metadata()["mulde"])
        arrays = {key: file.get_tensor(key) for key in sorted(file.keys())}
    tensors = {key: [str(a.dtype), list(a.shape), fingerprint(a.tobytes().hex())] for key, a in arrays.items()}
    return fingerprint([tensors, header["streams"]])


def _volatile(done: Reproduction, runs: Mapping[int, _SeedRun]) -> Plain:
    weights = {key: value for key, value in leaves(done.settings.model_dump(mode="json")) if key.endswith(".weights")}
    return {
        "source": done.source,
        "out": str(done.out.resolve()),
        "weights": weights,
        "device": done.device,
        "machine": _machine(done.device),
        "failures": {failure.video: failure.reason for failure in done.failures},
        "runs": {
            str(seed): {
                "started": run.started,
                "command": run.command,
                "wall_time_s": run.wall_time_s,
                "model_file_sha256": file_digest(done.folders[seed] / "model.safetensors"),
            }
            for seed, run in runs.items()
        },
    }


def _machine(device: str) -> Plain:
    import torch

    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {"platform": platform.platform(), "cpu_cores": len(os.sched_getaffinity(0)), "gpu": gpu}


def to_json(record: Plain) -> str:
    """Keys sorted at every depth; of those at the top, `volatile` is then the last."""
    return json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
