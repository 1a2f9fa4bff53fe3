"""What is handed out: the wheel and the sdist carry all that mulde needs, and it runs where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

import mulde

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("mulde", "configs", "docs", "README.md", "CHANGELOG.md", "LICENSE", "MANIFEST.in", "pyproject.toml")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("build") is None, reason='needs build: pip install -e ".[dev]"'),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, Path]:
    """The sdist, the wheel made from it, and the wheel made from a copy of the checkout."""
    root = tmp_path_factory.mktemp("packaging")
    checkout = root / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, checkout)
    for out, only in (("dist", ()), ("direct", ("--wheel",))):
        run(sys.executable, "-m", "build", "--no-isolation", *only, "--outdir", root / out, checkout, cwd=root)
    (sdist,), (wheel,) = (root / "dist").glob("*.tar.gz"), (root / "dist").glob("*.whl")
    (direct,) = (root / "direct").glob("*.whl")
    return {"sdist": sdist, "wheel": wheel, "direct": direct}


def run(*command: object, cwd: Path) -> str:
    """What a command prints, in a process that hears nothing of this checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_of_the_package() -> set[str]:
    """All files below mulde/ in the checkout but what tools leave there, configs/ through its link."""
    files = {path for path in (ROOT / "mulde").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    files |= set((ROOT / "mulde" / "configs").iterdir())
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_the_wheel_is_the_package_with_its_configs_and_templates(built):
    with zipfile.ZipFile(built["wheel"]) as wheel:
        carried = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert carried == files_of_the_package()
    assert {"mulde/configs/ucsd-ped2.toml", "mulde/report/templates/report.html", "mulde/py.typed"} <= carried


def test_the_wheel_is_the_same_from_the_sdist_and_from_the_checkout(built):
    def contents(path: Path) -> dict[str, bytes]:
        with zipfile.ZipFile(path) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/RECORD")}

    assert contents(built["wheel"]) == contents(built["direct"])


def test_the_sdist_carries_the_package_and_its_documents(built):
    with tarfile.open(built["sdist"]) as sdist:
        carried = {name.partition("/")[2] for name in sdist.getnames()}
        assert not any(member.issym() for member in sdist)
    assert files_of_the_package() <= carried
    assert {"LICENSE", "CHANGELOG.md", "pyproject.toml", "configs/ucsd-ped2.toml", "docs/method.md"} <= carried


def test_files_and_version_have_the_names_of_the_package(built):
    name = f"mulde-{mulde.__version__}"
    assert [path.name for path in built.values()] == [f"{name}.tar.gz", *2 * [f"{name}-py3-none-any.whl"]]


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The bin folder of an environment with the wheel, whose other packages are those of this one."""
    root = tmp_path_factory.mktemp("installed")
    venv.create(root / "env", with_pip=True)
    binaries = root / "env" / "bin"
    run(binaries / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", built["wheel"], cwd=root)
    (packages,) = (root / "env" / "lib").glob("python*/site-packages")
    # A .pth in a folder that a .pth names is not read, so the editable mulde of this environment stays out.
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (packages / "others.pth").write_text("\n".join(others))
    return binaries


def test_an_installed_wheel_is_imported_from_where_it_was_installed(installed, tmp_path):
    said = run(installed / "python", "-c", "import mulde; print(mulde.__file__, mulde.__version__)", cwd=tmp_path)
    place, version = said.split()
    assert Path(place).is_relative_to(installed.parent)
    assert version == mulde.__version__
    assert run(installed / "mulde", "--version", cwd=tmp_path).strip() == version
    assert run(installed / "python", "-m", "mulde", "--version", cwd=tmp_path).strip() == version


def test_an_installed_wheel_finds_the_configs_of_the_benchmarks(installed, tmp_path):
    asked = "from mulde.pipeline.experiments.reproduce import pinned_config; print(pinned_config('ucsd-ped2'))"
    config = Path(run(installed / "python", "-c", asked, cwd=tmp_path).strip())
    assert config.is_relative_to(installed.parent)
    assert config.read_text() == (ROOT / "configs" / "ucsd-ped2.toml").read_text()


@pytest.mark.timeout(1800)
def test_an_installed_wheel_runs_the_demo_and_its_model_scores_from_python(installed, tmp_path):
    run(installed / "mulde", "demo", "--out", "demo", "--device", "cpu", "-q", cwd=tmp_path)
    for made in (
        "model.safetensors", "scores/*.csv", "events.csv", "metrics.json", "evaluation/evaluation.html", "report.html",
        "figures/*.png", "thumbnails/*/*.jpg", "overlays/*.mp4",
    ):  # fmt: skip
        files = list((tmp_path / "demo" / "run").glob(made))
        assert files, made
        assert all(path.stat().st_size for path in files), made
    script = "import mulde; r = mulde.load_model('demo/run/model.safetensors').score('demo/world/test/test01.mp4'); "
    said = run(installed / "python", "-c", f"{script}print(r.events.to_csv())", cwd=tmp_path)
    events = pd.read_csv(tmp_path / "demo" / "run" / "events.csv")
    found = pd.read_csv(StringIO(said))
    columns = ["start_frame", "end_frame", "peak_frame", "reason"]
    assert found[columns].to_dict("records") == events[events.video == "test01"][columns].to_dict("records")
    assert len(found)
