"""Single tools beside what does the same here: reported, nothing is to be reached.

- img2dataset's resizer: decode, resize to 224 and centre crop with OpenCV, in processes; it encodes JPEG again, ours
  stops at pixels.  OpenCV's area filter and linear upscaling are not Pillow's bicubic: the pixels differ.
- imagededup's perceptual hash of files in a folder; ours is imagehash's, 64 bits, from shards into the store.
- cleanvision's checks of single pictures (dark, light, blurry, …) of files in a folder.  There is no such stage here;
  beside it stands a stage as a user writes one, with measures like these (not the same formulae).

    python -m benchmarks tools [--images 920] [--rounds 5] [--threads 2] [--quick] [--folder /scratch]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.harness.contest import Contender, compete
from benchmarks.harness.figures import Case
from benchmarks.harness.inputs import files_of, repeated, write_shards
from benchmarks.harness.options import options_of, parser_for


def main(arguments: list[str]) -> list[Case]:
    """A case for each tool."""
    parser = parser_for("tools", rounds=5, quick="64 photographs, 1 round")
    parser.add_argument("--images", type=int, default=920)
    options = options_of(parser, arguments)
    images = 64 if options.quick else options.images
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="tools-") as scratch:
        source, folder = Path(scratch) / "in", Path(scratch) / "folder"
        paths = write_shards(source, repeated(images), samples_per_shard=500)
        folder.mkdir()
        for number, data in enumerate(files_of(paths, "jpg")):
            (folder / f"{number:06d}.jpg").write_bytes(data)
        place, threads = {"source": str(source)}, {"threads": options.threads}
        work = place | {"work": str(Path(scratch) / "work")}
        files = {"folder": str(folder)} | threads
        pairs = {
            "decode, resize, crop": (
                Contender("imagecurate, functions alone", "ours", "functions", place | threads | {"extension": "jpg"}),
                Contender(
                    "img2dataset's resizer, which encodes, too",
                    "img2dataset_resizer",
                    "resize",
                    place | threads,
                    "img2dataset",
                ),
            ),
            "perceptual hash, 64 bits": (
                Contender("imagecurate", "ours", "hashes", work),
                Contender("imagededup", "imagededup_hash", "hashes", files, "checks"),
            ),
            "checks of single pictures": (
                Contender("imagecurate, a stage of the user's", "ours", "checks", work),
                Contender("cleanvision", "cleanvision_checks", "checks", files, "checks"),
            ),
        }
        return [measure(name, pair, images, options.rounds) for name, pair in pairs.items()]


def measure(name: str, pair: tuple[Contender, Contender], images: int, rounds: int) -> Case:
    """One tool, beside ours."""
    found = compete(pair, rounds)
    return Case(
        "tools", f"{name}, {images:,} photographs", "images/s", [found[each.name].line(each.name) for each in pair]
    )
