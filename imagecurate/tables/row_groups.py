"""What the footers of parquet files say about where ids lie."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from imagecurate.shards.types import plain_type
from imagecurate.tables.ids import is_number

__all__ = ["Span", "group_spans", "holds_any", "is_ordered", "united"]


class Span(NamedTuple):
    """Rows that lie together and the range of their ids: texts, or integers where the column has these.

    Without bounds they may have any id; without rows they have none.
    """

    rows: int
    low: Any = None
    high: Any = None


def group_spans(footer: pq.FileMetaData, column: str, kind: pa.DataType) -> list[Span]:
    """Give the span of each row group, by the statistics of one column.

    A group in which all ids are null has no rows, as these match nothing.
    """
    number = is_number(kind)
    text = pa.types.is_string(plain_type(kind)) or pa.types.is_binary(plain_type(kind))
    places = [place for place in range(footer.num_columns) if footer.schema.column(place).path == column]
    spans = []
    for group in map(footer.row_group, range(footer.num_row_groups)):
        statistics = group.column(places[0]).statistics if len(places) == 1 else None
        if statistics is not None and statistics.has_null_count and statistics.null_count == group.num_rows:
            spans.append(Span(0))
        else:
            bounds = _bounds(statistics, number=number) if number or text else ()
            spans.append(Span(group.num_rows, *bounds))
    return spans


def united(spans: Iterable[Span]) -> Span:
    """Give the span of several."""
    spans = [span for span in spans if span.rows]
    rows = sum(span.rows for span in spans)
    if not spans or any(span.low is None for span in spans):
        return Span(rows)
    return Span(rows, min(span.low for span in spans), max(span.high for span in spans))


def holds_any(span: Span, ids: Sequence[Any]) -> bool:
    """Tell whether a span can hold one of some ids, which are sorted."""
    if not span.rows or span.low is None:
        return span.rows > 0
    return bisect_left(ids, span.low) < bisect_right(ids, span.high)


def is_ordered(spans: Iterable[Span]) -> bool:
    """Tell whether an id that is in the range of some spans is, on the average, in that of at most half of the rows.

    >>> is_ordered([Span(10, "a", "c"), Span(10, "d", "f")]), is_ordered([Span(10, "a", "c"), Span(10, "a", "d")])
    (True, False)
    """
    spans = [span for span in spans if span.rows]
    if any(span.low is None for span in spans):
        return False
    by_low, by_high = sorted(spans, key=attrgetter("low")), sorted(spans, key=attrgetter("high"))
    begun = [0, *accumulate(span.rows for span in by_low)]
    ended = [0, *accumulate(span.rows for span in by_high)]
    lows, highs = [span.low for span in by_low], [span.high for span in by_high]
    in_range = sum(
        span.rows * (begun[bisect_right(lows, span.low)] - ended[bisect_left(highs, span.low)]) for span in spans
    )
    return in_range <= begun[-1] ** 2 / 2


def _bounds(statistics: pq.Statistics | None, *, number: bool) -> tuple[Any, ...]:
    """Give the lowest and the highest value as texts or integers; nothing where they are neither, as NaN is."""
    try:
        bounds = (statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else ()
        if number:
            return tuple(int(bound // 1) for bound in bounds)
        return tuple(bound.decode() if isinstance(bound, bytes) else bound for bound in bounds)
    except (ValueError, OverflowError):  # also what is no UTF-8
        return ()
