"""What exported samples are called: their own keys, keys told apart, or new numbers.

Keys are kept.  Only where a key occurs more than once among the exported samples, all samples that have it are told
apart by source and shard: ``000000031`` of shard ``00002`` of the source ``cc12m`` becomes
``000000031-cc12m-00002``.  In that suffix every character but ASCII letters, digits and ``_`` becomes a ``_``, and
where that makes two shards look alike, eight hex digits of their true names follow.  So a suffix has exactly one ``-``
and belongs to one shard; a key that by itself ends in the suffix of some shard gets its own as well.  Hence no two
exported samples share a key, whatever the data calls them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

if TYPE_CHECKING:
    from imagecurate.shards.shard import Shard

__all__ = [
    "Clashes",
    "Flags",
    "Hashes",
    "Naming",
    "NewNumbers",
    "RepeatedKeys",
    "ToldApart",
    "ends_in",
    "hashes",
    "shard_suffixes",
]

Hashes: TypeAlias = NDArray[np.uint64]
Flags: TypeAlias = NDArray[np.bool_]


class Naming:
    """How exported samples and their members are called: as they were, unless a subclass has it otherwise."""

    #: Field of a sample's JSON in which its id follows; None where JSON stays as it is.
    id_field: str | None = None
    #: Bytes that this can add to the JSON.
    growth: int = 0

    def keys(
        self, keys: Sequence[str], suffix: str, told_apart: Flags | None, shard: int, first: int
    ) -> list[str] | None:
        """Give samples of one input shard their keys in the output.

        Parameters
        ----------
        keys : sequence of str
            As they were.
        suffix : str
            Of that input shard, as ``shard_suffixes`` makes it.
        told_apart : array of bool, or None for none
            Which of them others have, too, or look as if they had a suffix.
        shard, first : int
            The output shard, and the place of the first of them in it.

        Returns
        -------
        list of str, or None where all stay as they are
        """
        return None

    def member(self, name: str, key: str) -> str:
        """Name of a member, so far ``name``, of a sample whose exported key is ``key`` and was another."""
        return name


class ToldApart(Naming):
    """Samples that share a key get the suffix of their shard."""

    def keys(
        self, keys: Sequence[str], suffix: str, told_apart: Flags | None, shard: int, first: int
    ) -> list[str] | None:
        """Append the suffix where it is needed."""
        if told_apart is None:
            return None
        return [f"{key}-{suffix}" if apart else key for key, apart in zip(keys, told_apart.tolist(), strict=True)]

    def member(self, name: str, key: str) -> str:
        """Put the suffix in front of the first dot of the base name, where the key ends."""
        base, dot, field = _base_and_field(name)
        return f"{base}-{'-'.join(key.rsplit('-', 2)[1:])}{dot}{field}"


class NewNumbers(Naming):
    """Samples are numbered anew, as NeMo Curator up to 0.9 does: shard number, then number in the shard, in digits.

    Parameters
    ----------
    shard_digits : int
        Digits of the shard number.
    samples_per_shard : int
        Decides the digits of the sample number.
    id_field : str
        Field of a sample's JSON in which its id follows.

    Examples
    --------
    >>> NewNumbers(shard_digits=5, samples_per_shard=10_000, id_field="key").keys(["a"], "", None, 42, 7)
    ['000420007']
    """

    def __init__(self, shard_digits: int, samples_per_shard: int, id_field: str) -> None:
        self.id_field = id_field
        self._shard_digits = shard_digits
        self._sample_digits = len(str(samples_per_shard - 1)) if samples_per_shard > 1 else 0
        self.growth = self._shard_digits + self._sample_digits + len('""')

    def keys(
        self, keys: Sequence[str], suffix: str, told_apart: Flags | None, shard: int, first: int
    ) -> list[str] | None:
        """Number the samples."""
        front, digits = f"{shard:0{self._shard_digits}d}", self._sample_digits
        if digits == 0:
            return [front] * len(keys)
        return [f"{front}{sample:0{digits}d}" for sample in range(first, first + len(keys))]

    def member(self, name: str, key: str) -> str:
        """Replace all in front of the first dot of the base name, folders included."""
        _, dot, field = _base_and_field(name)
        return f"{key}{dot}{field}"


def _base_and_field(name: str) -> tuple[str, str, str]:
    dot = name.find(".", name.rfind("/") + 1)
    return (name, "", "") if dot < 0 else (name[:dot], ".", name[dot + 1 :])


def shard_suffixes(shards: Sequence[Shard]) -> list[str]:
    """Give each input shard a suffix of its own, the same whatever other shards there are, collisions aside.

    Examples
    --------
    >>> from imagecurate.shards.shard import Shard
    >>> shard_suffixes([Shard("laion-2b", "sub/00007", "/data/sub/00007.tar", 0, "", None, "")])
    ['laion_2b-sub_00007']
    """
    plain = [f"{_safe(shard.source)}-{_safe(shard.name)}" for shard in shards]
    count = Counter(plain)
    return [
        suffix if count[suffix] == 1 else f"{suffix}_{_short(shard)}"
        for suffix, shard in zip(plain, shards, strict=True)
    ]


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", text)


def _short(shard: Shard) -> str:
    return hashlib.blake2b(f"{shard.source}\0{shard.name}".encode(), digest_size=4).hexdigest()


def hashes(keys: Sequence[str]) -> Hashes:
    """Hash keys to 64 bits; that two of 10⁹ different keys meet has a chance of 3 %, and costs two of them a suffix."""
    one = xxhash.xxh3_64_intdigest
    return np.fromiter((one(key.encode()) for key in keys), np.uint64, len(keys))


class Clashes:
    """Which samples share their key with others, or look as if they had a suffix.

    Parameters
    ----------
    folder : Path
        Where 9 bytes a sample wait on disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = RepeatedKeys(folder)
        self._files = [(folder / name).open("wb") for name in ("hashes", "looks")]
        self._repeated = self._hashes = np.zeros(0, np.uint64)
        self._looks = np.zeros(0, np.bool_)

    def add(self, keys: Hashes, looks: Flags) -> None:
        """Count in the next samples: their keys, and which of them end in a suffix; see ``ends_in``."""
        self._seen.add(keys)
        for file, each in zip(self._files, (keys, looks), strict=True):
            file.write(each.tobytes())

    def found(self) -> bool:
        """Tell, once all samples were added, whether any two share a key."""
        for file in self._files:
            file.close()
        self._repeated = self._seen.repeated()
        if not len(self._repeated):
            return False
        self._hashes = np.memmap(self._folder / "hashes", np.uint64, "r")
        self._looks = np.memmap(self._folder / "looks", np.bool_, "r")
        return True

    def told_apart(self, first: int, last: int) -> Flags | None:
        """Which of the samples [first, last) get a suffix; None where none of them does."""
        # copied out of the files: what is mapped to memory drags the mapping along
        told = _is_in(np.array(self._hashes[first:last]), self._repeated) | np.array(self._looks[first:last])
        return told if told.any() else None


def ends_in(keys: Sequence[str], suffixes: Hashes) -> Flags:
    """Tell which keys look as if they had one of some suffixes, which are given as sorted hashes.

    Examples
    --------
    >>> ends_in(["7", "7-a-0", "7-b-0"], np.sort(hashes(["a-0", "a-1"]))).tolist()
    [False, True, False]
    """
    looks = np.zeros(len(keys), np.bool_)
    places = [place for place, key in enumerate(keys) if key.count("-") >= 2]
    looks[places] = _is_in(hashes(["-".join(keys[place].rsplit("-", 2)[1:]) for place in places]), suffixes)
    return looks


def _is_in(wanted: Hashes, known: Hashes) -> Flags:
    """Which hashes are among others that are sorted."""
    if not len(known):
        return np.zeros(len(wanted), np.bool_)
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.asarray(known[places] == wanted, np.bool_)


class RepeatedKeys:
    """Finds keys that occur more than once, in memory that does not grow with their number.

    Parameters
    ----------
    folder : Path
        Where hashes wait on disk, 8 bytes a key, once there are too many to hold.
    most_held : int, default=4_194_304
        Hashes held in memory (32 MB).
    """

    def __init__(self, folder: Path, most_held: int = 1 << 22) -> None:
        self._folder = folder
        self._most_held = most_held
        self._held: list[Hashes] = []
        self._count = 0
        self._spilled = False

    def add(self, keys: Hashes) -> None:
        """Count these in."""
        self._held.append(keys)
        self._count += len(keys)
        if self._count > self._most_held:
            self._spill()

    def repeated(self) -> Hashes:
        """Hashes that were added more than once, sorted; a file mapped to memory where there were many."""
        if not self._spilled:
            return _repeated(_united(self._held))
        self._spill()
        result = self._folder / "repeated"
        with result.open("wb") as file:
            for bucket in range(256):
                path = self._bucket(bucket)
                if path.exists():
                    _repeated(np.fromfile(path, np.uint64)).tofile(file)
                    path.unlink()
        return np.memmap(result, np.uint64, "r") if result.stat().st_size else np.zeros(0, np.uint64)

    def _spill(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        keys = np.sort(_united(self._held))
        ends = np.searchsorted(keys >> np.uint64(56), np.arange(257, dtype=np.uint64))
        for bucket in np.flatnonzero(np.diff(ends)).tolist():
            with self._bucket(bucket).open("ab") as file:
                keys[ends[bucket] : ends[bucket + 1]].tofile(file)
        self._held, self._count, self._spilled = [], 0, True

    def _bucket(self, number: int) -> Path:
        return self._folder / f"{number:02x}"


def _united(parts: list[Hashes]) -> Hashes:
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _repeated(keys: Hashes) -> Hashes:
    keys = np.sort(keys)
    return np.unique(keys[1:][keys[1:] == keys[:-1]])
