"""The published weights that imagecurate knows, and where they are looked for."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imagecurate.errors import ImageCurateError, WeightsError, listed
from imagecurate.weights.digests import file_digest, tensor_digest
from imagecurate.weights.fetch import fetch
from imagecurate.weights.files import existing_file, read_tensors

if TYPE_CHECKING:
    import torch

__all__ = ["AESTHETIC", "CLIP_VIT_L14", "EMBEDDERS", "KNOWN", "NSFW", "KnownWeights", "model_folder"]

#: Name of the embedding that both LAION predictors were trained on, as published: OpenAI's CLIP ViT-L/14, 768 wide.
CLIP_VIT_L14 = "openai/clip-vit-large-patch14"

#: Environment variable that names the model folder.
FOLDER_VARIABLE = "IMAGECURATE_MODELS"

_log = logging.getLogger(__name__)


def model_folder() -> Path:
    """Give the folder where fetched weights are kept: ``$IMAGECURATE_MODELS``, else ``~/.cache/imagecurate/models``.

    Where ``$XDG_CACHE_HOME`` is set it takes the place of ``~/.cache``.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "imagecurate" / "models"


@dataclass(frozen=True)
class KnownWeights:
    """One published set of weights: where it comes from and what it is known by.

    Parameters
    ----------
    name : str
        The stage that uses it.
    file : str
        Name of the file, in the model folder as published.
    url : str
        Where it is fetched from.
    licence : str
        SPDX identifier of the licence of the repository that publishes it.
    embedding_of : str
        The model whose embeddings it was trained on.
    tensors : str
        ``tensor_digest`` of what it holds.
    shapes : mapping of str to tuple of int
        The tensors it holds.
    sha256 : str, optional
        Digest of the file, where the publisher's file is known.
    zipped : bool, default=False
        The address gives a zip archive with the file in it.
    max_bytes : int
        Bound on what is fetched.
    """

    name: str
    file: str
    url: str
    licence: str
    embedding_of: str
    tensors: str
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    sha256: str | None = None
    zipped: bool = False
    max_bytes: int = 16 << 20

    def digest(self, model_path: str | None = None) -> str:
        """Digest of the tensors that ``load`` will give; without a path it is known without looking."""
        if model_path is None:
            return self.tensors
        path = self._given(model_path)
        status = path.stat()
        return _digest_of(path.resolve(), status.st_size, status.st_mtime_ns)

    def find(self, model_path: str | None = None) -> Path:
        """Give the file: at ``model_path``, else in the model folder, else fetched into it.

        Parameters
        ----------
        model_path : str, optional
            The file, or a folder that holds it under its published name.

        Raises
        ------
        WeightsError
            It is not there, cannot be fetched, or the fetched file is not the published one.
        """
        if model_path is not None:
            return self._given(model_path)
        path = model_folder() / self.file
        if not path.is_file():
            member = self.file if self.zipped else None
            try:
                fetch(self.url, path, max_bytes=self.max_bytes, verify=self._verified, member=member)
            except WeightsError as error:
                reason = str(error).partition("\n\nHint:")[0]
                raise WeightsError.because(
                    f"{self.name}: its weights are not in {str(path.parent)!r} and could not be fetched: {reason}",
                    f"put {self.file} there, name its folder in ${FOLDER_VARIABLE}, or give model_path=",
                ) from error
        return path

    def load(self, model_path: str | None = None) -> dict[str, torch.Tensor]:
        """Read the tensors, verified before they are used.

        What lies in the model folder must be the published weights.  A file named by ``model_path`` may hold others of
        the same shapes; the log says so.

        Raises
        ------
        WeightsError
            As for ``find``; or the file is damaged, does not fit, or is not the published one.
        """
        path = self.find(model_path)
        if model_path is None:
            return self._verified(path)
        state = self._read(path)
        if tensor_digest(state) != self.tensors:
            _log.warning("%s: %r does not hold the published weights, but others of their shape", self.name, str(path))
        return state

    def _given(self, model_path: str) -> Path:
        path = Path(model_path).expanduser()
        return existing_file(path / self.file if path.is_dir() else path, self.name)

    def _verified(self, path: Path) -> dict[str, torch.Tensor]:
        if self.sha256 is not None and (found := file_digest(path)) != self.sha256:
            raise self._not_published(path, f"its sha256 is {found}, expected {self.sha256}")
        state = self._read(path)
        if (found := tensor_digest(state)) != self.tensors:
            raise self._not_published(path, f"the digest of its tensors is {found}, expected {self.tensors}")
        return state

    def _not_published(self, path: Path, difference: str) -> ImageCurateError:
        return WeightsError.because(
            f"{self.name}: {str(path)!r} is not the published {self.file}: {difference}",
            "remove it and it will be fetched; weights of your own are named by model_path=",
        )

    def _read(self, path: Path) -> dict[str, torch.Tensor]:
        state = read_tensors(path)
        missing = [key for key in self.shapes if key not in state]
        surplus = [key for key in state if key not in self.shapes]
        misshapen = [
            f"{key} {tuple(state[key].shape)} instead of {shape}"
            for key, shape in self.shapes.items()
            if key in state and tuple(state[key].shape) != shape
        ]
        problems = {"missing": missing, "unexpected": surplus, "of another shape": misshapen}
        if any(problems.values()):
            said = "; ".join(f"{what}: {listed(keys, 4)}" for what, keys in problems.items() if keys)
            raise WeightsError(f"{self.name}: the weights in {str(path)!r} do not fit its architecture: {said}")
        return state


@functools.lru_cache(maxsize=16)
def _digest_of(path: Path, size: int, mtime_ns: int) -> str:
    return tensor_digest(read_tensors(path))


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


#: LAION's aesthetic predictor V2 (SAC + LOGOS + AVA1 ratings, linear, mean squared error):
#: https://github.com/christophschuhmann/improved-aesthetic-predictor
AESTHETIC = KnownWeights(
    name="AestheticClassifier",
    file="sac+logos+ava1-l14-linearMSE.pth",
    url=(
        "https://github.com/christophschuhmann/improved-aesthetic-predictor/blob/main/"
        "sac%2Blogos%2Bava1-l14-linearMSE.pth?raw=true"
    ),
    licence="Apache-2.0",
    embedding_of=CLIP_VIT_L14,
    tensors="e8af1b28c0b51a81b2c2e34fff79c2ac1a3236e7ec36bd8f2d478f98eee3553d",
    shapes={
        **_linear("layers.0", 768, 1024),
        **_linear("layers.2", 1024, 128),
        **_linear("layers.4", 128, 64),
        **_linear("layers.6", 64, 16),
        **_linear("layers.7", 16, 1),
    },
    sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
)

#: LAION's NSFW detector for ViT-L/14, converted from the published Autokeras model:
#: https://github.com/LAION-AI/CLIP-based-NSFW-Detector
NSFW = KnownWeights(
    name="NsfwClassifier",
    file="clip_autokeras_binary_nsfw.pth",
    url="https://github.com/LAION-AI/CLIP-based-NSFW-Detector/files/10250461/clip_autokeras_binary_nsfw.zip",
    licence="MIT",
    embedding_of=CLIP_VIT_L14,
    tensors="f57f00bd8d1d31d18a083604e088e1d5367d469894d1e9775a392f2ae86f8e87",
    shapes={
        "norm.mean": (768,),
        "norm.variance": (768,),
        **_linear("linear_1", 768, 64),
        **_linear("linear_2", 64, 512),
        **_linear("linear_3", 512, 256),
        **_linear("linear_4", 256, 1),
    },
    zipped=True,
)

#: All of them.
KNOWN = (AESTHETIC, NSFW)

#: Embedders that ``docs/models.md`` names, by timm's names; timm knows where their weights are and under which licence.
EMBEDDERS = (
    "vit_large_patch14_clip_quickgelu_224.openai",
    "vit_base_patch32_clip_224.openai",
    "fastvit_mci0.apple_mclip",
    "vit_base_patch16_siglip_224.webli",
    "vit_base_patch14_dinov2.lvd142m",
    "resnet50.a1_in1k",
)
