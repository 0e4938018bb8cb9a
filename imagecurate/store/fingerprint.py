"""Fingerprints: short names for what produced a column.

A class of an installed distribution is named by its ``version``.  One from a notebook or a loose script has none, and
is named by what it says (:func:`source_of`): its text where that can be found, the code that runs where it cannot, and
the values that neither shows.
"""

from __future__ import annotations
import __future__

import ast
import copyreg
import functools
import hashlib
import json
import linecache
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Iterator
from importlib import metadata
from typing import Any

__all__ = ["digest", "source_of"]

#: Objects inside objects deeper than this are named by their class: no value that a class is made with is as deep.
MAX_DEPTH = 64

#: What holds a function on behalf of a class, and where.
WRAPPERS = (
    types.FunctionType,
    staticmethod,
    classmethod,
    property,
    functools.cached_property,
    functools.partial,
    functools.partialmethod,
    type(functools.cache(len)),
)
HELD_AT = ("__func__", "fget", "fset", "fdel", "func", "__wrapped__")
#: Those of them that pickle refuses, or writes by name.
UNPICKLED = (staticmethod, classmethod, property, type(functools.cache(len)))

#: Values of each class as they were when it was first asked for; see ``source_of``.
_first_values: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()


def digest(value: Any, length: int = 12) -> str:
    """Hash a JSON-like value to ``length`` hex digits, the same in every process and on every machine.

    >>> digest({"b": 1, "a": [2.5, None]}) == digest({"a": [2.5, None], "b": 1})
    True
    """
    return hashlib.blake2b(_json(value).encode(), digest_size=32).hexdigest()[:length]


def source_of(cls: type) -> str | None:
    """Give what distinguishes a class that no installed distribution versions, or None for one that has a version.

    A class from a notebook cell or a loose script is another stage once its text is edited; so it is when it was made
    with other values: variables of the function around it, defaults of its methods, attributes.  Loose bases count with
    it.  The answer is the same in every process.

    Values count as they are when a class is first asked for, normally before it runs: one that gathers results in a
    list stays the stage that it was.  A value that cannot be pickled (a lock, a file) counts by its class.  Functions
    and variables of its module that it uses do not count: say so with ``version``.  Code whose text is not to be
    found (typed into a prompt, given to ``exec``) is another with another version of Python.
    """
    loose = _loose(cls)
    if not loose:
        return None
    if cls not in _first_values:
        values = _Values()
        _first_values[cls] = digest([values.held_by(base) for base in loose], length=32)
    return "\n".join([*map(_text_of, loose), f"# with values {_first_values[cls]}"])


@functools.cache
def _installed_packages() -> frozenset[str]:
    return frozenset(metadata.packages_distributions()) | sys.stdlib_module_names | {"imagecurate"}


def _is_installed(module: Any) -> bool:
    return isinstance(module, str) and module.split(".")[0] in _installed_packages()


def _loose(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if not _is_installed(base.__module__)]


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=True, default=str)


def _functions_in(value: Any) -> Iterator[types.FunctionType]:
    """Functions that an attribute of a class is or wraps."""
    if isinstance(value, types.FunctionType):
        yield value
    if isinstance(value, WRAPPERS):
        for place in HELD_AT:
            yield from _functions_in(getattr(value, place, None))


def _own_functions(cls: type) -> list[types.FunctionType]:
    functions = [function for _, value in sorted(vars(cls).items()) for function in _functions_in(value)]
    return [function for function in functions if _is_loose(function)]


def _is_loose(function: types.FunctionType) -> bool:
    return not _is_installed(function.__globals__.get("__name__"))


#: Neither linecache nor catch_warnings is made for threads, and ast.parse of Python 3.11 raises SystemError in some.
_reading = threading.Lock()


def _text_of(cls: type) -> str:
    """Text of a class, and the code of those of its functions that this text does not compile to.

    So a text is never believed over what runs: not one edited since it was imported, nor another class of this name.
    """
    functions = _own_functions(cls)
    with _reading:
        text, shown = _text_and_code(cls.__name__, functions)
    hidden = [_Values().of(function.__code__) for function in functions if function.__code__ not in shown]
    return f"{text}\n# with code {digest(hidden, length=32)}" if hidden else text


def _text_and_code(name: str, functions: list[types.FunctionType]) -> tuple[str, frozenset[types.CodeType]]:
    """Text of the class that defines the first function to have one, and all code that it compiles to."""
    for function in functions:
        linecache.checkcache(function.__code__.co_filename)  # as inspect does: drop what was read before an edit
        lines = linecache.getlines(function.__code__.co_filename, function.__globals__)
        text, shown = _class_around(function.__code__, name, "".join(lines))
        if text:
            return text, shown
    return f"# class {name}: its text was not found", frozenset()


@functools.lru_cache(maxsize=64)
def _class_around(code: types.CodeType, name: str, module: str) -> tuple[str, frozenset[types.CodeType]]:
    """Find in the text of a module the class of this name that defines ``code``, and all code that it compiles to."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they were shown when the module was compiled first
            tree = ast.parse(module)
            # A notebook cell may await, and inherits what an earlier one imported from the future.
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | code.co_flags & __future__.annotations.compiler_flag
            compiled = frozenset(_code_within(compile(tree, code.co_filename, "exec", flags, dont_inherit=True)))
    except (SyntaxError, ValueError):
        return "", frozenset()
    if code not in compiled:
        return "", frozenset()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            last = node.end_lineno or first
            if first <= code.co_firstlineno <= last:
                shown = frozenset(inner for inner in compiled if first <= inner.co_firstlineno <= last)
                return "\n".join(module.split("\n")[first - 1 : last]), shown
    return "", frozenset()


def _code_within(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code_within(constant)


class _Values:
    """Writes values as JSON-like ones: equal values alike, in every process (no address, no order of a set)."""

    def __init__(self) -> None:
        self._open: list[int] = []
        self._in_text: set[types.CodeType] = set()

    def held_by(self, cls: type) -> Any:
        """What a class holds that its text need not show; of what pydantic adds, private attributes alone say more."""
        self._in_text |= {function.__code__ for function in _own_functions(cls)}
        return [
            [name, self.of(value)]
            for name, value in sorted(vars(cls).items())
            if not name.startswith("__")
            or name == "__private_attributes__"
            or any(_is_loose(function) for function in _functions_in(value))
        ]

    def of(self, value: Any) -> Any:
        if value is None or type(value) in (bool, float, str):
            return value
        if id(value) in self._open:
            return ["again", self._open.index(id(value))]
        if len(self._open) == MAX_DEPTH:
            return ["deep", _name_of(type(value))]
        self._open.append(id(value))
        try:
            return [_name_of(type(value)), *self._parts(value)]
        finally:
            self._open.pop()

    def _parts(self, value: Any) -> list[Any]:
        kind = type(value)
        if kind is int:
            return [hex(value)]  # of any length, where decimal digits are limited
        if kind in (list, tuple):
            return [self.of(item) for item in value]
        if kind in (set, frozenset):
            return sorted((self.of(item) for item in value), key=_json)
        if kind in (dict, types.MappingProxyType):
            return sorted(([self.of(key), self.of(item)] for key, item in value.items()), key=_json)
        if kind in (bytes, bytearray):
            return [hashlib.blake2b(value, digest_size=32).hexdigest()]
        if isinstance(value, type):
            return [_name_of(value), *([_text_of(base), self.held_by(base)] for base in _loose(value))]
        if kind is types.FunctionType:
            return self._function(value)
        if kind is types.CodeType:
            return self._code(value)
        if kind is types.ModuleType:
            return [value.__name__]
        if kind in UNPICKLED:
            return [self.of(getattr(value, place, None)) for place in HELD_AT]
        return self._pickled(value)

    def _function(self, function: types.FunctionType) -> list[Any]:
        code = function.__code__
        closure = [
            self._cell(cell)
            for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)
            if name != "__class__"
        ]  # what super() needs: the class itself
        if not _is_loose(function):
            return [f"{function.__globals__['__name__']}.{code.co_qualname}", closure]
        defaults = self.of(function.__defaults__), self.of(function.__kwdefaults__)
        return [None if code in self._in_text else self.of(code), defaults, closure]

    def _cell(self, cell: types.CellType) -> Any:
        try:
            return self.of(cell.cell_contents)
        except ValueError:  # a variable that has no value yet
            return ["empty"]

    def _code(self, code: types.CodeType) -> list[Any]:
        """All of a code object but where it stands: file, lines and names of what is around it."""
        arguments = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
        return [code.co_code.hex(), code.co_exceptiontable.hex(), arguments, names, self.of(code.co_consts)]

    def _pickled(self, value: Any) -> list[Any]:
        """What pickle would write: how to make the value, and from what."""
        try:
            recipe = _recipe(value)
        except Exception:  # a lock, a file, a connection: whatever its class raises to say that it has no lasting value
            return []
        if isinstance(recipe, str):
            return [getattr(value, "__module__", None), recipe]
        make, arguments, state, items, pairs = (*recipe, None, None, None)[:5]
        return [self.of(part) for part in (make, arguments, state, list(items or ()), dict(pairs or ()))]


def _recipe(value: Any) -> Any:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):  # pickle would write an address of its storage
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return "tensor", (str(value.dtype), tuple(value.shape), data.tobytes())
    write = copyreg.dispatch_table.get(type(value))
    return write(value) if write else value.__reduce_ex__(4)


def _name_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
