import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mulde.density.registry import DENSITIES, build_density
from mulde.errors import UsageError

_NETWORK = {"hidden": (8,), "steps": 5, "num_scales": 4, "batch_size": 32, "components": 1}
TINY = {"mulde": _NETWORK, "msma": _NETWORK}


def build(name):
    return build_density(name, **TINY.get(name, {}))


def expected_failures(density):
    if density.kind in TINY:
        reason = "options by name are refused when they are given; the check gives one that there is not"
        return {"check_do_not_raise_errors_in_init_or_set_params": reason}
    if density.kind != "neighbours":
        return {}
    reason = "a training row is its own nearest neighbour at distance 0, so none of them is an outlier"
    return dict.fromkeys(["check_outliers_train", "check_outliers_fit_predict"], reason)


@parametrize_with_checks([build(name) for name in DENSITIES], expected_failed_checks=expected_failures)
def test_conventions_of_scikit_learn(estimator, check):
    check(estimator)


def rows(n=120, d=3, seed=0):
    return (np.random.default_rng(seed).normal(size=(n, d)) + 5) * [1, 10, 100]


@pytest.fixture(params=list(DENSITIES))
def density(request):
    return build(request.param)


def test_in_a_pipeline(density):
    x, there = rows(), rows(40, seed=1)
    pipeline = make_pipeline(StandardScaler(), density).fit(x)
    scaler = StandardScaler().fit(x)
    alone = clone(density).fit(scaler.transform(x))
    assert (pipeline.score_samples(there) == alone.score_samples(scaler.transform(there))).all()
    assert (pipeline.predict(there) == alone.predict(scaler.transform(there))).all()
    assert (pipeline.predict(there + 1e4) == -1).all()
    last = pipeline.steps[-1][0]
    pipeline.set_params(**{f"{last}__seed": 7, f"{last}__contamination": 0.2}).fit(x)
    assert pipeline[-1].seed == 7
    assert pipeline[-1].settings()["contamination"] == 0.2


def test_a_clone_is_unfitted_and_learns_the_same(density):
    x, there = rows(), rows(40, seed=1)
    again = clone(density.fit(x))
    assert not [name for name in vars(again) if name.endswith("_")]
    assert again.get_params() == density.get_params()
    assert (again.fit(x).anomaly_score(there) == density.anomaly_score(there)).all()


def test_rows_may_come_as_a_table_with_names(density):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(rows(), columns=["a", "b", "c"])
    fitted = clone(density).fit(table)
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(fitted.anomaly_score(table), density.fit(rows()).anomaly_score(rows()), rtol=1e-4)
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(table[["b", "a", "c"]])


@pytest.mark.parametrize("name", list(TINY))
def test_options_of_another_type_are_a_sentence(name):
    with pytest.raises(UsageError, match=r"options: expected \w+Options or None, got int"):
        type(build(name))(3, steps=5)
