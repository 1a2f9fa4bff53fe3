"""Suppressions: which events they cover, and how they are stored."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from mulde.errors import MuldeError
from mulde.events import Event, EventRegion, Reason
from mulde.pipeline.events.suppression import (
    Reviewed,
    ScoringModel,
    Similarity,
    Suppression,
    Undone,
    apply_suppressions,
    covered,
    merge_suppressions,
    narrow_reason,
    next_id,
    num_alarms,
    preview_of,
    read_suppressions,
    similarity_of,
    suppressions_of,
    write_suppressions,
)
from mulde.records import Float32, Float64, Int64

SHA = "5ea"
WHEN = "2026-11-23T03:00:00+00:00"


@dataclass(frozen=True)
class NormalIndex:
    """Distances in units of `scale`, by a loop over numbers."""

    normal: dict[str, Float32]
    scale: float = 2.0

    @property
    def streams(self) -> list[str]:
        return list(self.normal)

    def distance(self, stream: str, a: Float32, b: Float32) -> Float64:
        b = np.broadcast_to(b, a.shape)
        return np.array([math.dist(x.tolist(), y.tolist()) / self.scale for x, y in zip(a, b, strict=True)], np.float64)

    def nearest(self, stream: str, values: Float32, k: int) -> tuple[Int64, Float64]:
        every = np.array([self.distance(stream, self.normal[stream], row[None]) for row in values])
        order = np.argsort(every, axis=1)[:, :k]
        return order, np.take_along_axis(every, order, axis=1)


def event(i: int, video: str = "a") -> Event:
    return Event(video, 10 * i, 10 * i + 8, 0.4 * i, 0.4 * i + 0.28, 10 * i + 3, 0.4 * i + 0.12, 5.0, 0.01)


def suppression(number: int, of: Event, stream: str = "velocity", similar: Similarity | None = None) -> Suppression:
    return Suppression(
        str(number), of.event_id, of.video, of.start_frame, of.end_frame, stream, "jo", WHEN, "", WHEN, similar=similar
    )


def world(seed: int, num_events: int = 60) -> Reviewed:
    """Events whose rows lie where nothing normal does, of two streams, and a suppression of every sixth."""
    rng = np.random.default_rng(seed)
    model = ScoringModel(
        SHA, NormalIndex({name: rng.normal(size=(40, 3)).astype(np.float32) for name in ("velocity", "pose")})
    )
    events = tuple(event(i, "ab"[i % 2]) for i in range(num_events))
    rows = {
        one.event_id: ("velocity" if rng.random() < 0.5 else "pose", (3 + rng.normal(size=3)).astype(np.float32))
        for one in events
    }
    made = [
        suppression(1 + i, one, rows[one.event_id][0], similarity_of(*rows[one.event_id], model))
        for i, one in enumerate(events[::6])
    ]
    return Reviewed(events, rows, tuple(made), model)


def covered_by_hand(one: Suppression, seen: Reviewed) -> list[str]:
    """Distances to every reference sample and every event, one pair at a time."""
    stream, row = seen.rows[one.event_id]
    assert seen.model.normal_index is not None
    normal = seen.model.normal_index.normal[stream]
    radius = min(math.dist(row.tolist(), n.tolist()) for n in normal) / 2
    return [
        e.event_id
        for e in seen.events
        if e.event_id == one.event_id
        or (seen.rows[e.event_id][0] == stream and math.dist(row.tolist(), seen.rows[e.event_id][1].tolist()) < radius)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_similar_is_what_lies_within_half_the_way_to_the_nearest_reference_sample(seed):
    seen = world(seed)
    by_hand = {one.id: covered_by_hand(one, seen) for one in seen.suppressions}
    assert {one.id: list(seen.covers(one)) for one in seen.suppressions} == by_hand
    assert any(len(ids) > 1 for ids in by_hand.values()), "an easy world: nothing is similar"
    covered_ids = {event_id for ids in by_hand.values() for event_id in ids}
    assert {e.event_id for e in seen.with_suppressions() if e.suppression} == covered_ids


def test_what_is_covered_is_nearer_to_the_labelled_event_than_to_anything_normal():
    seen = world(7)
    assert seen.model.normal_index is not None
    for one in seen.suppressions:
        assert one.similar is not None
        for event_id in seen.covers(one):
            stream, row = seen.rows[event_id]
            to_labelled = seen.model.normal_index.distance(stream, row[None], np.array([one.similar.row], np.float32))[
                0
            ]
            assert to_labelled < seen.model.normal_index.nearest(stream, row[None], 1)[1][0, 0]


def test_an_event_of_another_stream_is_never_covered():
    row = np.array([5, 5], np.float32)
    model = ScoringModel(SHA, NormalIndex({name: np.zeros((1, 2), np.float32) for name in ("velocity", "pose")}))
    rows = {"a@3": ("velocity", row), "a@13": ("velocity", row), "a@23": ("pose", row)}
    events = [event(0), event(1), event(2), event(3)]  # the last without a row
    one = suppression(1, event(0), similar=similarity_of("velocity", row, model))
    assert covered(one, events, rows, model) == ["a@3", "a@13"]


def test_an_event_of_another_kind_of_object_is_never_covered():
    row = np.array([5, 5], np.float32)
    model = ScoringModel(SHA, NormalIndex({"velocity": np.zeros((1, 2), np.float32)}))
    kinds = ["bicycle", "bicycle", "truck"]
    events = [
        replace(event(i), reason=Reason("velocity", "", region=EventRegion(10 * i, (0, 0, 5, 5), -1, what)))
        for i, what in enumerate(kinds)
    ]
    rows = {one.event_id: ("velocity", row) for one in events}
    one = replace(suppression(1, events[0], similar=similarity_of("velocity", row, model)), what="bicycle")
    assert covered(one, [*events, event(3)], {**rows, "a@33": ("velocity", row)}, model) == ["a@3", "a@13"]


def test_the_radius_is_no_part_of_what_is_covered():
    model = ScoringModel(SHA, NormalIndex({"velocity": np.zeros((1, 1), np.float32)}, scale=1.0))
    rows = {event(i).event_id: ("velocity", np.array([x], np.float32)) for i, x in enumerate((8, 4, 4.001, 11.999, 12))}
    one = suppression(1, event(0), similar=similarity_of(*rows["a@3"], model))
    assert one.similar == Similarity(SHA, 4.0, (8.0,))
    assert covered(one, [event(i) for i in range(5)], rows, model) == ["a@3", "a@23", "a@33"]


def test_no_event_is_an_ordinary_value():
    one = world(0).suppressions[0]
    assert apply_suppressions([], {}, [one], world(0).model) == []
    assert apply_suppressions([event(0)], {}, [], ScoringModel(None, None)) == [event(0)]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (ScoringModel("0ther", NormalIndex({"velocity": np.zeros((1, 3), np.float32)})), "a run of another model"),
        (ScoringModel(SHA, None), "normal_moments.parquet of the model"),
        (ScoringModel(SHA, NormalIndex({"pose": np.zeros((1, 3), np.float32)})), "samples of velocity, is missing"),
    ],
    ids=["another model", "no index", "no samples of the stream"],
)
def test_without_the_model_and_its_reference_samples_only_the_labelled_event_stays_suppressed(model, reason):
    row = np.full(3, 9, np.float32)
    mine = ScoringModel(SHA, NormalIndex({"velocity": np.zeros((1, 3), np.float32)}))
    rows = {"a@3": ("velocity", row), "a@13": ("velocity", row)}
    one = suppression(1, event(0), similar=similarity_of("velocity", row, mine))
    assert (covered(one, [event(0), event(1)], rows, mine), narrow_reason(one, mine)) == (["a@3", "a@13"], "")
    assert covered(one, [event(0), event(1)], rows, model) == ["a@3"]
    assert reason in narrow_reason(one, model)


@pytest.mark.parametrize(
    "model",
    [
        ScoringModel(None, NormalIndex({"velocity": np.zeros((1, 1), np.float32)})),
        ScoringModel(SHA, None),
        ScoringModel(SHA, NormalIndex({"pose": np.zeros((1, 1), np.float32)})),
        ScoringModel(SHA, NormalIndex({"velocity": np.zeros((0, 1), np.float32)})),
    ],
    ids=["no digest", "no index", "no such stream", "no sample of the stream"],
)
def test_nothing_is_similar_without_reference_samples(model):
    assert similarity_of("velocity", np.ones(1, np.float32), model) is None
    assert "without reference samples" in narrow_reason(suppression(1, event(0)), model)


def test_an_event_names_the_suppression_made_of_it_and_else_the_earliest():
    far = NormalIndex({"velocity": np.full((1, 1), 100, np.float32)})
    model = ScoringModel(SHA, far)
    rows = {event(i).event_id: ("velocity", np.array([i], np.float32)) for i in range(4)}
    made = [
        suppression(n, event(i), similar=similarity_of(*rows[event(i).event_id], model)) for n, i in ((1, 3), (2, 1))
    ]
    named = [e.suppression for e in apply_suppressions([event(i) for i in range(4)], rows, made, model)]
    assert named == ["1", "2", "1", "1"]


def test_only_what_is_in_force_is_applied():
    proposal = replace(suppression(1, event(0)), applied=None)
    undone = replace(suppression(2, event(1)), undone=Undone("al", WHEN, "a thief"))
    in_force = suppression(3, event(2))
    events = [replace(event(i), suppression="left over") for i in range(4)]
    model = ScoringModel(None, None)
    named = [e.suppression for e in apply_suppressions(events, {}, [proposal, undone, in_force], model)]
    assert named == ["", "", "3", ""]
    assert apply_suppressions(
        apply_suppressions(events, {}, [in_force], model), {}, [in_force], model
    ) == apply_suppressions(events, {}, [in_force], model)


def test_a_preview_counts_what_applying_changes():
    seen = world(3)
    kept, proposals = seen.suppressions[:2], tuple(replace(one, applied=None) for one in seen.suppressions[2:5])
    withdrawn = replace(seen.suppressions[6], undone=Undone("al", WHEN, ""))
    seen = replace(seen, suppressions=(*kept, *proposals, withdrawn))
    shown = preview_of(seen)
    before = {i for one in kept for i in covered_by_hand(one, seen)}
    new = {one.id: covered_by_hand(one, seen) for one in proposals}
    after = before.union(*new.values())
    assert {number: list(ids) for number, ids in shown.covers.items()} == new
    assert (shown.num_before, shown.num_after) == (60 - len(before), 60 - len(after))
    assert shown.proposals == proposals
    assert num_alarms(seen.with_suppressions()) == shown.num_before
    nothing = preview_of(replace(seen, suppressions=kept))
    assert (nothing.proposals, nothing.num_before) == ((), nothing.num_after)


def test_what_was_written_is_read_again(tmp_path):
    made = [
        suppression(1, event(0), similar=similarity_of(*world(0).rows["a@3"], world(0).model)),
        replace(suppression(2, event(1)), undone=Undone("al", WHEN, "it was a thief, 泥棒")),
        replace(suppression(4, event(2)), applied=None),
    ]
    write_suppressions(made, tmp_path / "exemptions.json")
    assert suppressions_of(tmp_path) == read_suppressions(tmp_path / "exemptions.json") == made
    assert suppressions_of(tmp_path / "elsewhere") == []
    text = (tmp_path / "exemptions.json").read_text(encoding="utf-8")
    assert "泥棒" in text
    data = json.loads(text)
    assert (data["schema"], list(data)[-1], list(data["rows"])) == (1, "rows", ["1"])
    assert [one["applied"] for one in data["exemptions"]] == [WHEN, WHEN, None]


def test_the_row_that_is_kept_is_the_row_of_the_event(tmp_path):
    row = np.random.default_rng(0).normal(size=50).astype(np.float32)
    model = ScoringModel(SHA, NormalIndex({"velocity": np.zeros((1, 50), np.float32)}))
    write_suppressions([suppression(1, event(0), similar=similarity_of("velocity", row, model))], tmp_path / "x.json")
    (read,) = read_suppressions(tmp_path / "x.json")
    assert read.similar is not None
    np.testing.assert_array_equal(np.array(read.similar.row, np.float32), row)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ("[]", "the whole: expected a table of names and values, got "),
        ('{"schema": 2, "exemptions": [], "rows": {}}', "schema: expected version 1, got 2"),
        (
            '{"schema": 1, "exemptions": [{"id": "1"}], "rows": {}}',
            "exemptions.0.event_id: expected a value, got none",
        ),
        ('{"schema": 1, "exemptions": [7], "rows": {}}', "exemptions.0: expected a table of names and values, got 7"),
    ],
)
def test_damage_is_named(tmp_path, text, problem):
    (tmp_path / "exemptions.json").write_text(text)
    with pytest.raises(MuldeError, match=rf"exemptions\.json.*{re.escape(problem)}.*Try: the suppressions"):
        suppressions_of(tmp_path)


def test_a_file_that_is_asked_for_has_to_be_there_and_ids_are_one_each(tmp_path):
    with pytest.raises(MuldeError, match=r"none\.json cannot be read \(No such file"):
        read_suppressions(Path("none.json"))
    write_suppressions([suppression(1, event(0)), suppression(1, event(1))], tmp_path / "x.json")
    with pytest.raises(MuldeError, match="ids of suppressions: expected each value once, got 1 twice"):
        read_suppressions(tmp_path / "x.json")


def test_numbers_run_on():
    assert [next_id([]), next_id([suppression(2, event(0)), suppression(11, event(1))])] == [1, 12]


def test_merging_keeps_what_both_say_and_ids_one_each():
    shared = suppression(1, event(0))
    own = [shared, suppression(2, event(1)), replace(suppression(3, event(2)), applied=None)]
    undone = replace(shared, id="5", undone=Undone("al", WHEN, ""))
    given = [
        undone,
        suppression(2, event(3)),
        suppression(9, event(4)),
        replace(suppression(10, event(5)), applied=None),
    ]
    merged = merge_suppressions(own, given)
    assert merged == [replace(undone, id="1"), own[1], own[2], replace(given[1], id="11"), given[2]]
    assert merge_suppressions(merged, given) == merged
    assert merge_suppressions([], own) == own[:2]
    assert merge_suppressions(own, []) == own
