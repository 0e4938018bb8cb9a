"""timm's models as embedders: what a name means, which head stays, and where the weights come from."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagecurate.errors import ImageCurateError, ParameterError, WeightsError, listed
from imagecurate.weights.files import check_sums, existing_file

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TimmModel", "timm_model"]

#: What marks the image tower of an image-text pair in timm's names: CLIP and its kin (OpenCLIP, EVA-CLIP, MobileCLIP,
#: MetaCLIP, TinyCLIP, DFN, ViTamin), and Perception Encoder "core".  SigLIP's towers end in a pooling head that is no
#: classifier, so there is nothing to tell.
_IMAGE_TEXT = ("clip", "pe_core")

#: File names on the Hugging Face Hub and in local folders, best first (timm.models._hub).
_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclasses.dataclass(frozen=True)
class TimmModel:
    """One of timm's models, not yet made.

    Parameters
    ----------
    name : str
        In full, with the tag of its weights.
    config : mapping
        timm's ``PretrainedCfg`` of these weights.
    arguments : mapping
        For the architecture, where the model comes from a hub repository or a folder.
    """

    name: str
    config: Mapping[str, Any]
    arguments: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        """Name of the architecture, without the tag."""
        return str(self.config["architecture"])

    @property
    def tag(self) -> str | None:
        """Name of the weights."""
        return self.config.get("tag")

    @property
    def is_published(self) -> bool:
        """Whether weights can be had for it."""
        return any(self.config.get(place) for place in ("hf_hub_id", "url", "file"))

    @property
    def projects(self) -> bool:
        """Whether the head is a projection into the space that pictures share with texts, and so stays."""
        return _projects(f"{self.name} {self.architecture}.{self.tag}", self.config, int(self.config["num_classes"]))

    @property
    def data_config(self) -> dict[str, Any]:
        """Input size, interpolation, crop, mean and deviation, as timm resolves them for evaluation."""
        from timm.data import resolve_data_config

        return dict(resolve_data_config(pretrained_cfg=dict(self.config)))

    @property
    def licence(self) -> str | None:
        """SPDX identifier of the licence of the weights, as timm states it."""
        return self.config.get("license")

    @property
    def source(self) -> str | None:
        """Where the published weights come from: a repository of the Hugging Face Hub, an address or a local file."""
        hub = self.config.get("hf_hub_id")
        return self.config.get("file") or (f"https://huggingface.co/{hub}" if hub else self.config.get("url"))

    def cached_file(self) -> Path | None:
        """Give the file with the published weights, if it is on this machine; asks no network."""
        if self.config.get("file"):
            return _in_folder(Path(self.config["file"]))
        if self.config.get("hf_hub_id"):
            return _in_hub_cache(self.config["hf_hub_id"], self.config.get("hf_hub_filename"))
        from timm.models._hub import get_cache_dir

        path = Path(get_cache_dir(), Path(str(self.config.get("url"))).name)
        return path if path.is_file() else None

    def published_file(self) -> Path:
        """Give the file with the published weights: a local one, one in the hub's cache, or fetched into it.

        Raises
        ------
        WeightsError
            It cannot be had.
        """
        try:
            if self.config.get("file"):
                return _in_folder(Path(self.config["file"]))
            if self.config.get("hf_hub_id"):
                return _from_hub(self.config["hf_hub_id"], self.config.get("hf_hub_filename"))
            from timm.models._hub import download_cached_file

            return Path(download_cached_file(self.config["url"]))
        except Exception as error:  # of the hub's client, of its HTTP library, of the file system
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise WeightsError.because(
                f"the published weights of {self.name!r} cannot be fetched: {reason}",
                "fetch them where there is a network, or give the file by checkpoint_path=",
            ) from error

    def build(self, path: Path | None) -> nn.Module:
        """Make the model as an embedder, with the weights in a file or with random ones.

        Parameters
        ----------
        path : Path, optional
            A state dict in this architecture's names, or one that timm converts (OpenAI's and OpenCLIP's, the
            original repositories'), as ``.safetensors`` or as a torch file that needs no code.  A classifier of any
            size, or none, may be in it.

        Raises
        ------
        WeightsError
            The file is damaged, or lacks weights of the model, or holds others.
        """
        classes = int(self.config["num_classes"])
        if path is None:
            return self._embedder(self._create({}), classes)
        found = self._classes_in(path)
        # Where the file has no head under timm's name: timm may make one of another name, or there is none.
        candidates = [found] if found is not None else [classes] if self.projects else [classes, 0]
        problem: Exception | None = None
        for candidate in dict.fromkeys(candidates):
            overlay = {"file": str(path), "source": None, "custom_load": False, "num_classes": candidate}
            try:
                return self._embedder(self._create(overlay), candidate)
            except (ImageCurateError, MemoryError):
                raise
            except Exception as error:  # timm's conversions of names fail in their own ways on names they do not expect
                problem = problem or error
        # A RuntimeError is torch's list of keys; of others the text alone says little ("'stem'").
        text = str(problem) if isinstance(problem, RuntimeError) else f"{type(problem).__name__}: {problem}"
        said = "; ".join(line.strip()[:300] for line in text.splitlines()[:5])
        raise WeightsError.because(
            f"the weights in {str(path)!r} do not fit {self.name!r}: {said}",
            "name the model that the file was made for",
        ) from problem

    def _create(self, overlay: dict[str, Any]) -> nn.Module:
        import timm

        name, given = self.name, {"pretrained": bool(overlay), "pretrained_cfg_overlay": overlay}
        if ":" in name:  # the configuration is at hand: the hub is not asked again
            name, given = self.architecture, given | {"pretrained_cfg": dict(self.config), **self.arguments}
        model: nn.Module = timm.create_model(name, **given)
        return model

    def _embedder(self, model: nn.Module, classes: int) -> nn.Module:
        if classes > 0 and not _projects(f"{self.name} {self.architecture}.{self.tag}", self.config, classes):
            model.reset_classifier(0)  # type: ignore[operator]
        return model

    def _classes_in(self, path: Path) -> int | None:
        """Outputs of the head in a file, where it is there under timm's name."""
        import timm.models

        try:
            # What cannot be read as tensors alone ends here, before timm's builder reads the file.
            if path.suffix != ".safetensors":
                check_sums(path)
            state = timm.models.load_state_dict(str(path), weights_only=True)
            names = self.config.get("classifier") or ()
            first = f"{names if isinstance(names, str) else next(iter(names), '')}.weight"
            return int(state[first].shape[0]) if first in state else None
        except Exception as error:  # unpickling a damaged file can raise nearly anything
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise WeightsError.because(
                f"cannot read weights from {str(path)!r}: {reason}",
                "the file must hold tensors alone, as torch.save(model.state_dict(), path) or safetensors write them",
            ) from error


def _projects(names: str, config: Mapping[str, Any], outputs: int) -> bool:
    """Whether a head of so many outputs is a projection.

    timm keeps both kinds of head in one place, and says of neither what it is.  A projection belongs to the image
    tower of an image-text pair, which its names tell, and does not have as many outputs as ImageNet (or a part of it)
    has classes: that is what such a tower has once it was fine-tuned to classify.
    """
    from timm.data import infer_imagenet_subset

    is_classifier = bool(config.get("label_names")) or infer_imagenet_subset({"num_classes": outputs}) is not None
    return outputs > 0 and not is_classifier and any(word in names.lower() for word in _IMAGE_TEXT)


@functools.lru_cache(maxsize=32)
def timm_model(name: str) -> TimmModel:
    """Look a name up among timm's models.

    Parameters
    ----------
    name : str
        As for ``timm.create_model``: an architecture, with or without the tag of its weights; ``hf-hub:owner/name``;
        ``local-dir:folder``.

    Raises
    ------
    ParameterError
        timm knows no such model.
    WeightsError
        The configuration of a hub's or folder's model cannot be read.

    Examples
    --------
    >>> timm_model("vit_base_patch32_clip_224.openai").projects
    True
    >>> timm_model("vit_base_patch32_clip_224.openai_ft_in1k").projects
    False
    """
    import timm

    source, _, place = name.partition(":")
    if source in ("hf-hub", "hf_hub", "local-dir") and place:
        config, architecture, arguments = _configuration(name, source, place)
        return TimmModel(name, config | {"architecture": architecture}, arguments)
    full = timm.models.get_deprecated_models().get(name) or name
    architecture, tag = timm.models.split_model_name_tag(full)
    if not timm.is_model(architecture):
        guesses = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(map(repr, guesses))}?" if guesses else "timm.list_models() gives all names"
        raise ParameterError.because("timm knows no such model", hint)
    known = timm.models.get_arch_pretrained_cfgs(architecture)
    if tag and full not in known:
        tags = [each.partition(".")[2] for each in known]
        raise ParameterError.because(f"timm has no weights tagged {tag!r} for {architecture}", f"it has {listed(tags)}")
    config = timm.models.get_pretrained_cfg(full)
    if config is None:
        raise ParameterError(f"timm has no configuration for {architecture}: its preprocessing is not known")
    tag = tag or config.tag
    return TimmModel(f"{architecture}.{tag}" if tag else architecture, _record(config, architecture), {})


def _record(config: Any, architecture: str) -> dict[str, Any]:
    return dataclasses.asdict(config) | {"architecture": config.architecture or architecture}


def _configuration(name: str, source: str, place: str) -> tuple[dict[str, Any], str, dict[str, Any]]:
    from timm.models import _hub

    try:
        load = _hub.load_model_config_from_path if source == "local-dir" else _hub.load_model_config_from_hf
        config, architecture, arguments = load(place)
    except Exception as error:  # of the hub's client, of its HTTP library, of the file system
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError.because(
            f"the configuration of {name!r} cannot be read: {reason}", "fetch it where there is a network"
        ) from error
    return dict(config), architecture, dict(arguments)


def _in_folder(folder: Path) -> Path:
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    others = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".pth", ".bin"))
    return existing_file(others[0] if others else folder / _FILES[0], "timm")


def _from_hub(repository: str, file: str | None) -> Path:
    """Give a file of a hub repository, without asking the hub where its cache has one."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    cached = _in_hub_cache(repository, file)
    if cached is not None:
        return cached
    repository, _, revision = repository.partition("@")
    names = (file,) if file else _FILES[:2]
    for name in names:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision or None))
        except LocalEntryNotFoundError:  # no network: that the repository lacks the file is not known
            raise
        except EntryNotFoundError:
            if name == names[-1]:
                raise
    raise FileNotFoundError(f"{repository} holds none of {listed(names)}")


def _in_hub_cache(repository: str, file: str | None) -> Path | None:
    """Give a file of a hub repository where the hub's cache has it."""
    import huggingface_hub

    repository, _, revision = repository.partition("@")
    for name in (file,) if file else _FILES[:2]:
        cached = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    return None
