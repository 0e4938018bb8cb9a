"""Embedders that users bring."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import imagecurate as ic
from imagecurate.backend import machines
from imagecurate.columns import VECTOR
from imagecurate.errors import MissingDependencyError, ParameterError, StageError, WeightsError
from imagecurate.images import DecodePolicy, Preprocessing
from imagecurate.images.header import JpegHeader
from imagecurate.images.reduced import ReducedPictures
from imagecurate.stages import ImageEmbedder, embedder, file_pictures


class Tiny(ImageEmbedder):
    """A random convolution."""

    input_size = (8, 12)
    crop_pct = 1.0
    crop_mode = "squash"

    def load_model(self, device: str) -> Any:
        return torch.nn.Sequential(torch.nn.Conv2d(3, 5, 4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def pictures(count: int) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(4)
    return [rng.integers(0, 256, (20 + place, 30, 3), dtype=np.uint8) for place in range(count)]


def prepared(embedder: ImageEmbedder, count: int = 5) -> Any:
    rows = [embedder.prepare(picture) for picture in pictures(count)]
    return rows if embedder.input_shape is None else np.stack(rows)


def embed(embedder: ImageEmbedder, batch: Any) -> NDArray[np.float32]:
    (vectors,) = embedder.process(batch).values()
    return np.asarray(vectors)


def test_attributes_are_the_preprocessing() -> None:
    """Given without annotations; timm's defaults otherwise."""
    embedder = Tiny()
    assert embedder.input_shape == (8, 12, 3)
    assert embedder.preprocessing.crop_mode == "squash"
    assert embedder.preprocessing.interpolation == "bicubic"
    assert embedder.adds() == {"image_embedding": VECTOR}
    assert prepared(embedder).shape == (5, 8, 12, 3)


def test_vectors_have_unit_length_unless_told() -> None:
    """float32, one a picture; without normalising they point the same way."""
    embedder, plain = Tiny(autocast=False), Tiny(autocast=False, normalize_embeddings=False)
    vectors = embed(embedder, prepared(embedder))
    assert (vectors.shape, vectors.dtype) == ((5, 5), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    unscaled = embed(plain, prepared(plain))
    np.testing.assert_allclose(unscaled / np.linalg.norm(unscaled, axis=1, keepdims=True), vectors, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 16, 100])
def test_batch_size_does_not_change_results(batch_size: int) -> None:
    """Neither what a picture's neighbours are nor how many go at once."""
    embedder = Tiny(batch_size=batch_size)
    batch = prepared(embedder, 40)
    np.testing.assert_allclose(embed(embedder, batch), embed(Tiny(), batch), atol=1e-6)
    np.testing.assert_allclose(embed(embedder, batch[7:8])[0], embed(Tiny(), batch)[7], atol=1e-6)
    assert embed(embedder, batch[:0]).shape[0] == 0


def test_autocast_is_close_to_float32() -> None:
    """bfloat16 where there is any; the direction stays."""
    embedder = Tiny()
    batch = prepared(embedder)
    cosines = (embed(embedder, batch) * embed(Tiny(autocast=False), batch)).sum(axis=1)
    assert cosines.min() > 0.999


class Own(ImageEmbedder):
    """A transform of its own, as a method."""

    def transform(self, image: Image.Image) -> torch.Tensor:
        """Corner pixel, as torchvision's transforms take and give it."""
        assert isinstance(image, Image.Image) and image.mode == "RGB"
        return torch.tensor(image.getpixel((0, 0)), dtype=torch.float32)

    def load_model(self, device: str) -> Any:
        return lambda values: values * torch.tensor([1.0, 1.0, 0.0])


class Half:
    """A transform that is an object, as torchvision's Compose."""

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        return np.asarray(image, dtype=np.float32)[0, 0] / 2


class Composed(Own):
    """A transform of its own, as an attribute."""

    transform = Half()


def test_a_transform_takes_the_place_of_preprocessing() -> None:
    """A method or an object; the model gets what it gave, stacked and as it is."""
    corners = np.stack([picture[0, 0] for picture in pictures(5)]).astype(np.float32) * [1, 1, 0]
    own, composed = Own(normalize_embeddings=False), Composed(normalize_embeddings=False)
    assert own.input_shape is None
    np.testing.assert_allclose(embed(own, prepared(own)), corners)
    np.testing.assert_allclose(embed(composed, prepared(composed)), corners / 2)


def test_zero_vectors_are_not_finite() -> None:
    """Normalised or not: the engine fails such a sample, and its neighbours have their vectors."""
    for normalise in (True, False):
        embedder = Own(normalize_embeddings=normalise)
        vectors = embed(embedder, [np.zeros(3, np.float32), np.ones(3, np.float32)])
        assert np.isnan(vectors[0]).all()
        assert np.isfinite(vectors[1]).all()


class Wrong(Tiny):
    """A model that pools nothing."""

    kind: str = "map"

    def load_model(self, device: str) -> Any:
        results = {
            "map": lambda values: values,
            "list": lambda values: values.mean(dim=(2, 3)).tolist(),
            "one": lambda values: values.mean(dim=(2, 3))[:1],
        }
        return results[self.kind]


@pytest.mark.parametrize(("kind", "found"), [("map", r"\(5, 3, 8, 12\)"), ("list", "list"), ("one", r"\(1, 3\)")])
def test_a_model_that_gives_something_else(kind: str, found: str) -> None:
    """The stage is at fault, not the pictures."""
    embedder = Wrong(kind)
    with pytest.raises(StageError, match=rf"a tensor of shape \(5, d\), one vector a picture, but got {found}"):
        embed(embedder, prepared(embedder))


def test_preprocessing_is_what_the_stage_says() -> None:
    """Whatever equal parameters of other types other stages have."""

    class Whole(Tiny):
        crop_pct = 1

    class Fraction(Tiny):
        crop_pct = 1.0

    class Strange(Tiny):
        input_size = 8.0

    assert [type(stage().preprocessing.crop_pct) for stage in (Whole, Fraction, Whole)] == [int, float, int]
    with pytest.raises(ParameterError, match=r"8\.0"):
        Strange()


def test_fingerprint_counts_what_changes_results(tmp_path: Path) -> None:
    """Precision, preprocessing, weights and parameters, but neither batches nor threads nor where the file lies."""
    first, second = tmp_path / "a.pth", tmp_path / "b.pth"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    base = Tiny(checkpoint_path=str(first)).fingerprint()
    assert base == Tiny(checkpoint_path=str(second), batch_size=1, num_threads_per_worker=9).fingerprint()
    second.write_bytes(b"other weights")
    others = [
        Tiny(checkpoint_path=str(second)),
        Tiny(),
        Tiny(checkpoint_path=str(first), normalize_embeddings=False),
        Tiny(checkpoint_path=str(first), image_embedding_column="other"),
        Wrong(),
        Own(),
        Composed(),
    ]
    names = [base, *(other.fingerprint() for other in others)]
    assert len(set(names)) == len(names)
    assert Composed().fingerprint() == Composed().fingerprint()
    assert Tiny(autocast=False).ingredients()["precision"] == "float32"


def test_preprocessing_is_in_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another mean, another column."""
    before = Tiny().fingerprint()
    monkeypatch.setattr(Tiny, "mean", (0.5, 0.5, 0.5))
    assert Tiny().fingerprint() != before


def test_threads_share_one_model() -> None:
    """Threads embed at the same time and get what one alone gets."""
    loads: list[int] = []

    class Counted(Tiny):
        def load_model(self, device: str) -> Any:
            loads.append(1)
            return super().load_model(device)

    embedder = Counted()
    batch = prepared(embedder, 8)
    got: list[NDArray[np.float32]] = []
    threads = [threading.Thread(target=lambda: got.append(embed(embedder, batch))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]
    assert len(got) == 6
    assert all(np.array_equal(one, got[0]) for one in got)


class Fussy(Tiny):
    """One whose model cannot be loaded."""

    def load_model(self, device: str) -> Any:
        return {}["conv.weight"]


def test_a_failed_load_is_no_fault_of_the_pictures(folder: Path, tmp_path: Path) -> None:
    """The run ends with the stage's name; no row is stored as failed."""
    dataset = ic.read_webdataset(str(folder), workdir=tmp_path / "work")
    with pytest.raises(StageError, match=r"Fussy\(\)'s load_model failed: KeyError: 'conv\.weight'"):
        Fussy()(dataset).compute(progress=False)
    files = [path.name for path in (tmp_path / "work").rglob("*") if path.is_file() and "Fussy" in str(path)]
    assert files == ["stage.json"]  # what the stage is, and nothing that it computed


def test_paths_of_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text and Path are the same; ``~`` is made out when the stage is made, not by a worker of another home."""
    (tmp_path / "a.pth").write_bytes(b"1")
    monkeypatch.setenv("HOME", str(tmp_path))
    stages = [Tiny(checkpoint_path=given) for given in (tmp_path / "a.pth", str(tmp_path / "a.pth"), "~/a.pth")]
    assert {stage.checkpoint_path for stage in stages} == {str(tmp_path / "a.pth")}
    assert Tiny(checkpoint_path=Path("~/a.pth")) == stages[0]
    assert Tiny().checkpoint_path is None
    with pytest.raises(ParameterError, match="Tiny: checkpoint_path=3: "):
        Tiny(checkpoint_path=3)


@pytest.mark.parametrize("size", [(3, 8, 12), [3, 8, 12], (8, 12), (np.int64(8), 12)])
def test_input_size_as_timm_writes_it(size: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels may come first."""
    monkeypatch.setattr(Tiny, "input_size", size)
    assert Tiny().input_shape == (8, 12, 3)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("input_size", (1, 8, 12), r"input_size=\(1, 8, 12\) is no height and width\n\nHint: .*\(3, height, width\)"),
        ("input_size", 8.5, r"input_size=8\.5 is no height and width"),
        ("input_size", "224", "input_size='224' is no height and width"),
        ("input_size", 0, "input_size of at least 1 x 1"),
        ("mean", 0.5, r"mean=0\.5 is not three numbers"),
        ("std", (0.5, 0.5), r"std=\(0\.5, 0\.5\) is not three numbers"),
        ("crop_mode", "centre", "crop_mode out of .*'centre'"),
    ],
)
def test_preprocessing_that_makes_no_sense(
    attribute: str, value: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told when the stage is made; a transform takes its place."""
    monkeypatch.setattr(Tiny, attribute, value)
    with pytest.raises(ParameterError, match=message):
        Tiny()
    monkeypatch.setattr(Own, attribute, value)
    assert Own().input_shape is None


def test_parameters_are_checked() -> None:
    """Early, with the name and what is wrong."""
    with pytest.raises(ParameterError, match="Tiny: batch_size=0"):
        Tiny(batch_size=0)
    with pytest.raises(ParameterError, match="Tiny has no parameter 'batchsize'\n\nHint: did you mean 'batch_size'"):
        Tiny(batchsize=3)
    with pytest.raises(ParameterError, match="image_embedding_column=''"):
        Tiny(image_embedding_column="")
    with pytest.raises(WeightsError, match=r"Tiny: cannot read weights from '/nowhere/x.pth': there is no such file"):
        Tiny(checkpoint_path="/nowhere/x.pth")
    with pytest.raises(TypeError, match="abstract"):
        ImageEmbedder()  # type: ignore[abstract]


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What embedders say of themselves where there is a GPU; none of them computes."""
    for module in (embedder, machines):
        monkeypatch.setattr(module, "best_device", lambda: "cuda")


@pytest.mark.parametrize(
    ("batch_size", "rows"), [(1, 64), (63, 64), (64, 64), (127, 64), (128, 128), (256, 256), (1000, 512), (9999, 1024)]
)
def test_batches_on_a_gpu_are_powers_of_two(batch_size: int, rows: int, on_gpu: None) -> None:
    """Of 64 to 1,024 rows."""
    assert Tiny(batch_size=batch_size).batch_rows == rows


def test_batches_on_a_cpu_are_of_any_length() -> None:
    """And every core decodes anyway."""
    assert Tiny().batch_rows is None
    assert Tiny().decode_threads == 0
    assert isinstance(Tiny().from_files(DecodePolicy()), ReducedPictures)


def test_threads_beside_a_gpu(on_gpu: None) -> None:
    """Those asked for, where a worker has fewer."""
    assert Tiny(num_threads_per_worker=9).decode_threads == 9


def test_precision_is_in_the_fingerprint() -> None:
    """By what it comes to: a precision that is asked for is that of ``autocast=False``."""
    named = {precision: Tiny(precision=precision).fingerprint() for precision in ("float32", "bfloat16", "float16")}
    assert len(set(named.values())) == 3
    assert Tiny().fingerprint() in named.values()
    assert Tiny(autocast=False).fingerprint() == Tiny(autocast=False, precision="float32").fingerprint()
    assert Tiny(autocast=False).fingerprint() == named["float32"]
    assert Tiny(compile_model=False, jpeg_decoder="gpu").fingerprint() == Tiny().fingerprint()  # there is no GPU


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_precision_that_is_asked_for_is_used(precision: str) -> None:
    """On a CPU too, where it may be slow."""
    seen: list[torch.dtype] = []

    class Watched(Tiny):
        def load_model(self, device: str) -> Any:
            inner = super().load_model(device)

            def model(inputs: torch.Tensor) -> torch.Tensor:
                given: torch.Tensor = inner(inputs)
                seen.append(given.dtype)
                return given

            return model

    embedder = Watched(precision=precision)
    vectors = embed(embedder, prepared(embedder))
    assert seen == [getattr(torch, precision)]
    assert vectors.dtype == np.float32
    assert (vectors * embed(Tiny(autocast=False), prepared(Tiny()))).sum(axis=1).min() > 0.999


def test_precisions_that_contradict_each_other() -> None:
    """Told when the stage is made."""
    with pytest.raises(ParameterError, match="precision='float16' and autocast=False contradict"):
        Tiny(precision="float16", autocast=False)
    with pytest.raises(ParameterError, match="Tiny: precision='half'"):
        Tiny(precision="half")


class Decoding:
    """Stands for the decoder on a GPU."""

    def __init__(self, preprocessing: Preprocessing, policy: DecodePolicy) -> None:
        pass

    def takes(self, data: bytes, header: Any) -> bool:
        return header.components == 3


@pytest.fixture
def gpu_decoder(on_gpu: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with a GPU and the libraries to decode on it."""
    monkeypatch.setattr(file_pictures, "jpeg_trouble", lambda: None)
    monkeypatch.setattr(file_pictures, "DevicePictures", Decoding)
    file_pictures._forget()
    yield
    file_pictures._forget()


def header(width: int, components: int = 3) -> JpegHeader:
    return JpegHeader(width, 1000, components, 8, 1, 1, True)


def test_where_pictures_are_decoded(gpu_decoder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones on the GPU, all of them or none by parameter; what it does not take goes to the CPU all the same."""
    sizes = (500, 1999, 2000, 4000)
    taken = {}
    for decoder in ("auto", "gpu"):
        files = Tiny(jpeg_decoder=decoder).from_files(DecodePolicy())
        assert files is not None
        taken[decoder] = [files.takes(b"", header(width)) for width in sizes]
        assert not files.takes(b"", header(4000, components=1))
        assert not files.takes(b"", None)
    assert taken == {"auto": [False, False, True, True], "gpu": [True] * 4}
    assert isinstance(Tiny(jpeg_decoder="cpu").from_files(DecodePolicy()), ReducedPictures)
    assert Own(jpeg_decoder="gpu").from_files(DecodePolicy()) is None
    monkeypatch.setattr(Tiny, "interpolation", "box")
    assert Tiny().from_files(DecodePolicy()) is None
    with pytest.raises(ParameterError, match="expects bicubic"):
        Tiny(jpeg_decoder="gpu").from_files(DecodePolicy())


def test_where_pixels_come_from_is_in_the_fingerprint(gpu_decoder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU alone has the name that it has where the libraries are missing, or do not go together."""
    names = {decoder: Tiny(jpeg_decoder=decoder).fingerprint() for decoder in ("auto", "cpu", "gpu")}
    assert len(set(names.values())) == 3
    assert Tiny().ingredients()["pixels"] == "gpu from 2000000 pixels"
    monkeypatch.setattr(file_pictures, "jpeg_trouble", lambda: "TypeError: Decoder() got an unexpected argument")
    assert Tiny().fingerprint() == names["cpu"]
    with pytest.raises(MissingDependencyError, match=r"jpeg_decoder='gpu' needs a GPU, .* TypeError"):
        Tiny(jpeg_decoder="gpu").fingerprint()


def test_what_is_settled_stays_so(gpu_decoder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name and precision are the same wherever it goes; where the GPU for its pixels is missing, that is an error."""
    monkeypatch.setattr(Tiny, "gpu_precision", "float16")
    settled, on_cpu = Tiny().settled(), Tiny(jpeg_decoder="cpu").settled()
    assert repr(settled) == "Tiny()"
    names = settled.fingerprint(), on_cpu.fingerprint()
    assert len({*names, Tiny(precision="float32", jpeg_decoder="cpu").fingerprint()}) == 3
    monkeypatch.setattr(embedder, "best_device", lambda: "cpu")
    monkeypatch.setattr(machines, "best_device", lambda: "cpu")
    settled, on_cpu = (pickle.loads(pickle.dumps(each.settled())) for each in (settled, on_cpu))
    assert (settled.fingerprint(), on_cpu.fingerprint()) == names
    assert isinstance(on_cpu.from_files(DecodePolicy()), ReducedPictures)
    with pytest.raises(StageError, match=r"decode on a GPU, .* has none\n\nHint: give jpeg_decoder='cpu'"):
        settled.from_files(DecodePolicy())


def test_threads_share_one_decoder_on_the_gpu(gpu_decoder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has memory of the device: not one for each thread that comes first."""
    made = []

    class Slow(Decoding):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            time.sleep(0.05)
            made.append(self)

    monkeypatch.setattr(file_pictures, "DevicePictures", Slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Tiny(jpeg_decoder="gpu").from_files(DecodePolicy()), range(4)))
    assert len(made) == 1
