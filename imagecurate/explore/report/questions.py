"""What the report asks of every shard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from imagecurate.explore.kinds import is_number
from imagecurate.explore.report.clusters import Clusters, clusters_in
from imagecurate.explore.report.groups import Level, columns_of, levels_in
from imagecurate.explore.report.limits import Limit, limits_of
from imagecurate.explore.report.properties import columns_in, sizes_in
from imagecurate.expressions import Expression
from imagecurate.images.policy import INFO_COLUMNS

__all__ = ["Questions", "column_text", "questions_for"]

#: Histograms beside those of the thresholds.
_MORE_HISTOGRAMS = 12


@dataclass(frozen=True)
class Questions:
    """What is asked of every shard.

    Parameters
    ----------
    limits : tuple of Limit
    quantities : tuple of str
        Columns and expressions of which there are histograms.
    levels : tuple of Level
    clusters : Clusters, optional
    sizes : (str, str), optional
        Columns with width and height.
    properties : tuple of str
        Columns that describe the image files.
    """

    limits: tuple[Limit, ...] = ()
    quantities: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    clusters: Clusters | None = None
    sizes: tuple[str, str] | None = None
    properties: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Columns that are read; none of them is an embedding."""
        names = [name for text in self.quantities for name in Expression(text).columns]
        names += [name for level in self.levels for name in columns_of(level)]
        if self.clusters is not None:
            names += filter(None, [self.clusters.column, self.clusters.distance])
        return list(dict.fromkeys([*names, *self.properties]))


def questions_for(
    schema: Mapping[str, pa.DataType], filters: Iterable[tuple[str, str]], made: Iterable[str] = ()
) -> Questions:
    """Find out what there is to ask.

    Parameters
    ----------
    schema : mapping of str to pyarrow.DataType
        All columns.
    filters : iterable of (str, str)
        Name and expression of each filter.
    made : iterable of str
        Columns that were computed: their histograms come before those of columns that came with the data.
    """
    limits = [each for each in limits_of(filters) if all(name in schema for name in Expression(each.quantity).columns)]
    clusters = clusters_in(schema)
    dull = {*INFO_COLUMNS, "width", "height", *([] if clusters is None else [clusters.column])}
    numbers = [name for name, kind in schema.items() if is_number(kind) and name not in dull and name[0] != "_"]
    first = [name for name in made if name in numbers]
    texts = [column_text(name) for name in dict.fromkeys([*first, *numbers])]
    limited = list(dict.fromkeys(limit.quantity for limit in limits))
    others = [text for text in texts if text not in limited][:_MORE_HISTOGRAMS]
    return Questions(
        tuple(limits),
        (*limited, *others),
        tuple(levels_in(list(schema))),
        clusters,
        sizes_in(schema),
        tuple(columns_in(schema)),
    )


def column_text(name: str) -> str:
    """Write a column as an expression."""
    return str(Expression("`" + name.replace("`", "``") + "`"))
