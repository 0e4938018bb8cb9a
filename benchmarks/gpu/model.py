"""The bare model: ViT-L/14 of CLIP at 224 with random weights on batches that lie on the device.

Eager and compiled, float16 and bfloat16, by autocast as the embedder runs it and with the weights themselves in half
precision.  A picture is 162 GFLOP (counted by torch's flop counter); 790 TFLOP/s is what a large product reaches on an
H200, and what it reaches here is measured beside.  Warm-up, in which the model is compiled, is apart.  Of each variant
it is asked whether a picture's bits depend on its slot in the batch, and on its neighbours.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from imagecurate.stages.timm_embedder import TimmImageEmbedder

MODEL = "vit_large_patch14_clip_quickgelu_224"
GFLOP = 162.0
TFLOPS = 790.0
#: What the issue asks for, images a second.
TARGET = 2900

#: Name, dtype, compiled, whether the weights are cast.
VARIANTS = (
    ("float16 eager", torch.float16, False, False),
    ("bfloat16 eager", torch.bfloat16, False, False),
    ("float16 compiled", torch.float16, True, False),
    ("bfloat16 compiled", torch.bfloat16, True, False),
    ("float16 weights, compiled", torch.float16, True, True),
)
#: What the embedder does by default.
DEFAULT = "float16 compiled"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this section, and of the next."""
    parser.add_argument("--model", default=MODEL, help="a timm model")
    parser.add_argument("--batch", type=int, default=256, help="pictures a batch")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each variant of the model")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time each variant; figures by its name."""
    seconds = 3.0 if options.quick else options.seconds
    product = large_product()
    print(f"{options.model}, batches of {options.batch}; a product of 8192 x 8192 x 8192: {product:.0f} TFLOP/s")
    print(f"{'':28} images/s   of {TFLOPS:.0f} TFLOP/s   warm-up     peak memory   slots alike   neighbours matter")
    figures: dict[str, Any] = {"model": options.model, "batch": options.batch, "product_tflops": product}
    for name, dtype, compiled, cast in VARIANTS:
        if options.quick and dtype is torch.bfloat16:
            continue
        figures[name] = found = measured(options.model, options.batch, dtype, compiled, cast, seconds)
        print(
            f"{name:28} {found['images_per_s']:8,.0f} {found['share']:14.1%} {found['warm_up_s']:10.1f} s "
            f"{found['peak_gib']:10.1f} GiB {found['slots_alike']:9}/{options.batch} "
            f"{found['neighbours_matter']!s:>12}",
            flush=True,
        )
    for rows in () if options.quick else (64, 128, 512):
        found = measured(options.model, rows, torch.float16, False, False, seconds / 2)
        figures[f"float16 eager, batches of {rows}"] = found
        print(f"{f'float16 eager, batches of {rows}':28} {found['images_per_s']:8,.0f} {found['share']:14.1%}")
    best = max(each["images_per_s"] for each in figures.values() if isinstance(each, dict))
    verdict = "met" if best >= TARGET else "missed"
    print(f"target {TARGET:,} images/s for the bare model: {verdict} ({best:,.0f})")
    return figures


def measured(name: str, rows: int, dtype: torch.dtype, compiled: bool, cast: bool, seconds: float) -> dict[str, Any]:
    """Rate of one variant over some seconds, what its warm-up took, and the most memory that it held."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    embedder = TimmImageEmbedder(name)
    model: Any = embedder.load_model("cuda").eval().to("cuda")  # type: ignore[attr-defined]
    batches = [normalised(embedder, rows, seed) for seed in range(4)]
    if cast:
        model, batches = model.to(dtype), [batch.to(dtype) for batch in batches]
    forward: Callable[[torch.Tensor], torch.Tensor] = torch.compile(model, dynamic=False) if compiled else model
    with torch.inference_mode(), torch.autocast("cuda", dtype, enabled=not cast):
        began = time.perf_counter()
        for batch in batches[:3]:
            forward(batch)
        torch.cuda.synchronize()
        warm_up = time.perf_counter() - began
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            for batch in batches:
                forward(batch)
            torch.cuda.synchronize()
            done += len(batches) * rows
        rate = done / (time.perf_counter() - began)
        first = forward(batches[0])
        same = forward(batches[0][:1].expand_as(batches[0]).contiguous(memory_format=torch.channels_last))
        mixed = torch.cat([batches[0][: rows // 2], torch.zeros_like(batches[0][rows // 2 :])])
        matter = not torch.equal(forward(mixed)[: rows // 2], first[: rows // 2])
        alike = int((same == same[0]).all(dim=1).sum())
    peak = torch.cuda.max_memory_allocated() / 2**30
    return {
        "images_per_s": rate,
        "share": rate * GFLOP / TFLOPS / 1e3,
        "warm_up_s": warm_up,
        "peak_gib": peak,
        "slots_alike": alike,
        "neighbours_matter": matter,
    }


def normalised(embedder: TimmImageEmbedder, rows: int, seed: int) -> torch.Tensor:
    """Random pictures on the device, as the embedder gives them to its model."""
    generator = torch.Generator("cuda").manual_seed(seed)
    shape = (rows, *embedder.preprocessing.input_size, 3)
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8, device="cuda", generator=generator)
    return embedder.preprocessing.normalise(pictures)


def large_product() -> float:
    """TFLOP/s of a product of float16 matrices of 8192 x 8192."""
    side, times = 8192, 20
    left, right = (torch.randn(side, side, device="cuda", dtype=torch.float16) for _ in range(2))
    for _ in range(3):
        left @ right
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        left @ right
    torch.cuda.synchronize()
    return times * 2 * side**3 / (time.perf_counter() - began) / 1e12
