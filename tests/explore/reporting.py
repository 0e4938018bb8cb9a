"""A dataset with a bit of everything, for the tests of the report."""

from __future__ import annotations

from pathlib import Path

from making import Sample, picture, write_shard

import imagecurate as ic

__all__ = ["HOSTILE", "HOSTILE_KEY", "everything"]

#: What would run if it became markup.
HOSTILE = "<script>alert(1)</script> \"><img src=x onerror=alert(2)> ]]> </title></style> &lt;b&gt; ' ` \u202e \x00"
HOSTILE_KEY = 'x" onerror="alert(3)\' <img src=y onerror=alert(4)>'


def everything(folder: Path) -> ic.ImageTextPairDataset:
    """Two sources with scores, duplicates, clusters, bad files and hostile text; filtered, and deduplicated."""
    number = 0
    for source, shards in (("first", 2), ("second", 1)):
        for shard in range(shards):
            samples: list[Sample] = []
            rows = []
            for position in range(12):
                key = f"{number:06d}"
                data = picture(number % 16, (96 + number % 16 % 3 * 32, 96))
                caption = HOSTILE if position == 2 else f"picture number {number}"
                if position == 3:
                    key += HOSTILE_KEY.replace(".", "")
                if position == 10:
                    data = data[: len(data) // 2]
                if position == 11:
                    data = b"<html>not found</html>"
                samples.append((key, {"jpg": data, "txt": caption}))
                rows.append(
                    {
                        "key": key,
                        "score": number / 4,
                        "nsfw_score": None if position == 1 else 0.9 if position == 0 else 0.05,
                        "cluster": f"cluster {number % 3} <i>",
                        "cluster_distance": number / 100,
                    }
                )
                number += 1
            write_shard(folder / "data" / source / f"{shard:05d}.tar", samples, rows)
    sources = {"first": folder / "data" / "first", "second": folder / "data" / "second"}
    dataset = ic.read_webdataset(sources, workdir=folder / "work")
    dataset = dataset.filter("score >= 2 and score < 8", name="score <b>range</b>")
    dataset = dataset.filter("min(width, height) >= 96", name="size")
    return ic.Deduplicate(levels=["exact"])(dataset)
