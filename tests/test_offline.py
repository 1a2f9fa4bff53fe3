"""Nothing phones home: a whole day's work in one process that notes every connection and every look-up of a name.

Relatives that were looked for: training, scoring, drawing and the report without a detector and with one; the export of
a detector to OpenVINO and ONNX, whose libraries report their use; the settings file of Ultralytics; ids that libraries
leave in a home folder; processes that a library starts to send for it. Ray is left out: its cluster is a network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

DAY = """
import json, os, sys

seen = []

def guard(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"):
        seen.append(f"{event} {args[0]!r}"[:200])
    elif event == "socket.connect" and isinstance(args[1], tuple):
        seen.append(f"{event} {args[1]!r}"[:200])
    elif event == "import" and args[0].startswith("openvino_telemetry."):  # which sends from a process of its own
        seen.append(f"{event} {args[0]}")
    else:
        return
    raise OSError(f"there is no network here: {seen[-1]}")

sys.addaudithook(guard)

from fractions import Fraction
from pathlib import Path
from mulde import cli
from mulde.media import write_video
from tests.conftest import moving_square

def mulde(*args):
    sys.argv = ["mulde", *args]
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code or 0

for name in ("a", "b"):
    write_video(Path("clips") / f"{name}.mp4", iter(moving_square(12, seed=ord(name))), Fraction(25))
small = ["--device", "cpu", "--set", "density.method=mixture", "--set", "reasons.normal_moments=4", "--set",
         "features.extractors=['geometry', 'velocity']"]
codes = [
    mulde("train", "clips", "--out", "m", *small),
    mulde("score", "clips/a.mp4", "--model", "m/model.safetensors", "--out", "s", "--device", "cpu", "--overlay"),
    mulde("report", "s"),
]
if DETECTOR:
    from mulde.extractors.yolo import import_ultralytics
    import_ultralytics().YOLO("yolov8n.yaml", verbose=False).save("net.pt")
    codes += [mulde("export-detector", "net.pt", "--format", one, "--image-size", "64") for one in FORMATS]
    codes += [
        mulde("train", "clips", "--out", "n", "--detector", "net.pt", "--set", "regions.yolo.image_size=64", *small),
        mulde("score", "clips/a.mp4", "--model", "n/model.safetensors", "--out", "t", "--device", "cpu"),
        mulde("report", "t"),
    ]
print(json.dumps({"seen": seen, "codes": codes}))
"""


def test_nothing_is_looked_up_or_sent(tmp_path):
    detector = _is_there("ultralytics")
    formats = [name for name in ("openvino", "onnx") if detector and _is_there(name)]
    home = tmp_path / "home"
    home.mkdir()
    own = {"HOME": str(home), "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OMP_NUM_THREADS": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "YOLO_", "MULDE_", "CI"))}
    code = f"DETECTOR, FORMATS = {detector}, {formats}\n{DAY}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=kept | own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["seen"] == []
    assert set(found["codes"]) == {0}, done.stderr[-2000:]
    assert not list(home.glob("[Ii]ntel*"))
    settings = list(home.rglob("Ultralytics/settings.json"))
    assert [json.loads(path.read_text())["sync"] for path in settings] == [False] * detector


def _is_there(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
