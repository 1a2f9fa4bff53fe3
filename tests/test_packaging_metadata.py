"""What stands in several files of the project, and has to agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import mulde

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = sorted(
    {*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)}
)


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pairs}


@pytest.mark.parametrize("line", REQUIREMENTS)
def test_each_requirement_has_a_pin_that_fulfils_it(line):
    requirement = Requirement(line)
    if requirement.name != "mulde":
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == mulde.__version__
    assert citation["license"] == PROJECT["license"]


def test_the_changelog_has_a_section_for_this_version_below_the_unreleased_one():
    sections = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[:2] == ["Unreleased", mulde.__version__]


def test_ci_tests_the_oldest_and_the_newest_python_that_the_package_names():
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == [named[0], named[-1]]
    oldest, _, newest = PROJECT["requires-python"].partition(",")
    assert (oldest, newest) == (f">={named[0]}", f"<3.{int(named[-1].partition('.')[2]) + 1}")


def test_make_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    helped = re.findall(r'@echo "make ([\w-]+)', makefile)
    assert sorted(phony.split()) == sorted(["help", *helped])
