"""Writing on the workers of a cluster, where they see the folder."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from imagecurate.backend.machines import connected_client
from imagecurate.export.folder import WORK
from imagecurate.plan.execute import in_order, in_threads

if TYPE_CHECKING:
    from imagecurate.export.folder import Folder

__all__ = ["spread"]

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Holds what workers are asked to read, to know that they see the folder and not another of that name.
_PROBE = f"{WORK}/seen"


def spread(
    folder: Folder, where: str, threads: int, write: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
    """Call ``write`` for each item, and give the results in the order of the items.

    It runs on the workers of the Dask cluster that is connected, if there is one and all its workers see the folder;
    elsewhere in threads of this process.

    Parameters
    ----------
    folder : Folder
        Claimed by this process.
    where : str
        What the user calls it.
    threads : int
        Of this process.
    write : callable
        Writes to the folder; can be pickled, as can items and results.
    items : iterable
    """
    client = connected_client()
    if client is None or not _is_seen(client, folder, where):
        return in_threads(threads, write, items)
    return in_order(write, items)


def _is_seen(client: Any, folder: Folder, where: str) -> bool:
    """Whether all workers see the folder; if not, say so."""
    word = uuid.uuid4().hex.encode()
    folder.write(_PROBE, word)
    seen = client.run(_reads, folder, word, on_error="return")
    blind = sorted(address for address, found in seen.items() if found is not True)
    if blind:
        _log.warning(
            "%d of %d workers, %s first, do not see %r, so this process alone writes there; to have all of them write, "
            "name a folder that all machines mount, or a URL",
            len(blind),
            len(seen),
            blind[0],
            where,
        )
    return not blind


def _reads(folder: Folder, word: bytes) -> bool:
    return folder.read(_PROBE) == word
