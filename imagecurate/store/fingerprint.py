"""Fingerprints: short names for what produced a column."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import types
from importlib import metadata
from typing import Any

__all__ = ["digest", "source_of"]


def digest(value: Any, length: int = 12) -> str:
    """Hash a JSON-like value to ``length`` hex digits, the same in every process and on every machine.

    >>> digest({"b": 1, "a": [2.5, None]}) == digest({"a": [2.5, None], "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()[:length]


@functools.cache
def _installed_packages() -> frozenset[str]:
    return frozenset(metadata.packages_distributions()) | {"imagecurate"}


def source_of(cls: type) -> str | None:
    """Give the source of a class that no installed distribution versions, or None for one that has a version.

    A class from a notebook cell or a loose script is another stage once its text is edited; its bases up to the first
    installed one count.  Functions it calls from its module do not: say so with ``version``.
    """
    loose = [base for base in cls.__mro__ if base.__module__.split(".")[0] not in _installed_packages()]
    loose = [base for base in loose if base.__module__ != "builtins"]
    if not loose:
        return None
    return "\n".join(_text_of(base) for base in loose)


def _text_of(cls: type) -> str:
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):  # typed into a prompt, or unpickled where its file is not
        return repr([(name, _code_of(value)) for name, value in sorted(vars(cls).items()) if not name.startswith("__")])


def _code_of(value: Any) -> Any:
    function = getattr(value, "__func__", getattr(value, "fget", value))
    code = getattr(function, "__code__", None)
    if code is None:
        return repr(value) if isinstance(value, str | int | float | bool | tuple | None) else type(value).__name__
    constants = [_code_of_constant(constant) for constant in code.co_consts]
    return code.co_code.hex(), constants, code.co_names


def _code_of_constant(constant: Any) -> Any:
    if isinstance(constant, types.CodeType):
        return constant.co_code.hex(), [_code_of_constant(inner) for inner in constant.co_consts], constant.co_names
    return repr(constant)
