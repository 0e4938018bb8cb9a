"""What all sources of a shard's bytes have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Self

__all__ = ["ByteSource"]


class ByteSource(ABC):
    """Random access to the bytes of a tar, from any number of threads; a context manager.

    Attributes
    ----------
    size : int
        Bytes of the tar itself.  To know it, a compressed one is unpacked to its end.
    window : int
        How much to read at a time when looking for headers: what one request costs anyway.
    damage : str
        What is wrong with the bytes where they were unpacked, as far as reads have reached; "" where nothing is.
    """

    size: int
    window: ClassVar[int]
    damage: str = ""

    @abstractmethod
    def read(self, offset: int, size: int) -> bytes:
        """Read ``size`` bytes from ``offset``; fewer only where the shard ends.

        Raises
        ------
        OSError
            The bytes cannot be had; nothing is said about whether they are good.
        """

    def has(self, position: int) -> bool:
        """Tell whether there is a byte at a position; unlike ``size``, that costs no more than to read it."""
        return position < self.size

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read several ranges of (offset, size), in the order given; near ones in one request where that is faster."""
        return [self.read(offset, size) for offset, size in ranges]

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
