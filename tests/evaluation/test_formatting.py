import pytest

from mulde.evaluation.formatting import number, percent, with_spread
from mulde.evaluation.metrics import mean_and_std


def test_figures_have_two_digits_and_a_dash_where_they_are_undefined():
    assert [percent(share) for share in (None, 0.0, 0.98765, 1.0)] == ["-", "0.00", "98.77", "100.00"]
    assert [number(value) for value in (None, 0.5, 1234.567)] == ["-", "0.50", "1,234.57"]


def test_a_spread_stands_in_brackets_behind_the_mean():
    assert with_spread(0.5, 0.01) == "50.00 (1.00)"
    assert with_spread(0.5, None) == "50.00"
    assert with_spread(None, None) == "-"
    assert with_spread(2.0, 1.0, number) == "2.00 (1.00)"


@pytest.mark.parametrize(
    ("values", "mean", "std"),
    [([], None, None), ([None], None, None), ([3.0], 3.0, None), ([1.0, None, 3.0], 2.0, 2**0.5)],
)
def test_mean_and_std_are_of_what_is_defined(values, mean, std):
    assert mean_and_std(values) == (mean, pytest.approx(std) if std else None)
