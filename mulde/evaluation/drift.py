"""Whether the days of a camera are still like those before: a test on whole days, as hours and frames depend on each
other.

A day is compared, hour by hour of day, with all days that came before and did not drift. Were days exchangeable, its
conformal p-value would be uniform and independent of the earlier ones, whatever happens inside a day. Bets against that
(Vovk's mixture of powers) are added up over all days on which a change could have begun (Shiryaev-Roberts): the sum
reaches a threshold, on average, no earlier than after so many days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mulde.errors import UsageError
from mulde.records import Bool, Float64

MIN_REFERENCE_DAYS = 7
HOURS = 24
MAX_EVIDENCE = 1e12
"""Evidence is not counted further: nobody would act otherwise on more."""
_RETURN_DAYS = 7
_MAX_LOG = 600.0  # of a martingale: e^600 is far beyond MAX_EVIDENCE, and a float
_GAUGE_TOLERANCE = 0.05
_GAUGE_BETS = (0.4, 0.8, 1.2, 1.6)  # below 1 / (1 - 0.45), so that no bet loses more than is there

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Drift:
    """Days that are no longer like the reference. first: the day on which that began, as estimated when it was noticed
    on day `noticed`; over: the day from which on it is over, None while it lasts. All are places among the days."""

    direction: Direction
    first: int
    noticed: int
    over: int | None = None


@dataclass(frozen=True)
class DriftCourse:
    """What a test made of days (D,). p_value, evidence: NaN for the first days, which are reference alone; small
    p-values are of days with higher values; is_reference: which days later ones are compared with; drifts: in order."""

    p_value: Float64
    evidence: Float64
    is_reference: Bool
    drifts: tuple[Drift, ...]

    @property
    def current(self) -> Drift | None:
        """The drift that lasts."""
        return self.drifts[-1] if self.drifts and self.drifts[-1].over is None else None


def mixture_of_powers(num: Float64, minus_log: Float64) -> Float64:
    """The integral over e in [0, 1] of the product of e p^(e - 1) over `num` p-values whose -ln add up to minus_log.

    (Vovk's simple mixture: a martingale while p-values are independent and uniform; both arguments (K,).) With n
    p-values and x = minus_log it is the sum over j of x^j n! / (n + 1 + j)!, whose terms are all positive.
    """
    num, x = np.asarray(num, np.float64), np.minimum(np.asarray(minus_log, np.float64), _MAX_LOG)
    term = 1 / (num + 1)
    total, j = term.copy(), 0
    while (term > 1e-15 * total).any():
        j += 1
        term = term * x / (num + 1 + j)
        total += term
    return total


def shiryaev_roberts(p_value: Float64) -> Float64:
    """For each day (K,) on which a change could have begun, the martingale that begins there, after p-values (K,); the
    evidence is their sum. Small p-values are bet on."""
    minus_log = -np.log(np.maximum(p_value, np.exp(-_MAX_LOG)))
    return mixture_of_powers(np.arange(len(p_value), 0, -1.0), np.cumsum(minus_log[::-1])[::-1])


def day_statistic(values: Float64) -> Float64:
    """How high each day (D,) lies among all of them: values (D, 24) less the mean of their hour of day, by its standard
    deviation, on average over the hours that a day has (others are NaN).

    It treats the days alike, so p-values from it are valid. 0 for a day without hours, and where an hour never varies.
    """
    known = np.isfinite(values)
    num = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, values, 0.0)
    centred = np.where(known, values - filled.sum(axis=0) / num, 0.0)
    scale = np.sqrt((centred**2).sum(axis=0) / num)
    size = np.abs(filled).max(axis=0, initial=0.0)
    varies = scale > 1e-9 * size  # what is left by rounding is no difference
    scores = np.where(varies, centred / np.where(varies, scale, 1.0), 0.0)
    return np.asarray(scores.sum(axis=1) / np.maximum(known.sum(axis=1), 1), np.float64)


def conformal_p_value(statistic: Float64, draw: float) -> float:
    """The p-value of the last of statistics (D,) among all of them: small where it is high.

    draw, between 0 and 1, breaks ties, its own with itself among them: drawn uniformly, it makes the p-value exactly
    uniform where the order of the statistics says nothing.
    """
    above, equal = (statistic > statistic[-1]).sum(), (statistic == statistic[-1]).sum()
    return float((above + draw * equal) / len(statistic))


def drift_course(
    values: Float64, draws: Float64, threshold: float, *, num_reference: int = MIN_REFERENCE_DAYS
) -> DriftCourse:
    """Test each day behind the first `num_reference` of values (D, 24), in order of time.

    draws (D,): a number between 0 and 1 for each day, for ties. The evidence of a day is that for higher values and
    that for lower ones, added up and halved. Where it reaches the threshold a drift is noticed, and its first day is
    that with the highest martingale; from there on no day becomes reference until, over a week, days show nothing
    any more. Raises UsageError for less reference than a week.
    """
    check_reference(num_reference)
    num_days = len(values)
    p_value, evidence = np.full(num_days, np.nan), np.full(num_days, np.nan)
    is_reference = np.arange(num_days) < num_reference
    drifts: list[Drift] = []
    begin = num_reference  # of the days whose evidence counts
    for day in range(num_reference, num_days):
        bag = np.append(np.flatnonzero(is_reference[:day]), day)
        p_value[day] = conformal_p_value(day_statistic(values[bag]), float(draws[day]))
        terms = {sign: shiryaev_roberts(_towards(p_value[begin : day + 1], sign)) for sign in ("higher", "lower")}
        evidence[day] = min(sum(each.sum() for each in terms.values()) / 2, MAX_EVIDENCE)
        lasting = drifts[-1] if drifts and drifts[-1].over is None else None
        if lasting is not None:
            last = p_value[day + 1 - _RETURN_DAYS : day + 1]
            if day - lasting.noticed >= _RETURN_DAYS and _shows_nothing(last, lasting.direction):
                drifts[-1] = Drift(lasting.direction, lasting.first, lasting.noticed, day + 1 - _RETURN_DAYS)
                is_reference[day + 1 - _RETURN_DAYS : day + 1] = True
                begin = day + 1
        elif evidence[day] >= threshold:
            sign: Direction = "higher" if terms["higher"].sum() >= terms["lower"].sum() else "lower"
            first = begin + int(np.argmax(terms[sign]))
            drifts.append(Drift(sign, first, day))
            is_reference[first : day + 1] = False
        else:
            is_reference[day] = True
    return DriftCourse(p_value, evidence, is_reference, tuple(drifts))


def check_reference(num_days: int) -> None:
    """Raises UsageError for fewer days of reference than a week."""
    if num_days < MIN_REFERENCE_DAYS:
        raise UsageError(
            "days of reference", expected=f"at least {MIN_REFERENCE_DAYS}, as no fewer show a week", got=num_days
        )


def _towards(p_value: Float64, direction: str) -> Float64:
    return p_value if direction == "higher" else 1 - p_value


def _shows_nothing(p_value: Float64, direction: Direction) -> bool:
    minus_log = -np.log(np.maximum(_towards(p_value, direction), np.exp(-_MAX_LOG)))
    return bool(mixture_of_powers(np.array([float(len(p_value))]), minus_log[None].sum(axis=1))[0] < 1)


def hour_differences(values: Float64, is_reference: Bool, first: int) -> Float64:
    """For each hour of day (24,), by how many standard deviations of the reference days the mean of the days from
    `first` on differs from theirs; NaN where either has none. Tells where to look; nothing is tested."""
    differences = np.full(HOURS, np.nan)
    for hour in range(HOURS):
        before, now = (column[np.isfinite(column)] for column in (values[is_reference, hour], values[first:, hour]))
        if before.size > 1 and now.size:
            scale = float(before.std()) or 1e-9 * max(float(np.abs(before).max()), 1e-9)
            differences[hour] = (now.mean() - before.mean()) / scale
    return differences


def hourly_gauge(values: Float64, draws: Float64, is_reference: Bool, *, num_reference: int) -> Float64:
    """Evidence (D, 24) hour by hour that values (D, 24) are other than those of the same hour on reference days before;
    NaN where there is nothing to compare.

    It bets on the mean of p-values being more than 0.05 from 1/2. Hours depend on each other, so nothing is promised of
    it: it is there to be looked at. draws (D, 24): between 0 and 1, for ties.
    """
    gauge = np.full(values.shape, np.nan)
    bets = np.array(_GAUGE_BETS)
    sums = np.zeros((2, len(bets)))
    for day, hour in np.ndindex(values.shape):
        before = values[:day, hour][is_reference[:day]]
        before = before[np.isfinite(before)]
        if day < num_reference or not np.isfinite(values[day, hour]) or not before.size:
            continue
        p = conformal_p_value(np.append(before, values[day, hour]), float(draws[day, hour]))
        for side, towards in enumerate((p, 1 - p)):
            sums[side] = np.minimum((sums[side] + 1) * (1 + bets * (0.5 - _GAUGE_TOLERANCE - towards)), MAX_EVIDENCE)
        gauge[day, hour] = sums.mean()
    return gauge
