"""What is known of a shard when it was checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imagecurate.export.keys import Hashes

__all__ = ["Found"]


@dataclass
class Found:
    """What is known of a shard: a row of the table, and its keys."""

    shard: str
    source: str
    bytes: int = 0
    samples: int = 0
    images: int = 0
    failed: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    keys: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))

    def row(self, none: Mapping[str, int]) -> dict[str, Any]:
        """The row of the table; ``none`` has a zero for each count that some shard has."""
        numbers = {name: getattr(self, name) for name in ("shard", "source", "samples", "images", "failed", "bytes")}
        texts = {"notes": "; ".join(self.notes), "problems": "; ".join(self.problems)}
        return {**numbers, **none, **self.counts, **texts}
