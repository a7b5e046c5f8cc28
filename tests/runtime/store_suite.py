"""What every store must do: ``StoreSuite`` runs over each implementation, on a ``store`` fixture of the test module."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_triggers.runtime.store import Changes, Store

_COLUMNS = st.sampled_from(["a", "b"])
_KEYS = st.binary(min_size=1, max_size=2)
_CHANGES = st.builds(
    Changes,
    puts=st.lists(st.tuples(_COLUMNS, _KEYS, st.binary(max_size=3)), max_size=6),
    deletes=st.lists(st.tuples(_COLUMNS, _KEYS), max_size=6),
)
_STEPS = st.lists(st.one_of(_CHANGES, _COLUMNS), max_size=12)
"""What is applied, or the column that is dropped."""


class StoreSuite:
    """A keyed store of bytes in columns."""

    def test_a_new_store_has_no_columns(self, store: Store) -> None:
        assert store.columns() == frozenset()

    def test_values_come_in_the_order_of_the_keys_asked_for(self, store: Store) -> None:
        store.apply(Changes(puts=[("a", b"1", b"one"), ("a", b"2", b"two")]))
        assert store.get_many("a", [b"2", b"3", b"1", b"2"]) == [b"two", None, b"one", b"two"]

    def test_asking_for_no_keys_gives_no_values(self, store: Store) -> None:
        store.apply(Changes(puts=[("a", b"1", b"one")]))
        assert store.get_many("a", []) == []

    def test_a_column_never_written_has_nothing(self, store: Store) -> None:
        assert store.get_many("a", [b"1"]) == [None]
        assert list(store.scan("a", b"", b"\xff")) == []

    def test_an_empty_value_is_not_no_value(self, store: Store) -> None:
        store.apply(Changes(puts=[("a", b"1", b"")]))
        assert store.get_many("a", [b"1"]) == [b""]

    def test_columns_are_apart(self, store: Store) -> None:
        store.apply(Changes(puts=[("a", b"1", b"in a"), ("b", b"1", b"in b")]))
        assert store.get_many("a", [b"1"]) == [b"in a"]
        assert store.get_many("b", [b"1"]) == [b"in b"]
        assert store.columns() == {"a", "b"}

    def test_a_later_value_replaces_an_earlier_one(self, store: Store) -> None:
        store.apply(Changes(puts=[("a", b"1", b"old"), ("a", b"1", b"new")]))
        assert store.get_many("a", [b"1"]) == [b"new"]
        store.apply(Changes(puts=[("a", b"1", b"newer")]))
        assert store.get_many("a", [b"1"]) == [b"newer"]

    def test_deletes_come_after_puts(self, store: Store) -> None:
        store.apply(Changes(puts=[("a", b"1", b"one"), ("a", b"2", b"two")], deletes=[("a", b"1")]))
        assert store.get_many("a", [b"1", b"2"]) == [None, b"two"]

    def test_deleting_what_is_not_there_makes_no_column(self, store: Store) -> None:
        store.apply(Changes(deletes=[("a", b"1")]))
        assert store.columns() == frozenset()

    def test_a_column_stays_when_its_last_key_is_deleted(self, store: Store) -> None:
        store.apply(Changes(puts=[("a", b"1", b"one")], deletes=[("a", b"1")]))
        assert store.columns() == {"a"}

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (b"", b"\xff", [b"a", b"b", b"b\x00", b"c"]),
            (b"b", b"c", [b"b", b"b\x00"]),
            (b"b\x00", b"c\x00", [b"b\x00", b"c"]),
            (b"c", b"b", []),
            (b"b", b"b", []),
            (b"d", b"\xff", []),
        ],
    )
    def test_a_scan_goes_from_its_start_to_before_its_end_in_byte_order(
        self, store: Store, start: bytes, end: bytes, expected: list[bytes]
    ) -> None:
        store.apply(Changes(puts=[("a", key, b"v" + key) for key in (b"c", b"b\x00", b"a", b"b")]))
        assert list(store.scan("a", start, end)) == [(key, b"v" + key) for key in expected]

    def test_a_scan_goes_to_its_end_whatever_became_of_the_bytes_that_named_it(self, store: Store) -> None:
        keys = [b"%05d" % number for number in range(5000)]
        store.apply(Changes(puts=[("a", key, b"") for key in keys]))
        scan = store.scan("a", b"", bytes([0xFF]) * 7)
        others = []
        for _, key in zip(keys, scan, strict=True):
            others.append(bytes(7) + key[0])  # which takes the place of bytes that nobody holds
        assert len(others) == len(keys)

    def test_a_scan_shows_the_store_as_it_was_when_it_began(self, store: Store) -> None:
        store.apply(Changes(puts=[("a", b"1", b"one"), ("a", b"2", b"two")]))
        scan = store.scan("a", b"", b"\xff")
        store.apply(Changes(puts=[("a", b"3", b"three")], deletes=[("a", b"2")]))
        assert list(scan) == [(b"1", b"one"), (b"2", b"two")]

    def test_a_dropped_column_is_forgotten_and_can_be_made_again(self, store: Store) -> None:
        store.apply(Changes(puts=[("a", b"1", b"one"), ("b", b"1", b"one")]))
        store.drop("a")
        assert store.columns() == {"b"}
        assert store.get_many("a", [b"1"]) == [None]
        store.apply(Changes(puts=[("a", b"2", b"two")]))
        assert list(store.scan("a", b"", b"\xff")) == [(b"2", b"two")]

    def test_dropping_a_column_that_does_not_exist_does_nothing(self, store: Store) -> None:
        store.drop("a")
        assert store.columns() == frozenset()

    @settings(
        max_examples=50,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,  # the store is emptied first
            HealthCheck.differing_executors,  # one subclass for each implementation
        ],
    )
    @given(steps=_STEPS)
    def test_any_steps_leave_what_they_leave_in_dictionaries(self, store: Store, steps: list[Changes | str]) -> None:
        for column in store.columns():
            store.drop(column)
        model: dict[str, dict[bytes, bytes]] = {}
        for step in steps:
            _take(model, store, step)
        assert store.columns() == model.keys()
        for column, values in model.items():
            assert list(store.scan(column, b"", b"\xff" * 3)) == sorted(values.items())
            assert store.get_many(column, list(values)) == list(values.values())


def _take(model: dict[str, dict[bytes, bytes]], store: Store, step: Changes | str) -> None:
    if isinstance(step, str):
        model.pop(step, None)
        store.drop(step)
        return
    for column, key, value in step.puts:
        model.setdefault(column, {})[key] = value
    for column, key in step.deletes:
        model.get(column, {}).pop(key, None)
    store.apply(step)
