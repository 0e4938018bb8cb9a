"""From shards to normalised batches of a model's input: ours, timm on Pillow in a DataLoader, DALI, the bare decode.

The preprocessing is that of ``vit_base_patch32_clip_224``: 224 x 224, bicubic, centre crop.  Ours goes through index,
plan and store; the DataLoader over webdataset's reader has as many workers as there are threads, DALI's pipeline as
many threads.  The limit is simplejpeg alone, in as many threads, on files in memory; "functions alone" are our decoder
and preprocessing on such files, with nothing around them.

Inputs are the bundled photographs, repeated (each with a comment of its own); mosaics of 12 megapixels made of them;
the photographs made small; the photographs as PNG and WebP.  How near our pixels are to timm's is told for each input.

    python -m benchmarks pixels [--inputs photos large small png webp] [--rounds 5] [--threads 2] [--quick]
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.contest import Contender, compete
from benchmarks.harness.figures import Case
from benchmarks.harness.inputs import Sample, files_of, large, recoded, repeated, small, source, write_shards
from benchmarks.harness.options import options_of, parser_for
from benchmarks.peers.stages import prepared

CONFIG: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "crop_mode": "center",
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}


@dataclass(frozen=True)
class Input:
    """Pictures, how many, and what is to be reached with them."""

    title: str
    samples: Callable[[int], Iterable[Sample]]
    count: int
    quick: int
    extension: str = "jpg"
    batch: int = 64
    over_timm: float | None = None
    over_dali: float | None = None
    of_decode: float | None = None


INPUTS = {
    "photos": Input("500 x 375 JPEG", repeated, 9200, 128, over_timm=2.5, over_dali=2.5, of_decode=0.8),
    "large": Input("12-megapixel JPEG", large, 144, 6, batch=4, over_timm=6),
    "small": Input("JPEG, 32 to 256 pixels", small, 9200, 256),
    "png": Input("500 x 375 PNG", lambda count: recoded(count, "png"), 920, 64, "png"),
    "webp": Input("500 x 375 WebP", lambda count: recoded(count, "webp"), 920, 64, "webp"),
}


def main(arguments: list[str]) -> list[Case]:
    """Measure the inputs one after the other."""
    parser = parser_for("pixels", rounds=5, quick="few pictures, 1 round")
    parser.add_argument("--inputs", nargs="+", choices=INPUTS, default=INPUTS)
    options = options_of(parser, arguments)
    print(f"photographs: {source()}")
    cases = []
    for name in options.inputs:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="pixels-") as scratch:
            count = INPUTS[name].quick if options.quick else INPUTS[name].count
            cases.append(measure(INPUTS[name], count, Path(scratch), options.threads, options.rounds))
    return cases


def measure(given: Input, count: int, scratch: Path, threads: int, rounds: int) -> Case:
    """One input, all contenders."""
    folder = scratch / "in"
    paths = write_shards(folder, given.samples(count), samples_per_shard=-(-count // 4))
    place = {"source": str(folder)}
    files = place | {"extension": given.extension, "threads": threads}
    ours = Contender("imagecurate", "ours", "pixels", place | {"work": str(scratch / "work")}, is_ours=True)
    some = files | {"batch": min(given.batch, 16)}
    alone = Contender("imagecurate, functions alone", "ours", "functions", some, is_ours=True)
    timm = Contender("timm on Pillow, DataLoader", "timm_loader", "pixels", files | {"batch": given.batch}, "loader")
    dali = Contender("DALI on the CPU", "dali_cpu", "pixels", files | {"batch": given.batch}, "loader")
    bare = Contender("bare simplejpeg decode", "bare", "decode", place | {"threads": threads})
    contenders = [ours, alone, timm, dali, *([bare] if given.extension == "jpg" else [])]
    found = compete(contenders, rounds)
    goals = {timm.name: given.over_timm, dali.name: given.over_dali, bare.name: given.of_decode}
    lines = [found[each.name].line(each.name, goal=goals.get(each.name), is_limit=each is bare) for each in contenders]
    print(f"{given.title}: {agreement(files_of(paths, given.extension)[: 8 if given.batch < 64 else 100])}", flush=True)
    return Case("pixels", f"{given.title}, {count:,}", "images/s", lines)


def agreement(files: list[bytes]) -> str:
    """How near our pixels are to those of timm on Pillow, and an embedding of ours to one of them.

    The network is a ViT-B/32 with random weights, so that nothing has to be fetched; what all its embeddings have in
    common is taken off, as it would make any two of them alike.
    """
    import timm
    import torch
    from PIL import Image
    from timm.data import create_transform

    from imagecurate.images import Decoder, Preprocessing

    transform, preprocessing = create_transform(**CONFIG, is_training=False), Preprocessing.from_timm(CONFIG)
    with Decoder() as decoder:
        ours = np.stack([prepared(data, preprocessing, decoder) for data in files])
    theirs = torch.stack([transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in files])
    torch.manual_seed(0)
    network = timm.create_model("vit_base_patch32_clip_224.openai", pretrained=False).eval()
    batch = preprocessing.normalise(ours)
    with torch.inference_mode():
        embedded = [network(each[:16]) for each in (batch, theirs)]
    centre = embedded[1].mean(dim=0)
    cosine = torch.nn.functional.cosine_similarity(*(each - centre for each in embedded)).min()
    deviation = torch.tensor(CONFIG["std"])[:, None, None]
    levels = ((batch - theirs).abs() * deviation * 255).mean(dim=(1, 2, 3))
    return (
        f"{levels.mean():.3f} grey levels from timm on average, {levels.max():.3f} in the worst picture; "
        f"least cosine of centred embeddings {cosine:.5f}"
    )
