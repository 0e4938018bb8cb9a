"""One tar file of the input, as found."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["TAR_ENDINGS", "Shard", "identities", "names_a_tar", "parquet_beside"]

#: How the names of compressed tars end that can be read; what is in a file its first bytes tell, not its name.
COMPRESSED_ENDINGS = (".tar.gz", ".tgz", ".tar.zst", ".tar.zstd", ".tzst", ".tar.bz2", ".tbz2")
#: How the names of shards end.
TAR_ENDINGS = (".tar", *COMPRESSED_ENDINGS)

_TAR_IN_NAME = re.compile(r"\.(tar|tgz|tzst|tbz2)\b[^/]*$")


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar file: where it is, what it is called and what tells its bytes from others.

    Parameters
    ----------
    source : str
        The named group it belongs to; ``"default"`` unless the user names sources.
    name : str
        Its path below the source's root, without ``.tar``, with ``/``: ``"00000"``, ``"sub/00001"``, and in full
        where it ends otherwise: ``"00000.tar.gz"``.
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
    provisional : bool, default=False
        True for the shard as its parquet alone tells it, before the tar was read: other rows may stand at its
        positions.

    Examples
    --------
    >>> here = Shard("default", "00000", "/data/00000.tar", 10240, "1700000000", None, "")
    >>> moved = Shard("default", "00000", "/mnt/00000.tar", 10240, "1700000000", None, "")
    >>> here.token == moved.token, len(here.token)
    (True, 12)
    >>> here.is_compressed, Shard("default", "00000.tar.gz", "/data/00000.tar.gz", 10240, "", None, "").is_compressed
    (False, True)
    """

    source: str
    name: str
    url: str
    size: int
    stamp: str
    parquet_url: str | None
    parquet_stamp: str
    provisional: bool = False

    @property
    def token(self) -> str:
        """12 hex digits for the tar's bytes; a dataset that was moved keeps them."""
        return _token(self.source, self.name, str(self.size), self.stamp)

    @property
    def metadata_token(self) -> str:
        """12 hex digits for the tar's bytes and those of the parquet beside it."""
        view = ["provisional"] if self.provisional else []
        return _token(self.source, self.name, str(self.size), self.stamp, self.parquet_stamp, *view)

    @property
    def is_compressed(self) -> bool:
        """Whether it is a compressed tar by its name."""
        return self.name.endswith(COMPRESSED_ENDINGS)


def names_a_tar(path: str) -> bool:
    """Tell whether a file that was named in full is called like a tar, of whatever compression, in a URL with a query.

    >>> names_a_tar("https://example.com/0.tgz?token=a"), names_a_tar("0.tar.xz"), names_a_tar("0.tar/readme.md")
    (True, True, False)
    """
    return _TAR_IN_NAME.search(path) is not None


def parquet_beside(path: str) -> str | None:
    """Give the path of the parquet that belongs to a tar, None for a file that is not called like one.

    >>> parquet_beside("a.b/00000.tar"), parquet_beside("00000.tar.gz"), parquet_beside("00000.zip")
    ('a.b/00000.parquet', '00000.parquet', None)
    """
    for ending in TAR_ENDINGS:
        if path.endswith(ending):
            return path[: -len(ending)] + ".parquet"
    return None


def identities(shards: Iterable[Shard]) -> list[tuple[str, str, str]]:
    """What tells some shards from others, wherever they lie; for fingerprints."""
    return [(shard.source, shard.name, shard.metadata_token) for shard in shards]


def _token(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()
