"""Pairs on a CUDA device: those of the CPU, and of brute force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from brute_cosine import KINDS, check, make
from on_device import same_as_on_the_cpu, sides

from imagecurate.backend import gpu_pairs
from imagecurate.backend.gpu_pairs import candidates, cosines, half_error, half_rows
from imagecurate.backend.machines import Machine
from imagecurate.neighbours import ArrayVectors, CosinePairs, against, compare, device, planner
from imagecurate.plan.execute import in_order

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def memory_is_given_back() -> Iterator[None]:
    """What a test holds on the device is no other's."""
    yield
    device.forget()


@pytest.fixture
def planned_for_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little there is to compare."""
    monkeypatch.setattr(planner, "DEVICE_ROWS", 0)
    monkeypatch.setattr(device, "FEW_PRODUCTS", 1000)


@pytest.mark.parametrize("d", [1, 2, 17, 64, 128, 300, 768, 1024])
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_those_of_the_cpu(kind: str, d: int) -> None:
    """For any length, eps, prefix, wanted number, and number of rows."""
    if kind == "chain" and d == 1:
        pytest.skip("a chain turns in a plane")
    random = np.random.default_rng([KINDS.index(kind), d])
    for eps in (1e-4, 1e-3, 0.01, 0.05, 0.1, 0.3):
        n, seed = int(random.integers(2, 2000)), int(random.integers(2**32))
        x, y = sides(make(kind, n, d, eps, seed), int(random.choice([1, 15, 63, 127, 255])), seed)
        if len(x) and len(y):
            same_as_on_the_cpu(x, y, eps, int(random.choice([1, 5, 64, 10**9])), "cuda")


def test_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips and steps of columns, most rows of a crowd done after the first."""
    monkeypatch.setattr(gpu_pairs, "STRIP_ROWS", 2048)
    rows = np.concatenate([make(kind, 3000, 48, 0.05, 7) for kind in ("clustered", "crowd", "random")])
    for seed, most in ((1, 8), (2, 64)):
        found = same_as_on_the_cpu(*sides(rows, 15, seed), 0.05, most, "cuda")
        assert found.more.any()


@pytest.mark.parametrize("width", [16, 32, 64, 128, 256])
def test_kernels_find_what_blocks_find(width: int) -> None:
    """But for products so near the bound that their rounding decides; each tile that fits, and lists too short."""
    random = torch.Generator("cuda").manual_seed(width)
    m, n, bound = 1000, 3333, 0.9
    x, y = (torch.randn(k, width, generator=random, device="cuda") for k in (m, n))
    y[::50] = x[torch.randint(m, (len(y[::50]),), generator=random, device="cuda")]
    x[:100], y[:600] = x[0].clone(), x[0].clone()  # a crowd: 60,000 pairs
    x, y = (torch.nn.functional.normalize(each + 0.2 * each.mean(1, keepdim=True), dim=1) for each in (x, y))
    left, right = half_rows(x), half_rows(y)
    ends = torch.zeros(len(left), dtype=torch.int32, device="cuda")
    ends[:m] = torch.randint(n + 1, (m,), generator=random, device="cuda").sort().values
    exact = x.double() @ y.double().T
    inside = torch.arange(n, device="cuda") < ends[:m, None]
    surely, perhaps = (exact >= bound + half_error(width)) & inside, (exact >= bound - half_error(width)) & inside
    room = torch.cuda.get_device_properties(0).shared_memory_per_block_optin
    fitting = [tile for tile in gpu_pairs.TILES if tile.shared_bytes(width) <= room]
    for tile in [*fitting, None]:
        for capacity in (1 << 24, 1):
            found = torch.zeros_like(surely)
            pieces = 0
            for row, column in candidates(left, right, ends, bound, capacity=capacity, tile=tile):
                assert (torch.diff(row << 32 | column) > 0).all()
                assert not found[row, column].any()
                found[row, column] = True
                pieces += 1
            assert not (surely & ~found).any()
            assert not (found & ~perhaps).any()
            assert tile is None or (pieces > 1) == (capacity == 1)


@pytest.mark.parametrize("d", [1, 3, 100, 768, 1024, 2000])
def test_cosines_are_exact(d: int) -> None:
    """To the rounding of float64."""
    random = torch.Generator("cuda").manual_seed(d)
    left, right = (torch.randn(k, d, generator=random, device="cuda") for k in (50, 70))
    at, to = (torch.randint(k, (333,), generator=random, device="cuda") for k in (50, 70))
    a, b = left[at].double(), right[to].double()
    torch.testing.assert_close(
        cosines(left, right, at, to), (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)), rtol=0, atol=1e-13
    )
    assert len(cosines(left, right, at[:0], to[:0])) == 0


@pytest.mark.usefixtures("planned_for_the_gpu")
@pytest.mark.parametrize("plan", ["brute", "prefix", "cells", "auto"])
def test_the_outcome_is_that_of_the_cpu(tmp_path: Path, plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the name of each row that stays; in other orders, and against a reference."""
    eps, random = 0.02, np.random.default_rng(0)
    rows = np.concatenate([make(kind, 1500, 24, eps, 1) for kind in ("clustered", "crowd", "chain", "border")])
    ranks, other = random.permutation(len(rows)), random.permutation(len(rows))
    options = {"eps": eps, "ranks": ranks, "run": in_order, "n_clusters": 40, "max_pairs_per_row": 4}
    source = ArrayVectors(rows, part_rows=100)
    pairs = CosinePairs.find(source, folder=tmp_path / "gpu", plan=plan, **options)
    assert pairs.plan.device == "cuda"
    monkeypatch.setattr(planner, "machine_of_run", lambda: Machine("cpu", bfloat16=False))
    expected = CosinePairs.find(source, folder=tmp_path / "cpu", plan="brute", **options)
    check(pairs.resolve().keeper, rows, ranks, eps)
    for order in (ranks, other):
        np.testing.assert_array_equal(pairs.resolve(order).keeper, expected.resolve(order).keeper)
    new = ArrayVectors(make("crowd", 500, 24, eps, 1))
    found = [against(new, each, eps, folder=tmp_path / each.plan.device, run=in_order) for each in (pairs, expected)]
    np.testing.assert_array_equal(found[0].match, found[1].match)


@pytest.mark.usefixtures("planned_for_the_gpu")
def test_a_search_goes_on_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that were done are not done again, with or without the GPU."""
    monkeypatch.setitem(compare.PORTIONS, "cuda", compare.Portion(1 << 18, 500, 8, 300))
    rows = make("clustered", 3000, 32, 0.05, 3)
    options = {"eps": 0.05, "folder": tmp_path, "ranks": np.arange(len(rows)), "plan": "prefix"}
    find = lambda: CosinePairs.find(ArrayVectors(rows), **options)  # noqa: E731  # always the same request
    first = find()
    files = sorted((tmp_path / "pairs").glob("*"))
    assert len(files) > 10
    contents = [file.read_bytes() for file in files]
    for file in files[len(files) // 6 * 3 :]:  # three of a task
        file.unlink()
    again = find()
    assert [file.read_bytes() for file in files] == contents
    for file in files[len(files) // 6 * 3 :]:  # three of a task
        file.unlink()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    without = find()
    for each in (again, without):
        np.testing.assert_array_equal(each.resolve().keeper, first.resolve().keeper)


@pytest.mark.usefixtures("planned_for_the_gpu")
def test_too_little_memory_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU does what does not fit."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(device, "compare", full)
    rows = make("clustered", 3000, 32, 0.05, 3)
    pairs = CosinePairs.find(ArrayVectors(rows), eps=0.05, folder=tmp_path, ranks=np.arange(len(rows)), plan="prefix")
    check(pairs.resolve().keeper, rows, np.arange(len(rows)), 0.05)
