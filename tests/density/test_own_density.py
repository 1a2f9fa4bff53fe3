"""One line in the registry is enough for a density to be named in settings, checked, kept in a model and read again."""

from __future__ import annotations

import numpy as np
import pytest

from mulde.density.registry import DENSITIES, build_density, density_from_state
from mulde.errors import UsageError
from mulde.pipeline.training.fit import check_density
from mulde.settings_file import load_settings

ROWS = np.random.default_rng(0).normal(size=(50, 3))


@pytest.fixture(autouse=True)
def _line(monkeypatch):
    monkeypatch.setitem(DENSITIES, "norm", "tests.density.own_density:NormDensity")


def settings(*options: str):
    return load_settings(
        overrides=["density.method=norm", *(f"density.options.{option}" for option in options)]
    ).density


def test_settings_take_its_name_and_its_options_are_checked_before_training():
    check_density(settings("order=1"))
    with pytest.raises(UsageError, match="density norm: expected settings among order, contamination, seed, got power"):
        check_density(settings("power=1"))
    with pytest.raises(UsageError, match="order: expected a whole number from 1 to 10, got 11"):
        check_density(settings("order=11"))


@pytest.mark.parametrize(("name", "elsewhere"), [("seed", "run.seeds"), ("device", "--device")])
def test_what_is_chosen_elsewhere_is_no_option(name, elsewhere):
    with pytest.raises(UsageError, match=rf"setting density\.options\.{name} has no effect.*{elsewhere}"):
        check_density(settings(f"{name}=1"))


def test_it_is_stored_and_read_again():
    density = build_density("norm", order=1).fit(ROWS)
    again = density_from_state(*density.state())
    assert again.settings() == {"order": 1, "contamination": 0.01, "seed": 0}
    np.testing.assert_array_equal(again.anomaly_score(ROWS), density.anomaly_score(ROWS))
