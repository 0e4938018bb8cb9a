"""The loop that people write: one parquet after the other into pandas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from protocol import serve


def filter_scores(folder: str, columns: list[str]) -> Callable[[], dict[str, int]]:
    """Read two columns of each file, count the rows and those that pass."""
    paths = sorted(Path(folder).rglob("*.parquet"))
    pd.read_parquet(paths[0], columns=columns)  # imports what it needs

    def run() -> dict[str, int]:
        rows = left = 0
        for path in sorted(Path(folder).rglob("*.parquet")):
            frame = pd.read_parquet(path, columns=columns)
            rows += len(frame)
            left += int(((frame["aesthetic"] >= 5) & (frame["nsfw"] < 0.2)).sum())
        return {"count": rows, "left": left}

    return run


if __name__ == "__main__":
    serve(filter_scores, packages=("pandas", "pyarrow"))
