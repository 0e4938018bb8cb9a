"""webdataset's reader and ShardWriter, keeping every second sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import webdataset
from protocol import serve


def reshard(source: str, out: str, samples_per_shard: int) -> Callable[[], int]:
    """Read all samples, write those with an even key."""
    paths = [str(path) for path in sorted(Path(source).glob("*.tar"))]

    def run() -> int:
        reader = webdataset.WebDataset(paths, shardshuffle=False)
        Path(out).mkdir()
        pattern = f"{out}/%05d.tar"
        with webdataset.ShardWriter(pattern, samples_per_shard, maxsize=1e12, encoder=False, verbose=0) as writer:
            for sample in reader:
                if int(sample["__key__"]) % 2 == 0:
                    writer.write(sample)
        return sum(path.stat().st_size for path in Path(out).glob("*.tar"))

    return run


if __name__ == "__main__":
    serve(reshard, packages=("webdataset",))
