"""clip-retrieval's inference: its reader, mapper and writer, put together by its runner, with random weights.

The weights come from a file that is written here, since the published ones lie on a hub; that changes no speed.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from all_clip import load_clip
from clip_retrieval.clip_inference.logger import LoggerWriter
from clip_retrieval.clip_inference.mapper import ClipMapper
from clip_retrieval.clip_inference.reader import WebdatasetReader
from clip_retrieval.clip_inference.runner import Runner
from clip_retrieval.clip_inference.writer import NumpyWriter
from protocol import serve


def embed(source: str, work: str, model: str, threads: int, batch: int) -> Callable[[], int]:
    """From shards to files of float16 vectors; captions are left out, as ours leaves them out."""
    torch.set_num_threads(threads)
    paths = [str(path) for path in sorted(Path(source).glob("*.tar"))]
    with tempfile.TemporaryDirectory() as folder:
        torch.save(open_clip.create_model(model, pretrained=None).state_dict(), f"{folder}/random.pt")
        clip_model = f"open_clip:{model}/{folder}/random.pt"
        parts = {"enable_image": True, "enable_text": False, "enable_metadata": False}
        mapper = ClipMapper(**parts, use_mclip=False, clip_model=clip_model, use_jit=False, mclip_model="")
        _, preprocess, tokenizer = load_clip(clip_model=clip_model, use_jit=False)

    def run() -> int:
        out = f"{work}/{uuid.uuid4().hex}"
        runner = Runner(
            lambda sampler: WebdatasetReader(sampler, preprocess, tokenizer, paths, batch, threads, **parts),
            lambda: mapper,
            lambda part: NumpyWriter(part, out, **parts, output_partition_count=1),
            lambda part: LoggerWriter(part, f"{out}/stats"),
            1,
        )
        runner(0)
        import numpy as np

        return len(np.load(next(Path(out).glob("img_emb/*.npy")), mmap_mode="r"))

    return run


if __name__ == "__main__":
    serve(embed, packages=("clip-retrieval", "open-clip-torch", "torch", "Pillow"))
