"""Alerts and states of machines as a ledger keeps them."""

from __future__ import annotations

from mulde.pipeline.live.alerts import Alert, MachineState, Moment, Stretch, alert_id

T0 = 1_795_874_201_300


def alert(revision=1, state=None, *, camera="yard", start=T0, end=None, kind="unusual", **fields):
    end = start + 1000 * revision if end is None else end
    return Alert(
        id=alert_id(camera, start, kind), revision=revision, state=state or ("opened" if revision == 1 else "updated"),
        kind=kind, camera=camera, start=start, peak=start, end=end, score=8.0, level=6.0, **fields,
    )  # fmt: skip


def machine(start=T0, last=T0, number=7, reported_score=8.0):
    first = Moment(number - 1, start)
    return MachineState(number, Stretch(first, first, Moment(number, last), 8.0, reported_score, start))


def current(ledger):
    return [stored.alert for stored in ledger.alerts()]
