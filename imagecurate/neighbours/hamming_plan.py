"""Which bits of a hash to look up in tables, so that no pair within a distance is missed and few others are met.

The bits are put in an order and cut into chunks that form a ring.  If every chunk ``c`` is given a radius ``r_c`` such
that the ``r_c + 1`` sum to ``distance + 1``, then two hashes within ``distance`` agree, up to its radius, in at least
one chunk (the general pigeonhole principle).  More than that: going round the ring from one of these chunks, the
differences in the first k chunks are less than the sum of their ``r_c + 1``, for every k (else the ring falls into
stretches that reach their sums, and the whole would).  So a table sorts the hashes by a chunk, its *key*, and compares
those with keys within the radius by the next 64 bits of the ring, its *window*, one machine word, which nearly no
unrelated pair passes.

Bits of real hashes are correlated and unbalanced, so some keys are crowded.  Bits that go together are therefore put in
different chunks, and the radii are chosen by what they cost on a sample: the histogram of the keys, correlated with
itself under exclusive or, says for every difference of keys how many pairs have it.

Norouzi, Punjani, Fleet 2014, "Fast exact search in Hamming space with multi-index hashing"; Qin et al. 2018,
"GPH: similarity search in Hamming space" (radii by cost); Qin, Xiao 2018, "Pigeonring" (the stretches).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["RUN", "WINDOW", "HammingPlan", "Table", "evenly", "plan_tables", "unpacked"]

Bits: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float64]
Words: TypeAlias = NDArray[np.uint64]
Rows: TypeAlias = NDArray[np.int64]

#: Hashes are compared in runs of this many; one machine word of 64 bits each.
RUN = 8
WINDOW = 64
#: Longest key: its histogram has a million entries.
MAX_KEY = 20
#: Lengths of chunks that are tried, in lengths of the longest key worth having.
CHUNK_LENGTHS = (0.6, 0.8, 1.0, 1.25, 1.6, 2.0)

#: Nanoseconds that these take: a word of a pair compared plainly; a pair of runs; a run looked up; a key difference; a
#: row of a table; a pair that passes the window.  Measured on one core of an EPYC 9005; only their ratios matter, and
#: only for speed.
WORD_NS, RUNS_NS, LOOKUP_NS, DIFFERENCE_NS, ROW_NS, PASSED_NS = 0.8, 60.0, 12.0, 60_000.0, 80.0, 40.0
#: Where plain comparison takes less than this, planning takes longer.
PLANNING_S = 0.03
#: Rows of which keys are counted, and rows whose windows are compared to see how many pairs pass.
SAMPLED_ROWS, COMPARED_ROWS = 32_768, 512


@dataclass(frozen=True, slots=True)
class Table:
    """One sorting of the hashes: pairs with keys within ``radius`` and windows within ``limit`` are candidates."""

    #: Where in the order of the bits key and window begin, and how many bits of it they have.
    offset: int
    key_bits: int
    window_bits: int
    radius: int
    limit: int


@dataclass(frozen=True, slots=True)
class HammingPlan:
    """Tables that together meet every pair within the distance; none where plain comparison is cheaper."""

    #: The bit of the hash at each place of the ring; shape (bits,).
    order: NDArray[np.intp]
    tables: tuple[Table, ...]
    #: What it should take on one core.
    seconds: float


def evenly(rows: Rows, most: int) -> Rows:
    """At most so many of some rows, spread evenly."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]


def unpacked(words: Words) -> Bits:
    """The bits of hashes of shape (n, bits / 64), one a byte: shape (n, bits)."""
    return np.unpackbits(words.view(np.uint8), axis=1)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be compared: so many hashes with so many, of which there are samples, shape (bits, s) each."""

    queries: int
    references: int
    asked: Bits
    held: Bits
    #: Whether both sides are the same.
    is_own: bool

    @property
    def pairs(self) -> float:
        """Number of pairs."""
        return self.queries * self.references / (2 if self.is_own else 1)

    def of(self, bits: NDArray[np.intp]) -> tuple[Bits, Bits]:
        """The samples of both sides, of some of the bits."""
        asked = self.asked[bits]
        return asked, asked if self.is_own else self.held[bits]


def plan_tables(words: Words, queries: Rows, references: Rows | None, distance: int) -> HammingPlan:
    """Choose chunks, radii and keys by what they cost on a sample.

    Parameters
    ----------
    words : array of shape (n, bits / 64), uint64
        All hashes.
    queries, references : array of int64
        Rows that are to be compared, not empty; ``references`` is None for all pairs of the queries.
    distance : int
        Largest number of different bits of a wanted pair.

    Returns
    -------
    HammingPlan
        The cheapest that was found.  Every plan gives the same pairs.
    """
    held = queries if references is None else references
    size = words.shape[1]
    bits = size * WINDOW
    pairs = len(queries) * len(held) / (2 if references is None else 1)
    plain = HammingPlan(np.arange(bits), (), pairs * size * WORD_NS / 1e9)
    if plain.seconds < PLANNING_S:
        return plain
    sides = (np.ascontiguousarray(unpacked(words[evenly(side, SAMPLED_ROWS)]).T) for side in (queries, held))
    work = _Work(len(queries), len(held), next(sides), next(sides), references is None)
    signs = work.asked.astype(np.float32) * 2 - 1
    together = ((signs @ signs.T).astype(np.float64) / signs.shape[1]) ** 2
    longest = min(MAX_KEY, max(1, (max(len(queries), len(held)) // RUN).bit_length() - 1))
    fewest, most = 2 * size, bits // 4  # so that windows hold two chunks or more
    numbers = {int(bits / (longest * length)) for length in CHUNK_LENGTHS}
    plans = [
        _plan(work, _deal(together, number), longest, distance)
        for number in sorted({min(max(number, fewest), most, max(distance + 1, fewest)) for number in numbers})
    ]
    return min([plain, *plans], key=lambda plan: plan.seconds)


def _plan(work: _Work, members: list[NDArray[np.intp]], longest: int, distance: int) -> HammingPlan:
    """The best plan with these chunks."""
    costs, widths = [], []
    for own in members:
        cost, width = _costs(work, own[:longest], distance)
        cost[len(own) // 4 + 2 :] = np.inf  # unrelated chunks differ in half of their bits: nearly all would be met
        costs.append(cost)
        widths.append(width)
    radii, total = _share_out(costs, distance)
    lengths = [len(own) for own in members]
    tables = []
    for chunk, radius in enumerate(radii if np.isfinite(total) else []):
        if radius < 0:
            continue
        ring = [(chunk + step) % len(members) for step in range(len(members))]
        inside = ring[: int(np.searchsorted(np.cumsum([lengths[each] for each in ring]), WINDOW, side="right"))]
        limit = sum(radii[each] + 1 for each in inside) - 1
        total += PASSED_NS * work.pairs * _share_within(work, np.concatenate([members[each] for each in inside]), limit)
        tables.append(
            Table(
                offset=sum(lengths[:chunk]),
                key_bits=widths[chunk][radius],
                window_bits=sum(lengths[each] for each in inside),
                radius=radius,
                limit=limit,
            )
        )
    return HammingPlan(np.concatenate(members), tuple(tables), total / 1e9)


def _deal(together: Floats, chunks: int) -> list[NDArray[np.intp]]:
    """Deal the bits out to chunks of equal length, each to the chunk with which it has least in common.

    ``together[a, b]`` is the squared mean product of the signs of two bits.  The probability that two hashes agree in
    both bits exceeds a quarter by that and by their squared means, so its sum over a chunk is how crowded keys get.
    """
    bits = len(together)
    room = np.full(chunks, bits // chunks)
    room[: bits % chunks] += 1
    members: list[list[int]] = [[] for _ in range(chunks)]
    shared = np.zeros((chunks, bits))
    for bit in np.argsort(together.sum(axis=1), kind="stable"):
        chunk = int(np.argmin(np.where(room > 0, shared[:, bit] - 1e-9 * room, np.inf)))
        members[chunk].append(int(bit))
        shared[chunk] += together[bit]
        room[chunk] -= 1
    return [np.array(own, np.intp) for own in members]


def _costs(work: _Work, bits: NDArray[np.intp], distance: int) -> tuple[Floats, list[int]]:
    """Nanoseconds of a table by its radius + 1 (0: no table), and by its radius the length of the key that takes them.

    ``bits`` are those of the longest key.
    """
    share = _share_by_difference(work, bits)
    best = np.full(distance + 2, np.inf)
    best[0] = 0.0
    widths = [0] * (distance + 1)
    for width in range(len(bits), -1, -2):
        costs = _costs_of_key(work, share.reshape(2**width, -1).sum(axis=1))
        for radius in range(distance + 1):
            cost = costs[min(radius, width)]
            if cost < best[radius + 1]:
                best[radius + 1], widths[radius] = cost, width
    return best, widths


def _share_by_difference(work: _Work, bits: NDArray[np.intp]) -> Floats:
    """The share of all pairs of different rows whose keys differ by each number (exclusive or)."""
    sizes, spectra = [], []
    for columns in work.of(bits):
        keys = np.zeros(columns.shape[1], np.int64)
        for column in columns:
            keys = keys << 1 | column
        sizes.append(len(keys))
        spectra.append(_transform(np.bincount(keys, minlength=2 ** len(bits))))
    pairs = _transform(spectra[0] * spectra[1]) // 2 ** len(bits)
    with_itself = sizes[0] if work.is_own else 0
    pairs[0] -= with_itself
    return np.asarray(pairs / max(1, sizes[0] * sizes[1] - with_itself))


def _share_within(work: _Work, bits: NDArray[np.intp], limit: int) -> float:
    """The share of all pairs of different rows that differ in at most ``limit`` of at most 64 bits."""
    one, other = (_packed(columns[:, evenly(np.arange(columns.shape[1]), COMPARED_ROWS)]) for columns in work.of(bits))
    within = np.count_nonzero(np.bitwise_count(one[:, np.newaxis] ^ other) <= limit)
    with_itself = len(one) if work.is_own else 0
    return (within - with_itself) / max(1, len(one) * len(other) - with_itself)


def _packed(columns: Bits) -> Words:
    """Words with these bits, at most 64, and zeros; from shape (bits, s)."""
    bits = np.packbits(columns, axis=0)
    padded = np.pad(bits, ((0, WINDOW // 8 - len(bits)), (0, 0)))
    return np.ascontiguousarray(padded.T).view(np.uint64)[:, 0]


def _costs_of_key(work: _Work, share: Floats) -> Floats:
    """Nanoseconds of a table by its radius."""
    keys = len(share)
    weights = np.bitwise_count(np.arange(keys, dtype=np.uint32))
    differences = np.bincount(weights)
    # The last run of a key is half empty on average, so one key's rows are compared with (RUN - 1) / 2 more.
    spare = (RUN - 1) / 2
    wasted = differences * (spare * (work.queries + work.references) + spare * spare * keys)
    pairs = (np.bincount(weights, weights=share) * work.queries * work.references + wasted) / RUN**2
    runs = min(work.queries, work.queries / RUN + keys / 2)
    each = pairs / (2 if work.is_own else 1) * RUNS_NS + differences * (DIFFERENCE_NS + runs * LOOKUP_NS)
    return np.asarray(np.cumsum(each) + ROW_NS * (work.queries + work.references))


def _transform(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Walsh–Hadamard transform of 2**w numbers: it turns sums over pairs by exclusive or into products."""
    width = len(values).bit_length() - 1
    low = width // 2
    for places in (width - low, low):  # the upper bits, then, in the upper ones' place, the lower
        table = values.reshape(2**places, -1)
        for place in range(places):
            halves = table.reshape(2**place, 2, -1)
            table = np.stack([halves[:, 0] + halves[:, 1], halves[:, 0] - halves[:, 1]], axis=1)
        values = table.reshape(2**places, -1).T.reshape(-1)
    return values


def _share_out(costs: list[Floats], distance: int) -> tuple[list[int], float]:
    """Radii, one a chunk (-1: no table), whose ``radius + 1`` sum to ``distance + 1`` at the least cost."""
    whole = distance + 1
    best = np.full(whole + 1, np.inf)
    best[0] = 0.0
    taken = []
    for own in costs:
        table = np.full((whole + 1, whole + 1), np.inf)
        for share in range(whole + 1):
            table[share:, share] = best[: whole + 1 - share] + own[share]
        taken.append(table.argmin(axis=1))
        best = table.min(axis=1)
    radii = []
    left = whole
    for choice in reversed(taken):
        radii.append(int(choice[left]) - 1)
        left -= int(choice[left])
    return radii[::-1], float(best[whole])
