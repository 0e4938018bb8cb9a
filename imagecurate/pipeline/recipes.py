"""Pipelines for the usual jobs, written with comments for people who will change them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from imagecurate.errors import ParameterError
from imagecurate.pipeline.pipeline import Pipeline
from imagecurate.stages import ThumbnailEmbedder, TimmImageEmbedder
from imagecurate.weights import CLIP_VIT_L14

__all__ = ["RECIPES", "Recipe"]

#: For each recipe whether it filters by aesthetic score, by NSFW score, and drops duplicates.
RECIPES: Mapping[str, tuple[bool, bool, bool]] = {
    "basic-quality": (True, True, False),
    "full": (True, True, True),
    "embedding-only": (False, False, False),
}

#: timm's name of the model whose embeddings both predictors need.
CLIP = "vit_large_patch14_clip_quickgelu_224.openai"
#: The name that asks for the embedder without weights.
THUMBNAIL = "thumbnail"
#: Least cosine of duplicates by the embeddings of that model, unless somebody says otherwise.
CLIP_SIMILARITY = 0.95


@dataclass(frozen=True)
class Recipe:
    """A pipeline that is asked for.

    Parameters
    ----------
    input : str, list or dict
        See ``Pipeline``.
    output : str
    workdir : str
    model : str
        A name of timm's, or ``"thumbnail"`` for the embedder that needs no weights.
    batch_size : int, optional
        Of the embedder.
    aesthetic_threshold : float, optional
        Keep scores of at least this; None for no such filter.  0 is a threshold.
    nsfw_threshold : float, optional
        Keep scores below this; None for no such filter.  0 is a threshold.
    min_similarity : float, optional
        Least cosine of duplicates.
    dedup : bool
        Drop duplicates.
    samples_per_shard : int

    Raises
    ------
    ParameterError
        The predictors cannot use the model's embeddings, or nobody knows what a duplicate is by them.
    """

    input: Any
    output: str
    workdir: str = "auto"
    model: str = CLIP
    batch_size: int | None = None
    aesthetic_threshold: float | None = 5.0
    nsfw_threshold: float | None = 0.5
    dedup: bool = False
    min_similarity: float | None = None
    samples_per_shard: int = 10_000

    def __post_init__(self) -> None:
        scored = {"aesthetic": self.aesthetic_threshold, "nsfw": self.nsfw_threshold}
        asked = [name for name, threshold in scored.items() if threshold is not None]
        if asked and self._space != CLIP_VIT_L14:
            raise ParameterError.because(
                f"the {' and '.join(asked)} scores need embeddings of OpenAI CLIP ViT-L/14, not of {self.model!r}",
                f"leave out --model, or add {' '.join(f'--no-{name}' for name in asked)}",
            )
        if self.dedup and self.min_similarity is None and self._known_similarity is None:
            raise ParameterError.because(
                f"how near duplicates are is not known for embeddings of {self.model!r}",
                "give --min-similarity, as 0.95; SemanticDeduplicator(…).preview counts what thresholds would mark",
            )

    def text(self) -> str:
        """The pipeline file.

        Raises
        ------
        ParameterError
            A value is out of range.
        """
        text = "\n".join(self._lines()) + "\n"
        Pipeline(**yaml.safe_load(text))
        return text

    def _lines(self) -> Iterator[str]:
        yield "# Made by 'imagecurate init'. Look first: imagecurate run FILE --dry-run; then: imagecurate run FILE."
        yield "# Relative paths are relative to the folder in which it runs. All keys: docs/pipeline.md."
        yield f"input: {_flow(self.input)}    # folder, glob, braces, list, mapping of sources; local or URL"
        yield f"output: {_flow(self.output)}    # tar shards, parquet, ledger and manifest; never the input's folder"
        yield f"workdir: {_flow(self.workdir)}    # keeps what was computed: a second run computes only what is new"
        yield "stages:"
        yield from self._embedder_lines()
        if self.aesthetic_threshold is not None:
            yield "  # How much people would like it: about 1 to 10, mostly 4 to 7. Keeps scores from the threshold on."
            yield "  - AestheticClassifier"
            yield _filter(f"aesthetic_score >= {_number(self.aesthetic_threshold)}", "aesthetic")
        if self.nsfw_threshold is not None:
            yield "  # How likely it is not safe for work: 0 to 1. Keeps scores below the threshold."
            yield "  - NsfwClassifier"
            yield _filter(f"nsfw_score < {_number(self.nsfw_threshold)}", "nsfw")
        if self.dedup:
            yield "  # Equal bytes, equal to the eye, near in meaning; of a group the best stays. Behind filters, for"
            yield "  # a safety filter that came later could drop the one that stayed, and with it the whole group."
            yield f"  - Deduplicate: {_flow(self._deduplicate)}"
        yield "export:"
        yield f"  samples_per_shard: {self.samples_per_shard}    # every shard is full but the last"

    def _embedder_lines(self) -> Iterator[str]:
        given: dict[str, Any] = {} if self.batch_size is None else {"batch_size": self.batch_size}
        if self.model == THUMBNAIL:
            yield "  # An embedding that needs no weights: how light and shade lie in the picture."
            yield f"  - ThumbnailEmbedder: {_flow(given)}" if given else "  - ThumbnailEmbedder"
            return
        yield "  # A vector for each picture. Weights are fetched once: imagecurate models pull FILE."
        yield f"  - TimmImageEmbedder: {_flow({'model_name': self.model, 'pretrained': True, **given})}"

    @property
    def _deduplicate(self) -> dict[str, Any]:
        least = self._known_similarity if self.min_similarity is None else self.min_similarity
        best = {} if self.aesthetic_threshold is None else {"keep_by": "aesthetic_score"}
        return {"min_similarity": least, **best}

    @property
    def _space(self) -> str | None:
        if self.model == THUMBNAIL:
            return None
        space: str | None = TimmImageEmbedder(model_name=self.model, pretrained=True).embedding_space()
        return space

    @property
    def _known_similarity(self) -> float | None:
        if self.model == THUMBNAIL:
            return ThumbnailEmbedder.duplicate_similarity  # type: ignore[no-any-return]  # imported when it is used
        return CLIP_SIMILARITY if self._space == CLIP_VIT_L14 else None


def _filter(expr: str, name: str) -> str:
    return f"  - Filter: {_flow({'expr': expr, 'name': name})}"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=sys.maxsize, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...").strip()
