"""What names a class that no distribution versions."""

from __future__ import annotations
import __future__

import functools
import itertools
import json
import linecache
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate import ColumnStage, ThumbnailEmbedder
from imagecurate.store.fingerprint import source_of

PLAIN = """
class Mine:
    factor = 2

    def process(self, x, offset=1):
        return x * self.factor + offset
"""

STAGE = """
import numpy as np
import pyarrow as pa
import torch
from pydantic import PrivateAttr, field_validator
from typing import ClassVar
from imagecurate import ColumnStage, ImageEmbedder

class Mine(ImageEmbedder):
    scale: float = 2.0
    words: ClassVar = {"red", "green", "blue"}
    table: ClassVar = {"b": [1, 2], "a": np.arange(3)}
    weights: ClassVar = torch.arange(3.0)
    marker: ClassVar = object()
    _state: int = PrivateAttr(default=3)

    @field_validator("scale")
    @classmethod
    def checked(cls, value):
        return value

    @property
    def double(self):
        return 2 * self.scale

    def load_model(self, device):
        return super().load_model(device)

    @torch.inference_mode()
    def transform(self, picture):
        return picture in {"crimson", "scarlet", "ruby"}
"""

_cells = itertools.count()


def executed(text: str, **given: Any) -> type:
    """Class ``Mine`` of a text given to ``exec``: Python does not keep the text."""
    namespace = {"__name__": "__main__", **given}
    exec(compile(text, "<string>", "exec", dont_inherit=True), namespace)
    return namespace["Mine"]


def cell(text: str) -> type:
    """Class ``Mine`` of a notebook cell, whose text IPython gives to linecache under a made-up name."""
    name = f"/tmp/ipykernel_1/{next(_cells)}.py"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace = {"__name__": "__main__"}
    exec(compile(text, name, "exec", dont_inherit=True), namespace)
    return namespace["Mine"]


def in_process(seed: str, program: str) -> str:
    environment = os.environ | {"PYTHONHASHSEED": seed}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return ran.stdout


def make(number: Any) -> type:
    class Mine(ColumnStage):
        def process(self, columns: Any) -> Any:
            return number

    return Mine


def make_attribute(number: Any) -> type:
    class Mine:
        power = number

        def process(self) -> Any:
            return self.power

    return Mine


def test_installed_class_has_no_source():
    """Its version names it."""
    assert source_of(ThumbnailEmbedder) is None


@pytest.mark.parametrize("define", [executed, cell])
def test_same_text_is_the_same_class(define):
    """A cell that is run again is no other stage."""
    assert source_of(define(PLAIN)) == source_of(define(PLAIN))


@pytest.mark.parametrize("define", [executed, cell])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x * self", "x / self"),
        ("offset=1", "offset=2"),
        ("offset=1", "*, offset=1"),
        ("factor = 2", "factor = 3"),
        ("factor = 2", "factor = 2.0"),
        ("factor = 2", "factor = {'a': [2]}"),
        ("x, offset=1", "offset, x=1"),
        ("+ offset", "+ (lambda: offset)()"),
        ("def process", "@staticmethod\n    def process"),
        ("def process", "def __call__"),
    ],
)
def test_edited_text_is_another_class(define, old, new):
    """Bodies, signatures, defaults and attributes all count, with the text at hand or without."""
    assert source_of(define(PLAIN)) != source_of(define(PLAIN.replace(old, new)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": [1]}, {"a": [2]}),
        ([1, 2], [2, 1]),
        (np.arange(3), np.array([0, 1, 3])),
        (np.arange(3), np.arange(3.0)),
        (np.sin, np.cos),
        (lambda x: x, lambda x: -x),
        (functools.partial(max, 1), functools.partial(max, 2)),
        (int, float),
        (1, True),
        (1, 1.0),
        ("1", 1),
        (b"a", b"b"),
        (make(2), make(3)),
        (make_attribute(2)(), make_attribute(3)()),
        pytest.param(10**5000, 10**5000 + 1, id="5000 digits"),
    ],
)
@pytest.mark.parametrize("factory", [make, make_attribute])
def test_class_factory(factory, one, other):
    """Classes of one text that were made with other values are other stages; with equal values they are one."""
    assert source_of(factory(one)) == source_of(factory(one))
    assert source_of(factory(one)) != source_of(factory(other))


def test_tensor_counts_by_its_numbers():
    """Pickled, a tensor holds the address of its storage."""
    import torch

    assert source_of(make(torch.ones(3))) == source_of(make(torch.ones(3)))
    assert source_of(make(torch.ones(3))) != source_of(make(torch.zeros(3)))
    assert source_of(make(torch.ones(3, dtype=torch.bfloat16))) != source_of(make(torch.ones(3)))


def test_values_in_no_order():
    """Sets and dicts that are equal count as equal."""
    assert source_of(make({"a": 1, "b": {1, 2}})) == source_of(make({"b": {2, 1}, "a": 1}))


@given(
    st.recursive(st.none() | st.integers() | st.text() | st.floats(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_values_differ_as_their_json(value):
    """Whatever JSON can tell apart is told apart, and equal values never are."""
    copy = json.loads(json.dumps(value))
    assert source_of(make(value)) == source_of(make(copy))
    assert source_of(make(value)) != source_of(make([value]))


def test_values_that_cannot_be_pickled_count_by_class():
    """A lock has no content, and its address is none."""
    assert source_of(make(threading.Lock())) == source_of(make(threading.Lock()))


def test_values_that_hold_themselves():
    """A class that names itself, and a list within itself, have an end."""
    endless: list[Any] = [1]
    endless.append(endless)
    text = "def f():\n  class Mine:\n    def process(self):\n      return Mine\n  return Mine\nMine = f()"
    assert source_of(make(endless)) != source_of(make([1]))
    assert source_of(executed(text)) == source_of(executed(text))


def test_deep_value():
    """A chain of a thousand objects is no recursion error."""
    assert source_of(make(functools.reduce(lambda inner, _: [inner], range(1000), 0)))


def test_variable_without_a_value():
    """A variable that the function around the class has yet to set is no error."""

    class Mine:
        def process(self) -> Any:
            return later

    assert source_of(Mine)
    later = 1


def test_a_run_does_not_rename_its_stage():
    """What a class gathers while it runs is no edit."""
    calls: list[int] = []
    cls = make(calls)
    before = source_of(cls)
    calls.append(1)
    assert source_of(cls) == before


def test_cell_is_shown_by_its_text():
    """The record of a stage in the store is readable, decorators and all, and holds no other class of the cell."""
    text = "class Other:\n    pass\n\ndef same(cls):\n    return cls\n\n@same\n" + PLAIN.lstrip()
    shown = source_of(cell(text))
    assert shown.startswith("@same\nclass Mine:\n    factor = 2\n")
    assert "Other" not in shown


@pytest.mark.parametrize("future", [0, __future__.annotations.compiler_flag])
def test_cell_as_ipython_compiles_it(future):
    """Cells may await at their top level, and inherit what earlier ones imported from the future."""
    text = PLAIN.replace("(self, x,", "(self, x: 'int',")
    name = f"/tmp/ipykernel_1/await-{future}.py"
    lines = f"{text}\nawait nothing()\n".splitlines(keepends=True)
    linecache.cache[name] = (len(lines), None, lines, name)
    namespace = {"__name__": "__main__"}
    exec(compile(text, name, "exec", future, dont_inherit=True), namespace)
    assert "def process" in source_of(namespace["Mine"])


def test_inherited_loose_base_counts():
    """A stage is another when the class it builds upon, in the same notebook, is edited."""
    text = "class Mine(Base):\n    def adds(self):\n        return {}\n"
    one, other = (executed(text, Base=cell(PLAIN.replace("2", number))) for number in "23")
    assert source_of(one) != source_of(other)
    assert "def process" in source_of(one)


def test_class_without_a_method():
    """Its attributes are all there is."""
    one, same, other = (executed(f"class Mine:\n    table = {{'a': {number}}}") for number in (1, 1, 2))
    assert source_of(one) == source_of(same) != source_of(other)


def test_text_edited_since_the_import(tmp_path, monkeypatch):
    """What runs is not named by a text that does not run yet."""
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "loose_stage_of_a_test.py"
    path.write_text(PLAIN)
    import loose_stage_of_a_test as module

    before = source_of(module.Mine)
    assert "x * self.factor" in before
    path.write_text(PLAIN.replace("x * self", "x /  self"))
    after_edit = source_of(module.Mine)
    new = source_of(executed(path.read_text()))
    path.write_text(PLAIN)
    assert source_of(module.Mine) == before
    assert len({before, after_edit, new}) == 3


def test_decorated_methods_count():
    """What a decorator wraps is seen through it, and what the decorator was given counts."""
    text = textwrap.dedent("""
        import functools
        def times(number):
            def decorate(function):
                @functools.wraps(function)
                def wrapped(*args):
                    return number * function(*args)
                return wrapped
            return decorate
        class Mine:
            @times(2)
            def process(self, x):
                return x + 1
    """)
    texts = [text, text.replace("x + 1", "x - 1"), text.replace("times(2)", "times(3)"), text.replace("number *", "-")]
    for define in (executed, cell):
        assert len({source_of(define(each)) for each in texts}) == 4


def test_same_in_every_process(tmp_path):
    """Neither the seed of hashes nor an address enters, for a stage with all that pydantic adds."""
    path = tmp_path / "mine.py"
    path.write_text(STAGE)
    program = f"""
from pathlib import Path
from imagecurate.store.fingerprint import source_of
for name in {str(path)!r}, "<exec>":
    exec(compile(Path({str(path)!r}).read_text(), name, "exec"))
    print(source_of(Mine))
"""
    one, other = (in_process(seed, program) for seed in "12")
    assert one == other
    assert one.count("def transform") == 1


def test_main_with_another_class_of_the_name(tmp_path):
    """The text of a script is not taken for a class that the script gave to ``exec``."""
    path = Path(tmp_path / "script.py")
    path.write_text(
        PLAIN
        + "from imagecurate.store.fingerprint import source_of\n"
        + f"one = source_of(Mine)\nexec({PLAIN.replace('x *', 'x -')!r})\n"
        + "assert 'x * self' in one, one\nassert 'x * self' not in source_of(Mine), source_of(Mine)\n"
    )
    subprocess.run([sys.executable, path], check=True)
