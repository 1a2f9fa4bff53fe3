"""From the outbox to sinks that do what a test says: at least once, in order, and nobody waits for another."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass, field, replace

import pytest

from mulde.errors import UsageError
from mulde.pipeline.live.camera import Clocks
from mulde.pipeline.live.delivery import CameraStates, Deliveries
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.pipeline.live.outbox import WITHHELD, OutboxCount
from mulde.pipeline.live.sink_worker import SinkWorker
from mulde.sinks.message import Message, Sink, SinkError
from mulde.sinks.opening import SinkSpec
from mulde.sinks.settings import AppriseSettings, MqttSettings, WebhookSettings

from .fake_cameras import FakeTime, wait_until
from .small_world import Listener
from .stored_alerts import T0, alert

MINUTE_MS = 60_000


class FakeSink(Sink):
    """Fails as `failures` say, one for each message, then takes all. held: a message waits until it is set."""

    def __init__(self, *failures):
        self.failures, self.got, self.shown = list(failures), [], []
        self.num_turns, self.is_closed = 0, False
        self.held = threading.Event()
        self.held.set()
        self.around = None

    def deliver(self, message: Message) -> None:
        self.held.wait(60)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.got.append(message)

    def show(self, cameras):
        self.shown.append(cameras)

    def turn(self):
        self.num_turns += 1

    def close(self):
        self.is_closed = True

    def ids(self):
        return [message.key for message in self.got]


def hook(name="hook", **settings):
    return SinkSpec(WebhookSettings(name=name, url="http://127.0.0.1/", **settings), {})


@dataclass
class World:
    """A worker that is turned by hand, on a clock that stands."""

    ledger: AlertLedger
    root: object
    spec: SinkSpec = field(default_factory=hook)
    sink: FakeSink = field(default_factory=FakeSink)
    time: FakeTime = field(default_factory=lambda: FakeTime(utc_offset_s=T0 / 1000 + 60 - 1000))
    reporter: Listener = field(default_factory=Listener)

    def __post_init__(self):
        self.again()

    def again(self):
        """A process that begins anew."""
        self.worker = SinkWorker(
            self.spec, self.ledger, self.root, self.reporter, self.time.clocks(),
            opener=lambda spec, around: self.sink,
        )  # fmt: skip

    def record(self, *alerts):
        for one in alerts:
            self.ledger.record([Revision(one, (self.spec.name,))])

    def turn(self):
        return self.worker.turn()

    def all_done(self, max_turns=200):
        """Turn until nothing waits, as time passes."""
        for _ in range(max_turns):
            wait_s = self.turn()
            if not self.ledger.outbox_counts().get(self.spec.name, OutboxCount()).num_waiting:
                return
            self.time.now_s += wait_s
        raise AssertionError("it never ends")


@pytest.fixture
def ledger(tmp_path):
    with AlertLedger.open(tmp_path) as ledger:
        yield ledger


@pytest.fixture
def world(ledger, tmp_path):
    return World(ledger, tmp_path)


def down(wait_s=0.0):
    return SinkError("nobody there", "reconnect", wait_s=wait_s)


def test_revisions_arrive_in_order_with_their_picture(world, tmp_path):
    first = alert(picture=f"/alerts/{alert().id}.jpg")
    (tmp_path / "alerts").mkdir()
    (tmp_path / f"alerts/{first.id}.jpg").write_bytes(b"jpeg")
    world.record(first, alert(2, start=T0, picture="/alerts/gone.jpg"), alert(3, "closed"), alert(camera="gate"))
    world.all_done()
    assert [key for key in world.sink.ids() if key[0] == first.id] == [(first.id, n) for n in (1, 2, 3)]
    assert (alert(camera="gate").id, 1) in world.sink.ids()
    assert world.sink.got[0].picture.read_bytes() == b"jpeg"
    assert world.sink.got[-1].picture is None
    assert world.worker.status.counts == {"acknowledged": 4, "failed": 0, "given_up": 0}
    assert world.turn() > 0, "there is nothing to do"


def test_a_receiver_that_is_away_is_asked_ever_less_often_and_then_gets_all(world):
    world.sink.failures = [down() for _ in range(10)]
    world.record(*(alert(start=T0 + 1000 * n) for n in range(3)))
    waits = []
    while world.sink.failures:
        waits.append(wait_s := world.turn())
        assert world.turn() == pytest.approx(wait_s), "it is left alone"
        world.time.now_s += wait_s
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert world.worker.status.problem == "nobody there"
    assert [text for text in world.reporter.warnings] == ["sink hook: nobody there; alerts wait"]
    first = world.ledger.undelivered()[0]
    assert (first.tries, first.reason, first.alert) == (10, "nobody there", alert().id)
    assert {delivery.tries for delivery in world.ledger.undelivered()[1:]} == {0}
    world.all_done()
    assert world.sink.ids() == [(alert(start=T0 + 1000 * n).id, 1) for n in range(3)]
    assert (world.worker.status.problem, world.reporter.lines) == ("", ["sink hook: reached again"])


def test_a_receiver_that_comes_back_is_not_waited_for(world):
    world.sink.failures = [down(), down()]
    world.record(alert())
    world.turn()
    world.time.now_s += 2
    assert world.turn() == 2
    world.worker.reached()
    assert world.turn() == 0
    assert len(world.sink.got) == 1


def test_a_receiver_says_for_how_long_it_wants_to_be_left_alone(world):
    world.sink.failures = [down(wait_s=600)]
    world.record(alert())
    assert world.turn() == 600


def test_chance_spreads_the_tries(ledger, tmp_path):
    world = World(ledger, tmp_path)
    world.worker._clocks = Clocks(lambda: 0.0, lambda: T0 / 1000, uniform=lambda low, high: high)
    world.sink.failures = [down()]
    world.record(alert())
    assert world.turn() == 1.25


def test_a_message_that_fails_by_itself_holds_up_no_other(world):
    failing, num_tries = alert(start=T0), 0

    def deliver(message, deliver=world.sink.deliver):
        nonlocal num_tries
        if message.key == (failing.id, 1) and num_tries < 20:
            num_tries += 1
            raise SinkError("status 500", "message")
        deliver(message)

    world.sink.deliver = deliver
    world.record(failing, *(alert(start=T0 + 1000 * n) for n in range(1, 6)))
    world.record(alert(2, "closed", start=T0))
    while len(world.sink.got) < 5:
        world.time.now_s += world.turn()
    assert num_tries < 3
    world.all_done()
    assert num_tries == 20
    assert world.sink.ids()[-2:] == [(failing.id, 1), (failing.id, 2)]


def test_what_is_refused_is_given_up_with_the_reason(world):
    world.sink.failures = [SinkError("status 404", "never")]
    world.record(alert(), alert(start=T0 + 1000))
    world.all_done()
    (given_up,) = world.ledger.undelivered()
    assert (given_up.state, given_up.reason) == ("given_up", "status 404")
    assert world.sink.ids() == [(alert(start=T0 + 1000).id, 1)]
    assert world.reporter.warnings == ["sink hook: a message is given up: status 404"]


def test_an_error_of_the_program_is_said_without_its_text(world):
    world.sink.failures = [ValueError("http://user:SECRET@host/")]
    world.record(alert())
    world.all_done()
    assert "SECRET" not in str(world.reporter.warnings + world.reporter.lines)
    assert world.sink.ids() == [(alert().id, 1)]


class FullDisk:
    """The ledger's database, which takes nothing while it is full."""

    def __init__(self, ledger):
        self.connection, ledger._db, self.is_full = ledger._db, self, False

    def execute(self, statement, *values):
        if self.is_full and statement.startswith("UPDATE outbox"):
            raise sqlite3.OperationalError("database or disk is full")
        return self.connection.execute(statement, *values)

    def __getattr__(self, name):
        return getattr(self.connection, name)


def test_a_full_disk_sends_nothing_again_and_again(world):
    disk = FullDisk(world.ledger)
    world.record(*(alert(start=T0 + 1000 * n) for n in range(3)))
    disk.is_full = True
    for _ in range(5):
        world.time.now_s += world.turn()
    assert world.sink.ids() == [(alert().id, 1)], "one, until that is on record"
    assert world.reporter.warnings == ["sink hook: deliveries wait for the disk: database or disk is full"]
    disk.is_full = False
    world.all_done()
    assert world.sink.ids() == [(alert(start=T0 + 1000 * n).id, 1) for n in range(3)]


# --- the rate


def test_no_more_alerts_than_an_hour_may_have_but_all_ends(ledger, tmp_path):
    world = World(ledger, tmp_path, hook(at_most_per_hour=2))
    alerts = [alert(start=T0 + n * MINUTE_MS) for n in range(4)]
    for number, one in enumerate(alerts):
        world.record(one, alert(2, start=one.start))
        world.all_done()
        world.time.now_s += 60
        if number == 2:
            world.again()  # what was sent in the last hour is on record
    world.record(*(alert(3, "closed", start=one.start) for one in alerts))
    world.all_done()
    told = {one.id for one in alerts[:2]}
    assert {key[0] for key in world.sink.ids()} == told
    assert [key for key in world.sink.ids() if key[1] == 3] == [(one.id, 3) for one in alerts[:2]]
    assert {(d.state, d.reason) for d in world.ledger.undelivered()} == {("given_up", WITHHELD)}
    assert {d.alert for d in world.ledger.undelivered()} == {one.id for one in alerts[2:]}
    assert [message.num_withheld for message in world.sink.got[-2:]] == [2, 0]

    world.time.now_s += 3600
    last = alert(start=T0 + 100 * MINUTE_MS)
    world.record(last)
    world.all_done()
    assert world.sink.ids()[-1] == (last.id, 1)


def test_a_clock_that_was_set_back_withholds_nothing(ledger, tmp_path):
    world = World(ledger, tmp_path, hook(at_most_per_hour=1))
    world.record(alert())
    world.all_done()
    world.time.utc_offset_s -= 86_400
    world.record(alert(start=T0 - 86_000_000))
    world.all_done()
    assert len(world.sink.got) == 2


# --- whom the ledger tells


@pytest.fixture
def deliveries(ledger, tmp_path):
    opened = {}

    def opener(spec, around):
        sink = opened[spec.name] = FakeSink()
        sink.around = around
        return sink

    with Deliveries(ledger, tmp_path, Listener(), opener=opener) as deliveries:
        deliveries.sinks = opened
        yield deliveries


def posted(ledger, alert_id):
    rows = ledger._db.execute("SELECT sink, revision FROM outbox WHERE alert = ? ORDER BY sink, revision", [alert_id])
    return [tuple(row) for row in rows.fetchall()]


def given(deliveries, *specs):
    """The sinks are known, but nothing runs."""
    deliveries._workers = deliveries.opened(specs)


def test_sinks_are_told_what_they_want(ledger, deliveries):
    phone = SinkSpec(AppriseSettings(name="phone", urls_env="X"), {"urls": "json://x"})
    given(deliveries, hook("all"), hook("floods", only=("flood", "camera")), phone)
    for one in (alert(), alert(2), alert(3, "closed"), alert(kind="flood")):
        ledger.record([Revision(one)])
    assert posted(ledger, alert().id) == [("all", 1), ("all", 2), ("all", 3), ("phone", 1)]
    assert posted(ledger, alert(kind="flood").id) == [("all", 1), ("floods", 1), ("phone", 1)]
    ledger.record([Revision(alert(start=T0 + 5), covered_by=alert(kind="flood").id)])
    assert posted(ledger, alert(start=T0 + 5).id) == []


def test_nobody_is_told_of_what_is_normal_here_but_of_its_end_if_it_was_told(ledger, deliveries):
    phone = SinkSpec(AppriseSettings(name="phone", urls_env="X"), {"urls": "json://x"})
    given(deliveries, hook(), phone)
    normal = {"exemption": "e1"}
    for one in (alert(**normal), alert(2, **normal), alert(3, "closed", **normal)):
        ledger.record([Revision(one)])
    assert posted(ledger, alert().id) == []
    other = T0 + 1000
    for one in (alert(start=other, **normal), alert(2, start=other), alert(3, "closed", start=other, **normal)):
        ledger.record([Revision(one)])
    assert posted(ledger, alert(start=other).id) == [("hook", 2), ("hook", 3), ("phone", 2)]


def test_a_sink_that_is_not_there_now_hears_the_end_later(ledger, deliveries):
    given(deliveries, hook("gone"))
    ledger.record([Revision(alert())])
    given(deliveries, hook("new"))
    ledger.record([Revision(alert(2))])
    ledger.record([Revision(alert(3, "closed"))])
    assert posted(ledger, alert().id) == [("gone", 1), ("gone", 3), ("new", 2), ("new", 3)]


def test_what_a_dead_process_left_open_is_closed_for_those_who_know_it(ledger, deliveries):
    phone = SinkSpec(AppriseSettings(name="phone", urls_env="X"), {"urls": "json://x"})
    given(deliveries, hook(), phone)
    ledger.record([Revision(alert())])
    given(deliveries, hook(), phone, hook("new"))
    (closed,) = ledger.recover(T0 + 10**9, 1.0)
    assert closed.state == "closed"
    assert posted(ledger, alert().id) == [("hook", 1), ("hook", 2), ("phone", 1)]


# --- all sinks together


def settled(ledger):
    return not any(count.num_waiting for count in ledger.outbox_counts().values())


def test_a_dead_sink_holds_up_nobody_and_bounds_nothing_but_the_disk(ledger, deliveries):
    deliveries.follow(deliveries.opened([hook("dead"), hook("well")]))
    dead, well = deliveries.sinks["dead"], deliveries.sinks["well"]
    dead.held.clear()
    for n in range(50):
        ledger.record([Revision(alert(start=T0 + 1000 * n))])
    wait_until(lambda: len(well.got) == 50)
    assert dead.got == []
    assert ledger.outbox_counts()["dead"].num_waiting == 50
    dead.held.set()
    wait_until(lambda: settled(ledger))
    assert dead.ids() == well.ids()


def test_what_is_due_at_the_end_is_sent_and_sinks_are_closed(ledger, deliveries):
    deliveries.follow(deliveries.opened([hook("a"), hook("b")]))
    ledger.record([Revision(alert())])
    ledger.record([Revision(alert(2, "closed"))])
    deliveries.__exit__()
    for sink in deliveries.sinks.values():
        assert sink.ids() == [(alert().id, 1), (alert().id, 2)]
        assert sink.is_closed
    assert settled(ledger)


def test_a_sink_that_hangs_does_not_hold_up_the_end(ledger, deliveries):
    deliveries.follow(deliveries.opened([hook()]))
    sink = deliveries.sinks["hook"]
    sink.held.clear()
    ledger.record([Revision(alert())])
    wait_until(lambda: sink.num_turns)
    deliveries.__exit__()
    assert sink.around.stop.is_set()
    assert not settled(ledger)
    sink.held.set()
    wait_until(lambda: sink.is_closed)


def test_sinks_that_changed_begin_anew_and_the_others_go_on(ledger, deliveries):
    deliveries.follow(deliveries.opened([hook("kept"), hook("changed"), hook("gone")]))
    before = dict(deliveries.sinks)
    ledger.record([Revision(alert())])
    wait_until(lambda: settled(ledger))
    secret = replace(hook("changed"), secrets={"secret": "another"})
    deliveries.follow(deliveries.opened([hook("kept"), secret, hook("new")]))
    assert deliveries.sinks["kept"] is before["kept"]
    assert not before["kept"].is_closed
    assert before["changed"].is_closed
    assert before["gone"].is_closed
    ledger.record([Revision(alert(start=T0 + 1000))])
    wait_until(lambda: settled(ledger))
    assert [len(deliveries.sinks[name].got) for name in ("kept", "changed", "new")] == [2, 1, 1]
    assert [status.name for status in deliveries.status()] == ["kept", "changed", "new"]


def test_what_waits_for_a_sink_that_is_gone_is_said_and_kept(ledger, deliveries):
    given(deliveries, hook("gone"))
    ledger.record([Revision(alert())])
    deliveries.follow({})
    assert deliveries._reporter.warnings == ["deliveries that wait for sink gone, which is not in the file: 1"]
    deliveries.follow(deliveries.opened([hook("gone")]))
    wait_until(lambda: settled(ledger))
    assert deliveries.sinks["gone"].ids() == [(alert().id, 1)]


def test_commands_where_no_camera_can_be_paused_have_no_effect(ledger, tmp_path):
    spec = SinkSpec(MqttSettings(commands=True), {})
    deliveries = Deliveries(ledger, tmp_path, Listener(), opener=lambda spec, around: FakeSink())
    with pytest.raises(UsageError, match="sink mqtt: commands has no effect"):
        deliveries.opened([spec])
    told = []
    able = Deliveries(ledger, tmp_path, Listener(), on_command=lambda *words: told.append(words),
                      opener=lambda spec, around: around.on_command("yard", 60.0) or FakeSink())  # fmt: skip
    able.opened([spec])
    assert told == [("yard", 60.0)]


# --- the state of cameras


def engine_state(utc_s=1000.0, **cameras):
    shown = {"state": "live", "since_utc_s": T0 / 1000, "num_scored": 0, "score": 1.5, "level": 6.0, "alert": None}
    shown |= {"health": [], "drift": None, "paused_until_ms": None}
    return {"schema": 1, "utc_s": utc_s, "cameras": {name: {**shown, **fields} for name, fields in cameras.items()}}


def test_sinks_are_shown_cameras_and_a_new_one_too(deliveries):
    deliveries.follow(deliveries.opened([hook("a")]))
    assert deliveries.sinks["a"].shown == [], "not that there are none"
    deliveries.show(
        engine_state(yard={"alert": "yard-1", "health": [{"kind": "dark", "text": "too dark", "since_ms": T0}]})
    )
    deliveries.follow(deliveries.opened([hook("a"), hook("b")]))
    expected = {
        "state": "live", "health": ["dark"], "since": "2026-11-28T13:56:41.300Z", "fps": 0.0, "score": 1.5,
        "level": 6.0, "alert": "yard-1", "drift": None,
    }  # fmt: skip
    assert deliveries.sinks["a"].shown[-1] == deliveries.sinks["b"].shown[-1] == {"yard": expected}


def test_the_rate_is_that_of_the_last_half_minute():
    states = CameraStates()
    rates = [
        states.of(engine_state(utc_s, yard={"num_scored": scored}))["yard"]["fps"]
        for utc_s, scored in ((0, 0), (2, 5), (4, 9), (34, 9), (36, 13), (35, 15), (37, 0), (39, 4))
    ]
    assert rates == [0.0, 2.5, 2.25, 0.0, 2.0, 0.0, 0.0, 2.0]
    assert states.of(engine_state(40, gate={"num_scored": 9}))["gate"]["fps"] == 0.0
    assert set(states._scored) == {"gate"}


def test_a_pause_is_shown_as_the_state():
    assert CameraStates().of(engine_state(yard={"paused_until_ms": T0}))["yard"]["state"] == "paused"
    assert CameraStates().of(engine_state(yard={}))["yard"]["state"] == "live"


def test_drift_is_shown_in_thresholds():
    drift = {"evidence": {"velocity": 73.0, "count": 730.0, "place": None}, "threshold": 365.0}
    assert CameraStates().of(engine_state(yard={"drift": drift}))["yard"]["drift"] == 2.0
    refused = {"evidence": {}, "threshold": 365.0}
    assert CameraStates().of(engine_state(yard={"drift": refused}))["yard"]["drift"] is None


def test_a_score_that_is_no_number_is_none():
    shown = CameraStates().of(engine_state(yard={"score": None, "level": float("nan")}))["yard"]
    assert (shown["score"], shown["level"]) == (None, None)
