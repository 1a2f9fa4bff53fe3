"""Where the weights lie that a model was trained with: the user says it, never the model.

A bundle holds the digest and a plain name of each file of weights. The file itself is one that the user names with an
option, that this user's own record knows (`weights.json` in the configuration folder, written where somebody named
weights), that lies in a folder of MULDE_WEIGHTS, that a training wrote beside the model, or that is published under an
official name. Its digest is compared before anything loads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mulde.config import Settings
from mulde.digests import path_digest
from mulde.errors import MuldeError, UsageError
from mulde.extractors.base import is_network_folder, is_tag, local_weights, weights_digest
from mulde.extractors.formats import TRUST
from mulde.extractors.registry import EXTRACTORS, known_extractor, object_centric
from mulde.extractors.yolo import fetch, official_names
from mulde.files import read_json, write_json
from mulde.names import printable, user_path
from mulde.pipeline.model.setting_uses import scoring_settings

CONFIG, FOLDERS = "MULDE_CONFIG", "MULDE_WEIGHTS"
"""Environment variables: the folder of the user's own record; folders with weights, as PATH has them."""
RECORD = "weights.json"
DETECTOR = "regions.yolo.weights"
NETWORKS = "prediction.safetensors"
"""What a training writes beside its model where it has trained networks for a stream."""
_BESIDE = {"features.prediction.weights": NETWORKS}
_OPTION = {DETECTOR: "--detector PATH"}
_UNNAMED = "\x01"  # no path and no name; settings take no NUL
_MAX_KNOWN, _MAX_LOOKED_AT = 1000, 500


def _weights_settings() -> tuple[str, ...]:
    """Every setting that names weights."""
    of_extractors = [spec.weights_setting for spec in EXTRACTORS.values() if spec.weights_setting is not None]
    return tuple(dict.fromkeys([DETECTOR, *of_extractors]))


def _is_official(key: str) -> bool:
    """Whether the weights are a file of Ultralytics, which an official name stands for; else a library has tags."""
    return key == DETECTOR or any(s.official_weights for s in EXTRACTORS.values() if s.weights_setting == key)


def trust_code() -> None:
    """Let this process, and those that it starts, load formats of weights that can run code."""
    os.environ[TRUST] = "1"


def portable_settings(settings: Settings) -> Settings:
    """The settings without what belongs to one machine or person: of weights plain names, nothing of `run`."""
    plain = {
        key: "" if _names_none(settings, key) else plain_name(_value(settings, key)) for key in _weights_settings()
    }
    return _with(settings, plain).model_copy(update={"run": type(settings.run)()})


def plain_name(weights: str) -> str:
    """The last part of a path, as either kind of system writes it; a name or tag stays as it is."""
    name = re.split(r"[/\\]", weights.rstrip("/\\"))[-1]
    name = printable(name)[:200]
    return "unnamed" if name.strip(".~ ") == "" else name


def settings_for(
    made_from: Mapping[str, Any], settings: Settings, changes: Sequence[str], folder: Path | None = None
) -> Settings:
    """A model's settings with the user's changes, weights where this user has them.

    made_from: the fingerprint of the model's extraction, which holds the digests. folder: that of the model, where
    networks lie that were trained with it. Raises UsageError for a setting that
    scoring cannot change and for weights that nobody named, MuldeError for published ones that cannot be had.
    """
    changed = scoring_settings(_with(settings, dict.fromkeys(_weights_settings(), _UNNAMED)), changes)
    used, needed, weights = _used(made_from), _needed(settings), {}
    for key in _weights_settings():
        if _value(changed, key) != _UNNAMED:
            continue  # the user's own word; `check_extraction` compares its digest before anything is loaded
        name = plain_name(_value(settings, key))
        is_needed = key in needed and not _names_none(settings, key)
        weights[key] = _find(key, name, used.get(key, {}), folder) if is_needed else _value(Settings(), key)
    return _with(changed, weights)


def _names_none(settings: Settings, key: str) -> bool:
    """Whether the setting is empty where that is allowed: of networks that `mulde train` trains, or that need none."""
    return _value(settings, key) == "" == _value(Settings(), key)


def remember(settings: Settings, made_from: Mapping[str, Any]) -> None:
    """Put the files of weights that a user named into the user's record, so that a model trained with them finds them
    again. Where the record cannot be written nothing is remembered."""
    known = _known()
    new = dict(known)
    for key, facts in _used(made_from).items():
        weights, sha256 = _value(settings, key), _sha256(facts)
        path = _path_of(key, weights)
        if sha256 is not None and path is not None:
            new.pop(sha256, None)
            new[sha256] = str(path.absolute())
    folder = _config_folder()
    if new == known or folder is None:
        return
    try:
        write_json(folder / RECORD, dict(list(new.items())[-_MAX_KNOWN:]))
    except (OSError, ValueError):
        return


def _path_of(key: str, weights: str) -> Path | None:
    if not _is_official(key):
        return local_weights(weights)
    path = user_path(weights)
    return path if path.exists() else None


def _find(key: str, name: str, facts: Mapping[str, Any], folder: Path | None) -> str:
    """The path of the weights with the digest in `facts`, or the tag of published ones."""
    sha256, tag = _sha256(facts), facts.get("weights")
    if sha256 is None and not _is_official(key) and isinstance(tag, str) and is_tag(tag):
        return tag  # never a path; the library knows it, or refuses it
    if sha256 is not None:
        remembered = [Path(known) for digest, known in _known().items() if digest == sha256]
        beside = [folder / _BESIDE[key]] if folder is not None and key in _BESIDE else []
        for path in (*beside, *remembered, *_in_folders(name)):
            if path.exists() and weights_digest(path) == sha256:
                return str(path)
        if _is_official(key) and name.endswith(".pt") and name in official_names():
            return str(_published(key, name, sha256))
    raise _unnamed(key, name, sha256)


def _in_folders(name: str) -> Iterator[Path]:
    """What lies in the folders that the user configured for weights, files of that name first."""
    for text in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        folder = user_path(text)
        if folder.is_dir():
            some = islice((p for p in folder.iterdir() if p.is_file() or is_network_folder(p)), 10_000)
            yield from sorted(some, key=lambda path: (path.name != name, path.name))[:_MAX_LOOKED_AT]


def _published(key: str, name: str, sha256: str) -> Path:
    what = "detector" if key == DETECTOR else f"{key.split('.')[1]} network"
    path = fetch(name, what)
    if (got := path_digest(path)) != sha256:
        raise UsageError(
            f"{what} weights {path}", expected=f"those of the model, sha256 {sha256}", got=got, hint=_ways(key)
        )
    return path


def _unnamed(key: str, name: str, sha256: str | None) -> UsageError:
    return UsageError(
        f"the model needs the weights {name!r} of its training ({key}, sha256 {sha256 or 'unknown'})",
        expected="to be told where they lie here; a model opens no path by itself",
        hint=_ways(key),
    )


def _ways(key: str) -> str:
    return " or ".join(filter(None, [_OPTION.get(key), f"--set {key}=PATH", f"{FOLDERS}=FOLDER that holds them"]))


def _used(made_from: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The part of the fingerprint that says which weights were used, by the setting that names them."""
    used = {}
    regions, extractors = made_from.get("regions"), made_from.get("extractors")
    finders = regions.get("finders") if isinstance(regions, Mapping) else None
    for finder in finders if isinstance(finders, list) else ():
        if isinstance(finder, Mapping) and finder.get("finder") == "yolo":
            used[DETECTOR] = finder
    for name, facts in extractors.items() if isinstance(extractors, Mapping) else ():
        key = EXTRACTORS[name].weights_setting if name in EXTRACTORS else None
        if key is not None and isinstance(facts, Mapping) and {"weights", "weights_sha256"} & facts.keys():
            used[key] = facts
    return used


def _needed(settings: Settings) -> set[str]:
    """The settings of weights that something will load."""
    extractors = settings.features.extractors
    needed = {key for name in extractors if (key := known_extractor(name).weights_setting) is not None}
    if not settings.features.flow.method.startswith("raft"):
        needed.discard("features.flow.weights")
    finds = "yolo" in settings.regions.finders and not object_centric().isdisjoint(extractors)
    return needed | ({DETECTOR} if finds else set())


def _sha256(facts: Mapping[str, Any]) -> str | None:
    sha256 = facts.get("weights_sha256")
    return sha256 if isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256) else None


def _known() -> dict[str, str]:
    """The user's record, path by digest; empty where there is none that can be read."""
    folder = _config_folder()
    if folder is None or not (folder / RECORD).is_file():
        return {}
    try:
        record = read_json(folder / RECORD)
    except MuldeError:
        return {}
    pairs = record.items() if isinstance(record, dict) else ()
    return {sha256: path for sha256, path in pairs if isinstance(path, str) and Path(path).is_absolute()}


def _config_folder() -> Path | None:
    folder, base = os.environ.get(CONFIG), os.environ.get("XDG_CONFIG_HOME")
    try:
        return user_path(folder) if folder else Path(base or Path.home() / ".config") / "mulde"
    except (RuntimeError, UsageError):  # nobody's home
        return None


def _value(settings: Settings, key: str) -> str:
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return str(value)


def _with(settings: Settings, values: Mapping[str, str]) -> Settings:
    data = settings.model_dump()
    for key, value in values.items():
        *sections, last = key.split(".")
        table = data
        for section in sections:
            table = table[section]
        table[last] = value
    return Settings.model_validate(data)
