"""Walking a plan: every step in order, over some rows of one shard."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from imagecurate.columns import IMAGE_ERROR, KEY
from imagecurate.plan.blocks import Block
from imagecurate.plan.compute import run_column_stage
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.outcome import INDEX, Flags, Outcome, PassStats, Positions
from imagecurate.plan.shard_state import BlockState, ShardState
from imagecurate.plan.stage import ColumnStage, ImageStage
from imagecurate.plan.steps import MATCHED, FilterStep, JoinStep, ListStep, MaskStep, StageStep
from imagecurate.plan.threads import computing
from imagecurate.store import ERROR, POSITION

__all__ = ["walk"]

#: Rows above which a pass over what is stored is long enough for others to go on beside it.
_MANY = 1 << 17


def walk(
    state: ShardState | BlockState,
    needed: frozenset[int],
    positions: Positions,
    stats: PassStats,
    passed: int = 0,
    block: Block | None = None,
) -> Outcome:
    """Find what happens to some rows.

    Without a block, rows whose next image stage has no value yet become pending and stay candidates; with one, image
    stages compute.  Column stages compute wherever their inputs are known.

    A stage computes every row that is alive where it stands, whatever other stages made of the row: what a row holds
    must not depend on which of them were asked for.

    Parameters
    ----------
    state : ShardState or BlockState
    needed : frozenset of int
        Steps that count.
    positions : array of int
        The rows.
    stats : PassStats
        Counts what is computed.
    passed : int, default=0
        These rows are known to have passed the filters before this step.
    block : Block, optional
        Pixels of these rows.
    """
    if len(positions) > _MANY:
        computing()
    outcome = Outcome.untouched(positions)
    files = np.ones(len(positions), np.bool_)  # False where there is no image to read
    files[_record_failures(outcome, INDEX, np.arange(len(positions)), state.column(ERROR, positions))] = False
    pictures = files.copy()  # False where there is none to decode
    for number, step in enumerate(state.plan.steps):
        if number not in needed:
            continue
        if isinstance(step, StageStep) and isinstance(step.stage, ImageStage):
            seen = pictures if step.stage.looks_at == "pixels" else files
            _image_step(state, number, step.stage, outcome, seen, stats, block)
        elif isinstance(step, StageStep) and isinstance(step.stage, ColumnStage):
            _column_step(state, number, step.stage, outcome, stats)
        elif isinstance(step, JoinStep):
            _join_step(state, number, step, outcome, stats)
        elif isinstance(step, FilterStep) and number >= passed:
            rows = np.flatnonzero(outcome.decided)
            if not all(pa.types.is_primitive(state.plan.schema[name]) for name in step.expression.columns):
                computing()  # texts take far longer to read and to compare than their names to look up
            # a constant expression names no column, but its length must be known
            columns = state.columns(step.expression.columns or (KEY,), positions[rows])
            passes, null = step.expression.passes(columns)
            outcome.drop(number, rows[~passes], null[~passes])
        elif isinstance(step, ListStep) and number >= passed:
            rows = np.flatnonzero(outcome.decided)
            ids = state.column(step.on, positions[rows])
            computing()  # the list may have to be made ready, or lie elsewhere
            gone = step.ids.contains(ids, state.tables) != step.keeps
            outcome.came[number] = int((~outcome.failed[rows]).sum())
            outcome.drop(number, rows[gone], ids.is_null().to_numpy(zero_copy_only=False)[gone])
        elif isinstance(step, MaskStep) and number >= passed:
            outcome.drop(number, np.flatnonzero(outcome.alive & ~state.mask(step)[positions]))
    return outcome


def _image_step(
    state: ShardState | BlockState,
    number: int,
    stage: ImageStage,
    outcome: Outcome,
    pictures: Flags,
    stats: PassStats,
    block: Block | None,
) -> None:
    values = state.stage(number)
    known = values.known(outcome.positions)
    if isinstance(stage, PixelFacts):
        known &= ~stage.out_of_time(values.column(IMAGE_ERROR, outcome.positions))
    missing = outcome.alive & pictures & ~known
    if block is not None and missing.any():
        values.add(block.compute(number, outcome.positions[missing]))
        stats.count(type(stage).__name__, int(missing.sum()))
        missing[:] = False
    outcome.wanted[number] = missing
    outcome.pending |= missing
    rows = np.flatnonzero(outcome.decided)
    if isinstance(stage, PixelFacts):
        broken = _record_failures(outcome, number, rows, values.column(IMAGE_ERROR, outcome.positions[rows]))
        pictures[broken] = False
    else:
        failed, reasons = values.failures(outcome.positions[rows])
        outcome.fail(number, rows[failed], reasons)


def _column_step(
    state: ShardState | BlockState, number: int, stage: ColumnStage, outcome: Outcome, stats: PassStats
) -> None:
    values = state.stage(number)
    rows = np.flatnonzero(outcome.decided)
    missing = outcome.positions[rows][~values.known(outcome.positions[rows])]
    if len(missing):
        computing()
        values.add(run_column_stage(stage, {name: state.column(name, missing) for name in stage.reads()}, missing))
        stats.count(type(stage).__name__, len(missing))
    failed, reasons = values.failures(outcome.positions[rows])
    outcome.fail(number, rows[failed], reasons)


def _join_step(state: ShardState | BlockState, number: int, step: JoinStep, outcome: Outcome, stats: PassStats) -> None:
    values = state.stage(number)
    positions = outcome.positions[outcome.decided]
    missing = positions[~values.known(positions)]
    if len(missing):
        computing()
        found, matched = step.table.look_up([state.column(name, missing) for name in step.on], state.tables)
        fixed = {POSITION: pa.array(missing), ERROR: pa.nulls(len(missing), pa.string()), MATCHED: pa.array(matched)}
        values.add(pa.table(fixed | found))
        stats.count(step.title[1], len(missing))
    sound = outcome.positions[outcome.decided & ~outcome.failed]
    outcome.came[number] = len(sound)
    outcome.unmatched[number] = len(sound) - values.column(MATCHED, sound).true_count


def _record_failures(outcome: Outcome, step: int, rows: Positions, errors: pa.Array) -> Positions:
    """Record a column of errors as failures; give the rows that have one."""
    broken: Positions = rows[errors.is_valid().to_numpy(zero_copy_only=False)]
    if len(broken):
        outcome.fail(step, broken, errors.drop_null().to_pylist())
    return broken
