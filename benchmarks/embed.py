"""Embed by ViT-B/32: from shards to stored vectors, beside the bare model on batches that are ready for it.

Weights are random, in float32 throughout; the network is ``vit_base_patch32_clip_224.openai``.  The bare model gets
its batches from memory, in two ways: in as many threads as there are cores, each with one thread of torch, as ours
runs it; and in one thread, with as many of torch as there are cores.  clip-retrieval's inference has open_clip's
ViT-B-32, which is the same network, its DataLoader as many workers; it stores float16.

    python -m benchmarks embed [--images 512] [--rounds 5] [--threads 2] [--quick] [--folder /scratch]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.harness.contest import Contender, compete
from benchmarks.harness.figures import Case
from benchmarks.harness.inputs import repeated, write_shards
from benchmarks.harness.options import options_of, parser_for

MODEL = "vit_base_patch32_clip_224.openai"


def main(arguments: list[str]) -> list[Case]:
    """Embed the same photographs in turn."""
    parser = parser_for("embed", rounds=5, quick="64 photographs, 1 round")
    parser.add_argument("--images", type=int, default=512)
    options = options_of(parser, arguments)
    images = 64 if options.quick else options.images
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="embed-") as scratch:
        source = Path(scratch) / "in"
        write_shards(source, repeated(images), samples_per_shard=-(-images // 8))  # no worker without a shard
        return [measure(source, Path(scratch), images, options.threads, options.rounds)]


def measure(source: Path, scratch: Path, images: int, threads: int, rounds: int) -> Case:
    """One case."""
    place = {"source": str(source)}
    work = place | {"work": str(scratch / "work")}
    ours = Contender("imagecurate, tar to stored column", "ours", "embed", work | {"model": MODEL}, is_ours=True)
    side_by_side = Contender(
        f"bare model, {threads} threads",
        "bare",
        "model",
        place | {"model": MODEL, "threads": threads, "of_torch": 1, "batch": 16},
    )
    together = Contender(
        f"bare model, {threads} threads of torch",
        "bare",
        "model",
        place | {"model": MODEL, "threads": 1, "of_torch": threads, "batch": 64},
    )
    peer = Contender(
        "clip-retrieval's inference",
        "clip_retrieval_inference",
        "embed",
        work | {"model": "ViT-B-32", "threads": threads, "batch": 64},
        "clip-retrieval",
    )
    found = compete([ours, side_by_side, together, peer], rounds)
    lines = [
        found[ours.name].line(ours.name),
        found[peer.name].line(peer.name),
        *(found[bare.name].line(bare.name, goal=0.95, is_limit=True) for bare in (side_by_side, together)),
    ]
    return Case("embed", f"{images} photographs, ViT-B/32, float32", "images/s", lines)
