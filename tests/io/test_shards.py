"""Shares of a folder: disjoint, complete, of about one size, and the same everywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cddfuse.errors import InputError
from cddfuse.io.shards import Shard


@given(st.text(), st.integers(1, 100))
def test_a_name_is_in_one_shard(name: str, count: int) -> None:
    assert sum(Shard(number, count).holds(name) for number in range(1, count + 1)) == 1


def test_the_shard_of_a_name_never_changes() -> None:
    found = [next(n for n in range(1, 65) if Shard(n, 64).holds(name)) for name in ("0001", "a/ü")]
    assert found == [21, 54]


def test_shards_are_of_about_one_size() -> None:
    sizes = [sum(Shard(n, 8).holds(f"{i:06}") for i in range(8000)) for n in range(1, 9)]
    assert all(abs(size - 1000) < 120 for size in sizes)  # four standard deviations


def test_names_that_are_no_text_have_a_shard() -> None:
    assert Shard(1, 1).holds("broken\udcff")


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "-1/3", "1/2/3", "a/b", "1/9999999"])
def test_what_is_no_shard_is_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match=f"there is no shard {text}: write 3/64"):
        Shard.parse(text)
    assert Shard.parse(" 3/64") == Shard(3, 64)
