"""Client order ids: 28 characters, sorted by time, never the same twice."""

from hypothesis import given
from hypothesis import strategies as st

from cashup.orders.ids import client_order_id, is_ours, ulid

ALPHABET = set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


@given(st.integers(0, (1 << 48) - 1))
def test_an_id_fits_every_venue(now: int) -> None:
    made = client_order_id(now)
    assert len(made) == 28
    assert made.startswith("t-")
    assert set(made[2:]) <= ALPHABET
    assert is_ours(made)


@given(st.integers(0, (1 << 48) - 2), st.integers(1, 1 << 40))
def test_ids_sort_by_time(now: int, later: int) -> None:
    assert ulid(now) < ulid(min(now + later, (1 << 48) - 1))


def test_ids_of_one_moment_differ() -> None:
    assert len({client_order_id(1) for _ in range(1000)}) == 1000


def test_others_ids_are_not_ours() -> None:
    assert not any(is_ours(other) for other in (None, "", "apiv4", "t-1", "web", "x-" + ulid(0)))
