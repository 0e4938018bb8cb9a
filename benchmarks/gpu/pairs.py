"""Exact pairs on a GPU: from vectors on the device to the pair list, beside the dense product of the same vectors.

Ten million vectors of 768 numbers are drawn on the device, of the three kinds of `benchmarks.dedup`, 2 % of them near
copies of others.  Of each row its 64 first neighbours are listed, and whether there are more: of a crowd no list of
all pairs is wanted.  Recall is that of all pairs among 200,000 rows, half of them copies and what they are copies of,
against dense float32 products decided in float64.  The dense float16 product, which only makes the products and
neither compares nor lists anything, is timed on a block and scaled up to all pairs.  Then the whole search, files and
all, on the GPU against the CPU, with the names of what stays.

    python -m benchmarks.gpu.pairs [--quick] [--pair-rows 10000000] [--pair-dims 768] [--pair-eps 0.05] [--pair-seed N]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

KINDS = ("loose", "smooth", "tight")
#: Rows drawn at a time, neighbours of a row that are listed, and rows of which recall is measured.
DRAWN, MOST, CHECKED = 1 << 20, 64, 200_000
#: After so long no further part is begun.
ENOUGH_S = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this section."""
    parser.add_argument("--pair-rows", type=int, default=None, help="10,000,000 by default, or 1,000,000 with --quick")
    parser.add_argument("--pair-dims", type=int, default=768)
    parser.add_argument("--pair-eps", type=float, default=0.05)
    parser.add_argument("--pair-seed", type=int, default=None, help="drawn by default")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run all parts; one that fails says why, and the next goes on."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("torch finds no CUDA device")
    quick, d, eps = options.quick, options.pair_dims, options.pair_eps
    rows = options.pair_rows or (1_000_000 if quick else 10_000_000)
    seed = int.from_bytes(os.urandom(4)) if options.pair_seed is None else options.pair_seed
    began = time.perf_counter()
    print(f"pairs: {rows:,} x {d} float32, eps {eps}, seed {seed}")
    figures: dict[str, Any] = {"rows": rows, "dims": d, "eps": eps, "seed": seed}
    parts: list[tuple[str, Callable[[], Any]]] = [
        ("dense", lambda: dense(d, rows)),
        ("tiles", lambda: tiles(quick)),
        *((kind, lambda kind=kind: pairs(kind, rows, d, eps, seed, figures.get("dense"))) for kind in KINDS),
        ("k-means", lambda: fit(seed)),
        ("against the CPU", lambda: both(50_000 if quick else 200_000, 512, eps, seed)),
        ("whole search", lambda: whole(200_000 if quick else 1_000_000, d, eps, seed)),
    ]
    for name, part in parts:
        if time.perf_counter() - began > ENOUGH_S:
            print(f"{name}: left out, as {ENOUGH_S} s are over")
            continue
        try:
            figures[name] = part()
        except Exception as error:
            traceback.print_exc(limit=-4)
            print(f"{name}: failed: {type(error).__name__}: {error}", flush=True)
            figures[name] = {"failed": f"{type(error).__name__}: {error}"}
        _empty()
    figures["seconds"] = time.perf_counter() - began
    print(f"pairs: {figures['seconds']:.0f} s in all", flush=True)
    return figures


def dense(d: int, rows: int) -> dict[str, Any]:
    """The float16 product of whole vectors alone, and with a threshold and a list of what reaches it."""
    import torch

    side = 65_536
    a, b = (_unit(torch.randn(side, d, device="cuda")).half() for _ in range(2))
    out = torch.empty(side, side, dtype=torch.float16, device="cuda")
    seconds = _timed(lambda: torch.mm(a, b.T, out=out), 5)
    rate = 2 * side**2 * d / seconds
    listed = _timed(lambda: (torch.mm(a[:16384], b[:16384].T, out_dtype=torch.float32) >= 0.9).nonzero(), 5)
    whole_s, listed_s = (each * rows**2 / 2 / size**2 for each, size in ((seconds, side), (listed, 16384)))
    print(
        f"dense: torch.mm of {side:,} x {side:,} x {d} float16: {rate / 1e12:.0f} TFLOP/s; all pairs of {rows:,} rows "
        f"would take {whole_s:.1f} s, and {listed_s:.1f} s with comparison and nonzero()",
        flush=True,
    )
    return {"tflops": rate / 1e12, "product_s": whole_s, "with_nonzero_s": listed_s}


def tiles(quick: bool) -> list[dict[str, Any]]:
    """Rates of the kernel that makes nearly all products, by tile."""
    import torch

    from imagecurate.backend.gpu_pairs import TILES, Tile

    rows, columns = 131_072, 1 << 20
    more = (Tile(128, 128, 4, 2), Tile(128, 128, 8, 3), Tile(128, 256, 8, 2), Tile(256, 64, 8, 3), Tile(256, 128, 4, 2))
    results = []
    for width in (64, 128, 256):
        left, right = (_unit(torch.randn(n, width, device="cuda")).half() for n in (rows, columns))
        for tile in dict.fromkeys((TILES[0], *((*TILES[1:], *more) if width == 128 or not quick else ()))):
            try:
                seconds = _timed(_launch(left, right, tile), 3)
            except Exception as error:  # it does not fit
                print(f"tiles: width {width}, {tile}: {type(error).__name__}: {str(error)[:90]}")
                continue
            tflops, products = 2 * rows * columns * width / seconds / 1e12, rows * columns / seconds / 1e12
            print(f"tiles: width {width}, {tile}: {tflops:.0f} TFLOP/s, {products:.2f}e12 products/s", flush=True)
            results.append({"width": width, "tile": str(tile), "tflops": tflops, "products": products * 1e12})
    return results


def _launch(left: Any, right: Any, tile: Any) -> Callable[[], Any]:
    import torch

    from imagecurate.backend.gpu_pair_kernels import mark_tiles

    marks = torch.zeros((len(left) // tile.rows, len(right) // tile.columns), dtype=torch.int8, device="cuda")
    stops = torch.full((len(marks),), len(right), dtype=torch.int32, device="cuda")
    return lambda: mark_tiles[(len(marks) * -(-marks.shape[1] // tile.run),)](
        left,
        right,
        stops,
        marks,
        0.95,
        *marks.shape,
        tile.run,
        width=left.shape[1],
        tile_rows=tile.rows,
        tile_columns=tile.columns,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )


def pairs(kind: str, rows: int, d: int, eps: float, seed: int, product: dict[str, Any] | None) -> dict[str, Any]:
    """From vectors on the device to the pair list, and what of it is missing."""
    import torch

    from imagecurate.backend.gpu_pairs import PADDING, cosines, earlier_pairs, half_error
    from imagecurate.neighbours.planner import choose
    from imagecurate.neighbours.vectors import product_error

    vectors, planted = draw(kind, rows, d, eps, seed)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    threshold = 1 - eps

    def decide(row: torch.Tensor, column: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        exact = cosines(vectors, vectors, row, column)
        return exact >= threshold, exact

    clock = [time.perf_counter()]
    sample = vectors[torch.randperm(rows, device="cuda")[:65_536]].cpu().numpy()
    plan, axes, _ = choose(sample, rows, eps, name="prefix", device="cuda")
    clock.append(time.perf_counter())
    width = plan.option.width
    few = torch.zeros((-(-rows // PADDING) * PADDING + PADDING, width + 1), dtype=torch.float16, device="cuda")
    turn = torch.from_numpy(np.ascontiguousarray(axes)).cuda()
    for start in range(0, rows, DRAWN):
        block = vectors[start : start + DRAWN].double()
        kept = block @ turn
        few[start : start + len(block), :width] = kept
        few[start : start + len(block), width] = (block.square().sum(1) - kept.square().sum(1)).clamp(min=0).sqrt()
    torch.cuda.synchronize()
    clock.append(time.perf_counter())
    bound = threshold - product_error(d) - half_error(width + 1)
    strips = list(earlier_pairs(few, torch.arange(rows, device="cuda"), few, bound, MOST, decide))
    row, column = (torch.cat([getattr(strip, name) for strip in strips]) for name in ("row", "column"))
    more = torch.cat([strip.more for strip in strips])
    torch.cuda.synchronize()
    clock.append(time.perf_counter())
    peak = torch.cuda.max_memory_allocated()
    fit_s, turn_s, pairs_s = np.diff(clock)
    compared, candidates = (sum(getattr(strip, name) for strip in strips) for name in ("compared", "candidates"))
    del strips, few
    found, wanted = recall(vectors, planted, eps, row, column, more, seed)
    total = clock[-1] - clock[0]
    share = compared / (rows * (rows - 1) / 2)
    figures = {
        "seconds": total,
        "fit_s": float(fit_s),
        "rotation_s": float(turn_s),
        "pairs_s": float(pairs_s),
        "width": width + 1,
        "pairs": len(row),
        "rows_with_more": int(more.sum()),
        "share": share,
        "candidates": candidates,
        "recall": found / wanted if wanted else 1.0,
        "checked": wanted,
        "peak_gb": peak / 1e9,
    }
    ratio = f"; {product['product_s'] / total:.1f} x the dense product" if product and "product_s" in product else ""
    print(
        f"{kind}: {total:.2f} s (fit {fit_s:.2f}, rotation {turn_s:.2f}, pairs {pairs_s:.2f} at "
        f"{2 * compared * (width + 1) / pairs_s / 1e12:.0f} TFLOP/s){ratio}; {width} coordinates and the rest; "
        f"{100 * share:.3g} % of the pairs compared, {candidates:,} looked at, {len(row):,} found, "
        f"{figures['rows_with_more']:,} rows have more than {MOST}; "
        f"recall {figures['recall']:.6f} of {wanted:,} pairs; peak {peak / 1e9:.1f} GB",
        flush=True,
    )
    return figures


def recall(
    vectors: Any, planted: tuple[Any, int], eps: float, row: Any, column: Any, more: Any, seed: int
) -> tuple[int, int]:
    """Count the near pairs among some rows, and how many of them the list has, or rightly leaves out."""
    import torch

    n, (sources, first_copy) = len(vectors), planted
    random = torch.Generator("cuda").manual_seed(seed + 2)
    some = torch.randperm(len(sources), generator=random, device="cuda")[: min(CHECKED // 4, len(sources))]
    rest = torch.randint(n, (max(CHECKED - 2 * len(some), 0),), generator=random, device="cuda")
    at = torch.cat([sources[some], some + first_copy, rest]).unique()
    keys = row * n + column  # sorted
    last = torch.full((n,), -1, dtype=torch.int64, device="cuda")
    last[row] = column  # columns of a row ascend, but of equal indices any may be written last
    last.scatter_reduce_(0, row, column, "amax")
    found = wanted = 0
    for start in range(0, len(at), 8192):
        mine = at[start : start + 8192]
        possible = vectors[mine] @ vectors[at].T >= 1 - eps - 1e-4
        possible &= at < mine[:, None]
        i, j = possible.nonzero(as_tuple=True)
        for piece in range(0, len(i), 1 << 18):
            one, other = mine[i[piece : piece + (1 << 18)]], at[j[piece : piece + (1 << 18)]]
            a, b = vectors[one].double(), vectors[other].double()
            near = (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt() >= 1 - eps
            one, other = one[near], other[near]
            key = one * n + other
            place = torch.searchsorted(keys, key).clamp(max=max(len(keys) - 1, 0))
            there = keys[place] == key if len(keys) else torch.zeros_like(near)
            there |= more[one] & (other > last[one])
            wanted, found = wanted + len(one), found + int(there.sum())
    return found, wanted


def fit(seed: int) -> dict[str, Any]:
    """k-means of the planner's sample on both devices."""
    import torch

    from imagecurate.backend.clusters import clusters_on

    rows, _ = draw("loose", 65_536, 512, 0.05, seed)
    sample = rows.cpu().numpy()
    figures: dict[str, Any] = {}
    for device in ("cuda", "cpu"):
        began = time.perf_counter()
        centroids = clusters_on(device).k_means(sample, 447, max_iter=10, random_state=0)
        seconds = time.perf_counter() - began
        points = torch.from_numpy(centroids).cuda()
        inertia = float((2 - 2 * rows @ points.T + points.square().sum(1) - 1).amin(1).mean())
        figures[device] = {"seconds": seconds, "inertia": inertia, "clusters": len(centroids)}
        print(f"k-means on {device}: 65,536 x 512, 447 clusters: {seconds:.2f} s, mean squared distance {inertia:.4f}")
    return figures


def both(rows: int, d: int, eps: float, seed: int) -> dict[str, Any]:
    """The whole search on the CPU and on the GPU: times, and whether they keep the same."""
    from imagecurate.backend.machines import Machine

    figures: dict[str, Any] = {}
    for kind in KINDS:
        vectors = draw(kind, rows, d, eps, seed)[0].cpu().numpy()
        keepers = []
        for device in ("cuda", "cpu"):
            with patch("imagecurate.neighbours.planner.machine_of_run", return_value=Machine(device, bfloat16=True)):
                search_s, resolve_s, plan, keeper = search(vectors, eps, seed)
            keepers.append(keeper)
            figures[f"{kind} {device}"] = {"search_s": search_s, "resolve_s": resolve_s, "plan": plan}
            print(
                f"{kind}: search of {rows:,} x {d} on {device}: {plan}, {search_s:.2f} s, resolved in {resolve_s:.2f} s"
            )
        figures[f"{kind} same"] = bool((keepers[0] == keepers[1]).all())
        print(f"{kind}: the outcomes are {'the same' if figures[f'{kind} same'] else 'DIFFERENT'}", flush=True)
    return figures


def whole(rows: int, d: int, eps: float, seed: int) -> dict[str, Any]:
    """The search that a SemanticDeduplicator makes, from vectors in memory to who is kept, files and all."""
    vectors = draw("loose", rows, d, eps, seed)[0].cpu().numpy()
    search_s, resolve_s, plan, keeper = search(vectors, eps, seed, show=True)
    dropped = int((keeper >= 0).sum())
    print(f"whole search: {rows:,} x {d}, {plan}: {search_s:.1f} s, resolved in {resolve_s:.1f} s, {dropped:,} dropped")
    return {"rows": rows, "plan": plan, "search_s": search_s, "resolve_s": resolve_s, "dropped": dropped}


def search(vectors: np.ndarray, eps: float, seed: int, show: bool = False) -> tuple[float, float, str, np.ndarray]:
    """Find and resolve; seconds of both, the plan, and who is kept."""
    from imagecurate.neighbours import ArrayVectors, CosinePairs
    from imagecurate.plan.execute import in_order

    ranks = np.random.default_rng(seed + 1).permutation(len(vectors))
    with tempfile.TemporaryDirectory(prefix="pairs-") as folder:
        began = time.perf_counter()
        source = ArrayVectors(vectors, part_rows=10_000)
        found = CosinePairs.find(source, eps=eps, folder=Path(folder), ranks=ranks, run=in_order)
        middle = time.perf_counter()
        if show:
            moved = (Path(folder) / "moved").stat().st_mtime - (Path(folder) / "request.json").stat().st_mtime
            print(f"whole search: {moved:.1f} s of it until vectors lay in their order")
        keeper = found.resolve().keeper
        end = time.perf_counter()
    return middle - began, end - middle, f"{found.plan.chosen} of {found.plan.option.width}", keeper


def draw(kind: str, rows: int, d: int, eps: float, seed: int) -> tuple[Any, tuple[Any, int]]:
    """Unit vectors on the device, the last 2 % of them near copies: of which rows, and from which row on."""
    import torch

    random = torch.Generator("cuda").manual_seed(seed)
    planted = rows // 50
    plain = rows - planted
    vectors = torch.empty(rows, d, device="cuda")

    def normal(*shape: int) -> Any:
        return torch.randn(*shape, generator=random, device="cuda")

    if kind == "smooth":  # variances as 1/i in a random rotation's axes, about a mean that is as long as they
        variances = 1 / torch.arange(1, d + 1, device="cuda")
        rotation = torch.linalg.qr(normal(d, d)).Q * (variances / variances.sum()).sqrt()[:, None]
        mean = _unit(normal(1, d))
        for start in range(0, plain, DRAWN):
            block = vectors[start : min(start + DRAWN, plain)]
            block.copy_(normal(len(block), d) @ rotation + mean)
    else:  # one cluster for 100 rows, of sizes as 1/i
        within = {"tight": 0.02, "loose": 0.25}[kind]
        count = max(rows // 100, 1)
        centres = _unit(normal(count, d)) * (1 - within) ** 0.5
        weights = 1 / torch.arange(1, count + 1, device="cuda")
        for start in range(0, plain, DRAWN):
            block = vectors[start : min(start + DRAWN, plain)]
            mine = torch.multinomial(weights, len(block), replacement=True, generator=random)
            block.copy_(centres[mine] + normal(len(block), d) * (within / d) ** 0.5)
    for start in range(0, plain, DRAWN):
        _unit(vectors[start : min(start + DRAWN, plain)])
    sources = torch.randperm(plain, generator=random, device="cuda")[:planted]
    spread = torch.rand(planted, 1, generator=random, device="cuda") * (2 * eps) ** 0.5
    vectors[plain:] = vectors[sources] + normal(planted, d) * spread / d**0.5
    _unit(vectors[plain:])
    return vectors, (sources, plain)


def _unit(rows: Any) -> Any:
    return rows.div_(rows.norm(dim=1, keepdim=True))


def _timed(work: Callable[[], Any], times: int) -> float:
    """Median seconds on the device, after one run that does not count."""
    import torch

    work()
    taken = []
    for _ in range(times):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        taken.append(begin.elapsed_time(end) / 1000)
    return float(np.median(taken))


def _empty() -> None:
    import torch

    from imagecurate.neighbours import device

    device.forget()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    alone = argparse.ArgumentParser(prog="python -m benchmarks.gpu.pairs")
    alone.add_argument("--quick", action="store_true")
    add_arguments(alone)
    run(alone.parse_args())
