"""Pairs on a device, which here is the CPU: the same as everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from brute_cosine import check, make, vectors
from hypothesis import given, settings
from hypothesis import strategies as st
from on_device import same_as_on_the_cpu, sides

from imagecurate.backend import gpu_pairs
from imagecurate.backend.gpu_pairs import Tile, half_error, half_rows
from imagecurate.backend.machines import Machine
from imagecurate.neighbours import ArrayVectors, CosinePairs, against, device, planner, search
from imagecurate.neighbours.search import Near
from imagecurate.neighbours.vectors import cosine, unit_rows
from imagecurate.plan.execute import in_order


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small inputs take as many steps as large ones do; what is held on the device is forgotten."""
    monkeypatch.setattr(gpu_pairs, "STRIP_ROWS", 512)
    monkeypatch.setattr(gpu_pairs, "FIRST_COLUMNS", 256)
    monkeypatch.setattr(gpu_pairs, "BLOCK_PRODUCTS", 1 << 22)
    yield
    device.forget()


@pytest.fixture
def cpu_as_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans are made for a GPU, and the CPU stands for it."""
    monkeypatch.setattr(planner, "DEVICE_ROWS", 0)
    monkeypatch.setattr(planner, "best_device", lambda: "cuda")
    monkeypatch.setattr(planner, "machine_of_run", lambda: Machine("cuda", bfloat16=True))
    monkeypatch.setattr(device, "earlier_neighbours", lambda *sides: device.compare(*sides, device=torch.device("cpu")))


@settings(max_examples=20)
@given(vectors(most=600), st.integers(1, 63), st.sampled_from([1, 3, 10**9]), st.integers(0, 2**32 - 1))
def test_pairs_are_those_of_the_cpu(drawn: tuple[np.ndarray, float], width: int, most: int, seed: int) -> None:
    """Whatever the prefixes, the wanted number, and who is on which side."""
    rows, eps = drawn
    x, y = sides(rows, width, seed)
    if len(x) and len(y):
        same_as_on_the_cpu(x, y, eps, most, "cpu")


def test_pairs_on_the_threshold(tmp_path: Path) -> None:
    """Are decided by the one formula."""
    angle = np.arange(300) * np.arccos(1 - 0.01) / 20  # every 20th is on the threshold but for rounding
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    for seed in range(4):
        same_as_on_the_cpu(*sides(rows, 2, seed), 0.01, 10**9, "cpu")


def test_vectors_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Are looked at on the CPU."""
    monkeypatch.setattr(device, "room", lambda device: 0)
    same_as_on_the_cpu(*sides(make("clustered", 700, 24, 0.05, 2), 7, 1), 0.05, 5, "cpu")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")])
def test_a_device_that_is_full(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The CPU does it, and what was held is given back; any other error is told."""
    x, y = sides(make("clustered", 300, 24, 0.05, 2), 7, 1)
    near = Near(0.95, 24)
    expected = search.earlier_neighbours(x, y, near, 5)

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "FEW_PRODUCTS", 1)
    monkeypatch.setattr(device, "compare", fails)
    monkeypatch.setitem(device._held, "a file", object())
    found = device.earlier_neighbours(x, y, near, 5)
    np.testing.assert_array_equal(found.y, expected.y)
    assert not device._held
    assert "took more memory than the GPU has; the CPU does it" in caplog.text
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal"):
        device.earlier_neighbours(x, y, near, 5)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 5, 16, 100, 128, 1024]), st.sampled_from([1, 1e-3, 1e-8]))
def test_float16_is_off_by_no_more_than_its_bound(seed: int, width: int, small: float) -> None:
    """Also where most numbers are too small for it; but for the sums, which are those of float64 here."""
    random = np.random.default_rng(seed)
    scale = np.where(random.random(width) < 0.5, small, 1)
    rows = torch.from_numpy(unit_rows((random.standard_normal((50, width)) * scale).astype("f4"), np.ones(50, bool))[0])
    halves = half_rows(rows)
    assert len(halves) == gpu_pairs.PADDING
    assert not halves[50:].any()
    off = halves[:50].double() @ halves[:50].double().T - rows.double() @ rows.double().T
    assert off.abs().max() <= half_error(width)


@pytest.mark.usefixtures("cpu_as_device")
@pytest.mark.parametrize("plan", ["brute", "prefix", "cells", "auto"])
def test_the_outcome_is_that_of_brute_force(tmp_path: Path, plan: str) -> None:
    """Of a whole search: crowds, chains and borders, several strips and tasks, and a reference."""
    eps, random = 0.02, np.random.default_rng(0)
    rows = np.concatenate([make(kind, 400, 24, eps, 1) for kind in ("clustered", "crowd", "chain", "border")])
    ranks = random.permutation(len(rows))
    pairs = CosinePairs.find(
        ArrayVectors(rows, part_rows=100),
        eps=eps,
        folder=tmp_path / "pairs",
        ranks=ranks,
        run=in_order,
        plan=plan,
        n_clusters=40,
        max_pairs_per_row=4,
    )
    assert pairs.plan.device == "cuda"
    assert "on a GPU" in str(pairs.plan)
    check(pairs.resolve().keeper, rows, ranks, eps)
    other = random.permutation(len(rows))
    check(pairs.resolve(other).keeper, rows, other, eps)
    matches = against(ArrayVectors(rows[::3]), pairs, eps, folder=tmp_path / "matches", run=in_order)
    mine = np.flatnonzero(matches.found)
    assert (cosine(rows[::3][mine], rows[matches.match[mine]]) >= 1 - eps).all()
    np.testing.assert_array_equal(matches.found, np.isfinite(rows[::3]).all(axis=1) & (rows[::3] != 0).any(axis=1))


def test_a_plan_for_a_gpu_is_carried_out_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a worker that has none, or another day."""
    rows, ranks = make("clustered", 900, 16, 0.05, 1), np.arange(900)
    with monkeypatch.context() as patched:
        patched.setattr(planner, "DEVICE_ROWS", 0)
        patched.setattr(planner, "machine_of_run", lambda: Machine("cuda", bfloat16=True))
        patched.setattr(device, "FEW_PRODUCTS", 1)
        patched.setattr(torch.cuda, "is_available", lambda: False)
        pairs = CosinePairs.find(ArrayVectors(rows), eps=0.05, folder=tmp_path, ranks=ranks, plan="prefix")
    again = CosinePairs.find(ArrayVectors(rows), eps=0.05, folder=tmp_path, ranks=ranks, plan="prefix")
    assert pairs.plan == again.plan
    check(again.resolve().keeper, rows, ranks, 0.05)


INTERPRETED = """
import numpy as np, torch
from imagecurate.backend import gpu_pairs

random = np.random.default_rng({seed})
kernels = gpu_pairs._kernels()
for m, n, width, capacity in [(300, 500, 128, 1 << 24), (64, 64, 16, 1), (257, 700, 64, 5000), (1, 1, 16, 10)]:
    x, y = (torch.nn.functional.normalize(torch.from_numpy(random.standard_normal((k, width))), dim=1) for k in (m, n))
    y[::7] = x[torch.from_numpy(random.integers(0, m, len(y[::7])))]
    x[: m // 2], y[: n // 2] = x[0].clone(), x[0].clone()  # a crowd
    x, y = gpu_pairs.half_rows(x), gpu_pairs.half_rows(y)
    ends = torch.zeros(len(x), dtype=torch.int32)
    ends[:m] = torch.from_numpy(np.sort(random.integers(0, n + 1, m)))
    lists = []
    for tile in (gpu_pairs.Tile(64, 64, 4, 2, 3), None):
        pieces = list(gpu_pairs.candidates(x, y, ends, 0.9, capacity=capacity, tile=tile))
        assert all((torch.diff(row << 32 | column) > 0).all() for row, column in pieces)
        pairs = [pair for row, column in pieces for pair in zip(row.tolist(), column.tolist())]
        last = {{}}
        for row, column in pairs:
            assert last.get(row, -1) < column
            last[row] = column
        lists.append(pairs)
        if tile and capacity == 5000:
            assert len(pieces) > 1 and len(pairs) > 10_000
    assert set(lists[0]) == set(lists[1]), (m, n)
assert gpu_pairs._runs(gpu_pairs.Tile(32, 16, 4, 2), 16, torch.device("cpu"))

left, right = (torch.from_numpy(random.standard_normal((k, 100)).astype("f4")) for k in (30, 40))
at, to = (torch.from_numpy(random.integers(0, k, 77)) for k in (30, 40))
out = torch.empty(77, dtype=torch.float64)
kernels.pair_cosines[(10,)](left, right, at, to, out, 77, 100, group=8, block=32)
torch.testing.assert_close(out, gpu_pairs.cosines(left, right, at, to), rtol=0, atol=1e-14)
"""


def test_kernels_find_what_blocks_find() -> None:
    """In Triton's interpreter: also of a crowd with a list too short for it, and of one row."""
    pytest.importorskip("triton", reason="Triton is not there for this system")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", INTERPRETED.format(seed=1)], check=True, env=environment)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("architecture", [80, 90, 100])
@pytest.mark.parametrize(("width", "tile"), [(16, 0), (128, 0), (256, 2), (512, 4)])
def test_kernels_compile_for_a_gpu(width: int, tile: int, architecture: int) -> None:
    """Triton needs none to compile; the rows lie in no more shared memory than a tile is chosen by."""
    pytest.importorskip("triton", reason="Triton is not there for this system")
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from imagecurate.backend import gpu_pair_kernels as kernels

    chosen = gpu_pairs.TILES[tile]
    assert chosen == next(each for each in gpu_pairs.TILES if each.shared_bytes(width) <= 232_448)
    sizes = {"width": width, "tile_rows": chosen.rows, "tile_columns": chosen.columns}
    given = {
        kernels.mark_tiles: "*fp16 *fp16 *i32 *i8 fp32 i32 i32 i32",
        kernels.list_pairs: "*fp16 *fp16 *i32 *i32 *i32 *i32 fp32 i32 i32",
    }
    for kernel, types in given.items():
        kinds = [*types.split(), *("constexpr" for _ in sizes)]
        source = ASTSource(
            kernel,
            dict(zip(kernel.arg_names, kinds, strict=True)),
            {(kernel.arg_names.index(name),): size for name, size in sizes.items()},
            {(place,): [["tt.divisibility", 16]] for place, kind in enumerate(kinds) if kind.startswith("*")},
        )
        stages = chosen.stages if kernel is kernels.mark_tiles else 1
        compiled = triton.compile(
            source, GPUTarget("cuda", architecture, 32), {"num_warps": chosen.warps, "num_stages": stages}
        )
        assert compiled.metadata.shared <= max(chosen.shared_bytes(width), 48 << 10)


def test_a_tile_with_which_kernels_do_not_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The next one is taken, and the log says why."""
    first, second = gpu_pairs.TILES[:2]

    def run(rows: Any, columns: Any, ends: Any, bound: float, capacity: int, tile: Tile) -> list[Any]:
        if tile == first:
            raise ValueError("out of resource: shared memory")
        pairs = torch.zeros(tile.rows * tile.columns)
        return [(pairs, pairs)]

    monkeypatch.setattr(gpu_pairs, "_kernels", lambda: True)
    monkeypatch.setattr(gpu_pairs, "_by_tiles", run)
    room = SimpleNamespace(shared_memory_per_block_optin=232_448)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: room)
    gpu_pairs._tile.cache_clear()
    assert gpu_pairs._tile(64, torch.device("meta")) == second
    assert "do not run with Tile(rows=256, columns=128, warps=8, stages=3, run=64) at width 64: out of" in caplog.text
    gpu_pairs._tile.cache_clear()


def test_tiles_fit() -> None:
    """The first that fits in shared memory is taken: of an H200's at 128 numbers the largest; of a small GPU's none."""
    assert Tile(256, 128, 8, 3).shared_bytes(128) <= 232_448
    assert Tile(64, 64, 4, 2).shared_bytes(1024) > 232_448
