"""Looking at a dataset: its columns, rows, counts and ledger."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import pandas as pd

from imagecurate.backend import backend_named
from imagecurate.check import check_shards
from imagecurate.columns import Frame
from imagecurate.dataset.core import Core
from imagecurate.errors import ParameterError
from imagecurate.frame import ledger_frame
from imagecurate.plan.execute import in_order
from imagecurate.plan.ledger import StepCounts
from imagecurate.plan.plan import Plan
from imagecurate.plan.runs import CountSamples, FirstRows
from imagecurate.plan.sampling import sample_rows

__all__ = ["Looking"]


class Looking(Core):
    """The methods that show something and cost what is looked at."""

    @property
    def metadata(self) -> Frame:
        """Dask dataframe of the surviving rows, one partition a shard; lazy."""
        return self._frame()[list(self._plan.schema)]

    @metadata.setter
    def metadata(self, frame: Frame) -> None:
        raise ParameterError.because(
            "metadata cannot be assigned: a frame without its history has no ledger",
            "use ds.filter(...), ds[mask], ds.with_column(...) or a stage",
        )

    @property
    def tar_files(self) -> list[str]:
        """Paths or URLs of the shards, in order."""
        return [shard.url for shard in self._shards]

    @property
    def columns(self) -> list[str]:
        """Names of all columns."""
        return list(self._plan.schema)

    def __len__(self) -> int:
        """Number of input samples.  Indexes shards that nobody looked at yet; decodes nothing.

        A remote shard is not fetched for that where a parquet lies beside it: until a pass has read the tar, it has as
        many samples as the parquet says.
        """
        return sum(in_order(CountSamples(self._ready, exact=False), self._shards))

    def __bool__(self) -> bool:
        return True  # ``if ds:`` must not index every shard to find out

    def __repr__(self) -> str:
        sources = Counter(shard.source for shard in self._shards)
        named = f" ({', '.join(f'{source} {count}' for source, count in sources.items())})" if len(sources) > 1 else ""
        lines = [f"ImageTextPairDataset of {len(self._shards)} shards{named}", f"  columns: {', '.join(self.columns)}"]
        lines += [f"  {kind}: {name}" for kind, name in (step.title for step in self._plan.steps)]
        return "\n".join(lines)

    def counts(self, by: Literal["source"] | None = None) -> pd.DataFrame:
        """The waterfall: for the shards and each step, samples dropped, failed, and left.

        Computes what is not in the store.  Where no stage was added yet, a remote shard that was never read is counted
        by the parquet beside it.

        Parameters
        ----------
        by : "source", optional
            A waterfall for each source, one below the other, with the column ``source`` in front.

        Returns
        -------
        pandas.DataFrame
            One row a step, with ``kind``, ``step``, ``dropped``, ``null`` (of the dropped, those where the filter's
            value was null), ``unmatched`` (for a join, those that found no row), ``failed``, ``left``, and ``share``:
            what is left of the samples that came in.
        """
        if by not in (None, "source"):
            raise ParameterError.because(f"counts can be given by 'source', but not by {by!r}", 'counts(by="source")')
        by_source = self._run("counting", None, exact=False)
        if by is None:
            return _waterfall(self._plan, StepCounts.total(self._plan, by_source.values()))
        frames = [_waterfall(self._plan, counts) for counts in by_source.values()]
        for source, frame in zip(by_source, frames, strict=True):
            frame.insert(0, "source", source)
        return pd.concat(frames, ignore_index=True)

    def head(self, n: int = 5) -> Frame:
        """The first ``n`` surviving rows; decodes no more pictures than that takes."""
        _check_rows(n, "head")
        backend = backend_named(self._work.backend)
        frames = [backend.meta_frame(self._plan.schema)]
        for number in range(len(self._shards)):
            if n <= 0:
                break
            frames.append(self._first(number, n))
            n -= len(frames[-1])
        return backend.concat(frames)

    def sample(self, n: int, seed: int = 0) -> Frame:
        """``n`` surviving rows drawn at random, without replacement; looks at about as many pictures as that takes.

        Fewer rows survive: all of them, in random order.
        """
        _check_rows(n, "sample")
        _check_rows(seed, "seed")
        self._settle()
        return sample_rows(self._ready, self._shards, n, seed)

    def ledger(self) -> Frame:
        """Dask dataframe with one row for each input sample: kept, dropped or failed, and why.

        Columns ``sample_id, source, shard, key, status, reason, detail``; lazy, but for the rows of raw masks, which
        are computed now.  The first event in plan order decides.  ``reason`` is the filter's name or what failed;
        ``detail`` is ``"null"`` where a filter had no value.
        """
        self._settle()
        return ledger_frame(self._ready, self._shards)

    def check(self, *, digests: bool = False, progress: bool | None = None) -> pd.DataFrame:
        """Say of each shard what is in it, and what is wrong with it; steps do not matter, and no picture is decoded.

        Compares with img2dataset's ``NNNNN_stats.json`` and the ``manifest.json`` of an export, where there are any.

        Parameters
        ----------
        digests : bool, default=False
            Also read every file that a manifest lists, and compare its digest.

        Returns
        -------
        pandas.DataFrame
            One row a shard: ``shard``, ``source``, ``samples``, ``images``, ``failed``, ``bytes``, what was counted
            (see ``docs/check.md``), ``notes`` for what is odd and no fault, and ``problems``, empty where all is well.
            ``attrs["notes"]`` lists what was noticed of the dataset as a whole.
        """
        return check_shards(self._ready, self._shards, digests=digests, progress=progress)

    def _first(self, number: int, n: int) -> Frame:
        if not self._survivors:
            return FirstRows(self._ready)(self._shards[number], n)
        return self.metadata.partitions[number].compute().head(n)  # a raw mask is known for whole shards only


def _check_rows(number: Any, what: str) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ParameterError(f"{what} takes a whole number of at least 0, but got {number!r}")


def _waterfall(plan: Plan, counts: StepCounts) -> pd.DataFrame:
    frame = pd.DataFrame(counts.waterfall(plan))
    frame["share"] = frame["left"] / max(counts.samples, 1)
    return frame
