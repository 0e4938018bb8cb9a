"""What stages run on, asked of this process or of the workers of a real cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed import Client, LocalCluster
from making import write_folder

import imagecurate as ic
from imagecurate.backend import machines
from imagecurate.backend.machines import Machine, everywhere, fastest, jpeg_trouble, this_machine
from imagecurate.errors import ClusterError, MissingDependencyError
from imagecurate.stages import ImageEmbedder

GPU, OLD_GPU = Machine("cuda", bfloat16=True), Machine("cuda", bfloat16=False)
CPU, PLAIN_CPU = Machine("cpu", bfloat16=True), Machine("cpu", bfloat16=False)


@pytest.mark.parametrize("flags", [set(), {"avx512_bf16"}, {"amx_bf16"}, {"bf16"}])
def test_bfloat16_only_where_the_processor_multiplies_in_it(flags: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's public list of capabilities, and without it by its private checks."""
    monkeypatch.setattr(machines, "best_device", lambda: "cpu")
    machines._multiplies_bfloat16.cache_clear()
    expected = bool(flags & {"avx512_bf16", "amx_bf16"})
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(flags, True), raising=False)
    assert this_machine() == Machine("cpu", expected)
    machines._multiplies_bfloat16.cache_clear()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: "avx512_bf16" in flags, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: "amx_bf16" in flags, raising=False)
    assert this_machine() == Machine("cpu", expected)
    machines._multiplies_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("there", "followed"),
    [
        ([CPU], CPU),
        ([CPU, PLAIN_CPU], PLAIN_CPU),
        ([PLAIN_CPU, GPU], GPU),
        ([GPU, CPU, OLD_GPU], OLD_GPU),
    ],
)
def test_machines_with_a_gpu_are_followed(there: list[Machine], followed: Machine) -> None:
    """In what all of them can do."""
    assert fastest(there) == followed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_jpeg_on_a_gpu_without_one() -> None:
    """Said before any library is looked for."""
    assert jpeg_trouble() == "there is no GPU"


def test_without_a_cluster_this_process_is_asked() -> None:
    """Each time: tests and notebooks may change what it says."""
    assert everywhere(os.getpid) == [os.getpid()]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers in processes of their own."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as client:
        yield client


def claim_to_be(machine: Machine) -> None:
    """Have a worker say that it is another machine."""
    machines.this_machine = lambda: machine


class Direction(ImageEmbedder):
    """A product, so that the precision shows in the vectors."""

    input_size = 8
    gpu_precision = "float16"

    def load_model(self, device: str) -> Any:
        turn = torch.nn.Linear(192, 16)
        return lambda pictures: turn(pictures.flatten(1))


def vectors(ds: ic.ImageTextPairDataset) -> Any:
    frame = ds.metadata[["key", "image_embedding"]].compute()
    return dict(zip(frame.key, frame.image_embedding.map(list), strict=True))


def names(work: Path) -> set[str]:
    return {path.name for path in (work / "store/columns").iterdir() if path.name.startswith("Direction")}


def test_a_cluster_with_gpus_and_a_client_without(
    cluster: LocalCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Columns have the name and the values of what the workers use; the dataset means them when the cluster is gone."""
    write_folder(tmp_path / "data")
    ds = ic.read_webdataset(str(tmp_path / "data"), workdir=tmp_path / "work").pipe(Direction())
    with Client(cluster) as client, caplog.at_level(logging.WARNING):
        client.run(claim_to_be, GPU)
        ds.compute(progress=False)
        found = vectors(ds)
    assert "2 workers have other hardware than this process, and compute in float16" in caplog.text
    assert vectors(ds.filter("image_embedding is not null")) == found
    assert ds.compute(progress=False).last_run.decoded == 0
    assert len(names(tmp_path / "work")) == 1
    same = ic.read_webdataset(str(tmp_path / "data"), workdir=tmp_path / "here")
    assert vectors(same.pipe(Direction(precision="float32"))) != found
    assert vectors(same.pipe(Direction(precision="float16"))) == found
    assert names(tmp_path / "work") < names(tmp_path / "here")


def test_workers_that_are_unlike(client: Client) -> None:
    """Those with a GPU decide for all; what not all of them can decode there is decoded on the CPU."""
    one, other = client.nthreads()
    client.run(claim_to_be, CPU, workers=[one])
    client.run(claim_to_be, GPU, workers=[other])
    assert Direction().settled().ingredients().items() >= {"precision": "float16"}.items()
    assert "pixels" not in Direction().ingredients()
    with pytest.raises(MissingDependencyError, match="wherever models run: there is no GPU"):
        Direction(jpeg_decoder="gpu").settled()


def test_workers_are_asked_once(client: Client) -> None:
    """One that changes its mind, or joins, has no say."""
    client.run(claim_to_be, GPU)
    before = Direction().fingerprint()
    client.run(claim_to_be, PLAIN_CPU)
    assert Direction().fingerprint() == before == Direction(precision="float16").fingerprint()


def fail() -> None:
    raise ModuleNotFoundError("No module named 'torch'")


def test_a_worker_that_cannot_say(client: Client) -> None:
    """Told with its address and what to do."""
    with pytest.raises(ClusterError, match=r"worker tcp://.* cannot say what it computes on: ModuleNotFoundError"):
        everywhere(fail)


def test_a_cluster_without_workers(caplog: pytest.LogCaptureFixture) -> None:
    """The first to come answers, by a task: it may be what an adaptive cluster starts one for."""
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address="127.0.0.1:0") as empty,
        Client(empty),
        caplog.at_level(logging.WARNING),
    ):
        empty.adapt(minimum=0, maximum=1)
        assert everywhere(this_machine) == [this_machine()]
    assert "no worker is connected to the scheduler yet" in caplog.text
