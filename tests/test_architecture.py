"""The walls of DESIGN: imports go one way, heavy libraries have one door."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mulde

ROOT = Path(mulde.__file__).parent
LEAVES = {"datasets", "extractors", "density", "evaluation", "media", "report"}
FOUNDATION = {"records", "errors", "filetypes", "files", "images", "names"}
ALLOWED = {
    "cli": {"config", "pipeline", "errors", "files", "process"},
    "pipeline": {"pipeline", "config", "toml", *LEAVES, *FOUNDATION},
    "config": {"errors", "names", "toml"},
    "toml": {"errors", "files"},
    **{room: {room, *FOUNDATION} for room in LEAVES},
    "records": {"errors"},
    "filetypes": set(),
    "files": {"errors", "names"},
    "names": {"errors"},
    "process": {"errors", "names"},
    "images": {"errors", "files"},
    "errors": set(),
}
ONE_DOOR = {
    "ultralytics": "extractors/yolo.py",
    "openvino": "extractors/yolo.py",
    "hiera": "extractors/hiera.py",
    "ray": "pipeline/ray_engine.py",
    "open_clip": "extractors/clip.py",
    "matplotlib": "pipeline/figures.py",
    "onnx": "density/onnx.py",
    "torch.utils.tensorboard": "pipeline/tensorboard.py",
}


def imports(source: str) -> set[str]:
    """Every module that a source imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "mulde" and len(parts) > 1 and parts[1] != "__version__" else None


def trespasses(room: str, source: str) -> set[str]:
    rooms = {room_of(module) for module in imports(source)} - {None}
    return {str(other) for other in rooms if other not in ALLOWED[room]}


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert not trespasses(room, path.read_text())


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("density", "from mulde.records import FeatureTable\nfrom mulde.media import open_video"),
        ("extractors", "def f():\n    import mulde.density.energy"),
        ("records", "from mulde import config"),
        ("media", "from mulde.pipeline.store import FeatureStore"),
    ],
)
def test_the_guard_sees_a_trespass(room, source):
    assert trespasses(room, source)


@pytest.mark.parametrize(("library", "door"), ONE_DOOR.items())
def test_heavy_libraries_have_one_door(library, door):
    users = {
        p.relative_to(ROOT).as_posix()
        for p in FILES
        if any(f"{m}.".startswith(f"{library}.") for m in imports(p.read_text()))
    }
    assert users == {door}


def test_density_knows_arrays_only():
    for path in (ROOT / "density").glob("*.py"):
        text = path.read_text()
        assert "FeatureTable" not in text
        assert "mulde.datasets" not in text


def test_nothing_is_unpickled():
    for path in FILES:
        found = imports(path.read_text())
        assert not found & {"pickle", "joblib", "dill", "cloudpickle"}, path
        assert "allow_pickle=True" not in path.read_text()
        assert "weights_only=False" not in path.read_text()
