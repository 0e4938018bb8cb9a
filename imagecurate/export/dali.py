"""Index files that let NVIDIA DALI read a tar without scanning it.

References
----------
The format is that of DALI's ``wds2idx``, version 1.2: the number of samples, then a line a sample with extension,
offset, size and name of each member, all separated by spaces.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagecurate.export.members import Integers

__all__ = ["index_lines", "index_text"]

_EXTENSION = r"^(?:.*/)?[^/.]*\.(?P<extension>[^/]*)$"


def index_lines(names: pa.StringArray, positions: Integers, sizes: Integers, sample: Integers) -> list[str]:
    """Describe members of a tar, one line a sample.

    Parameters
    ----------
    names : array of str
        Names of the members.
    positions, sizes : arrays of int64
        Where their data lies in the tar.
    sample : array of int64
        Which sample each belongs to, ascending without gaps from 0.

    Examples
    --------
    >>> index_lines(pa.array(["a/1.jpg", "a/1.seg.png"]), np.array([512, 2048]), np.array([700, 90]), np.array([0, 0]))
    ['jpg 512 700 a/1.jpg seg.png 2048 90 a/1.seg.png']
    """
    # The format has no way to quote a space; DALI uses names only to tell where a sample came from.
    safe = pc.replace_substring_regex(names, r"\s", "_")
    extensions = pc.struct_field(pc.extract_regex(safe, _EXTENSION), "extension")
    columns = [pc.coalesce(extensions, safe), pa.array(positions).cast(pa.string()), pa.array(sizes).cast(pa.string())]
    members = pc.binary_join_element_wise(*columns, safe, " ")
    bounds = np.searchsorted(sample, np.arange(sample[-1] + 2)) if len(sample) else np.zeros(1)
    lines: list[str] = pc.binary_join(pa.ListArray.from_arrays(bounds.astype(np.int32), members), " ").to_pylist()
    return lines


def index_text(lines: list[str]) -> str:
    r"""The index of a tar.

    >>> index_text(["jpg 512 700 1.jpg"])
    'v1.2 1\njpg 512 700 1.jpg\n'
    """
    return "\n".join([f"v1.2 {len(lines)}", *lines]) + "\n"
