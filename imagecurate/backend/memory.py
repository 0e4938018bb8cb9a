"""Memory of a GPU: errors for want of it, and what libraries keep of it for later."""

from __future__ import annotations

import sys

__all__ = ["is_out_of_memory", "release_caches"]

#: What torch, cuBLAS, cuDNN and Triton say in a plain ``RuntimeError``.
_NO_MEMORY = ("out of memory", "can't allocate memory", "_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """True for want of memory; torch's error for a GPU's is no ``MemoryError``."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _NO_MEMORY)


def release_caches() -> None:
    """Give back what torch and DALI keep of a GPU's memory: each has an allocator that the others cannot draw from."""
    torch, dali = (sys.modules.get(name) for name in ("torch", "nvidia.dali.backend"))
    if torch is None or not torch.cuda.is_available():
        return
    torch.cuda.empty_cache()
    if dali is not None:
        dali.ReleaseUnusedMemory()
