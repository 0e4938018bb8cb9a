"""Equal bytes and equal pixels: what is marked, what is kept, and what it costs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from making import picture, write_tar
from PIL import Image

import imagecurate as ic
from imagecurate.errors import ColumnNotFoundError, ParameterError


def rewrapped(data: bytes) -> bytes:
    """The same pixels in another file: a PNG with a comment."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards: a, c and e are equal bytes, b and f equal pixels, d alone, g broken; wide pictures have q."""
    a, b, d = picture(1), picture(2, format="PNG"), picture(3)
    write_tar(
        tmp_path / "data/0.tar", [("a.jpg", a), ("a.json", b'{"q": 1}'), ("b.png", b), ("c.jpg", a), ("d.jpg", d)]
    )
    write_tar(
        tmp_path / "data/1.tar",
        [("e.jpg", a), ("e.json", b'{"q": 5}'), ("f.png", rewrapped(b)), ("g.jpg", b"<html>"), ("h.jpg", b"<html>")],
    )
    return tmp_path / "data"


def opened(folder: Path) -> ic.ImageTextPairDataset:
    return ic.read_webdataset(str(folder), workdir=folder.parent / "work")


def stars(ds: ic.ImageTextPairDataset) -> dict[str, str]:
    """Key of each duplicate, and of the one that stays."""
    frame = ds.metadata.compute()
    names = dict(zip(frame.sample_id, frame.key, strict=True))
    marked = frame[frame.exact_duplicate_of.notna()]
    return {row.key: names[row.exact_duplicate_of] for row in marked.itertuples()}


def test_equal_bytes_are_found_without_a_decode(folder: Path, decodes: list[int]) -> None:
    """The first of each group stays; the rest name it; broken files are files, too."""
    ds = ic.ExactDeduplicator()(opened(folder))
    assert stars(ds) == {"c": "a", "e": "a", "h": "g"}
    assert decodes == []
    frame = ds.metadata.compute().set_index("key")
    assert frame.exact_duplicate_group.dropna().to_dict() == (
        dict.fromkeys("ace", "default/0#0") | dict.fromkeys("gh", "default/1#2")
    )
    left = ds.drop_duplicates()
    assert left.metadata.key.compute().tolist() == ["a", "b", "d", "f", "g"]
    assert left.counts().set_index("step").loc["duplicates", "dropped"] == 3
    assert decodes == []


def test_equal_pixels_are_found_in_other_files(folder: Path) -> None:
    """A re-wrapped file matches; what cannot be decoded has failed and is in no group."""
    assert stars(ic.ExactDeduplicator(by="pixels")(opened(folder))) == {"c": "a", "e": "a", "f": "b"}


def test_what_is_kept_can_be_chosen(folder: Path) -> None:
    """The largest value first, or the smallest; null last; ties as in the data."""
    assert stars(ic.ExactDeduplicator(keep_by="q")(opened(folder))) == {"a": "e", "c": "e", "h": "g"}
    assert stars(ic.ExactDeduplicator(keep_by="-q")(opened(folder))) == {"c": "a", "e": "a", "h": "g"}
    assert stars(ic.ExactDeduplicator(keep_by=("-key",))(opened(folder))) == {"c": "a", "e": "a", "h": "g"}
    assert stars(ic.ExactDeduplicator(keep_by=["key"])(opened(folder))) == {"a": "e", "c": "e", "g": "h"}  # type: ignore[arg-type]
    with pytest.raises(ColumnNotFoundError, match="'quality' not found"):
        ic.ExactDeduplicator(keep_by="quality")(opened(folder))


def test_a_digest_that_came_with_the_data(folder: Path) -> None:
    """Any column that tells equal images will do; null is equal to nothing."""
    ds = opened(folder).with_column("mine", "q")
    assert stars(ic.ExactDeduplicator(digest_column="mine")(ds)) == {}
    ds = ds.with_column("same", "'x'")
    assert set(stars(ic.ExactDeduplicator(digest_column="same")(ds))) == set("bcdefgh")


def test_only_rows_that_are_left_take_part(folder: Path) -> None:
    """What a filter dropped before keeps nobody out; the order of the shards does not matter."""
    ds = opened(folder).filter("key != 'a'")
    assert stars(ic.ExactDeduplicator()(ds)) == {"e": "c", "h": "g"}
    paths = [str(folder / "1.tar"), str(folder / "0.tar")]
    turned = ic.read_webdataset(paths, workdir=None)
    assert stars(ic.ExactDeduplicator()(turned)) == {"c": "a", "e": "a", "h": "g"}


def test_is_duplicate_in_an_expression(folder: Path) -> None:
    """It is what any level said, and an error before any did."""
    with pytest.raises(ColumnNotFoundError, match="'is_duplicate' not found") as raised:
        opened(folder).drop_duplicates()
    assert "ExactDeduplicator()" in str(raised.value)
    ds = ic.ExactDeduplicator()(opened(folder))
    assert ds.filter("is_duplicate and key != 'h'").metadata.key.compute().tolist() == ["c", "e"]
    twice = ds.drop_duplicates().drop_duplicates()
    assert [step for _, step in twice.counts()[["kind", "step"]].itertuples(index=False)][-2:] == [
        "duplicates", "duplicates (2)",
    ]  # fmt: skip


def test_digests_are_columns(folder: Path) -> None:
    """In hex, as others write them."""
    import hashlib

    ds = ic.ImageDigest(algorithm="sha256", column="digest")(opened(folder))
    frame = ds.metadata.compute().set_index("key")
    assert frame.digest["d"] == hashlib.sha256(picture(3)).hexdigest()
    blocked = ds.exclude([frame.digest["d"]], on="digest", name="blocked")
    assert "d" not in set(blocked.metadata.key.compute())
    with pytest.raises(ParameterError, match="algorithm"):
        ic.ImageDigest(algorithm="md5")  # type: ignore[arg-type]


def test_equal_values_and_ranks() -> None:
    """Against plain Python, for random values and ranks."""
    import pyarrow as pa

    from imagecurate.stages.duplicates.exact import first_of_equal

    random = np.random.default_rng(5)
    for count in (0, 1, 50):
        values = [None if v == 0 else str(v) for v in random.integers(0, 8, count).tolist()]
        ranks = random.permutation(count)
        best = {v: min((r, n) for n, (w, r) in enumerate(zip(values, ranks, strict=True)) if w == v)[1] for v in values}
        expected = [-1 if v is None or best[v] == n else best[v] for n, v in enumerate(values)]
        parts = [pa.array(values[:20], pa.string()), pa.array(values[20:], pa.string())]
        assert first_of_equal(pa.chunked_array(parts), ranks).tolist() == expected
