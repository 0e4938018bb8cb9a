"""Near-duplicates among embeddings: ours, faiss's range search, and the SemDeDup procedure in the same cells.

Three kinds of data, drawn anew each time:

- tight: clusters of Zipf's sizes, 2 % of the variance within them; at eps 0.05 and 0.1 all of a cluster is one crowd;
- loose: the same with 25 % within, in which only the planted pairs are near;
- smooth: no clusters, variances that fall as 1/i, and a mean cosine of 0.5.

To 2 % of the rows of each a near copy is planted.  ``IndexFlatIP.range_search`` gives all pairs of a row, from which
its fate follows, given who is kept before it: a row is dropped if a better-ranked row that is kept is within eps, and
names the first.  An outcome for which that holds in every row is the outcome of brute force.  It is checked for the
rows that faiss searched.  Range search takes a time that is linear in the rows searched: where only some are, what it
took is scaled up to all.  The contenders take turns, each in a process of its own; times are without imports, and peak
memory is with them and the vectors.

    python -m benchmarks dedup [--rows 200000] [--dims 512] [--queries 20000] [--rounds 3] [--doubled] [--quick]
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.figures import Case, Line
from benchmarks.harness.options import options_of, parser_for
from benchmarks.peers.protocol import peak_memory, versions

GENERATORS = ("tight", "loose", "smooth")
#: Inside it either answer is right.
TOLERANCE = 1e-6
#: How many times as fast as faiss, where the planner predicts that fewer pairs are compared, and everywhere.
PREDICTED, OVER_FAISS, NEVER_SLOWER = 0.1, 5, 1 / 1.1


@dataclass(frozen=True)
class Problem:
    """What is compared."""

    kind: str
    rows: int
    dims: int
    eps: float
    seed: int
    queries: int

    def vectors(self) -> np.ndarray:
        """Unit vectors, the last 2 % of them near copies of others."""
        random = np.random.default_rng(self.seed)
        planted = self.rows // 50
        vectors = (smooth if self.kind == "smooth" else clusters)(random, self.rows - planted, self.dims, self.kind)
        copies = vectors[random.choice(len(vectors), planted, replace=False)]
        noise = random.standard_normal(copies.shape, np.float32) / np.float32(self.dims**0.5)
        copies += noise * random.uniform(0, (2 * self.eps) ** 0.5, (planted, 1)).astype(np.float32)
        return unit(np.concatenate([vectors, copies]))

    def ranks(self) -> np.ndarray:
        """The order in which rows are preferred."""
        return np.random.default_rng(self.seed + 1).permutation(self.rows)


def unit(rows: np.ndarray) -> np.ndarray:
    """Scale to unit length."""
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def clusters(random: np.random.Generator, n: int, d: int, kind: str) -> np.ndarray:
    """One cluster for 100 rows, of sizes as 1/i."""
    within = {"tight": 0.02, "loose": 0.25}[kind]
    count = max(n // 100, 1)
    weights = 1 / np.arange(1, count + 1)
    centres = unit(random.standard_normal((count, d), np.float32))
    rows = centres[random.choice(count, n, p=weights / weights.sum())] * np.float32((1 - within) ** 0.5)
    rows += random.standard_normal((n, d), np.float32) * np.float32((within / d) ** 0.5)
    return unit(rows)


def smooth(random: np.random.Generator, n: int, d: int, _: str) -> np.ndarray:
    """Variances as 1/i in a random rotation's axes, about a mean that is as long as they."""
    variances = 1 / np.arange(1, d + 1)
    rows = random.standard_normal((n, d), np.float32) * np.sqrt(variances / variances.sum()).astype(np.float32)
    rotation = np.linalg.qr(random.standard_normal((d, d)))[0].astype(np.float32)
    return unit(rows @ rotation + unit(random.standard_normal((1, d), np.float32)))


def main(arguments: list[str]) -> list[Case]:
    """Run everything in turn."""
    parser = parser_for("dedup", rounds=3, quick="30,000 rows, 2,000 queries, 1 round")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dims", type=int, default=512)
    parser.add_argument("--eps", type=float, nargs="+", default=[0.01, 0.05, 0.1])
    parser.add_argument("--kinds", nargs="+", choices=GENERATORS, default=GENERATORS)
    parser.add_argument("--queries", type=int, default=20_000, help="rows that faiss searches for; 0 for all")
    parser.add_argument("--seed", type=int, default=None, help="drawn by default")
    parser.add_argument("--doubled", action="store_true", help="also twice and four times the rows, ours alone")
    options = options_of(parser, arguments)
    if options.quick:
        options.rows, options.queries = 30_000, 2000
    seed = int.from_bytes(os.urandom(4)) if options.seed is None else options.seed
    print(f"{options.rows:,} x {options.dims} float32, seed {seed}", flush=True)
    cases = []
    for kind in options.kinds:
        for eps in options.eps:
            problem = Problem(kind, options.rows, options.dims, eps, seed, options.queries or options.rows)
            cases.append(measure(problem, options.rounds))
            if options.doubled:
                larger = [replace(problem, rows=options.rows * times) for times in (2, 4)]
                cases.append(grown(cases[-1], [ours_alone(each) for each in larger]))
    return cases


def measure(problem: Problem, rounds: int) -> Case:
    """Run the contenders in turn."""
    ours, faiss, semdedup = [], [], []
    with tempfile.TemporaryDirectory(prefix="dedup-") as scratch:
        for _ in range(rounds):
            ours.append(in_fresh_process(run_ours, problem, scratch))
            faiss.append(in_fresh_process(run_faiss, problem, scratch))
            semdedup.append(in_fresh_process(run_semdedup, problem, ours[-1]["cells"]))
    theirs, rule = faiss[0], semdedup[0]
    seconds = [[each["seconds"] for each in runs] for runs in (ours, faiss, semdedup)]
    goal = OVER_FAISS if ours[0]["predicted"] < PREDICTED else NEVER_SLOWER
    lines = [
        Line("imagecurate", seconds[0], note=about(ours[0])),
        Line(
            "faiss IndexFlatIP.range_search",
            seconds[1],
            goal,
            note=f"beside it our recall is {theirs['recall']:.4f}, {theirs['keepers']:.4f} of the keepers agree",
            versions=versions(["faiss-cpu"]),
        ),
        Line(
            "SemDeDup procedure, same cells", seconds[2], note=f"recall {rule['recall']:.4f}, false {rule['false']:.4f}"
        ),
    ]
    return Case("dedup", f"{problem.kind}, eps {problem.eps}", "s", lines, "less is better")


def grown(once: Case, larger: list[Line]) -> Case:
    """The rows doubled twice."""
    return Case("dedup", f"{once.name}, doubled twice", "s", [larger[1], larger[0], once.lines[0]], "share")


def ours_alone(problem: Problem) -> Line:
    """Run ours."""
    with tempfile.TemporaryDirectory(prefix="dedup-") as scratch:
        result = in_fresh_process(run_ours, problem, scratch)
    return Line(f"imagecurate, {problem.rows:,} rows", [result["seconds"]], note=about(result))


def about(result: dict[str, Any]) -> str:
    """The plan, what it was expected to compare, what it compared, and the memory."""
    return (
        f"{result['plan']}: {100 * result['predicted']:.3g} % of pairs expected, {100 * result['share']:.3g} compared, "
        f"{result['peak'] / 1e6:,.0f} MB at most"
    )


def run_ours(problem: Problem, scratch: str) -> dict[str, Any]:
    """Find and resolve, from vectors in memory to who is kept; files and all."""
    from imagecurate.neighbours import ArrayVectors, CosinePairs
    from imagecurate.plan.execute import in_order

    importlib.import_module("sklearn.cluster")
    vectors, ranks = ArrayVectors(problem.vectors(), part_rows=10_000), problem.ranks()
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        began = time.perf_counter()
        pairs = CosinePairs.find(vectors, eps=problem.eps, folder=Path(folder), ranks=ranks, run=in_order)
        outcome = pairs.resolve()
        seconds = time.perf_counter() - began
        option = pairs.plan.option
        np.save(f"{scratch}/keeper.npy", outcome.keeper)
        return {
            "seconds": seconds,
            "plan": option.name,
            "predicted": option.share,
            "share": pairs.shares.share,
            "cells": option.cells,
            "peak": peak_memory(),
        }


def run_faiss(problem: Problem, scratch: str) -> dict[str, Any]:
    """Search for some rows, and check what we made of them."""
    import faiss

    vectors, ranks = problem.vectors(), problem.ranks()
    keeper = np.load(f"{scratch}/keeper.npy")
    queries = np.sort(np.random.default_rng(problem.seed + 2).choice(problem.rows, problem.queries, replace=False))
    index = faiss.IndexFlatIP(problem.dims)
    index.add(vectors)
    seconds, dropped, found, agree = 0.0, 0, 0, 0
    for start in range(0, len(queries), 1024):
        rows = queries[start : start + 1024]
        began = time.perf_counter()
        ends, similarity, near = index.range_search(vectors[rows], 1 - problem.eps)
        seconds += time.perf_counter() - began
        row = np.repeat(rows, np.diff(ends.astype(np.int64)))
        sure = (keeper[near] < 0) & (ranks[near] < ranks[row])
        open_ = set(row[sure & (similarity < 1 - problem.eps + TOLERANCE)].tolist())
        row, near = row[sure], near[sure]
        order = np.lexsort((ranks[near], row))
        first_of, at = np.unique(row[order], return_index=True)
        expected = dict(zip(first_of.tolist(), near[order][at].tolist(), strict=True))
        for each in rows.tolist():
            if each not in open_:
                dropped += each in expected
                found += each in expected and keeper[each] >= 0
                agree += expected.get(each, -1) == keeper[each]
            else:
                agree += 1
    return {
        "seconds": seconds * problem.rows / len(queries),
        "recall": found / dropped if dropped else 1.0,
        "keepers": agree / len(queries),
    }


def run_semdedup(problem: Problem, cells: int) -> dict[str, Any]:
    """Mark by the SemDeDup rule; how many of the rows with a better-ranked one within eps, and how many without."""
    from imagecurate.neighbours import ArrayVectors, semdedup
    from imagecurate.plan.execute import in_order

    importlib.import_module("sklearn.cluster")
    vectors, ranks = problem.vectors(), problem.ranks()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        outcome = semdedup(
            ArrayVectors(vectors, part_rows=10_000),
            eps=problem.eps,
            folder=Path(folder),
            ranks=ranks,
            run=in_order,
            n_clusters=cells if cells > 1 else "auto",
        )
        seconds = time.perf_counter() - began
    queries = np.random.default_rng(problem.seed + 2).choice(problem.rows, min(problem.queries, 5000), replace=False)
    near = np.zeros(len(queries), bool)
    for start in range(0, len(queries), 256):
        rows = queries[start : start + 256]
        products = vectors[rows] @ vectors.T
        near[start : start + 256] = ((products > 1 - problem.eps) & (ranks < ranks[rows][:, None])).any(axis=1)
    marked = ~outcome.kept[queries]
    return {
        "seconds": seconds,
        "recall": (marked & near).sum() / max(near.sum(), 1),
        "false": (marked & ~near).sum() / max(marked.sum(), 1),
    }


def in_fresh_process(task: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run a contender in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()
