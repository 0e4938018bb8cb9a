"""Datasets side by side."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imagecurate.columns import KEY
from imagecurate.dataset.dataset import ImageTextPairDataset
from imagecurate.dataset.opening import tell, united
from imagecurate.errors import ParameterError
from imagecurate.frame import ShardList
from imagecurate.plan.shard_state import Work
from imagecurate.workdir import open_store

__all__ = ["concat"]


def concat(
    datasets: Sequence[ImageTextPairDataset] | Mapping[str, ImageTextPairDataset],
    workdir: str | os.PathLike[str] | None = None,
) -> ImageTextPairDataset:
    """Put datasets together, each read as it was opened: with its own ``id_col``, ``metadata`` and ``schema``.

    The columns are those of all; where a dataset lacks one, it is null, and where types differ, the one that takes all
    is told in the log.  For folders that are read in the same way
    ``from_webdataset({"cc12m": …, "relaion": …})`` does the same.

    Parameters
    ----------
    datasets : list, or mapping of str to ImageTextPairDataset
        Nothing was added to them yet.  A mapping names the sources.
    workdir : path, optional
        Folder where computed columns are kept; by default that of the first dataset.

    Raises
    ------
    ParameterError
        A dataset has steps, two have a source of the same name, or they were opened with different decode policies,
        ``images`` or storage options.

    Examples
    --------
    >>> concat([])
    Traceback (most recent call last):
    imagecurate.errors.ParameterError: concat needs at least one dataset
    """
    if isinstance(datasets, ImageTextPairDataset) or not isinstance(datasets, Iterable):
        raise ParameterError.because(
            f"concat expects several datasets, but got {type(datasets).__name__}",
            'give them in one list or mapping: ic.concat({"cc12m": first, "relaion": second})',
        )
    is_mapping = isinstance(datasets, Mapping)
    named: dict[Any, Any] = dict(datasets) if isinstance(datasets, Mapping) else dict(enumerate(datasets))
    if not named:
        raise ParameterError("concat needs at least one dataset")
    for name, dataset in named.items():
        if not isinstance(dataset, ImageTextPairDataset):
            raise ParameterError(f"concat expects datasets, but got {dataset!r}")
        if dataset._plan.steps:
            raise ParameterError.because(
                f"dataset {name!r} has steps already: {dataset._plan.steps[0].title[1]!r}",
                "concatenate first; a filter of one source alone is \"source != 'cc12m' or width >= 256\"",
            )
    parts = [_part(dataset, name if is_mapping else None) for name, dataset in named.items()]
    store = parts[0][1].store if workdir is None else open_store(workdir, None, parts[0][1].storage_options)
    shards, work = united(parts, store)
    told = {sentence for _, part in parts for sentence in part.differences}
    tell(sentence for sentence in work.differences if sentence not in told)
    ids = {dataset.id_col for dataset in named.values()}
    path = {str(name): dataset.path for name, dataset in named.items()}
    return ImageTextPairDataset(path, ids.pop() if len(ids) == 1 else KEY, shards, work)


def _part(dataset: ImageTextPairDataset, name: object) -> tuple[ShardList, Work]:
    """The shards of a dataset, under the name that a mapping gives its source."""
    shards, work = dataset._shards, dataset._work
    if name is None:
        return shards, work
    if len(work.schemas) > 1:
        raise ParameterError.because(
            f"dataset {name!r} has sources of its own: {', '.join(work.schemas)}", "give a list, which keeps them"
        )
    if not isinstance(name, str) or not name or "/" in name or name.startswith("."):
        raise ParameterError(f"a source needs a name without '/' and leading dot, not {name!r}")
    renamed = ShardList([dataclasses.replace(shard, source=name) for shard in shards])
    return renamed, dataclasses.replace(work, schemas=dict.fromkeys([name], *work.schemas.values()))
