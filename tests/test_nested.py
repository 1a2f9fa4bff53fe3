import pytest

from mulde.nested import differences, leaves, merge, with_values

DATA = {"a": {"b": 1, "c": {"d": [1, 2]}}, "empty": {}, "list": [{"x": 1}, {"x": 2}], "e": None}


def test_leaves_have_dotted_keys_and_empty_tables_have_none():
    assert list(leaves(DATA)) == [("a.b", 1), ("a.c.d", [1, 2]), ("list", DATA["list"]), ("e", None)]


def test_leaves_walk_lists_of_tables_if_asked():
    assert dict(leaves(DATA, into_lists=True)) == {
        "a.b": 1, "a.c.d": [1, 2], "list.0.x": 1, "list.1.x": 2, "e": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, [("a", 1, 2), ("b", 1, 2)]),
        ({"a": {"b": 1}}, {"a": {}}, [("a.b", 1, None)]),
        ({"a": {"b": 1}}, {"a": 7}, [("a", {"b": 1}, 7)]),
        ({"a": None}, {}, []),
        ({"a": [1, 2]}, {"a": [1, 3]}, [("a", [1, 2], [1, 3])]),
    ],
)
def test_differences_are_named_by_key(a, b, found):
    assert list(differences(a, b)) == found


def test_lists_of_one_length_are_compared_entry_by_entry_if_asked():
    a, b = {"l": [{"x": 1}, {"x": 2}], "m": [1]}, {"l": [{"x": 1}, {"x": 3}], "m": [1, 2]}
    assert list(differences(a, b, into_lists=True)) == [("l[1].x", 2, 3), ("m", [1], [1, 2])]


def test_values_are_changed_by_name_in_tables_of_any_depth():
    changed = with_values({"w": 1, "t": {"w": 2, "x": 3}}, lambda name, value: -value if name == "w" else value)
    assert changed == {"w": -1, "t": {"w": -2, "x": 3}}


def test_the_top_wins_and_neither_side_is_changed():
    base, top = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}, "d": {"e": 5}}
    assert merge(base, top) == {"a": {"b": 1, "c": 4}, "d": {"e": 5}}
    assert (base, top) == ({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}, "d": {"e": 5}})
