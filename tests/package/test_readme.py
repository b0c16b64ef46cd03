"""Every example of the README runs and prints what stands there."""

import doctest
import re
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def test_examples_run():
    with np.printoptions(legacy=False):
        result = doctest.testfile(
            str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
        )
    assert result.failed == 0
    assert result.attempted > 20


def test_figures_are_those_of_the_record():
    # `python benchmarks/report.py` puts them there.
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("a copy without benchmarks")
    spec = spec_from_file_location("report", ROOT / "benchmarks" / "report.py")
    report = module_from_spec(spec)
    sys.modules["report"] = report  # dataclasses look it up there
    spec.loader.exec_module(report)
    assert report.for_readme(report.read("comparison")) in README.read_text()


def test_the_two_commands_name_extras_that_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    commands = re.findall(r"^pip install '\.\[(\w+)\]' && (.*)$", README.read_text(), re.MULTILINE)
    assert dict(commands) == {"demo": "python -m lapsum", "test": "pytest -n auto"}
    assert {name for name, _ in commands} <= set(extras)


@pytest.mark.parametrize("name", ["LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"])
def test_what_the_readme_points_to_is_there(name):
    assert (ROOT / name).stat().st_size > 500
