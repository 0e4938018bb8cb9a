"""The numbers that exploration is given, checked before anything runs; those of NumPy are numbers, too."""

from __future__ import annotations

import math
import numbers
from typing import Any

from imagecurate.errors import ParameterError

__all__ = ["check_count", "check_keep", "check_seed", "share_of", "threshold_of"]


def share_of(sample: Any) -> float | None:
    """Check a share of the rows; None stays None."""
    if sample is None:
        return None
    if not _is_share(sample):
        raise ParameterError.because(
            f"sample is a share of the rows, above 0 and at most 1, but got {sample!r}", "sample=0.01 looks at 1 %"
        )
    return float(sample)


def check_keep(keep: Any) -> None:
    """Check a share of the samples to keep."""
    if not _is_share(keep):
        raise ParameterError.because(
            f"keep is a share of the samples, above 0 and at most 1, but got {keep!r}", "keep=0.3 keeps 30 %"
        )


def threshold_of(threshold: Any) -> float | None:
    """Check a threshold; None stays None."""
    if threshold is None:
        return None
    try:
        value = float(threshold) if _is_real(threshold) else math.nan
    except OverflowError:
        value = math.nan
    if math.isnan(value):
        raise ParameterError(f"threshold is a number, but got {threshold!r}")
    return value


def check_count(count: Any, name: str, least: int = 1, most: float = math.inf) -> None:
    """Check the number of something to show."""
    if not _is_whole(count) or not least <= count <= most:
        bound = f"from {least} to {most:,}" if most < math.inf else f"of at least {least}"
        raise ParameterError(f"{name} is a whole number {bound}, but got {count!r}")


def check_seed(seed: Any) -> None:
    """Check the seed of a draw; None draws nothing."""
    if seed is not None:
        check_count(seed, "seed", 0)


def _is_share(value: Any) -> bool:
    return _is_real(value) and bool(0 < value <= 1)


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
