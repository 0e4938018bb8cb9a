"""What one image stage keeps of the pictures of a block, and the batches that it is given of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.images import Decoded, DecodePolicy, ImageInfo
from imagecurate.images.header import JpegHeader
from imagecurate.plan.compute import run_image_stage
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.outcome import Flags, Positions
from imagecurate.plan.stage import ImageStage

__all__ = ["Prepared"]


class Prepared:
    """The prepared pictures of one stage.

    Parameters
    ----------
    stage : ImageStage
    positions : array of int
        Rows of the block; a *place* is an index into it.
    wanted : array of bool
        Which of them the stage may want.
    policy : DecodePolicy
    """

    def __init__(self, stage: ImageStage, positions: Positions, wanted: Flags, policy: DecodePolicy) -> None:
        self.stage = stage
        self.files = stage.from_files(policy)
        self._wanted = wanted
        self._errors: dict[int, str] = {}
        rows = stage.batch_rows
        if rows is None:
            self._slot = np.cumsum(wanted) - 1
            self._batch_of = np.zeros_like(self._slot)
            self._batches = {0: self._empty(int(wanted.sum()))}
        else:
            self._batch_of, self._slot = np.divmod(positions, rows)
            self._batches = {int(number): self._empty(rows) for number in np.unique(self._batch_of[wanted])}
        self._is_fixed = rows is not None

    def _empty(self, rows: int) -> Any:
        shape = None if isinstance(self.stage, PixelFacts) else self.stage.input_shape
        return [None] * rows if shape is None else self.stage.empty_batch(rows)

    def wants(self, place: int) -> bool:
        """True for a picture that the stage may want."""
        return bool(self._wanted[place])

    def takes(self, data: bytes, header: JpegHeader | None) -> bool:
        """True for a picture that the stage prepares from its file, by ``prepare_files``."""
        return self.files is not None and self.files.takes(data, header)

    @property
    def at_once(self) -> int:
        """How many files it is best given at a time."""
        return 1 if self.files is None else self.files.at_once

    def take(self, place: int, image: Decoded) -> None:
        """Prepare a decoded picture."""
        if isinstance(self.stage, PixelFacts):
            return
        if image.pixels is None:  # though an earlier run may have decoded it
            self._errors[place] = image.info.error or "not decoded"
        else:
            self.prepare(place, image.pixels)

    def prepare(self, place: int, given: Any) -> None:
        """Prepare what the stage looks at."""
        try:
            self._put(place, self.stage.prepare(given))
        except MemoryError:
            raise
        except Exception as error:
            self._errors[place] = f"{type(self.stage).__name__}: {type(error).__name__}: {error}"

    def prepare_files(self, places: Sequence[int], files: Sequence[bytes], headers: Sequence[JpegHeader]) -> list[int]:
        """Prepare pictures from their files; give the indices of those that have to go to the decoder."""
        if self.files is None:
            return list(range(len(files)))
        pictures, decoded = self.files.prepare(files, headers)
        # Through the host again, 150 kB a picture at 224 x 224, so that there is one batch, whatever decoded its parts.
        ready = pictures if isinstance(pictures, np.ndarray) else pictures.cpu().numpy()
        for index in np.flatnonzero(decoded).tolist():
            self._put(places[index], ready[index])
        return np.flatnonzero(~decoded).tolist()

    def run(self, places: NDArray[np.int64], positions: Positions, infos: Sequence[ImageInfo]) -> pa.Table:
        """Compute the stage's columns for some rows.

        Parameters
        ----------
        places : array of int
        positions : array of int
            The same rows, by their positions.
        infos : sequence of ImageInfo
            What is known of each picture of the block.
        """
        if isinstance(self.stage, PixelFacts):
            return run_image_stage(self.stage, [infos[place] for place in places], positions)
        good = np.array([place not in self._errors for place in places], np.bool_)
        batch_of = self._batch_of[places]
        tables = []
        for number in np.unique(batch_of).tolist():
            fine, failed = good & (batch_of == number), ~good & (batch_of == number)
            slots = self._slot[places[fine]]
            batch = self._batches[number] if self._is_fixed else self._some(slots)
            reasons = [self._errors[place] for place in places[failed].tolist()]
            fixed = slots if self._is_fixed else None
            tables.append(run_image_stage(self.stage, batch, positions[fine], positions[failed], reasons, fixed))
        return pa.concat_tables(tables)

    def _put(self, place: int, prepared: Any) -> None:
        self._batches[int(self._batch_of[place])][self._slot[place]] = prepared

    def _some(self, slots: NDArray[np.int64]) -> Any:
        (batch,) = self._batches.values()
        if not isinstance(batch, np.ndarray):
            return [batch[slot] for slot in slots]
        everything = len(slots) == len(batch) and np.array_equal(slots, np.arange(len(slots)))
        return batch if everything else batch[slots]
