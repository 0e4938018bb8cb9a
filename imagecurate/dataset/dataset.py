"""The dataset: shards, a plan, and a lazy dataframe of the rows that survive it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from imagecurate.dataset.exploring import Exploring
from imagecurate.dataset.looking import Looking
from imagecurate.dataset.opening import open_shards, tell
from imagecurate.dataset.output import Output
from imagecurate.dataset.reporting import Reporting
from imagecurate.images import DecodePolicy

__all__ = ["ImageTextPairDataset", "read_webdataset"]


class ImageTextPairDataset(Looking, Output, Exploring, Reporting):
    """Image-text samples in tar shards, with a dataframe of one row a sample.

    Made by :meth:`from_webdataset`.  Every method that adds to the plan gives a new dataset; nothing is computed until
    somebody looks (``head``, ``counts``, ``metadata.compute()``) or asks (``compute``, ``save_metadata``,
    ``to_webdataset``), except a dataset stage, which needs all rows and runs when it is called.
    """

    @classmethod
    def from_webdataset(
        cls,
        path: str | os.PathLike[str] | Sequence[Any] | Mapping[str, Any],
        id_col: str = "key",
        metadata: Literal["auto", "parquet", "json", "none"] = "auto",
        workdir: str | os.PathLike[str] | None = "auto",
        backend: Literal["auto", "pandas", "cudf"] = "auto",
        storage_options: Mapping[str, Any] | None = None,
        *,
        schema: Mapping[str, Any] | None = None,
        decode_policy: DecodePolicy | None = None,
        shard_identity: Literal["mtime", "size"] = "mtime",
        images: Literal["first", "all"] = "first",
    ) -> Self:
        """Open tar shards.

        Finds the shards and reads a few footers to know the columns; no image is touched.

        Parameters
        ----------
        path : str, path, list or mapping
            A folder, a glob, a brace pattern (``data/{00000..00127}.tar``), a list of these, or a mapping from the name
            of a source to any of these; local or a URL that fsspec knows.
        id_col : str, default="key"
            Column of the parquet or JSON that equals the tar key.
        metadata : {"auto", "parquet", "json", "none"}, default="auto"
            Where columns come from: the parquet beside each tar, and JSON in it for the fields that no parquet has;
            only the one; only the other; none but the caption.
        workdir : path or None, default="auto"
            Folder where computed columns are kept.  By default a cache folder for these shards; with None a temporary
            one that is removed at exit.
        backend : {"auto", "pandas", "cudf"}, default="auto"
            Data frame library of ``metadata``, ``ledger``, ``head`` and ``sample``; nothing that is computed or kept
            depends on it.  cuDF needs a GPU in this process and in every worker.  By default pandas, but cuDF where it
            is installed and this process is connected to a cluster of GPUs that it started itself, as by
            ``get_client(cluster="cuda")``.
        storage_options : mapping, optional
            For fsspec.  Never part of a fingerprint, a repr or a run record.
        schema : mapping of str to type, optional
            Types of incoming columns (``{"width": "int32"}``) that override those found: Arrow types or their names,
            NumPy dtypes, or str, int, float, bool.
        decode_policy : DecodePolicy, optional
            Bounds on pixels and time, and whether truncated files are accepted.
        shard_identity : {"mtime", "size"}, default="mtime"
            How an unchanged shard is recognised: by name, size and modification time (or etag), or, for data that is
            copied about, by name and size.
        images : {"first", "all"}, default="first"
            Of a sample with several images the first is its row, or each is a row of its own; they are exported as one
            sample.

        Raises
        ------
        ShardError
            Nothing is found at ``path``, or it may not be read.
        ParameterError
            An argument is out of range.
        MissingDependencyError
            The backend is not installed, or cuDF finds no GPU.
        """
        shards, work = open_shards(
            path,
            workdir,
            backend,
            decode_policy,
            storage_options,
            shard_identity,
            id_col=id_col,
            metadata=metadata,
            schema=schema,
            images=images,
        )
        tell(work.differences)
        return cls(path, id_col, shards, work)._opened_with(
            id_col=id_col,
            metadata=metadata,
            workdir=workdir,
            backend=backend,
            storage_options=bool(storage_options),  # there may be secrets in them
            schema=schema,
            decode_policy=decode_policy,
            shard_identity=shard_identity,
            images=images,
        )


read_webdataset = ImageTextPairDataset.from_webdataset
