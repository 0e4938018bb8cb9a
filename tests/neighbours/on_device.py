"""What is asked of the comparison on a device, whichever it is."""

from __future__ import annotations

import numpy as np
import torch
from brute_cosine import cosines

from imagecurate.backend.cpu_clusters import principal_axes
from imagecurate.neighbours import device, search
from imagecurate.neighbours.search import Found, Near, Side, prefixes
from imagecurate.neighbours.vectors import cosine, product_error, unit_rows


def sides(rows: np.ndarray, width: int, seed: int) -> tuple[Side, Side]:
    """Some of the rows on one side and some on the other, in an order of ranks; perhaps with a shorter prefix."""
    units, valid = unit_rows(rows, np.ones(len(rows), bool))
    units = units[valid]
    n, d = units.shape
    few = prefixes(units, principal_axes(units)[:, :width]) if n and width < d else units
    random = np.random.default_rng(seed)
    order = random.permutation(n)
    ranks = np.argsort(order)
    chosen = [np.arange(n) if seed % 2 else np.flatnonzero(random.random(n) < 0.6) for _ in range(2)]
    x, y = (each[np.argsort(ranks[each])] for each in chosen)
    return Side(units, few, x, ranks[x]), Side(units, few, y, ranks[y])


def same_as_on_the_cpu(x: Side, y: Side, eps: float, most: int, where: str) -> Found:
    """Hold what the device finds against what the CPU finds, and that against all cosines."""
    near = Near(1 - eps, x.vectors.shape[1])
    found = device.compare(x, y, near, most, torch.device(where))
    expected = search.earlier_neighbours(x, y, near, most)
    np.testing.assert_array_equal(found.x, expected.x)
    np.testing.assert_array_equal(found.y, expected.y)
    exact = cosine(x.vectors[x.at[found.x]], y.vectors[y.at[found.y]])
    assert (exact >= 1 - eps).all()
    np.testing.assert_allclose(found.similarity, exact, atol=product_error(near.d), rtol=0)
    # nothing is missing but what is beyond the wanted number, which is told
    earlier = y.ranks < x.ranks[:, None]
    counts = np.bincount(found.x, minlength=len(x))
    surely = ((cosines(x.vectors[x.at], y.vectors[y.at]) >= 1 - eps + 1e-12) & earlier).sum(axis=1)
    assert (counts >= np.minimum(surely, most)).all()
    assert found.more[surely > most].all()
    assert (counts[found.more] == most).all()
    return found
