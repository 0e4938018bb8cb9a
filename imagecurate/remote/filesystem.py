"""Which file system a URL belongs to."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

import fsspec
import psutil
from fsspec.implementations.local import LocalFileSystem

from imagecurate.errors import MissingDependencyError, ParameterError
from imagecurate.remote.options import StorageOptions, options_for

__all__ = ["filesystem", "is_on_own_disk", "local_path"]

#: File systems of disks and of memory; all others (NFS, Lustre, CephFS, what FUSE mounts) may have to ask a machine.
_OF_DISKS: Final = frozenset((
    "apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfs", "jfs", "ntfs", "overlay", "ramfs",
    "reiserfs", "tmpfs", "ufs", "vfat", "xfs", "zfs",
))  # fmt: skip


def local_path(url: str) -> str | None:
    """The path of a local file, or None for what lies elsewhere.

    >>> local_path("file:///data/00000.tar"), local_path("data/00000.tar"), local_path("s3://data/00000.tar")
    ('/data/00000.tar', 'data/00000.tar', None)
    """
    if "://" not in url:
        return url
    if url.startswith(("file://", "local://")):
        return str(LocalFileSystem._strip_protocol(url))
    return None


@functools.cache
def is_on_own_disk(folder: Path) -> bool:
    """Whether a folder lies on a disk of this machine, and not on one that is asked for over a network."""
    try:
        mounts = psutil.disk_partitions(all=True)
    except OSError:  # a container without /proc
        return False
    kinds = {Path(mount.mountpoint): mount.fstype for mount in mounts}
    place = folder.resolve()
    mounted = next((kinds[each] for each in (place, *place.parents) if each in kinds), "")
    return mounted.lower() in _OF_DISKS


def filesystem(url: str, storage_options: StorageOptions) -> tuple[Any, str]:
    """Give the fsspec file system of a URL and the path in it.

    Raises
    ------
    ParameterError
        fsspec does not know the protocol, or the file system does not know an option.
    MissingDependencyError
        The package for the protocol is not installed.
    """
    options = options_for(url, storage_options)
    try:
        fs, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        protocol = url.partition("://")[0]
        raise MissingDependencyError.because(f"reading {protocol}:// needs a package: {error}") from None
    except ValueError as error:
        if "rotocol" not in str(error):
            raise
        raise ParameterError.because(
            f"{url!r} cannot be opened: {error}", "use a local path or a URL that fsspec knows"
        ) from None
    return fs, str(path)
