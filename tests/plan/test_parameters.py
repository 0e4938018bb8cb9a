"""Parameters of stages that subclass a base: order, defaults without annotation, pickles."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any, ClassVar

import cloudpickle
import pytest
from pydantic import Field

from imagecurate.errors import ParameterError
from imagecurate.plan.stage import ColumnStage


class Base(ColumnStage):
    """Made to be subclassed."""

    size: ClassVar[int]

    column: str = "column"
    target: str
    rows: int = Field(default=3, ge=1)

    def adds(self) -> dict[str, Any]:
        return {}

    def process(self, columns: Any) -> dict[str, Any]:
        return {}


class Bare(Base):
    """New defaults without annotations."""

    size = 5
    target = "bare"
    rows = 7


class Named(Bare):
    """Parameters of its own, and a default with an annotation."""

    name: str
    column: str = "other"
    flag: bool = False


def test_defaults_need_no_annotation() -> None:
    """They stay parameters: shown when they differ, given by name, checked."""
    assert (Bare().size, Bare().target, Bare().rows) == (5, "bare", 7)
    assert repr(Bare(rows=3)) == "Bare(rows=3)"
    assert Base("a", "b").rows == 3
    with pytest.raises(ParameterError, match="Bare: rows=0: Input should be greater than or equal to 1"):
        Bare(rows=0)
    with pytest.raises(ParameterError, match="Base needs the parameter 'target'"):
        Base()


def test_own_parameters_come_first() -> None:
    """By position and in the repr; inherited ones keep their order."""
    assert list(Named.model_fields) == ["name", "flag", "column", "target", "rows"]
    assert Named("n", True, "c") == Named(name="n", flag=True, column="c")
    assert repr(Named("n", rows=1)) == "Named(name='n', rows=1)"
    assert Named("n").identity()["parameters"] == {
        "name": "n", "flag": False, "column": "other", "target": "bare", "rows": 7,
    }  # fmt: skip


def test_stages_pickle() -> None:
    """By reference here, by value from a notebook to a worker in another process."""
    assert pickle.loads(pickle.dumps(Named("n", rows=1))) == Named("n", rows=1)
    code = "class Mine(Bare):\n    target = 'mine'\n    own: int = 1\n"
    scope: dict[str, Any] = {"Bare": Bare, "__name__": "__main__"}
    exec(code, scope)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        data = cloudpickle.dumps(scope["Mine"](own=4))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    there = (
        "import sys, pickle; s = pickle.loads(bytes.fromhex(sys.argv[1])); print(s, s.target, s.rows, type(s)(2).own)"
    )
    out = subprocess.run([sys.executable, "-c", there, data.hex()], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["Mine(own=4)", "mine", "7", "2"]
