"""What was asked for: whether it can be, and whose folder it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128_hexdigest

from imagecurate.errors import ParameterError
from imagecurate.neighbours.arrange import Order
from imagecurate.store import write_atomically

__all__ = ["check_eps", "check_ranks", "check_request", "claim"]


def check_eps(eps: float) -> None:
    """Refuse what is no eps."""
    if not 0 <= eps < 1:
        raise ParameterError.because(f"eps is at least 0 and below 1, not {eps!r}", "eps=0.05 is a similarity of 0.95")


def check_ranks(n: int, ranks: NDArray[np.int64]) -> None:
    """Refuse what is no order of n rows."""
    ranks = np.asarray(ranks)
    right = ranks.shape == (n,) and (n == 0 or (ranks.dtype.kind in "iu" and ranks.min() >= 0 and ranks.max() < n))
    if not right or not (np.bincount(ranks.astype(np.int64), minlength=n) == 1).all():
        raise ParameterError.because(f"ranks are a permutation of 0 to {n - 1}, one for each row")


def check_request(
    n: int, eps: float, ranks: Order, within: NDArray[np.int64] | None, n_clusters: int | str, **counts: int
) -> None:
    """Refuse arguments that are out of their range."""
    check_eps(eps)
    for name, value in counts.items():
        if value < 1:
            raise ParameterError.because(f"{name} is at least 1, not {value!r}")
    if n_clusters != "auto" and (isinstance(n_clusters, str) or n_clusters < 1):
        raise ParameterError.because(f"n_clusters is 'auto' or at least 1, not {n_clusters!r}")
    if not isinstance(ranks, str):
        check_ranks(n, ranks)
    elif ranks not in ("hard", "easy"):
        raise ParameterError.because(f"ranks are an array, 'hard' or 'easy', not {ranks!r}")
    if within is not None and np.shape(within) != (n,):
        raise ParameterError.because(f"within has a group for each of {n} rows, not shape {np.shape(within)}")


def claim(folder: Path, ranks: Order, within: NDArray[np.int64] | None, **request: Any) -> None:
    """Write down whose the folder is, or find that it is another's.

    Raises
    ------
    ParameterError
        The files there are of another request.
    """
    request["ranks"] = ranks if isinstance(ranks, str) else _hash(ranks)
    request["within"] = None if within is None else _hash(within)
    path = folder / "request.json"
    text = json.dumps(request, indent=2, default=str)
    if not path.exists():
        write_atomically(path, lambda temporary: temporary.write_text(text))
    elif path.read_text() != text:
        raise ParameterError.because(
            f"the folder {str(folder)!r} holds the results of another request", "give each request a folder of its own"
        )


def _hash(array: NDArray[np.int64]) -> str:
    return str(xxh3_128_hexdigest(np.ascontiguousarray(array, np.int64).tobytes()))
