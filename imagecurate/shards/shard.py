"""One tar file of the input, as found."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

__all__ = ["Shard"]


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar file: where it is, what it is called and what tells its bytes from others.

    Parameters
    ----------
    source : str
        The named group it belongs to; ``"default"`` unless the user names sources.
    name : str
        Its path below the source's root, without ``.tar``, with ``/``: ``"00000"``, ``"sub/00001"``.
    url : str
        Absolute local path, or the URL to open.
    size : int
        Bytes.
    stamp : str
        Modification time in nanoseconds, or what a remote store has in its place (an etag, a date); ``""`` where
        shards are known by name and size alone.
    parquet_url : str or None
        The parquet of the same stem beside it.
    parquet_stamp : str
        Size and modification time or etag of that parquet; ``""`` where there is none.

    Examples
    --------
    >>> here = Shard("default", "00000", "/data/00000.tar", 10240, "1700000000", None, "")
    >>> moved = Shard("default", "00000", "/mnt/00000.tar", 10240, "1700000000", None, "")
    >>> here.token == moved.token, len(here.token)
    (True, 12)
    """

    source: str
    name: str
    url: str
    size: int
    stamp: str
    parquet_url: str | None
    parquet_stamp: str

    @property
    def token(self) -> str:
        """12 hex digits for the tar's bytes; a dataset that was moved keeps them."""
        return _token(self.source, self.name, str(self.size), self.stamp)

    @property
    def metadata_token(self) -> str:
        """12 hex digits for the tar's bytes and those of the parquet beside it."""
        return _token(self.source, self.name, str(self.size), self.stamp, self.parquet_stamp)


def _token(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()
