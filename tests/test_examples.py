"""The examples run: on their small world, and on somebody's own footage; the notebook runs and shows its outputs."""

from __future__ import annotations

import ast
import json
import re
import runpy
import sys
from pathlib import Path

import pytest

import mulde
from mulde.extractors.registry import EXTRACTORS
from tests.api_world import QUICK, write_small_world

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
NOTEBOOK = EXAMPLES / "mulde.ipynb"
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="needs the examples of a checkout")


@pytest.fixture
def example(monkeypatch, tmp_path, capsys):
    """Runs an example as a script in an empty folder; gives what it prints."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    world = runpy.run_path(str(EXAMPLES / "small_world.py"))
    assert world["QUICK"].keys() == {"fusion.folds", "density.options"}
    known = dict(EXTRACTORS)

    def run(name, *args):
        monkeypatch.setattr(sys, "argv", [name, *map(str, args)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    yield run
    EXTRACTORS.clear()
    EXTRACTORS.update(known)
    sys.modules.pop("small_world", None)


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """A world, a model that was saved, and its path."""
    world = write_small_world(tmp_path_factory.mktemp("examples") / "world")
    model = world.parent / "door.safetensors"
    mulde.train(world / "train", settings=QUICK).save(model)
    return world, model


def test_every_example_is_run_here():
    scripts = {path.name for path in EXAMPLES.glob("*.py")} - {"small_world.py"}
    assert scripts == {"score_video.py", "own_extractor.py", "density_only.py", "stream.py"}


def test_score_video(example, tmp_path):
    printed = example("score_video.py", "--report", tmp_path / "report.html", "--model", tmp_path / "m.safetensors")
    assert printed.startswith("Result(2 videos, 100 frames, ")
    assert "moving object: " in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "m.safetensors",
        "normal_moments.parquet",
        "report.html",
    ]


def test_stream_on_own_footage(example, footage):
    world, model = footage
    printed = example("stream.py", model, world / "test/test01.mp4", "--p-value", 2)
    assert printed.startswith("results come 0 frames later than their frames\n0.00 s: p = ")
    assert len(printed.splitlines()) == 1 + 50 + 1
    assert re.search(r"highest: [\d.]+ at [\d.]+ s, its oddest object at \(", printed)


def test_own_extractor(example):
    printed = example("own_extractor.py")
    assert "red     green      blue" in printed
    assert "score_velocity  score_colour" in printed
    assert "colour" in EXTRACTORS


def test_density_only(example, tmp_path):
    lines = example("density_only.py").splitlines()
    assert ["outlier" in line for line in lines] == [False] * 5 + [True] * 5
    with pytest.raises(SystemExit):
        example("density_only.py", "normal.csv")


@pytest.mark.parametrize("name", ["score_video.py", "own_extractor.py", "stream.py"])
def test_footage_is_asked_for_in_full(example, name, capsys):
    with pytest.raises(SystemExit):
        example(name, "normal")
    assert "as well" in capsys.readouterr().err


def test_the_notebook_runs(monkeypatch, tmp_path):
    """Its cells as one program; a cell's last expression, which a notebook shows, must have something to show."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, cell in enumerate(_code_cells()):
        tree = ast.parse("".join(cell["source"]))
        shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)
        if shown is not None:
            value = eval(compile(ast.Expression(shown.value), f"cell {number}", "eval"), names)
            _show(value)
    assert names["evaluation"].micro_auc > 0.9
    sys.modules.pop("small_world", None)


def _show(value: object) -> None:
    for way in ("_repr_html_", "_repr_png_"):
        if hasattr(value, way):
            getattr(value, way)()


def test_the_notebook_comes_with_its_outputs():
    assert NOTEBOOK.stat().st_size < 1_000_000
    cells = _code_cells()
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"text/html", "image/png", "text/plain"} <= kinds
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert "data:image/jpeg;base64," in text  # pictures of events
    assert not re.findall(r"(?:/tmp|/home|/root|/work|/Users|C:\\\\)[/\w]*", text)


def _code_cells():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]
