"""The shards that people really have, as their tools write them: from open to export to re-open.

Whatever else a test asks, `exported` holds the export to the same promises: every sample is in the ledger once, the
samples that are kept are those in the tars, in order, each member has the bytes that its source has, and the folder
opens again with the same rows.
"""

from __future__ import annotations

import bz2
import gzip
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub import REPOSITORY, hub
from making import (
    WEBDATASET,
    careless_shard,
    datacomp_pool,
    datacomp_reshard,
    datacomp_subset,
    encoded,
    img2dataset_shard,
    laion_pool,
    legacy_nemo_shard,
    picture,
    samples,
    several_of_each_shard,
    tar_bytes,
    url_list,
    write_shard,
    write_tar,
)
from toys import Brightness

import imagecurate as ic
from imagecurate.export import verify

Fields = dict[str, bytes]


def members(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Key, field and bytes of each file of a tar, read by the standard library."""
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            if file is not None:
                folder, slash, base = member.name.removeprefix("./").rpartition("/")
                key, _, field = base.partition(".")
                yield folder + slash + key, field.lower(), file.read()


def samples_of(path: Path) -> dict[str, Fields]:
    found: dict[str, Fields] = {}
    for key, field, data in members(path):
        found.setdefault(key, {})[field] = data
    return found


def exported(
    ds: ic.ImageTextPairDataset, out: Path, sources: Mapping[str, Path] | Path, **options: Any
) -> pd.DataFrame:
    """Export, hold it to what is always promised, and give the rows that are beside the tars."""
    images = options.pop("images", "first")
    ds.to_webdataset(out, samples_per_shard=5, progress=False, **options)
    ledger = pd.concat(map(pd.read_parquet, sorted((out / "ledger").glob("*.parquet"))), ignore_index=True)
    assert len(ledger) == len(ds)
    assert ledger.sample_id.is_unique
    assert set(ledger.status) <= {"kept", "dropped", "failed"}
    frame = ds.metadata.compute()
    assert frame.sample_id.tolist() == ledger.sample_id[ledger.status == "kept"].tolist()
    assert ds.counts().left.iloc[-1] == len(frame)

    folders = {"default": sources} if isinstance(sources, Path) else sources
    rows = [pd.read_parquet(path, dtype_backend="pyarrow") for path in sorted(out.glob("*.parquet"))]
    assert [row for table in rows for row in table.sample_id] == frame.sample_id.tolist()
    for table, path in zip(rows, sorted(out.glob("*.tar")), strict=True):
        found = samples_of(path)
        assert list(found) == table.key.drop_duplicates().tolist()
        for row in table.to_dict("records"):
            source = samples_of(folders[row["source"]] / f"{row['shard']}.tar")[row.get("original_key", row["key"])]
            if images == "first":
                assert found[row["key"]] == source
            assert found[row["key"]].items() <= source.items()
    assert verify(out) == []

    again = ic.read_webdataset(str(out), workdir=None, images=images)
    assert (again.check().problems == "").all()
    reopened = again.metadata.compute()
    assert reopened.input_sample_id.tolist() == frame.sample_id.tolist()
    for name in frame.columns.drop(["sample_id", "key", "source", "shard"]):
        came_back = reopened[f"input_{name}" if f"input_{name}" in reopened else name]
        assert [str(value) for value in known(came_back)] == [str(value) for value in known(frame[name])]
    return pd.concat(rows, ignore_index=True)


def known(values: pd.Series) -> list[Any]:
    """The values, None for each that is missing."""
    return values.astype(object).where(values.notna(), None).to_list()


def opened(path: Any, tmp_path: Path, **options: Any) -> ic.ImageTextPairDataset:
    return ic.read_webdataset(path, workdir=tmp_path / "work", **options)


def fates(ds: ic.ImageTextPairDataset) -> dict[str, int]:
    """Samples by what became of them."""
    ledger = ds.ledger().compute()
    counts: dict[str, int] = ledger.reason.fillna(ledger.status).value_counts().to_dict()
    return counts


def test_img2dataset(tmp_path: Path) -> None:
    """Failed downloads are no samples; a list of digests and a filter on the sizes from before the resizing."""
    folder = tmp_path / "cc12m"
    img2dataset_shard(folder, 0)
    img2dataset_shard(folder, 1, failed=[0, 5])
    path = img2dataset_shard(folder, 2, failed=[7], declared_types=True)
    rows = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    leaked = [row["sha256"] for row in rows if row["sha256"]][:2]
    (tmp_path / "leaked.txt").write_text("\n".join(leaked))

    ds = opened(folder, tmp_path)
    assert (len(ds), (ds.check().problems == "").all()) == (21, True)
    ds = ds.exclude(tmp_path / "leaked.txt", on="sha256", name="leaked")
    ds = ds.filter("min(original_width, original_height) >= 96 and status == 'success'", name="size")
    assert fates(ds) == {"kept": 19, "leaked": 2}
    rows = exported(ds, tmp_path / "out", folder)
    assert not set(leaked) & set(rows.sha256)
    assert rows.key.tolist()[:8] == [f"00000000{number}" for number in (1, 3, 5, 7, 0, 2, 4, 6)]


def test_datacomp(tmp_path: Path) -> None:
    """CLIP scores lie elsewhere and are joined by uid; a subset file keeps its own, leading zeros or not."""
    metadata = datacomp_pool(tmp_path / "pool", shards=3, failed=[4]).to_pandas()
    subset = datacomp_subset(tmp_path / "subset.npy", metadata.uid[metadata.clip_b32_similarity_score < 0.25])
    ds = opened(tmp_path / "pool/shards", tmp_path)
    assert len(ds) == 21
    scores = ["clip_b32_similarity_score", "clip_l14_similarity_score"]
    ds = ds.join(tmp_path / "pool/metadata", on="uid", columns=scores)
    ds = ds.include(subset, on="uid", name="subset").filter("clip_l14_similarity_score >= 0.2", name="clip")
    counts = ds.counts().set_index("step")
    assert counts.unmatched.sum() == 0
    expected = metadata[(metadata.clip_b32_similarity_score < 0.25) & (metadata.clip_l14_similarity_score >= 0.2)]
    expected = expected[~expected.url.str.endswith("/4.jpg")].set_index("uid")
    rows = exported(ds, tmp_path / "out", tmp_path / "pool/shards").set_index("uid")
    assert set(rows.index) == set(expected.index)
    assert rows.index.str.startswith("000").any()
    for column in scores:
        assert rows[column].tolist() == expected[column].loc[rows.index].tolist()


def test_a_subset_that_datacomp_resharded(tmp_path: Path) -> None:
    """No parquet, uids in the JSON alone, stats with one number, a sample that is there twice under two names."""
    uids = [f"{number:032x}" for number in (1, 2**64, 2**127, 1)]
    datacomp_reshard(tmp_path / "subset", uids)
    ds = opened(tmp_path / "subset", tmp_path).exclude([uids[2]], on="uid")
    assert (ds.check().problems == "").all()
    rows = exported(ds, tmp_path / "out", tmp_path / "subset")
    assert rows.key.tolist() == [f"{uids[0]}-0", f"{uids[0]}-1", f"{uids[1]}-0"]


@pytest.mark.parametrize("carried", [("similarity", "hash", "punsafe", "pwatermark"), ("WIDTH", "similarity"), ()])
def test_laion(tmp_path: Path, carried: tuple[str, ...]) -> None:
    """Scores came with the shards, or are joined by URL from the parquets with upper-case names."""
    metadata = laion_pool(tmp_path / "laion", failed=[2], carried=carried).to_pandas()
    wanted = {"punsafe": "punsafe", "pwatermark": "pwatermark", "similarity": "similarity", "WIDTH": "listed_width"}
    ds = opened(tmp_path / "laion/images", tmp_path)
    ds = ds.join(
        tmp_path / "laion/metadata/part-*.parquet",
        on="url",
        right_on="URL",
        columns={name: given for name, given in wanted.items() if given not in carried},
    )
    ds = ds.filter("similarity >= 0.3 and punsafe < 0.5 and pwatermark < 0.7", name="safe")
    is_good = (metadata.similarity >= 0.3) & (metadata.punsafe < 0.5) & (metadata.pwatermark < 0.7)
    expected = metadata[is_good & ~metadata.index.isin([2, 10])]
    rows = exported(ds, tmp_path / "out", tmp_path / "laion/images")
    assert sorted(rows.url) == sorted(expected.URL)
    assert rows.caption.tolist() == metadata.set_index("URL").TEXT[rows.url].tolist()
    if "hash" in carried:
        assert rows["hash"].tolist() == metadata.set_index("URL")["hash"][rows.url].tolist()


def test_a_caption_that_was_null_is_an_empty_text(tmp_path: Path) -> None:
    """As img2dataset writes it; a filter on the length of captions drops it."""
    laion_pool(tmp_path / "laion", shards=1)
    ds = opened(tmp_path / "laion/images", tmp_path)
    assert (ds.metadata.caption.compute() == "").sum() == 1
    ds = ds.filter("len(caption) > 0", name="captioned")
    assert fates(ds) == {"kept": 7, "captioned": 1}
    exported(ds, tmp_path / "out", tmp_path / "laion/images")


def test_laions_own_names_in_the_shards(tmp_path: Path) -> None:
    """Where no text is in the tar, ``TEXT`` is the caption; the columns stay as they are called."""
    made = [(key, {"jpg": fields["jpg"]}) for key, fields in samples(4)]
    rows = [{"key": key, "URL": f"http://{key}", "TEXT": f"photo {key}", "WIDTH": 300.0} for key, _ in made]
    write_shard(tmp_path / "data/0.tar", made, rows)
    ds = opened(tmp_path / "data", tmp_path).filter("WIDTH >= 300 and URL != 'http://000000002'")
    rows = exported(ds, tmp_path / "out", tmp_path / "data")
    assert rows.caption.tolist() == rows.TEXT.tolist() == [f"photo {n:09d}" for n in (0, 1, 3)]


@pytest.mark.parametrize("integer_ids", [False, True])
def test_the_old_nemo_curator(tmp_path: Path, integer_ids: bool) -> None:
    """Ids may be integers in the parquet; numbered anew as it does, the JSON's id follows and all else stays."""
    for number in range(3):
        legacy_nemo_shard(tmp_path / "data", number, count=4, integer_ids=integer_ids)
    ds = opened(tmp_path / "data", tmp_path, id_col="key").filter("url != 'https://example.com/1'", name="url")
    exported(ds, tmp_path / "kept", tmp_path / "data")

    ds.to_webdataset(tmp_path / "numbered", samples_per_shard=5, old_id_col="old_id", progress=False)
    for path in sorted((tmp_path / "numbered").glob("*.tar")):
        table = pd.read_parquet(path.with_suffix(".parquet")).set_index("key")
        for key, fields in samples_of(path).items():
            row = table.loc[key]
            before = samples_of(tmp_path / f"data/{row.old_id[:5]}.tar")[row.old_id]
            assert (fields["jpg"], fields["txt"]) == (before["jpg"], before["txt"])
            assert json.loads(fields["json"]) == json.loads(before["json"]) | {"key": key}


@pytest.mark.parametrize("variant", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_tar_made_by_hand(tmp_path: Path, variant: int) -> None:
    """Folders, dots, scattered members and litter; what has no image fails, the rest goes out as it came."""
    careless_shard(tmp_path / "data/0.tar", variant)
    ds = opened(tmp_path / "data", tmp_path).pipe(Brightness()).filter("brightness >= 0")
    assert fates(ds) == {"kept": 4, "no image": 1}
    exported(ds, tmp_path / "out", tmp_path / "data")


def test_all_captions_can_be_reached(tmp_path: Path) -> None:
    """The plain one is the caption, the others are in ``captions``; the first plain image is the image."""
    several_of_each_shard(tmp_path / "data/0.tar")
    ds = opened(tmp_path / "data", tmp_path)
    frame = ds.metadata.compute().set_index("key")
    assert frame.caption["words"] == "a dog"
    assert list(frame.captions["words"]) == ["a dog", "dog", "a brown dog on a lawn"]
    assert frame.caption["apart"] == "far from its pictures"
    exported(ds, tmp_path / "out", tmp_path / "data")


def test_every_image_of_a_sample_has_a_fate_of_its_own(tmp_path: Path) -> None:
    """One export for the images that are left of a sample, with all that is no image."""
    several_of_each_shard(tmp_path / "data/0.tar")
    ds = opened(tmp_path / "data", tmp_path, images="all").pipe(Brightness())
    assert len(ds) == 7
    ds = ds.filter("image_field not in ('1.jpg', '0.png', '1.webp')", name="chosen")
    rows = exported(ds, tmp_path / "out", tmp_path / "data", images="all")
    assert rows[["key", "image_field"]].to_records(index=False).tolist() == [
        ("pair", "0.jpg"), ("words", "jpg"), ("depth", "depth.png"), ("depth", "jpg"),
    ]  # fmt: skip
    (path,) = (tmp_path / "out").glob("*.tar")
    assert {key: set(fields) for key, fields in samples_of(path).items()} == {
        "pair": {"0.jpg", "txt", "json"},
        "words": {"jpg", "txt", "short.txt", "long.txt"},
        "depth": {"depth.png", "jpg"},
    }


def test_several_sources_whose_keys_collide(tmp_path: Path) -> None:
    """Every img2dataset output begins at 000000000; each source has its own yield, and exported keys are told apart."""
    sources = {"cc12m": tmp_path / "cc12m", "coyo": tmp_path / "coyo", "laion": tmp_path / "laion/images"}
    img2dataset_shard(sources["cc12m"], 0, failed=[3])
    img2dataset_shard(sources["coyo"], 0, inputs=url_list(0, 5, "coyo.example"), declared_types=True)
    laion_pool(tmp_path / "laion", shards=1, carried=["similarity"])
    ds = opened({name: str(path) for name, path in sources.items()}, tmp_path)
    assert ds.metadata.key.compute().duplicated().any()
    ds = ds.filter("source != 'laion' or similarity >= 0.3", name="similar")
    counts = ds.counts(by="source").groupby("source").left.last()
    assert counts.to_dict() == {"cc12m": 7, "coyo": 5, "laion": 6}
    rows = exported(ds, tmp_path / "out", sources)
    assert rows.key.is_unique
    assert rows.source.value_counts().to_dict() == counts.to_dict()

    apart = {name: opened(str(path), tmp_path) for name, path in sources.items()}
    together = ic.concat(apart).filter("source != 'laion' or similarity >= 0.3", name="similar")
    assert together.metadata.sample_id.compute().tolist() == rows.sample_id.tolist()


def test_a_repository_on_the_hugging_face_hub(tmp_path: Path) -> None:
    """Tars called as people publish them there, read where they are."""
    for number in range(2):
        made = samples(3, first=3 * number)
        write_shard(tmp_path / f"repository/data/train-{number:05d}-of-00002.tar", made, **WEBDATASET)
    with hub(tmp_path / "repository") as (options, _):
        ds = opened(f"hf://datasets/{REPOSITORY}/data/*.tar", tmp_path, storage_options=options)
        rows = exported(ds.filter("score >= 0.25", name="score"), tmp_path / "out", tmp_path / "repository/data")
    assert rows.shard.tolist() == ["train-00000-of-00002"] * 2 + ["train-00001-of-00002"] * 3


@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".bz2"])
def test_compressed_tars(tmp_path: Path, ending: str) -> None:
    """The same samples with the same bytes as the tars that were compressed, whether the name says it or not."""
    pack = {".bz2": bz2.compress, ".zst": lambda data: pa.compress(data, "zstd", asbytes=True)}.get(
        ending, gzip.compress
    )
    for number in range(2):
        path = img2dataset_shard(tmp_path / "plain", number, failed=[1])
        packed = tmp_path / "packed" / f"{path.name}{ending}"
        packed.parent.mkdir(exist_ok=True)
        packed.write_bytes(pack(path.read_bytes()))
        packed.with_name(f"{path.stem}.parquet").write_bytes(path.with_suffix(".parquet").read_bytes())
    outputs = []
    for kind in ("plain", "packed"):
        ds = opened(tmp_path / kind, tmp_path).filter("len(caption) > 0").pipe(Brightness())
        ds.to_webdataset(tmp_path / f"out-{kind}", samples_per_shard=5, progress=False)
        assert verify(tmp_path / f"out-{kind}") == []
        outputs.append({path.name: path.read_bytes() for path in sorted((tmp_path / f"out-{kind}").glob("*.tar"))})
    assert outputs[0] == outputs[1]


def test_one_schema_from_shards_that_differ(tmp_path: Path) -> None:
    """Null, integer, fraction and text; fields that are missing; nested JSON; told once, and kept to the last row."""
    folder = tmp_path / "data"
    exif = {"camera": {"make": "Acme", "iso": 100}}
    for number, columns in enumerate(({"width": 640, "n": None}, {"width": 640.5}, {"width": "wide", "n": 1})):
        made = samples(2, first=2 * number)
        write_shard(folder / f"{number}.tar", made, [{"key": key, **columns} for key, _ in made])
    write_shard(folder / "3.tar", [("9", {"jpg": picture(9), "json": {"exif": exif}})], [{"key": "9", "exif": exif}])
    ds = opened(folder, tmp_path)
    frame = ds.metadata.compute().set_index("key")
    assert frame.width.dropna().tolist() == ["640", "640", "640.5", "640.5", "wide", "wide"]
    assert frame.n.dropna().tolist() == [1, 1]
    assert "Acme" in str(frame.exif["9"])
    assert any("width" in note for note in ds.check().attrs["notes"])
    exported(ds.filter("exif is null or width is null"), tmp_path / "out", folder)


def test_a_folder_of_what_goes_wrong(tmp_path: Path) -> None:
    """Each shard costs what is wrong in it, with a reason, and nothing else."""
    folder = tmp_path / "data"
    write_shard(folder / "00-sound.tar", samples(2), [{"key": f"{n:09d}", "score": n} for n in (1, 7, 8)])
    cut = tar_bytes([("cut-a.jpg", picture(1)), ("cut-b.jpg", picture(2))])[: len(picture(1)) + 1700]
    (folder / "01-cut.tar").write_bytes(cut)
    (folder / "02-empty.tar").write_bytes(bytes(10240))
    (folder / "03-no-bytes.tar").write_bytes(b"")
    (folder / "04-html.tar").write_bytes(b"<html>404 not found</html>" * 99)
    write_tar(folder / "05-keys.tar", [("same.jpg", picture(3)), ("same.jpg", picture(4)), ("other.jpg", picture(5))])
    write_tar(folder / "06-images.tar", [("zero.jpg", b""), ("html.jpg", b"<html>"), ("words.txt", b"no image")])
    write_tar(folder / "07-names.tar", [("photo", picture(6)), ("odd.image", picture(7)), ("odd.txt", b"a caption")])
    write_tar(folder / "08-paths.tar", [("/abs.jpg", picture(8)), ("../up.jpg", picture(9)), ("fine.jpg", picture(10))])
    links = [("link.jpg", tarfile.SYMTYPE, "/etc/passwd"), ("up.jpg", tarfile.LNKTYPE, "../../up.jpg")]
    with tarfile.open(folder / "09-links.tar", "w") as tar:
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    ds = opened(folder, tmp_path).pipe(Brightness())
    ledger = ds.ledger().compute()
    kept = ledger[ledger.status == "kept"]
    assert kept.key.tolist() == ["000000000", "000000001", "cut-a", "same", "other", "photo", "odd", "fine"]
    reasons = [(row.shard[:2], row.reason.partition(":")[0]) for row in ledger[ledger.status == "failed"].itertuples()]
    assert reasons == [
        ("01", "truncated tar"),
        ("03", "empty file"),
        ("04", "not a tar file"),
        ("05", "duplicate key"),
        ("06", "empty image"),
        ("06", "not an image"),
        ("06", "no image"),
        ("08", "unsafe member name"),
        ("08", "unsafe member name"),
        ("09", "image is a symbolic link"),
        ("09", "hard link to nothing"),
    ]
    check = ds.check().set_index("shard")
    assert (check.problems != "").tolist() == [name[:2] not in ("00", "02", "07") for name in check.index]
    assert check.loc["00-sound", ["parquet_rows_without_sample", "samples_without_parquet_row"]].tolist() == [2, 1]
    ds.to_webdataset(tmp_path / "out", progress=False)
    (path,) = (tmp_path / "out").glob("*.tar")
    sound = {key: {field: encoded(value) for field, value in fields.items()} for key, fields in samples(2)}
    sound |= {"cut-a": {"jpg": picture(1)}, "same": {"jpg": picture(3)}, "other": {"jpg": picture(5)}}
    sound |= {"odd": {"image": picture(7), "txt": b"a caption"}, "fine": {"jpg": picture(10)}}
    assert samples_of(path) == sound | {"photo": {"": picture(6)}}
    assert sorted(tmp_path.iterdir()) == [folder, tmp_path / "out", tmp_path / "work"]
