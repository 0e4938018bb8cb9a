"""Calling a stage: batches in, Arrow columns out, one bad row costs one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.columns import matrix, vectors
from imagecurate.errors import ImageCurateError, StageError
from imagecurate.plan.stage import ColumnStage, ImageStage, Stage
from imagecurate.store import ERROR, POSITION

__all__ = ["as_table", "run_column_stage", "run_image_stage"]


def run_image_stage(stage: ImageStage, batch: Any, positions: NDArray[np.int64]) -> pa.Table:
    """Give a stage a batch of prepared pictures.

    Returns
    -------
    pyarrow.Table
        ``_position``, ``_error`` and the stage's columns; rows that the stage failed hold nulls and the reason.

    Raises
    ------
    StageError
        Wrong columns or lengths, or no row of several could be computed: then the stage is at fault, not the data.
    """
    return _run(stage, lambda rows: stage.process(_some(batch, rows)), positions)


def run_column_stage(stage: ColumnStage, columns: Mapping[str, pa.Array], positions: NDArray[np.int64]) -> pa.Table:
    """Give a stage some rows of the columns it reads; the returns and errors are those of ``run_image_stage``.

    Rows in which a column is null get nulls, unless the stage accepts null.
    """
    valid = np.ones(len(positions), np.bool_)
    if not stage.accepts_null:
        for column in columns.values():
            valid &= column.is_valid().to_numpy(zero_copy_only=False)
    where = pa.array(np.flatnonzero(valid))
    dense = {name: _dense(column if valid.all() else column.take(where)) for name, column in columns.items()}
    table = _run(
        stage,
        lambda rows: stage.process({name: _some(values, rows) for name, values in dense.items()}),
        positions[valid],
    )
    if valid.all():
        return table
    place = np.full(len(positions), -1)
    place[valid] = np.arange(len(table))
    full = table.take(pa.array(place, mask=~valid))
    return full.set_column(full.schema.get_field_index(POSITION), POSITION, pa.array(positions))


def as_table(stage: Stage, computed: Any, positions: NDArray[np.int64]) -> pa.Table:
    """Check what a stage computed for some rows and bring it into the form of the store.

    Raises
    ------
    StageError
        Wrong columns or lengths.
    """
    return _table(stage, positions, *_arrays(stage, computed, len(positions)))


def _run(stage: Stage, process: Callable[[Sequence[int] | None], Any], positions: NDArray[np.int64]) -> pa.Table:
    count = len(positions)
    if count == 0:
        return _table(stage, positions, {name: pa.nulls(0, kind) for name, kind in stage.adds().items()}, [])
    try:
        arrays, errors = _arrays(stage, process(None), count)
    except ImageCurateError:
        raise
    except Exception as error:
        # One bad row must not cost its neighbours: find it by asking for each row alone.
        arrays, errors = _one_by_one(stage, process, count, error)
    return _table(stage, positions, arrays, errors)


def _one_by_one(
    stage: Stage, process: Callable[[Sequence[int] | None], Any], count: int, first: Exception
) -> tuple[dict[str, pa.Array], list[str | None]]:
    rows: list[dict[str, pa.Array]] = []
    errors: list[str | None] = []
    for row in range(count):
        try:
            arrays, error = _arrays(stage, process([row]), 1)
        except ImageCurateError:
            raise
        except Exception as trouble:
            arrays = {name: pa.nulls(1, kind) for name, kind in stage.adds().items()}
            error = [f"{type(stage).__name__}: {type(trouble).__name__}: {trouble}"]
        rows.append(arrays)
        errors += error
    if count > 1 and all(error is not None for error in errors):
        raise StageError.because(
            f"{stage!r} failed each of {count} rows; the first error was {type(first).__name__}: {first}",
            "the stage itself seems to be at fault: try its process() on one batch",
        ) from first
    return {name: pa.concat_arrays([arrays[name] for arrays in rows]) for name in stage.adds()}, errors


def _arrays(stage: Stage, computed: Any, count: int) -> tuple[dict[str, pa.Array], list[str | None]]:
    expected = stage.adds()
    if not isinstance(computed, Mapping) or set(computed) != set(expected):
        found = sorted(computed) if isinstance(computed, Mapping) else type(computed).__name__
        raise StageError(f"{stage!r} must give the columns {sorted(expected)}, but gave {found}")
    errors: list[str | None] = [None] * count
    arrays = {}
    for name, kind in expected.items():
        values = computed[name]
        if len(values) != count:
            raise StageError(f"{stage!r} was given {count} rows, but gave {len(values)} values for {name!r}")
        arrays[name], broken = _array(values, kind)
        for row in np.flatnonzero(broken):
            errors[row] = f"{type(stage).__name__}: the vector is zero or not finite"
    return arrays, errors


def _array(values: Any, kind: pa.DataType) -> tuple[pa.Array, NDArray[np.bool_]]:
    """One column, and where a vector is not finite."""
    fine = np.zeros(len(values), np.bool_)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values.cast(kind), fine
    if isinstance(values, np.ndarray) and values.ndim == 2:
        finite = np.asarray(np.isfinite(values).all(axis=1))
        return vectors(values, finite).cast(kind), ~finite
    return pa.array(values, kind, from_pandas=True), fine  # from_pandas: NaN becomes null


def _table(
    stage: Stage, positions: NDArray[np.int64], arrays: Mapping[str, pa.Array], errors: list[str | None]
) -> pa.Table:
    columns = {POSITION: pa.array(positions, pa.int64()), ERROR: pa.array(errors, pa.string())}
    return pa.table(columns | {name: arrays[name] for name in stage.adds()})


def _some(batch: Any, rows: Sequence[int] | None) -> Any:
    if rows is None:
        return batch
    return batch[rows] if isinstance(batch, np.ndarray) else [batch[row] for row in rows]


def _dense(column: pa.Array) -> NDArray[Any]:
    """A column as the array that a column stage gets."""
    if pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type) and not column.null_count:
        return matrix(column)[0]
    if pa.types.is_primitive(column.type) and not column.null_count:
        values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return values
    array = np.empty(len(column), dtype=object)
    array[:] = column.to_pylist()
    return array
