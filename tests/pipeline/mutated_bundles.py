"""Mutated model bundles, and a process that loads them one by one and says what came of each.

`python -m tests.pipeline.mutated_bundles FOLDER COUNT` writes each mutation to FOLDER, loads it under an alarm and an
audit hook, and prints one JSON line: kinds and sentences, what was opened, the most memory.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

VERSION_1 = Path(__file__).resolve().parents[1] / "data" / "bundle-v1.safetensors"
SECONDS = 5
ROWS = np.array([[0.5, -1, 2], [9, 9, 9], [0, 0, 0]], np.float32)
Header, Arrays = dict[str, Any], dict[str, np.ndarray]


def write_sound(path: Path) -> None:
    """A bundle with all that one can hold: several streams and kinds of density, scales, normal scores, a detector."""
    from mulde.evaluation.conformal import NormalVideo
    from mulde.pipeline.model.bundle import load_bundle
    from mulde.pipeline.model.calibration import Surprise
    from mulde.pipeline.model.world import FrameRate, FrameSize, World
    from mulde.settings_file import load_settings

    old = load_bundle(VERSION_1)
    changes = [
        'features.extractors=["velocity", "geometry", "descriptor", "backbone"]', 'fusion.only_high=["velocity"]',
        'regions.finders=["yolo", "motion"]', 'regions.yolo.weights="nets_openvino_model"',
    ]  # fmt: skip
    scale = Surprise(np.array([0.0, 0.5, 1.25]), np.array([0.0, 0.75, 3.0]), 2.5)
    streams = {name: replace(stream, surprise=scale) for name, stream in old.streams.items()}
    streams["velocity"] = replace(streams["velocity"], least=np.zeros(3, np.float32))
    regions = {"finders": [{"finder": "yolo", "weights_sha256": "0" * 64, "ultralytics": "8"}]}
    replace(
        old,
        streams=streams,
        settings=load_settings(overrides=changes),
        made_from={"decoder": "pyav", "regions": regions, "extractors": {"backbone": {"weights": "DEFAULT"}}},
        normal={"a": NormalVideo(np.arange(50.0), 25.0), "b": NormalVideo(np.ones(9), 9.5)},
        classes={0: "person", 1: "car"},
        world=World(
            sizes=(FrameSize(height=96, width=128, videos=2, frames=59),),
            rates=(FrameRate(rate=25.0, videos=1, frames=50),),
        ),
    ).save(path)


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The index of a safetensors file and the bytes behind it."""
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:end]), content[end:]


def joined(index: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(index).encode()
    return struct.pack("<Q", len(text)) + text + data


def signed(text: str, arrays: Arrays) -> bytes:
    """The file, with the digest that its content has: whoever changes a bundle can do so."""
    from safetensors.numpy import save

    total = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        total.update(json.dumps([name, str(arrays[name].dtype), arrays[name].shape]).encode())
        total.update(arrays[name].tobytes())
    contiguous = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    return save(contiguous, {"mulde": text, "sha256": total.hexdigest()})


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from leaves(value, (*path, key))


def put(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(data)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


class Mutator:
    """Makes one mutation after another of a sound bundle, always the same ones."""

    def __init__(self, sound: Path, pipe: Path, seed: int) -> None:
        from safetensors import safe_open

        self.content, self.pipe, self.rng = sound.read_bytes(), str(pipe), random.Random(seed)
        with safe_open(sound, framework="np") as file:
            self.text = file.metadata()["mulde"]
            self.arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        self.header = json.loads(self.text)
        self.places = list(leaves(self.header))

    def all(self, count: int) -> Iterator[tuple[str, bytes]]:
        kinds: list[Callable[[], bytes]] = [
            self.flip, self.flip, self.leaf, self.leaf, self.array, self.array, self.index, self.cut, self.text_,
            self.path,
        ]  # fmt: skip
        for i in range(count):
            kind = kinds[i % len(kinds)] if i % 250 else self.many
            yield kind.__name__, kind()

    def flip(self) -> bytes:
        """One bit, anywhere."""
        changed = bytearray(self.content)
        changed[self.rng.randrange(len(changed))] ^= 1 << self.rng.randrange(8)
        return bytes(changed)

    def leaf(self) -> bytes:
        """An entry of the JSON that is of another kind, too large or gone."""
        where = self.rng.choice(self.places)
        bad = [None, "x", "7", [], {}, [[1]], {"a": 1}, "\x1b[2J", "x" * 20_000, -1e308, 10**39, 10**400, True, "nan"]
        changed = put(self.header, where, self.rng.choice(bad))
        if self.rng.random() < 0.2 and isinstance(where[-1], str):
            changed = put(self.header, where, "@")
            return signed(json.dumps(changed).replace('"@"', self.rng.choice(["NaN", "Infinity", "1e999", "-1e400"])),
                          self.arrays)  # fmt: skip
        return signed(json.dumps(changed), self.arrays)

    def array(self) -> bytes:
        """A tensor of other numbers, another shape, another type, under another name, or none."""
        name = self.rng.choice(list(self.arrays))
        array, others = self.arrays[name], {k: v for k, v in self.arrays.items() if k != name}
        first = np.array(array, copy=True)
        first.reshape(-1)[:1] = self.rng.choice([np.nan, np.inf, -np.inf])
        changed = self.rng.choice([
            first, array[None], array.reshape(-1)[:0], np.array(array.sum()), np.full_like(array, np.nan),
            array.astype(np.complex64), array.astype(np.float16), array.astype(np.int32), array > 0,
            np.concatenate([array, array]), np.zeros((0, 2**40), array.dtype), None, "renamed",
        ])  # fmt: skip
        if changed is None:
            return signed(self.text, others)
        if isinstance(changed, str):
            return signed(self.text, others | {self.rng.choice(["../x", "velocity/9/rows", "a/b", "."]): array})
        return signed(self.text, others | {name: changed})

    def index(self) -> bytes:
        """Shapes, types and places that the index only claims."""
        index, data = split(self.content)
        name = self.rng.choice(list(self.arrays))
        entry = index[name]
        what = self.rng.choice(["shape", "offsets", "dtype", "both"])
        huge = self.rng.choice([2**31, 2**40, 2**62, 2**64, -1])
        if what in ("shape", "both"):
            entry["shape"] = [huge, *entry["shape"]]
        if what in ("offsets", "both"):
            entry["data_offsets"][1] += huge
        if what == "dtype":
            entry["dtype"] = self.rng.choice(["F64", "BF16", "C64", "F8_E4M3", "BOOL", "nonsense"])
        return joined(index, data)

    def many(self) -> bytes:
        """More tensors than any model has."""
        index, data = split(self.content)
        empty = {"dtype": "F32", "shape": [0], "data_offsets": [len(data)] * 2}
        return joined(index | {f"t{i}": empty for i in range(120_000)}, data)

    def cut(self) -> bytes:
        """Too short, too long, a wrong length in front, or of something else."""
        at = self.rng.randrange(len(self.content))
        lengths = [0, 7, 2**20, 2**25 + 1, 2**40, 2**63, 2**64 - 1]
        return self.rng.choice([
            self.content[:at], self.content[at:], self.content + b"\0" * at,
            struct.pack("<Q", self.rng.choice(lengths)) + self.content[8:], b"", b"{}", b"PK\x03\x04" + self.content,
        ])  # fmt: skip

    def text_(self) -> bytes:
        """JSON that is deep, wide or none."""
        text = self.rng.choice([
            "[" * 100_000 + "]" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000, "[" + "[]," * 2_000_000 + "1]", "",
            "null", "7", "[]", self.text[:-1], self.text + " x",
            self.text.replace('"schema":', '"schema":' + "9" * 5000, 1),
            json.dumps(put(self.header, ("training",), self._nested(200))),
            json.dumps(self.header | {"streams": {}}),
            json.dumps(self.header | {"classes": {str(i): "x" for i in range(20_000)}}),
        ])  # fmt: skip
        return signed(text, self.arrays)

    def path(self) -> bytes:
        """Paths and addresses where a name should be. The path is that of a pipe: opening it would wait for ever."""
        said = self.rng.choice([self.pipe, f"../../{self.pipe}", ".", "~/", "/", "..", "https://h/x.pt", "", "a\0b",
                                f"{self.pipe}_openvino_model", f"{self.pipe}.torchscript", "C:\\x\\y.pt"])  # fmt: skip
        places = [p for p in self.places if p[-1] in ("weights", "model", "source", "out", "decoder", "video", "kind")]
        places += [("made_from", "extractors", "backbone", "weights"), ("settings", "features", "imported"), ("mulde",)]
        where = self.rng.choice(places)
        return signed(json.dumps(put(self.header, where, [said] if where[-1] == "imported" else said)), self.arrays)

    def _nested(self, depth: int) -> Any:
        return {} if not depth else {"a": self._nested(depth - 1)}


class Watch:
    """An audit hook that keeps what is opened outside of Python's own folders, and every other way out."""

    OUT = ("socket.connect", "socket.getaddrinfo", "socket.bind", "subprocess.Popen", "os.system", "os.exec",
           "os.posix_spawn", "os.fork", "urllib.Request", "pickle.find_class", "os.remove", "os.rename")  # fmt: skip

    def __init__(self, allowed: list[Path]) -> None:
        roots = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve().parents[2], Path("/proc")]
        self.allowed = tuple(os.path.realpath(path) for path in (*roots, *allowed))
        self.seen: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(args[0]))
            if not path.startswith(self.allowed):
                self.seen.append(f"open {path}")
        elif event in self.OUT:
            self.seen.append(f"{event} {args!r:.200}")


class TooSlow(BaseException):
    pass


def too_slow(number: int, frame: object) -> None:
    raise TooSlow


def scores_of(bundle: Any) -> list[np.ndarray]:
    return [stream.score_rows(ROWS) for stream in bundle.streams.values()]


def evaluator(path: Path, expected: list[np.ndarray]) -> str:
    """`sentence`, `same`, or what is wrong."""
    from mulde.errors import BundleError, MuldeError
    from mulde.pipeline.model.bundle import load_bundle

    try:
        bundle = load_bundle(path)
    except BundleError as error:
        return "sentence" if str(path) in str(error) and len(str(error)) < 2000 else f"no good sentence: {error}"
    if not all(map(np.array_equal, scores_of(bundle), expected)) or len(bundle.streams) != len(expected):
        return "other scores"
    for videos in bundle.smoothed_normal.values():
        if not all(np.isfinite(video.scores).all() for video in videos):
            return "normal scores that are not finite"
    try:
        bundle.with_settings([])
    except MuldeError:
        return "same"
    return "weights that nobody named"


def main(folder: Path, count: int, seed: int) -> None:
    from mulde.extractors.yolo import official_names
    from mulde.pipeline.model.bundle import load_bundle

    official_names()  # the library that knows them reads its settings when it is imported, whatever the bundle
    sound, pipe, case = folder / "sound.safetensors", folder / "pipe", folder / "case.safetensors"
    os.mkfifo(pipe)
    write_sound(sound)
    expected = scores_of(load_bundle(sound))
    outcomes: dict[str, int] = {}
    wrong: list[str] = []
    for number in (signal.SIGALRM, signal.SIGVTALRM):
        signal.signal(number, too_slow)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch = Watch([case, sound, Path(os.environ["MULDE_CONFIG"])])
    for i, (kind, content) in enumerate(Mutator(sound, pipe, seed).all(count)):
        case.write_bytes(content)
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)  # of this process alone, however busy the machine is
        signal.alarm(20 * SECONDS)  # for one that waits
        try:
            outcome = evaluator(case, expected)
        except TooSlow:
            outcome = "too slow"
        except Exception as error:  # what a person would see as a traceback
            outcome = f"{type(error).__name__}: {error}"
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        outcomes[f"{kind} {outcome}"[:60]] = outcomes.get(f"{kind} {outcome}"[:60], 0) + 1
        if outcome not in ("sentence", "same") or (kind == "flip" and outcome == "same"):
            wrong.append(f"{i} {kind}: {outcome}")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"outcomes": outcomes, "wrong": wrong, "opened": watch.seen, "mb": most / 1024, "mb_before": before / 1024}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 12)
