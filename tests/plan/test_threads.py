"""How many processors a process may use."""

from __future__ import annotations

import os

import pytest

from imagecurate.plan.threads import cores


@pytest.mark.parametrize(("given", "most"), [("1", 1), ("4096", 4096), ("", 4096), ("all", 4096), ("0", 4096)])
def test_a_task_of_slurm_has_its_processors(monkeypatch: pytest.MonkeyPatch, given: str, most: int) -> None:
    """Also where it is not bound to them; never more than there are."""
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    here = cores()
    assert 1 <= here <= (os.cpu_count() or 1)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
    assert cores() == min(here, most)
