"""Opening small datasets in tests, and reading their ledgers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import imagecurate as ic


def opened(folder: Path, **options: object) -> ic.ImageTextPairDataset:
    return ic.read_webdataset(str(folder), workdir=folder.parent / "work", **options)  # type: ignore[arg-type]


def statuses(dataset: ic.ImageTextPairDataset) -> dict[str, tuple[str, str | None]]:
    """Status and reason of each sample, by key."""
    ledger = dataset.ledger().compute()
    return {
        row.key: (row.status, None if pd.isna(row.reason) else row.reason) for row in ledger.itertuples(index=False)
    }
