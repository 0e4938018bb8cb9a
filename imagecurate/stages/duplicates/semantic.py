"""Duplicates in meaning: embeddings within a cosine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray
from pydantic import Field

from imagecurate.columns import SAMPLE_ID
from imagecurate.errors import ParameterError, listed
from imagecurate.neighbours import CosinePairs, Matches, Outcome, Plan, against, plan_only, semdedup
from imagecurate.neighbours.files import save_array
from imagecurate.plan.alive_rows import AliveRows, SampleIds
from imagecurate.plan.stage import Computed, DatasetStage, Stage
from imagecurate.stages.duplicates.embeddings import Embeddings
from imagecurate.stages.duplicates.preference import columns_of, ranks_by
from imagecurate.stages.duplicates.stars import star_columns, star_types
from imagecurate.store import digest

if TYPE_CHECKING:
    from imagecurate.dataset import ImageTextPairDataset

__all__ = ["SemanticDeduplicator"]

_LEVEL = "semantic"
_Share = Annotated[float, Field(gt=0, lt=1)]
Ranks = NDArray[np.int64] | Literal["hard", "easy"]


class SemanticDeduplicator(DatasetStage):
    """Mark images whose embeddings are near each other; of those that are, the preferred ones stay unmarked.

    In the order of preference a sample stays unless one that stays is within ``eps`` of it; a sample that does not stay
    names the first such one.  So no two that stay are within ``eps``, and every marked one is within ``eps`` of the one
    that it names: what brute force gives, whatever the plan by which pairs were found.

    Parameters
    ----------
    eps : float, optional
        Largest distance, as 1 - cosine.  Must be given, or ``min_similarity``, unless the embedder is one for which it
        is known.
    min_similarity : float, optional
        Least cosine: 1 - ``eps``.
    keep_by : str or list of str, optional
        Columns that say which one stays: the largest value, or the smallest where the name begins with ``-``; nulls
        last.  Ties, and everything by default, go by source, shard and position.
    order : {"best", "first", "random", "hard", "easy"}, default="best"
        By ``keep_by``; as in the data; at random, by ``random_state``; farthest from the centroid of its cell first,
        or nearest.
    n_clusters : int or "auto"
        Cells of the k-means, where the plan has them.
    image_embedding_column : str, default="image_embedding"
    max_iter, random_state, fit_sample
        Of the k-means: passes over the sample at most, the seed, rows of the sample.
    rule : {"greedy", "semdedup"}, default="greedy"
        ``"semdedup"`` is that of the paper, for comparison: in each cell a sample is marked if any that is preferred,
        marked or not, is within ``eps``.
    exact : bool, default=True
        False compares within cells only, as other tools do.
    within : str, optional
        A column: only samples with the same value are compared; those without one are left alone.
    against : ImageTextPairDataset, optional
        Another dataset with the same column of embeddings, which has been curated already: what it has is marked, too,
        and names the sample there.  Its vectors stay in its own store, in cells that are used as they are.
    max_pairs_per_row : int, default=64
        Neighbours kept of each row; what is beyond is compared again where the outcome depends on it.

    Adds
    ----
    semantic_duplicate_of : str
        ``sample_id`` of the sample that stays; null for those that stay.
    semantic_duplicate_group : str
        The same for all of a group, the one that stays included; null where there is no group.
    semantic_similarity : float
        Cosine to the sample that is named; with ``rule="semdedup"`` the greatest to any that is preferred.

    References
    ----------
    Abbas et al., "SemDeDup: Data-efficient learning at web-scale through semantic deduplication" (2023), for the rule
    of that name.
    """

    neutral: ClassVar[frozenset[str]] = frozenset({"max_pairs_per_row", "min_similarity", "eps"})

    eps: _Share | None = None
    min_similarity: _Share | None = None
    keep_by: str | tuple[str, ...] | None = None
    order: Literal["best", "first", "random", "hard", "easy"] = "best"
    n_clusters: int | Literal["auto"] = "auto"
    image_embedding_column: str = Field(default="image_embedding", min_length=1)
    max_iter: int = Field(default=10, ge=1)
    random_state: int = Field(default=0, ge=0)
    fit_sample: int = Field(default=100_000, ge=1)
    rule: Literal["greedy", "semdedup"] = "greedy"
    exact: bool = True
    within: str | None = None
    against: Any = Field(default=None, exclude=True)
    max_pairs_per_row: int = Field(default=64, ge=1)

    def model_post_init(self, context: Any) -> None:
        """Refuse what contradicts itself."""
        if self.eps is not None and self.min_similarity is not None:
            raise ParameterError("SemanticDeduplicator takes eps or min_similarity, which say the same, but not both")
        if self.keep_by is not None and self.order != "best":
            raise ParameterError(f"SemanticDeduplicator: keep_by is for order='best', not for order={self.order!r}")
        if self.against is not None and not hasattr(self.against, "rows_for"):
            raise ParameterError(f"SemanticDeduplicator: against must be a dataset, but is {self.against!r}")
        if self.against is not None and self.rule != "greedy":
            raise ParameterError("SemanticDeduplicator: against another dataset the rule is 'greedy'")
        if self.n_clusters != "auto" and self.n_clusters < 1:
            raise ParameterError(f"SemanticDeduplicator: n_clusters must be at least 1, but is {self.n_clusters}")

    def adds(self) -> dict[str, pa.DataType]:
        """The sample that stays, the group, and how similar the two are."""
        return star_types(_LEVEL) | {"semantic_similarity": pa.float32()}

    def reads(self) -> tuple[str, ...]:
        """The embedding, and the columns of the preference and the groups."""
        groups = [self.within] if self.within else []
        return self.image_embedding_column, *(name for name, _ in columns_of(self.keep_by)), *groups

    def check_inputs(self, producers: Mapping[str, Stage | None]) -> None:
        """Refuse to guess what is near for an embedder that nobody has measured."""
        if self._given is None and _known(producers[self.image_embedding_column]) is None:
            raise ParameterError.because(
                "SemanticDeduplicator needs eps or min_similarity: how near duplicates are depends on the embedder, "
                f"and for that of {self.image_embedding_column!r} it is not known",
                "look with SemanticDeduplicator(min_similarity=0.9).preview(ds, min_similarity=[0.9, 0.95, 0.98])",
            )

    def ingredients(self) -> dict[str, Any]:
        """The distance, however it was said, and what the other dataset holds."""
        other = {} if self.against is None else {"against": self.against.fingerprint}
        return {"eps": self._given} | other

    def process(self, rows: AliveRows) -> Iterator[Computed]:
        """Find the pairs, and keep by preference."""
        ids = rows.sample_ids()
        vectors = Embeddings.of(rows, self.image_embedding_column)
        if self.against is None:
            outcome = self._outcome(rows, vectors)
            return star_columns(_LEVEL, outcome.keeper, ids, {"semantic_similarity": outcome.similarity})
        matches, theirs = self._matches(rows, vectors)
        outcome = self._outcome(rows, vectors.without(matches.found))
        similarity = np.where(matches.found, matches.similarity, outcome.similarity)
        named = theirs.of(matches.match)
        return star_columns(_LEVEL, outcome.keeper, ids, {"semantic_similarity": similarity}, named)

    def plan(self, dataset: ImageTextPairDataset) -> Plan:
        """Look at a sample of the embeddings and say how pairs would be found; prints as a table."""
        rows = dataset.rows_for(self)
        vectors = Embeddings.of(rows, self.image_embedding_column)
        return plan_only(vectors, self._eps(rows), **self._fit, exact=self.exact)

    def preview(self, dataset: ImageTextPairDataset, min_similarity: Sequence[float]) -> pd.DataFrame:
        """Count what each of several thresholds would mark, from one comparison of the embeddings.

        A later run with one of these thresholds, or another ``keep_by``, compares nothing again but crowds.

        Parameters
        ----------
        dataset : ImageTextPairDataset
        min_similarity : sequence of float
            Thresholds, each between 0 and 1.

        Returns
        -------
        pandas.DataFrame
            One row a threshold: ``min_similarity``, ``duplicates`` and ``share`` of the samples that have an embedding
            or none.
        """
        thresholds = [float(each) for each in min_similarity]
        if not thresholds or not all(0 < each < 1 for each in thresholds):
            raise ParameterError(f"preview needs thresholds between 0 and 1, but got {list(min_similarity)!r}")
        rows = dataset.rows_for(self)
        vectors, ranks = Embeddings.of(rows, self.image_embedding_column), self._ranks(rows)
        pairs = self._pairs(rows, vectors, ranks, _eps_of(min(thresholds)))
        other = None if isinstance(ranks, str) else ranks
        counts = [pairs.resolve(other, _eps_of(each)).dropped for each in thresholds]
        frame = pd.DataFrame({"min_similarity": thresholds, "duplicates": counts})
        frame["share"] = frame["duplicates"] / max(sum(vectors.sizes), 1)
        return frame

    def matches(self, rows: AliveRows) -> NDArray[np.int64]:
        """The row of the other dataset that each row is near, -1 where there is none."""
        return self._matches(rows, Embeddings.of(rows, self.image_embedding_column))[0].match

    @property
    def _given(self) -> float | None:
        return self.eps if self.min_similarity is None else _eps_of(self.min_similarity)

    @property
    def _fit(self) -> dict[str, Any]:
        return {
            "n_clusters": self.n_clusters,
            "max_iter": self.max_iter,
            "random_state": self.random_state,
            "fit_sample": self.fit_sample,
        }

    def _eps(self, rows: AliveRows) -> float:
        eps = self._given
        known = _known(rows.producer(self.image_embedding_column)) if eps is None else None
        return _eps_of(known) if known is not None else eps or 0.0

    def _outcome(self, rows: AliveRows, vectors: Embeddings) -> Outcome:
        eps, ranks = self._eps(rows), self._ranks(rows)
        if self.rule == "greedy":
            pairs = self._pairs(rows, vectors, ranks, eps)
            return pairs.resolve(None if isinstance(ranks, str) else ranks, eps)
        found = semdedup(
            vectors,
            eps=eps,
            folder=rows.folder / "semdedup",
            ranks=ranks,
            run=rows.run,
            within=self._groups(rows),
            **self._fit,
        )
        return Outcome(found.keeper, found.score)

    def _matches(self, rows: AliveRows, vectors: Embeddings) -> tuple[Matches, SampleIds]:
        """What of the other dataset is near each row, and the ids of its samples."""
        column = self.image_embedding_column
        plain = SemanticDeduplicator(eps=self._eps(rows), image_embedding_column=column, **self._fit)
        theirs = self.against.rows_for(plain)
        makers = {rows.origin(column), theirs.origin(column)} - {None}
        if len(makers) > 1:
            raise ParameterError.because(
                f"{column!r} of the two datasets was made by different models: {listed(sorted(map(str, makers)))}",
                "embed both with the same stage",
            )
        vectors_there = Embeddings.of(theirs, column)
        reference = plain._pairs(theirs, vectors_there, plain._ranks(theirs), self._eps(rows), compare=False)
        folder = rows.folder / "against"
        return against(vectors, reference, self._eps(rows), folder=folder, run=rows.run), theirs.sample_ids()

    def _pairs(
        self, rows: AliveRows, vectors: Embeddings, ranks: Ranks, eps: float, *, compare: bool = True
    ) -> CosinePairs:
        """Pairs within a distance or a larger one, from the store where it has them; or only what they are found in."""
        left_out = digest([part.hex() for part in vectors.left_out])
        identity = [self.image_embedding_column, self._fit, self.exact, self.within, self.max_pairs_per_row, left_out]
        shared = rows.shared_folder("CosinePairs", [*identity, self.order in ("hard", "easy") and self.order])
        marks = shared.glob("*/done" if compare else "*/pairs/moved")  # to be compared with, any eps will do
        found = sorted(float(mark.relative_to(shared).parts[0]) for mark in marks)
        eps = next((each for each in found if not compare or each >= eps), eps)
        folder = shared / repr(eps)
        kept = folder / "ranks.npy"
        if kept.exists():
            ranks = np.load(kept)  # those that the pairs were found with; others are for the resolver
        elif not isinstance(ranks, str):
            save_array(kept, ranks)
        pairs = CosinePairs.find(
            vectors,
            eps=eps,
            folder=folder / "pairs",
            ranks=ranks,
            run=rows.run,
            within=self._groups(rows),
            exact=self.exact,
            max_pairs_per_row=self.max_pairs_per_row,
            compare=compare,
            **self._fit,
        )
        if compare:
            (folder / "done").touch()
        return pairs

    def _ranks(self, rows: AliveRows) -> Ranks:
        if self.order in ("hard", "easy"):
            return self.order
        if self.order == "random":
            drawn = np.concatenate([np.zeros(0, np.uint64), *rows.map(_Draw(self.random_state), (SAMPLE_ID,))])
            ranks = np.empty(len(drawn), np.int64)
            ranks[np.argsort(drawn, kind="stable")] = np.arange(len(drawn))
            return ranks
        return ranks_by(rows, self.keep_by)

    def _groups(self, rows: AliveRows) -> NDArray[np.int64] | None:
        """Number of each row's group, -1 where it has none."""
        if self.within is None:
            return None
        codes = rows.column(self.within).dictionary_encode().combine_chunks().indices
        groups: NDArray[np.int64] = pc.fill_null(codes, -1).to_numpy().astype(np.int64)
        return groups


def _known(stage: Stage | None) -> float | None:
    """Least cosine of duplicates by an embedder for which it was measured."""
    return getattr(stage, "duplicate_similarity", None)


def _eps_of(min_similarity: float) -> float:
    return round(1 - min_similarity, 12)  # 1 - 0.95 is 0.050000000000000044


class _Draw:
    """Draws a number for each row, from its id: the same however the data is cut into shards."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, columns: Mapping[str, pa.Array]) -> NDArray[np.uint64]:
        drawn = [xxhash.xxh3_64_intdigest(name.encode(), self.seed) for name in columns[SAMPLE_ID].to_pylist()]
        return np.array(drawn, np.uint64)
