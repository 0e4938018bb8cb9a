"""The captions of a shard's samples: texts of its members, and what parquet and JSON say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["CAPTIONS", "Captions"]

#: Column of all different captions of a sample.
CAPTIONS = "captions"

_TEXTS = pa.list_(pa.string())


class Captions:
    """Collects the texts of samples in the order of their members.

    Attributes
    ----------
    not_utf8 : int
        Texts with bytes that are no UTF-8; they are read as U+FFFD.
    differing : int
        Rows of `columns` for which texts, parquet and JSON do not all say the same but for blanks around it.
    """

    def __init__(self) -> None:
        self.not_utf8 = 0
        self.differing = 0
        self._texts: dict[int, str] = {}
        self._further: dict[int, list[str]] = {}

    def add(self, sample: int, data: bytes, *, preferred: bool) -> None:
        """Take a text of a sample; of several the preferred one is the caption, else the first."""
        text = data.decode("utf-8", "replace").removeprefix("\ufeff")
        self.not_utf8 += "\ufffd" in text and text.count("\ufffd") > data.count(b"\xef\xbf\xbd")
        if sample not in self._texts:
            self._texts[sample] = text
        elif preferred:
            self._further.setdefault(sample, []).insert(0, self._texts[sample])
            self._texts[sample] = text
        else:
            self._further.setdefault(sample, []).append(text)

    def add_further(self, texts: Iterable[tuple[int, list[str]]]) -> None:
        """Take what is said of some samples beside their captions."""
        for sample, several in texts:
            self._further.setdefault(sample, []).extend(several)

    def columns(self, samples: NDArray[np.int64], others: Sequence[pa.Array]) -> tuple[pa.Array, pa.Array]:
        """Give the columns ``caption`` and ``captions``.

        Parameters
        ----------
        samples : array of int, shape (n,)
            For each row its sample.
        others : sequence of pyarrow.Array of string, length n
            What parquet and JSON say, in the order in which they stand in for a text.

        Returns
        -------
        caption : pyarrow.Array of string
        captions : pyarrow.Array of list<string>
            All different texts of a row that has several, its caption first; null for the others.
        """
        rows = samples.tolist()
        texts = pa.array(list(map(self._texts.get, rows)), pa.string())
        if not self._further and all(texts.equals(other) for other in others):
            return texts, pa.nulls(len(rows), _TEXTS)
        sources = [texts, *others]
        caption = pc.coalesce(*sources)
        differing = _differing(sources)
        self.differing = int(differing.sum())
        if self._further:
            differing |= np.isin(samples, np.fromiter(self._further, np.int64))
        several: list[list[str] | None] = [None] * len(rows)
        places = np.flatnonzero(differing)
        said = [source.take(pa.array(places)).to_pylist() for source in (caption, *sources)]
        for row, chosen, text, *rest in zip(places.tolist(), *said, strict=True):
            every = [chosen, text, *self._further.get(rows[row], ()), *rest]
            several[row] = _different(text for text in every if text is not None)
        return caption, pa.array(several, _TEXTS)


def _differing(sources: Sequence[pa.Array]) -> NDArray[np.bool_]:
    """Where captions are not all the same but for blanks around them; null says nothing."""
    trimmed = [pc.utf8_trim_whitespace(source) for source in sources]
    chosen = pc.coalesce(*trimmed)
    differing = np.zeros(len(chosen), np.bool_)
    for source in trimmed:
        differing |= pc.fill_null(pc.not_equal(source, chosen), False).to_numpy(zero_copy_only=False)
    return differing


def _different(texts: Iterable[str]) -> list[str] | None:
    """The first of the texts that are the same but for blanks around them, in order; None where that is one."""
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(text.strip(), text)
    return list(found.values()) if len(found) > 1 else None
