"""timm's models: which head stays, and loading weights from files, folders and the hub's cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import generate_default_cfgs, register_model
from timm.models.vision_transformer import _create_vision_transformer

from imagecurate.errors import ParameterError, WeightsError
from imagecurate.weights import file_digest
from imagecurate.weights.timm_models import TimmModel, timm_model

#: Classes of the label sets that timm has classifiers for: ImageNet and its parts, MetaCLIP's 19k, Bamboo.
LABEL_SETS = {1000, 11221, 11821, 19168, 21841, 21842, 21843, 115217}

WIDTHS = {
    "vit_large_patch14_clip_quickgelu_224.openai": 768,
    "vit_base_patch32_clip_224.openai": 512,
    "vit_base_patch16_clip_224.openai_ft_in1k": 768,
    "vit_base_patch16_clip_224": 768,  # its default weights are a classifier's
    "convnext_base.clip_laion2b": 640,
    "convnext_base.clip_laion2b_augreg_ft_in1k": 1024,
    "resnet50_clip.openai": 1024,
    "fastvit_mci0.apple_mclip": 512,
    "vit_pe_core_tiny_patch16_384.fb": 512,
    "vit_base_patch16_siglip_224.webli": 768,
    "vit_base_patch14_dinov2.lvd142m": 768,
    "vit_base_patch16_224.augreg_in21k": 768,
    "mobilenetv3_large_100.miil_in21k": 1280,
    "deit_tiny_distilled_patch16_224.fb_in1k": 192,
    "resnet50.a1_in1k": 2048,
    "convnextv2_atto.fcmae": 320,
}


@pytest.mark.parametrize(("name", "width"), WIDTHS.items())
def test_width_of_the_embedding(name: str, width: int) -> None:
    """Classifiers removed, projections kept; shapes alone are computed."""
    model = timm_model(name)
    with torch.device("meta"):
        built = model.build(None).eval()
        given = built(torch.empty(2, *model.data_config["input_size"]))
    assert given.shape == (2, width)


def test_rule_over_all_published_models() -> None:
    """A head stays exactly where its outputs are no label set's."""
    for name in timm.list_pretrained():
        model = timm_model(name)
        outputs = model.config["num_classes"]
        assert model.projects == (outputs != 0 and outputs not in LABEL_SETS), (name, outputs)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5O", "timm knows no such model\n\nHint: did you mean 'resnet50"),
        ("vit_large_patch14_clip_quickgelu_224.opena", "no weights tagged 'opena' for .*\n\nHint: it has .*openai"),
        ("laion/CLIP-ViT-B-32", "timm knows no such model"),
        ("", "timm knows no such model\n\nHint: timm.list_models"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    """The near misses, or the tags that there are."""
    with pytest.raises(ParameterError, match=message):
        timm_model(name)


def test_old_names_and_default_tags_are_completed() -> None:
    """What a name stands for is said in full."""
    assert timm_model("vit_base_patch16_224_in21k").name == "vit_base_patch16_224.augreg_in21k"
    assert timm_model("test_vit").name == "test_vit.r160_in1k"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model's state dict in the forms in which people have it."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(5)
    state = timm.create_model("test_vit").state_dict()
    bare = {name: value for name, value in state.items() if not name.startswith("head.")}
    torch.save(state, folder / "whole.pth")
    save_file(state, folder / "whole.safetensors")
    torch.save(bare, folder / "headless.pth")
    torch.save(bare | {"head.weight": torch.ones(7, 64), "head.bias": torch.ones(7)}, folder / "seven.pth")
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}, folder / "run.pth"
    )
    torch.save({name: value for name, value in state.items() if name != "norm.weight"}, folder / "lacking.pth")
    (folder / "half.pth").write_bytes((folder / "whole.pth").read_bytes()[:-1000])
    (folder / "half.safetensors").write_bytes((folder / "whole.safetensors").read_bytes()[:-1000])
    return folder


@pytest.mark.parametrize("name", ["whole.pth", "whole.safetensors", "headless.pth", "seven.pth", "run.pth"])
def test_checkpoints_of_every_form(weights: Path, name: str) -> None:
    """With a head, with another, without one, wrapped by a training run: the same embedder."""
    torch.manual_seed(5)
    expected = timm.create_model("test_vit", num_classes=0).eval()
    expected.load_state_dict(torch.load(weights / "headless.pth", weights_only=True))
    built = timm_model("test_vit").build(weights / name).eval()
    pictures = torch.rand(2, 3, 160, 160)
    with torch.inference_mode():
        assert torch.equal(built(pictures), expected(pictures))


@pytest.mark.parametrize(
    ("model", "name", "message"),
    [
        ("test_vit", "lacking.pth", r"do not fit 'test_vit\.r160_in1k': .*Missing key\(s\).*\"norm\.weight\""),
        ("test_vit2", "whole.pth", r"do not fit 'test_vit2.*Missing key\(s\).*blocks"),
        ("test_resnet", "whole.pth", r"do not fit 'test_resnet.*Unexpected key\(s\)"),
        ("test_vit", "half.pth", r"cannot read weights from .*half\.pth"),
        ("test_vit", "half.safetensors", r"cannot read weights from .*half\.safetensors"),
    ],
)
def test_what_does_not_fit_is_named(weights: Path, model: str, name: str, message: str) -> None:
    """Missing and unexpected keys, files cut short."""
    with pytest.raises(WeightsError, match=message):
        timm_model(model).build(weights / name)


@pytest.mark.parametrize(
    "model",
    ["convnext_atto", "edgenext_xx_small", "caformer_s18", "poolformer_s12", "tnt_s_legacy_patch16_224", "mvitv2_tiny"],
)
def test_a_file_of_another_architecture(weights: Path, model: str) -> None:
    """Conversions of timm's fail in their own ways on foreign names: that too is said."""
    with pytest.raises(WeightsError, match=rf"do not fit '{model}.*\n\nHint: name the model"):
        timm_model(model).build(weights / "whole.pth")


def test_want_of_memory_is_no_misfit(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes through as it is."""

    def full(*args: object, **kwargs: object) -> None:
        raise MemoryError("full")

    monkeypatch.setattr(timm, "create_model", full)
    with pytest.raises(MemoryError, match="full"):
        timm_model("test_vit").build(weights / "whole.pth")


def test_one_flipped_bit(weights: Path, tmp_path: Path) -> None:
    """Compared with the checksums that torch writes and does not look at."""
    data = bytearray((weights / "whole.pth").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "flipped.pth").write_bytes(data)
    with pytest.raises(WeightsError, match=r"cannot read weights from .*flipped\.pth.*is damaged"):
        timm_model("test_vit").build(tmp_path / "flipped.pth")


class Trap:
    """Would run code while it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("caught",))


def test_checkpoints_with_code_are_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pickle that needs more than tensors is refused before timm reads it."""
    torch.save({"state_dict": timm.create_model("test_vit").state_dict(), "trap": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(WeightsError, match=r"cannot read weights .*weights_only"):
        timm_model("test_vit").build(tmp_path / "trap.pth")
    assert "caught" not in capsys.readouterr().out


default_cfgs = generate_default_cfgs(
    {
        "vit_nano_clip.none": {
            "input_size": (3, 32, 32),
            "num_classes": 16,
            "classifier": "head",
            "first_conv": "patch_embed.proj",
        }
    }
)


@register_model
def vit_nano_clip(pretrained: bool = False, **kwargs: object) -> torch.nn.Module:
    """A tiny image tower with a projection head, for tests."""
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "pre_norm": True}
    return _create_vision_transformer("vit_nano_clip", pretrained=pretrained, **{**shape, **kwargs})


def openai_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A timm CLIP tower as OpenAI and OpenCLIP publish it: inside a model with texts, under other names."""
    swaps = [
        ("patch_embed.proj", "conv1"),
        ("norm_pre", "ln_pre"),
        ("blocks.", "transformer.resblocks."),
        ("norm1", "ln_1"),
        ("norm2", "ln_2"),
        ("attn.qkv.", "attn.in_proj_"),
        ("attn.proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
    ]
    out = {"logit_scale": torch.tensor(4.6), "token_embedding.weight": torch.zeros(3, 4)}
    for name, value in state.items():
        if name == "head.weight":
            out["visual.proj"] = value.T.contiguous()
        elif name == "cls_token":
            out["visual.class_embedding"] = value[0, 0]
        elif name == "pos_embed":
            out["visual.positional_embedding"] = value[0]
        elif name.startswith("norm."):
            out[f"visual.ln_post.{name.removeprefix('norm.')}"] = value
        elif name != "head.bias":
            renamed = name
            for old, new in swaps:
                renamed = renamed.replace(old, new)
            out[f"visual.{renamed}"] = value
    return out


def test_openai_checkpoints_are_converted(tmp_path: Path) -> None:
    """The tower is found in the whole model, in half precision, projection included."""
    torch.manual_seed(5)
    original = timm.create_model("vit_nano_clip").eval()
    state = {name: value.half() for name, value in openai_names(original.state_dict()).items()}
    save_file(state, tmp_path / "clip.safetensors")
    built = timm_model("vit_nano_clip").build(tmp_path / "clip.safetensors").eval()
    pictures = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        given, expected = built(pictures), original(pictures)
    assert given.shape == (1, 16)
    assert torch.nn.functional.cosine_similarity(given, expected).item() > 0.999


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_published_weights_come_from_the_cache_offline(hub: Path, weights: Path) -> None:
    """A file that is there is used without asking the hub."""
    repository = hub / "models--timm--test_vit.r160_in1k"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    (snapshot / "model.safetensors").write_bytes((weights / "whole.safetensors").read_bytes())
    path = timm_model("test_vit").published_file()
    assert file_digest(path) == file_digest(weights / "whole.safetensors")
    built = timm_model("test_vit").build(path).state_dict()
    assert torch.equal(built["norm.weight"], torch.load(weights / "whole.pth", weights_only=True)["norm.weight"])


def test_unreachable_weights_say_what_to_do(hub: Path) -> None:
    """Neither in the cache nor to be fetched."""
    message = r"published weights of 'test_vit\.r160_in1k' cannot be fetched: .*\n\nHint: .*checkpoint_path="
    with pytest.raises(WeightsError, match=message):
        timm_model("test_vit").published_file()
    with pytest.raises(WeightsError, match="the configuration of 'hf-hub:some/model' cannot be read"):
        timm_model("hf-hub:some/model")


def test_local_folders(tmp_path: Path) -> None:
    """A folder as timm saves one for the hub: configuration, arguments and weights."""
    torch.manual_seed(5)
    original = timm.create_model("test_vit", embed_dim=32, num_classes=0).eval()
    timm.models.save_for_hf(original, str(tmp_path / "mine"))
    model = timm_model(f"local-dir:{tmp_path / 'mine'}")
    assert isinstance(model, TimmModel)
    assert model.architecture == "test_vit"
    assert model.is_published
    built = model.build(model.published_file()).eval()
    pictures = torch.rand(1, 3, 160, 160)
    assert tuple(model.data_config["input_size"]) == (3, 160, 160)
    with torch.inference_mode():
        assert built(pictures).shape == (1, 32)
        assert torch.equal(built(pictures), original(pictures))
