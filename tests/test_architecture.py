"""The walls of the house: imports go down its floors, heavy libraries have one door."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mulde

ROOT = Path(mulde.__file__).parent
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("names", "filetypes", "digests", "nested"),
    ("files",),
    ("console", "images", "typed", "section", "secret"),
    ("checkpoint", "devices", "events", "process", "progress", "records"),
    ("parquet", "reconstruction"),
    ("media", "datasets", "extractors", "density", "evaluation", "health", "store", "sinks"),
    ("report", "config"),
    ("settings_file",),
    ("pipeline.outcome", "pipeline.run_folder", "pipeline.model"),
    ("pipeline.extraction", "pipeline.run_claim"),
    ("pipeline.scoring", "pipeline.training"),
    ("pipeline.events",),
    ("pipeline.predictor", "pipeline.evaluation", "pipeline.tuning"),
    ("pipeline.review", "pipeline.monitoring", "pipeline.live", "pipeline.data_check", "pipeline.transfer"),
    ("pipeline.stages", "service"),
    ("pipeline.experiments",),
    ("api", "commands"),
    ("cli",),
    ("__main__",),
)
"""Rooms from the ground up. A file imports lower floors and its own room, never a sibling, wherever in it the import
stands (`docs/architecture.md` has the picture and the reasons)."""
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
DOORS = {
    "ultralytics": "extractors/yolo.py",
    "openvino": "extractors/openvino_network.py",
    "onnxruntime": "extractors/exported.py",
    "hiera": "extractors/hiera.py",
    "ray": "pipeline/extraction/ray_runner.py",
    "open_clip": "extractors/clip.py",
    "timm": "extractors/timm_backbone.py reconstruction/teacher.py",
    "transformers": "extractors/transformers_video.py",
    "matplotlib": "report/plots.py",
    "onnx": "density/onnx.py",
    "torch.utils.tensorboard": "pipeline/training/tensorboard.py",
}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imports(source: str) -> set[str]:
    """Every module that a source imports: in functions and under TYPE_CHECKING as well."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(module: str) -> str | None:
    """The room that a module stands in; None for what is not ours, and for the bare packages."""
    top, *parts = module.split(".")
    if top != "mulde" or not parts or parts in (["__version__"], ["pipeline"]):
        return None
    return ".".join(parts[:2]) if parts[0] == "pipeline" else parts[0]


def trespasses(room: str, source: str) -> set[str]:
    """The rooms that a source in `room` imports though they are not below it."""
    others = {room_of(module) for module in imports(source)} - {None, room}
    return {str(other) for other in others if FLOOR_OF.get(str(other), len(FLOORS)) >= FLOOR_OF[room]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_lower_floors_and_its_own_room(path):
    room = room_of(f"mulde.{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}")
    if room is None or room == "pipeline.__init__":
        assert not imports(path.read_text())
        return
    assert not trespasses(room, path.read_text())


@pytest.mark.parametrize(
    ("room", "source", "found"),
    [
        ("density", "from mulde.records import FeatureTable\nfrom mulde.media import open_video", {"media"}),
        ("extractors", "def f():\n    import mulde.density.energy", {"density"}),
        ("records", "from mulde import config", {"config"}),
        ("media", "from mulde.store.store import FeatureStore", {"store"}),
        (
            "pipeline.model",
            "if TYPE_CHECKING:\n    from mulde.pipeline.scoring.frames import read_scores",
            {"pipeline.scoring"},
        ),
        ("pipeline.predictor", "from mulde.pipeline import stages", {"pipeline.stages"}),
        ("pipeline.events", "from mulde.pipeline.events import tables\nfrom mulde.report import page", set()),
        ("files", "from mulde.a_new_room import x", {"a_new_room"}),
    ],
)
def test_the_guard_sees_a_trespass(room, source, found):
    assert trespasses(room, source) == found


def test_every_room_stands_on_a_floor():
    there = {room_of(f"mulde.{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}") for path in FILES}
    assert there - {"pipeline.__init__"} == set(FLOOR_OF)


@pytest.mark.parametrize(("library", "door"), DOORS.items())
def test_heavy_libraries_come_in_by_their_door(library, door):
    users = {
        p.relative_to(ROOT).as_posix()
        for p in FILES
        if any(f"{m}.".startswith(f"{library}.") for m in imports(p.read_text()))
    }
    assert users == {*door.split()}


def test_commands_alone_print():
    """All else hands over data, or speaks through the reporter that it was given."""
    printing = set()
    for path in FILES:
        source = path.read_text()
        calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}
        if "print" in calls or {"rich.table", "mulde.console.output"} & imports(source):
            printing.add(path.relative_to(ROOT).as_posix())
    assert {name for name in printing if not name.startswith("commands/")} == {"console.py", "process.py"}
    assert "commands/console/review.py" in printing


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
