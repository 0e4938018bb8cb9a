"""What exported samples are called."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.export.keys import Clashes, NewNumbers, RepeatedKeys, ToldApart, ends_in, hashes, shard_suffixes
from imagecurate.shards.shard import Shard


def shard(source: str, name: str) -> Shard:
    return Shard(source, name, f"/{source}/{name}.tar", 0, "", None, "")


fragments = st.lists(st.sampled_from(["a", "-", "_", "0", "/", "é"]), min_size=1, max_size=4).map("".join)


@given(
    st.lists(
        st.tuples(fragments, fragments, st.lists(fragments, max_size=5, unique=True)),
        max_size=6,
        unique_by=lambda each: each[:2],
    )
)
def test_told_apart_keys_are_unique(
    tmp_path_factory: pytest.TempPathFactory, inputs: list[tuple[str, str, list[str]]]
) -> None:
    """However sources, shards and keys are called, no two exported keys are equal, and unique keys mostly stay."""
    suffixes = shard_suffixes([shard(source, name) for source, name, _ in inputs])
    assert len(set(suffixes)) == len(suffixes)
    count = Counter(key for _, _, keys in inputs for key in keys)
    clashes = Clashes(tmp_path_factory.mktemp("keys"))
    for _, _, keys in inputs:
        clashes.add(hashes(keys), ends_in(keys, np.sort(hashes(suffixes))))
    assert clashes.found() == any(times > 1 for times in count.values())
    if not clashes.found():
        return
    naming, done = ToldApart(), 0
    exported: list[str] = []
    for number, (_, _, keys) in enumerate(inputs):
        told = clashes.told_apart(done, done + len(keys))
        done += len(keys)
        named = naming.keys(keys, suffixes[number], told, 0, 0) or keys
        for old, new in zip(keys, named, strict=True):
            assert new == old or new == f"{old}-{suffixes[number]}"
            assert new != old or count[old] == 1
            if new != old:
                assert naming.member(f"./{old}.seg.png", new) == f"./{new}.seg.png"
        exported += named
    assert len(set(exported)) == len(exported)


def test_suffixes_that_would_look_alike_are_told_apart() -> None:
    """Two shards whose names differ only in odd characters get digits of their true names."""
    first, second, third = shard_suffixes([shard("a", "x/1"), shard("a", "x_1"), shard("a", "x_2")])
    assert first != second and third == "a-x_2"
    assert first.startswith("a-x_1_") and second.startswith("a-x_1_")


@pytest.mark.parametrize("most_held", [3, 1 << 20])
def test_repeated_keys_are_found(tmp_path: Path, most_held: int) -> None:
    """In memory or through files, what was added more than once is found, sorted."""
    batches = [
        np.random.default_rng(seed).integers(0, 900, 400).astype(np.uint64) << np.uint64(54) for seed in range(5)
    ]
    seen = RepeatedKeys(tmp_path, most_held)
    for batch in batches:
        seen.add(batch)
    count = Counter(np.concatenate(batches).tolist())
    assert seen.repeated().tolist() == sorted(key for key, times in count.items() if times > 1)


def test_no_repeated_keys(tmp_path: Path) -> None:
    """Unique keys leave nothing, also when they went through files."""
    seen = RepeatedKeys(tmp_path, 1)
    seen.add(hashes(["a", "b"]))
    assert len(seen.repeated()) == len(RepeatedKeys(tmp_path / "unused").repeated()) == 0


@given(st.integers(2, 100_000), st.integers(3, 6), st.integers(0, 999), st.data())
def test_numbers_equal_those_of_the_old_tool(per_shard: int, digits: int, shard: int, data: st.DataObject) -> None:
    """NeMo Curator 0.9 adds the sample's number to the shard's times a power of ten, and pads with zeros."""
    first = data.draw(st.integers(0, per_shard - 2))
    power = math.ceil(math.log10(per_shard))
    expected = [f"{sample + 10**power * shard:0{digits + power}d}" for sample in (first, first + 1)]
    assert NewNumbers(digits, per_shard, "key").keys(["a", "b"], "", None, shard, first) == expected


def test_new_numbers_replace_folders_too() -> None:
    """A member is called by its number and all behind the first dot of its base name."""
    naming = NewNumbers(5, 10_000, "key")
    assert naming.member("v1.0/000.seg.PNG", "000420007") == "000420007.seg.PNG"
    assert NewNumbers(5, 1, "key").keys(["a"], "", None, 42, 0) == ["00042"]
