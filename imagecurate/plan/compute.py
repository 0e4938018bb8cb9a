"""Calling a stage: batches in, Arrow columns out, one bad row costs one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.backend.memory import is_out_of_memory
from imagecurate.columns import matrix, regular, vectors
from imagecurate.errors import ImageCurateError, StageError
from imagecurate.plan.stage import ColumnStage, ImageStage, Stage
from imagecurate.store import ERROR, PART_ROWS, POSITION

__all__ = ["as_table", "run_column_stage", "run_image_stage"]


_NONE: NDArray[np.int64] = np.zeros(0, np.int64)

#: A stage that fails every row of a full block with the same kind of error is at fault itself.
_AT_FAULT = PART_ROWS

#: What torch, cuBLAS and cuDNN say in a plain ``RuntimeError``: the GPU failed.
_GPU_FAILED = ("CUDA error", "[CUDA]", "CUDNN_STATUS")


def run_image_stage(
    stage: ImageStage,
    batch: Any,
    positions: NDArray[np.int64],
    unprepared: NDArray[np.int64] = _NONE,
    reasons: Sequence[str] = (),
    slots: NDArray[np.int64] | None = None,
) -> pa.Table:
    """Give a stage a batch of prepared pictures.

    Parameters
    ----------
    stage : ImageStage
    batch : array or list
        Prepared pictures; of a stage with fixed batches the whole of one.
    positions : array of int
        The rows that are computed.
    unprepared : array of int, optional
        Rows that could not be prepared.
    reasons : sequence of str
        Why.
    slots : array of int, optional
        Where in a fixed batch the rows lie; by default the batch holds these rows and no others.

    Returns
    -------
    pyarrow.Table
        ``_position``, ``_error`` and the stage's columns; rows that the stage failed hold nulls and the reason.

    Raises
    ------
    StageError
        Wrong columns or lengths, or the stage failed every row of a block: then it is at fault, not the data.
    """
    if slots is None:
        table = _run(stage, lambda rows: stage.process(_some(batch, rows)), positions)
    else:
        table = _run(
            stage, lambda rows: _process_fixed(stage, batch, slots if rows is None else slots[rows]), positions
        )
    return _checked(stage, _with_failures(stage, table, unprepared, reasons))


def run_column_stage(stage: ColumnStage, columns: Mapping[str, pa.Array], positions: NDArray[np.int64]) -> pa.Table:
    """Give a stage some rows of the columns it reads; the returns and errors are those of ``run_image_stage``.

    Rows in which a column is null get nulls, unless the stage accepts null.  A vector that is not whole, or not as long
    as the others, fails its row.
    """
    valid = np.ones(len(positions), np.bool_)
    whole = np.ones(len(positions), np.bool_)
    for column in columns.values():
        if not stage.accepts_null:
            valid &= column.is_valid().to_numpy(zero_copy_only=False)
        if _is_vectors(column):
            whole &= regular(column)
    rows = np.flatnonzero(valid & whole)
    every = len(rows) == len(positions)
    dense = {
        name: _dense(column if every else column.take(pa.array(rows)), stage.accepts_null)
        for name, column in columns.items()
    }
    table = _run(
        stage,
        lambda some: stage.process({name: _some(values, some) for name, values in dense.items()}),
        positions[rows],
    )
    broken = positions[valid & ~whole]
    reason = f"{type(stage).__name__}: a vector that it reads is not whole, or not as long as the others"
    table = _checked(stage, _with_failures(stage, table, broken, [reason] * len(broken)))
    return _with_failures(stage, table, positions[~valid], [None] * int((~valid).sum()))


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
    except Exception as trouble:
        if _is_of_the_machine(trouble):
            raise
        # One bad row must not cost its neighbours: find it by asking for each row alone.
        arrays, errors = _one_by_one(stage, process, count)
    return _table(stage, positions, arrays, errors)


def _one_by_one(
    stage: Stage, process: Callable[[Sequence[int] | None], Any], count: int
) -> tuple[dict[str, pa.Array], list[str | None]]:
    rows: list[dict[str, pa.Array]] = []
    errors: list[str | None] = []
    for row in range(count):
        try:
            arrays, error = _arrays(stage, process([row]), 1)
        except ImageCurateError:
            raise
        except Exception as trouble:
            if _is_of_the_machine(trouble):
                raise
            arrays = {name: pa.nulls(1, kind) for name, kind in stage.adds().items()}
            error = [f"{type(stage).__name__}: {type(trouble).__name__}: {trouble}"]
        rows.append(arrays)
        errors += error
    return {name: pa.concat_arrays([arrays[name] for arrays in rows]) for name in stage.adds()}, errors


def _is_of_the_machine(error: Exception) -> bool:
    """True for what no row is guilty of: want of memory, or a GPU that failed, and with it all that follows."""
    return is_out_of_memory(error) or (
        isinstance(error, RuntimeError) and any(said in str(error) for said in _GPU_FAILED)
    )


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
            errors[row] = f"{type(stage).__name__}: the vector is not finite"
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


def _process_fixed(stage: ImageStage, batch: Any, slots: NDArray[np.int64]) -> Any:
    """Process a whole fixed batch and take what was computed at some slots.

    Asked for one slot, all others are emptied: the picture there is suspected of spoiling the batch, and the shape of
    the batch stays what it was.
    """
    given = batch
    if len(slots) == 1:
        given = np.zeros_like(batch) if isinstance(batch, np.ndarray) else [None] * len(batch)
        given[slots[0]] = batch[slots[0]]
    computed = stage.process(given)
    if not isinstance(computed, Mapping):
        return computed  # told by whoever checks it
    for name, values in computed.items():
        if len(values) != len(batch):
            raise StageError(f"{stage!r} was given {len(batch)} rows, but gave {len(values)} values for {name!r}")
    return {name: _taken(values, slots) for name, values in computed.items()}


def _taken(values: Any, slots: NDArray[np.int64]) -> Any:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values.take(pa.array(slots))
    return values[slots] if isinstance(values, np.ndarray) else [values[slot] for slot in slots]


def _some(batch: Any, rows: Sequence[int] | None) -> Any:
    if rows is None:
        return batch
    return batch[rows] if isinstance(batch, np.ndarray) else [batch[row] for row in rows]


def _with_failures(
    stage: Stage, table: pa.Table, positions: NDArray[np.int64], reasons: Sequence[str | None]
) -> pa.Table:
    """Add rows that hold nulls, and a reason or none."""
    if not len(positions):
        return table
    nulls = {name: pa.nulls(len(positions), kind) for name, kind in stage.adds().items()}
    return pa.concat_tables([table, _table(stage, positions, nulls, list(reasons))])


def _checked(stage: Stage, table: pa.Table) -> pa.Table:
    errors = table[ERROR]
    if len(table) < _AT_FAULT or errors.null_count:
        return table
    reasons = errors.to_pylist()
    kinds = {":".join(reason.split(":")[:2]) for reason in reasons}
    if len(kinds) == 1:
        raise StageError.because(
            f"{stage!r} failed each of {len(table)} rows: {reasons[0]}",
            "the stage itself seems to be at fault: try its process() on one batch",
        )
    return table


def _is_vectors(column: pa.Array) -> bool:
    return bool(pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type))


def _dense(column: pa.Array, accepts_null: bool) -> NDArray[Any]:
    """A column as the array that a column stage gets."""
    if _is_vectors(column) and not column.null_count:
        return matrix(column)[0]
    kind = column.type
    if accepts_null and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        numbers: NDArray[Any] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return numbers
    if pa.types.is_primitive(kind) and not column.null_count:
        values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return values
    array = np.empty(len(column), dtype=object)
    array[:] = column.to_pylist()
    return array
