"""Bad input gets an exception that names array, chunk, file and offset; the rest of the batch is intact."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, ZstdCodec

import ringio
import ringio_zarr

pytestmark = pytest.mark.filterwarnings("ignore::Warning:zarr")

UNTOUCHED = -99
SHARD = (8, 12)
INNER = (4, 4)  # 2 x 3 of them in a shard
SHAPE = (16, 24)
ENTRY = struct.Struct("<QQ")
MAX = 2**64 - 1


def truth() -> np.ndarray[Any, Any]:
    return np.arange(1, 1 + SHAPE[0] * SHAPE[1], dtype="<i4").reshape(SHAPE)


def write_plain(path: Path, compressor: Any = None, **options: Any) -> None:
    """Chunks of 4 x 4, each a file: c/<row>/<column>."""
    array = zarr.create_array(str(path), shape=SHAPE, chunks=INNER, dtype="<i4", compressors=compressor, **options)
    array[...] = truth()


def write_sharded(path: Path, codecs: Any = None, *, checksum: bool = True, location: str = "end") -> None:
    """2 x 2 shards of 2 x 3 raw chunks of 64 bytes."""
    index_codecs = [BytesCodec(), Crc32cCodec()] if checksum else [BytesCodec()]
    sharding = ShardingCodec(
        chunk_shape=INNER,
        codecs=codecs or [BytesCodec()],
        index_codecs=index_codecs,
        index_location=location,  # type: ignore[arg-type]
    )
    zarr.create_array(str(path), shape=SHAPE, chunks=SHARD, dtype="<i4", serializer=sharding, compressors=None)[...] = (
        truth()
    )


def read_into(array: Any, out: np.ndarray[Any, Any]) -> Exception:
    """Read all of it and give the exception, which must be one that a user can act on."""
    with pytest.raises((ringio.RingioError, OSError)) as caught:
        array.get_basic_selection(out=out)
    return caught.value


def check_the_rest(out: np.ndarray[Any, Any], bad: tuple[slice, slice], *, touched: bool = False) -> None:
    """All but the bad region is right; and the bad one was left alone unless it may have been written in part."""
    good = np.ones(SHAPE, bool)
    good[bad] = False
    np.testing.assert_array_equal(out[good], truth()[good])
    if not touched:
        assert (out[bad] == UNTOUCHED).all()


def fresh() -> np.ndarray[Any, Any]:
    return np.full(SHAPE, UNTOUCHED, "<i4")


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read everything, so be nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A folder that nobody can get to; those of ``tmp_path`` are root's alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


# ------------------------------------------------------------------------------------------------ chunks that are files


def break_chunk(path: Path, change: Callable[[Path], None]) -> tuple[Exception, np.ndarray[Any, Any]]:
    """Change the file of chunk (1, 2), then read everything."""
    change(path / "c" / "1" / "2")
    out = fresh()
    return read_into(ringio_zarr.open(path), out), out


CHUNK = (slice(4, 8), slice(8, 12))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), ["63 bytes", "expected 64"]),
        (lambda file: file.write_bytes(file.read_bytes() + b"x"), ["65", "64"]),
        (lambda file: file.write_bytes(b""), ["0 bytes", "expected 64"]),
        (lambda file: os.truncate(file, 2**40), [str(2**40), "64"]),  # sparse: a terabyte is never allocated
    ],
    ids=["short", "long", "empty", "terabyte"],
)
def test_raw_chunk_of_the_wrong_size(tmp_path: Path, change: Callable[[Path], None], words: list[str]) -> None:
    write_plain(tmp_path / "a")
    error, out = break_chunk(tmp_path / "a", change)
    assert isinstance(error, ringio.DecodeError)
    for part in [f"chunk (1, 2) of '{tmp_path}/a'", f"{tmp_path}/a/c/1/2", *words]:
        assert part in str(error)
    assert error.path == f"{tmp_path}/a/c/1/2"
    assert error.offset == 0
    check_the_rest(out, CHUNK)


CODECS: dict[str, Any] = {
    "blosc": BloscCodec(cname="lz4"),
    "blosc-zstd": BloscCodec(cname="zstd"),
    "zstd": ZstdCodec(checksum=True),
    "gzip": GzipCodec(),
    "crc32c": Crc32cCodec(),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("how", ["cut", "cut-to-4", "empty", "garbage", "text"])
def test_damaged_encoded_bytes(tmp_path: Path, codec: str, how: str) -> None:
    def change(file: Path) -> None:
        data = file.read_bytes()
        garbage = np.random.default_rng(0).bytes(len(data))
        file.write_bytes(
            {"cut": data[:-1], "cut-to-4": data[:4], "empty": b"", "garbage": garbage, "text": b"<html>404</html>" * 3}[
                how
            ]
        )

    write_plain(tmp_path / "a", CODECS[codec])
    error, out = break_chunk(tmp_path / "a", change)
    assert isinstance(error, ringio.DecodeError | ringio.UnsupportedCodecError), error
    assert f"{codec.partition('-')[0]}: chunk (1, 2) of '{tmp_path}/a' in {tmp_path}/a/c/1/2, bytes 0-" in str(error)
    check_the_rest(out, CHUNK, touched=True)


def encoded(codec: str, nbytes: int) -> bytes:
    """Bytes that are fine in themselves and decode to ``nbytes`` bytes."""
    data = bytes(nbytes)
    if codec == "zstd":
        return bytes(numcodecs.Zstd().encode(data))
    if codec == "gzip":
        return bytes(numcodecs.GZip().encode(data))
    if codec == "blosc":
        return bytes(numcodecs.Blosc(cname="lz4").encode(data))
    return data + struct.pack("<I", 0)


@pytest.mark.parametrize("codec", ["zstd", "gzip", "blosc"])
@pytest.mark.parametrize("nbytes", [0, 1, 63, 65, 10**6])
def test_decodes_to_another_size(tmp_path: Path, codec: str, nbytes: int) -> None:
    """Too few or too many bytes: an error, never zeros and never a write behind the chunk."""
    write_plain(tmp_path / "a", CODECS[codec])
    error, out = break_chunk(tmp_path / "a", lambda file: file.write_bytes(encoded(codec, nbytes)))
    assert isinstance(error, ringio.DecodeError), error
    assert "chunk (1, 2) of" in str(error)
    check_the_rest(out, CHUNK, touched=True)


def claim(codec: str, nbytes: int) -> bytes:
    """A header that says the data behind it decodes to ``nbytes`` bytes."""
    if codec == "zstd":  # magic, frame header with an 8-byte content size, single segment
        return struct.pack("<IBQ", 0xFD2FB528, 0b11100000, nbytes) + b"\x01\x00\x00"
    if codec == "gzip":
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        data = bytearray(packer.compress(bytes(64)) + packer.flush())
        data[-4:] = struct.pack("<I", nbytes % 2**32)
        return bytes(data)
    if codec == "blosc":
        data = bytearray(numcodecs.Blosc(cname="lz4").encode(bytes(64)))
        data[4:8] = struct.pack("<I", min(nbytes, 2**31 - 1))
        return bytes(data)
    raise AssertionError(codec)


@pytest.mark.parametrize("codec", ["zstd", "gzip", "blosc"])
def test_a_header_that_claims_petabytes(tmp_path: Path, codec: str) -> None:
    write_plain(tmp_path / "a", CODECS[codec])
    error, out = break_chunk(tmp_path / "a", lambda file: file.write_bytes(claim(codec, 2**50 + 7)))
    assert isinstance(error, ringio.DecodeError | ringio.UnsupportedCodecError), error
    assert "chunk (1, 2) of" in str(error)
    check_the_rest(out, CHUNK, touched=True)


def replace_by_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def replace_by_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [(replace_by_fifo, OSError, "not a regular file"), (replace_by_directory, IsADirectoryError, "directory")],
)
def test_a_chunk_that_is_no_file(tmp_path: Path, change: Callable[[Path], None], kind: Any, text: str) -> None:
    write_plain(tmp_path / "a")
    error, out = break_chunk(tmp_path / "a", change)
    assert isinstance(error, kind)
    assert text in str(error)
    assert error.filename == f"{tmp_path}/a/c/1/2"  # type: ignore[attr-defined]
    assert "chunk (1, 2) of" in "".join(error.__notes__)
    check_the_rest(out, CHUNK)


@pytest.mark.parametrize("part", ["1/2", "1"])
def test_a_chunk_that_may_not_be_read(public_path: Path, part: str) -> None:
    write_plain(public_path / "a")
    locked = public_path / "a" / "c" / part
    locked.chmod(0)
    out = fresh()
    with without_privileges():
        error = read_into(ringio_zarr.open(public_path / "a"), out)
    assert isinstance(error, PermissionError)
    assert str(error.filename).startswith(f"{public_path}/a/c/1/")
    assert "chunk (1, " in "".join(error.__notes__)
    check_the_rest(out, CHUNK if part == "1/2" else (slice(4, 8), slice(None)))


@pytest.mark.parametrize("part", ["1/0", "1"])
def test_a_shard_that_may_not_be_read(public_path: Path, part: str) -> None:
    write_sharded(public_path / "a")
    (public_path / "a" / "c" / part).chmod(0)
    out = fresh()
    with without_privileges():
        error = read_into(ringio_zarr.open(public_path / "a"), out)
    assert isinstance(error, PermissionError)
    assert error.filename == f"{public_path}/a/c/1/0"
    assert "chunk (2, 0)" in "".join(error.__notes__)
    check_the_rest(out, SHARD_REGION if part == "1/0" else (slice(8, 16), slice(None)))


def test_a_file_where_a_directory_of_chunks_should_be(tmp_path: Path) -> None:
    """Only a chunk that is not there is missing; what is in the way is an error."""
    write_plain(tmp_path / "a")
    shutil.rmtree(tmp_path / "a/c/1")
    (tmp_path / "a/c/1").write_text("in the way")
    error = read_into(ringio_zarr.open(tmp_path / "a"), fresh())
    assert isinstance(error, NotADirectoryError)


def test_a_link_that_leads_nowhere_and_one_in_a_circle(tmp_path: Path) -> None:
    write_plain(tmp_path / "a")
    file = tmp_path / "a/c/1/2"
    file.unlink()
    file.symlink_to("2")
    assert isinstance(read_into(ringio_zarr.open(tmp_path / "a"), fresh()), OSError)


# ------------------------------------------------------------------------------------------------------------- shards

SHARD_REGION = (slice(8, 16), slice(0, 12))  # shard (1, 0)


def shard_file(path: Path) -> Path:
    return path / "c" / "1" / "0"


def edit_entry(file: Path, number: int, offset: int, nbytes: int, *, location: str = "end") -> None:
    """Change an entry of an index without checksum."""
    data = bytearray(file.read_bytes())
    place = (0 if location == "start" else len(data) - 6 * ENTRY.size) + number * ENTRY.size
    data[place : place + ENTRY.size] = ENTRY.pack(offset, nbytes)
    file.write_bytes(data)


# Of a file of 6 chunks of 64 bytes and an index of 96 bytes.
WRONG_ENTRIES = {
    "behind the end": (10**6, 64, "outside its shard"),
    "over the end": (470, 64, "outside its shard"),
    "longer than the file": (0, 481, "outside its shard"),
    "overflowing": (MAX - 10, 64, "outside its shard"),
    "overflowing to a small number": (MAX - 63, 65 + 64, "outside its shard"),
    "huge": (0, MAX - 1, "outside its shard"),
    "half missing": (MAX, 64, "outside its shard"),
    "other half missing": (0, MAX, "outside its shard"),
    "the index itself": (384, 64, "over the index"),
    "into the index": (383, 2, "over the index"),
    "all of the file": (0, 480, "over the index"),
}


@pytest.mark.parametrize("what", WRONG_ENTRIES)
@pytest.mark.parametrize("location", ["end", "start"])
def test_index_entries_that_cannot_be_right(tmp_path: Path, what: str, location: str) -> None:
    """Entry 4 is chunk (3, 1): it is refused, and the five others of its shard are read."""
    write_sharded(tmp_path / "a", checksum=False, location=location)
    offset, nbytes, text = WRONG_ENTRIES[what]
    if location == "start":
        offset = {384: 0, 383: 95}.get(offset, offset)
    edit_entry(shard_file(tmp_path / "a"), 4, offset, nbytes, location=location)
    out = fresh()
    error = read_into(ringio_zarr.open(tmp_path / "a"), out)
    assert isinstance(error, ringio.DecodeError)
    for part in [
        f"chunk (3, 1) of '{tmp_path}/a'",
        f"in {tmp_path}/a/c/1/0",
        f"bytes {offset}-{offset + nbytes}",
        text,
    ]:
        assert part in str(error)
    assert (error.path, error.offset, error.length) == (f"{tmp_path}/a/c/1/0", offset, nbytes)
    check_the_rest(out, (slice(12, 16), slice(4, 8)))
    array = ringio_zarr.open_array(tmp_path / "a")
    np.testing.assert_array_equal(array[8:12, :12], truth()[8:12, :12])  # who does not want it does not see it


def test_entries_that_are_odd_but_legal(tmp_path: Path) -> None:
    """Two chunks that share their bytes, and gaps."""
    write_sharded(tmp_path / "a", checksum=False)
    file = shard_file(tmp_path / "a")
    first = ENTRY.unpack(file.read_bytes()[-6 * ENTRY.size :][: ENTRY.size])
    edit_entry(file, 4, *first)
    got = ringio_zarr.open_array(tmp_path / "a")[...]
    np.testing.assert_array_equal(got[12:16, 4:8], truth()[8:12, 0:4])
    edit_entry(file, 4, MAX, MAX)
    assert not ringio_zarr.open_array(tmp_path / "a")[12:16, 4:8].any()


def test_an_entry_of_the_wrong_length(tmp_path: Path) -> None:
    write_sharded(tmp_path / "a", checksum=False)
    file = shard_file(tmp_path / "a")
    for nbytes in (0, 1, 63, 65):
        edit_entry(file, 4, 0, nbytes)
        out = fresh()
        error = read_into(ringio_zarr.open(tmp_path / "a"), out)
        assert isinstance(error, ringio.DecodeError)
        assert f"chunk (3, 1) of '{tmp_path}/a' in {file}, bytes 0-{nbytes}" in str(error)
        check_the_rest(out, (slice(12, 16), slice(4, 8)))


@pytest.mark.parametrize("location", ["end", "start"])
def test_an_index_with_the_wrong_checksum(tmp_path: Path, location: str) -> None:
    write_sharded(tmp_path / "a", location=location)
    file = shard_file(tmp_path / "a")
    data = bytearray(file.read_bytes())
    index_start = 0 if location == "start" else len(data) - 100
    data[index_start + 5] ^= 1
    file.write_bytes(data)
    out = fresh()
    error = read_into(ringio_zarr.open(tmp_path / "a"), out)
    assert isinstance(error, ringio.DecodeError)
    for part in ["crc32c", "index", "chunk (2, 0)", f"'{tmp_path}/a'", str(file), f"bytes {index_start}-", "checksum"]:
        assert part in str(error)
    check_the_rest(out, SHARD_REGION)


@pytest.mark.parametrize("nbytes", [0, 1, 99])
def test_a_shard_too_short_for_its_index(tmp_path: Path, nbytes: int) -> None:
    """An empty file is a damaged shard, not a missing one."""
    write_sharded(tmp_path / "a")
    os.truncate(shard_file(tmp_path / "a"), nbytes)
    out = fresh()
    error = read_into(ringio_zarr.open(tmp_path / "a"), out)
    assert isinstance(error, ringio.DecodeError)
    for part in ["chunk (2, 0)", f"'{tmp_path}/a'", f"{tmp_path}/a/c/1/0", f"shard of {nbytes} bytes", "100 bytes"]:
        assert part in str(error)
    check_the_rest(out, SHARD_REGION)


@pytest.mark.parametrize("checksum", [True, False])
def test_a_truncated_shard(tmp_path: Path, checksum: bool) -> None:
    """Cut off behind its index the end of the file is taken for the index: what is found there cannot be right."""
    write_sharded(tmp_path / "a", checksum=checksum)
    os.truncate(shard_file(tmp_path / "a"), 300)
    out = fresh()
    error = read_into(ringio_zarr.open(tmp_path / "a"), out)
    assert isinstance(error, ringio.DecodeError)
    assert f"'{tmp_path}/a'" in str(error)
    assert f"{tmp_path}/a/c/1/0" in str(error)
    check_the_rest(out, SHARD_REGION, touched=True)


def test_a_shard_with_its_index_at_the_start_truncated(tmp_path: Path) -> None:
    write_sharded(tmp_path / "a", location="start")
    file = shard_file(tmp_path / "a")
    os.truncate(file, 100 + 5 * 64 + 10)
    out = fresh()
    error = read_into(ringio_zarr.open(tmp_path / "a"), out)
    assert isinstance(error, ringio.DecodeError)
    assert "outside its shard" in str(error)
    assert (out[SHARD_REGION] == UNTOUCHED).sum() == 16  # one chunk, whichever comes last
    out[SHARD_REGION] = truth()[SHARD_REGION]
    check_the_rest(out, (slice(0), slice(0)))


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [(replace_by_fifo, OSError, "not a regular file"), (replace_by_directory, IsADirectoryError, "directory")],
)
def test_a_shard_that_is_no_file(tmp_path: Path, change: Callable[[Path], None], kind: Any, text: str) -> None:
    write_sharded(tmp_path / "a")
    change(shard_file(tmp_path / "a"))
    out = fresh()
    error = read_into(ringio_zarr.open(tmp_path / "a"), out)
    assert isinstance(error, kind)
    assert text in str(error)
    assert error.filename == f"{tmp_path}/a/c/1/0"  # type: ignore[attr-defined]
    assert "chunk (2, 0)" in "".join(error.__notes__)
    check_the_rest(out, SHARD_REGION)


def test_a_damaged_chunk_in_a_shard(tmp_path: Path) -> None:
    write_sharded(tmp_path / "a", [BytesCodec(), Crc32cCodec()])
    file = shard_file(tmp_path / "a")
    offset, nbytes = ENTRY.unpack(file.read_bytes()[-100:][4 * ENTRY.size : 5 * ENTRY.size])
    data = bytearray(file.read_bytes())
    data[offset + 3] ^= 0x10
    file.write_bytes(data)
    out = fresh()
    error = read_into(ringio_zarr.open(tmp_path / "a"), out)
    assert isinstance(error, ringio.DecodeError)
    assert f"crc32c: chunk (3, 1) of '{tmp_path}/a' in {file}, bytes {offset}-{offset + nbytes}: checksum" in str(error)
    assert (error.path, error.offset, error.length) == (str(file), offset, nbytes)
    check_the_rest(out, (slice(12, 16), slice(4, 8)))


def test_nested_shards_that_are_broken(tmp_path: Path) -> None:
    """The index of an inner shard: an entry of the outer index that is wrong, one that is too short, a bad checksum."""
    nested = ShardingCodec(chunk_shape=SHARD, codecs=[ShardingCodec(chunk_shape=INNER, codecs=[BytesCodec()])])
    outer = ShardingCodec(
        chunk_shape=SHARD,
        codecs=nested.codecs,
        index_codecs=[BytesCodec()],
        index_location="start",  # type: ignore[arg-type]
    )
    array = zarr.create_array(
        str(tmp_path / "a"), shape=SHAPE, chunks=SHAPE, dtype="<i4", serializer=outer, compressors=None
    )
    array[...] = truth()
    file = tmp_path / "a/c/0/0"
    good = file.read_bytes()
    offset, nbytes = ENTRY.unpack(good[2 * ENTRY.size : 3 * ENTRY.size])  # of inner shard (1, 0)

    def outer_entry(*entry: int) -> bytes:
        return good[: 2 * ENTRY.size] + ENTRY.pack(*entry) + good[3 * ENTRY.size :]

    flipped = bytearray(good)
    flipped[offset + nbytes - 30] ^= 1
    for data, text in [
        (outer_entry(len(good) - 4, nbytes), "outside its shard"),
        (outer_entry(10, nbytes), "over the index"),
        (outer_entry(offset, 99), "a shard of 99 bytes cannot hold its index of 100 bytes"),
        (bytes(flipped), "checksum"),
    ]:
        file.write_bytes(data)
        out = fresh()
        error = read_into(ringio_zarr.open(tmp_path / "a"), out)
        assert isinstance(error, ringio.DecodeError)
        for part in ["chunk (2, 0)", f"'{tmp_path}/a'", str(file), text]:
            assert part in str(error)
        check_the_rest(out, SHARD_REGION)


@given(data=st.data())
def test_any_damage_to_a_shard_is_an_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """With checksums everywhere, whatever happens to a shard's bytes, nothing wrong comes out."""
    path = tmp_path_factory.mktemp("damaged") / "a"
    write_sharded(path, [BytesCodec(), ZstdCodec(checksum=True), Crc32cCodec()])
    raw = bytearray(shard_file(path).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "zero"])):
            case "flip":
                raw[start] ^= data.draw(st.integers(1, 255))
            case "cut":
                del raw[start : start + data.draw(st.integers(1, 40))]
            case "insert":
                raw[start:start] = data.draw(st.binary(min_size=1, max_size=40))
            case "zero":
                raw[start : start + 16] = bytes(len(raw[start : start + 16]))
        if not raw:
            break
    shard_file(path).write_bytes(raw)
    out = fresh()
    with contextlib.suppress(ringio.RingioError):
        ringio_zarr.open_array(path).get_basic_selection(out=out)
    right = out == truth()
    assert (right | (out == UNTOUCHED)).all()
    outside = np.ones(SHAPE, bool)
    outside[SHARD_REGION] = False
    assert right[outside].all()


# ---------------------------------------------------------------------------------------- shards that change meanwhile


def rewrite(path: Path, values: np.ndarray[Any, Any]) -> None:
    """As zarr-python does it: a new file takes the place of the old one."""
    zarr.open_array(str(path), mode="r+")[8:16, :12] = values


def test_a_rewritten_shard_is_noticed(tmp_path: Path) -> None:
    """The index that is kept belongs to a file that is gone."""
    write_sharded(tmp_path / "a", [BytesCodec(), ZstdCodec()])
    array = ringio_zarr.open_array(tmp_path / "a")
    for seed in range(4):
        values = np.random.default_rng(seed).integers(0, 10 ** (seed + 1), (8, 12)).astype("<i4")
        rewrite(tmp_path / "a", values)
        np.testing.assert_array_equal(array[8:16, :12], values)
    shard_file(tmp_path / "a").unlink()
    assert not array[8:16, :12].any()
    rewrite(tmp_path / "a", values)
    np.testing.assert_array_equal(array[8:16, :12], values)


def rewrite_in_place(path: Path, values: np.ndarray[Any, Any]) -> None:
    """As a careless program does it: the same file, with other bytes."""
    file, old = shard_file(path), path / "old"
    before = file.stat()
    os.link(file, old)
    rewrite(path, values)
    data = file.read_bytes()
    old.rename(file)
    file.write_bytes(data)
    # However coarse the clock of the file system is.
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))


class Meddler:
    """A reader that changes files between looking at them and reading them.

    Args:
        meddle: called with the number of the call, before each.
        forgetful: no file stays open from one call to the next.
    """

    def __init__(self, meddle: Callable[[int], None], *, forgetful: bool) -> None:
        self._reader = ringio.Reader()
        self._meddle = meddle
        self._forgetful = forgetful
        self.max_gap_bytes = self._reader.max_gap_bytes
        self.max_request_bytes = self._reader.max_request_bytes
        self.calls = 0

    def execute(self, *args: Any, **options: Any) -> Any:
        self._meddle(self.calls)
        self.calls += 1
        if self._forgetful:
            self._reader = ringio.Reader()
        return self._reader.execute(*args, **options)


def open_with(path: Path, reader: Any) -> ringio_zarr.Array:
    return ringio_zarr.open_array(path, reader=reader, shard_index_cache_bytes=1 << 20)


@pytest.mark.parametrize("forgetful", [False, True])
@pytest.mark.parametrize("how", [rewrite, rewrite_in_place])
@pytest.mark.parametrize("call", [0, 1])
def test_a_shard_rewritten_while_it_is_read(tmp_path: Path, call: int, how: Any, forgetful: bool) -> None:
    """Between the look at the file and its index, or between index and chunks: what comes out is new, and no mix."""
    write_sharded(tmp_path / "a", [BytesCodec(), ZstdCodec()])
    values = np.random.default_rng(0).integers(0, 10**6, (8, 12)).astype("<i4")
    meddler = Meddler(lambda number: how(tmp_path / "a", values) if number == call else None, forgetful=forgetful)
    got = open_with(tmp_path / "a", meddler)[...]
    np.testing.assert_array_equal(got[:8], truth()[:8])
    np.testing.assert_array_equal(got[8:16, :12], values)  # even where the old file is still open


@pytest.mark.parametrize("forgetful", [False, True])
@pytest.mark.parametrize("call", [0, 1])
def test_a_shard_removed_while_it_is_read(tmp_path: Path, call: int, forgetful: bool) -> None:
    write_sharded(tmp_path / "a")
    meddler = Meddler(
        lambda number: shard_file(tmp_path / "a").unlink() if number == call else None, forgetful=forgetful
    )
    got = open_with(tmp_path / "a", meddler)[...]
    np.testing.assert_array_equal(got[:8], truth()[:8])
    assert not got[8:16, :12].any()  # even where it is still open


def test_a_shard_cut_off_while_it_is_read(tmp_path: Path) -> None:
    write_sharded(tmp_path / "a")
    meddler = Meddler(
        lambda number: os.truncate(shard_file(tmp_path / "a"), 300) if number == 1 else None, forgetful=False
    )
    out = fresh()
    error = read_into(open_with(tmp_path / "a", meddler), out)
    assert isinstance(error, ringio.DecodeError)  # of the second attempt, which finds a short shard
    check_the_rest(out, SHARD_REGION, touched=True)


@pytest.mark.parametrize("how", [rewrite, rewrite_in_place])
def test_a_shard_rewritten_all_the_time(tmp_path: Path, how: Any) -> None:
    write_sharded(tmp_path / "a", [BytesCodec(), ZstdCodec()])
    rng = np.random.default_rng(0)
    meddler = Meddler(lambda _: how(tmp_path / "a", rng.integers(0, 10**6, (8, 12)).astype("<i4")), forgetful=True)
    with pytest.raises(ringio.FileChangedError) as caught:
        open_with(tmp_path / "a", meddler)[...]
    assert "c/1/0" in str(caught.value)
    assert f"'{tmp_path}/a'" in str(caught.value)
    assert meddler.calls == 2


# ----------------------------------------------------------------------------------------------------------- documents


def document(tmp_path: Path, **changes: Any) -> Path:
    """A v3 array whose document is changed."""
    write_sharded(tmp_path / "a")
    file = tmp_path / "a" / "zarr.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return tmp_path / "a"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"not json",
        b"[]",
        b"null",
        b"3",
        b'"text"',
        b"\xff\xfe\x00",
        b"{" * 100_000,
        b"[" * 100_000,
        b'{"a":}',
    ],
    ids=repr,
)
def test_a_document_that_is_no_json_object(tmp_path: Path, data: bytes) -> None:
    for name in ["zarr.json", ".zarray", ".zgroup"]:
        folder = tmp_path / name.strip(".")
        folder.mkdir()
        (folder / name).write_bytes(data)
        with pytest.raises(ringio_zarr.MetadataError) as caught:
            ringio_zarr.open(folder)
        assert f"{folder}/{name}" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"shape": [-1, 4]}, "shape[0]"),
        ({"shape": [2**70, 4]}, "shape[0]"),
        ({"shape": [16, 1.5]}, "shape[1]"),
        ({"shape": "16"}, "shape"),
        ({"shape": [1] * 40}, "shape"),
        ({"node_type": "tree"}, "node_type"),
        ({"zarr_format": 4}, "zarr_format"),
        ({"data_type": "int17"}, "data_type"),
        ({"codecs": []}, "codecs"),
        ({"codecs": [{"name": "bytes"}, {"name": "snappy"}]}, "snappy"),
        ({"fill_value": "x"}, "fill_value"),
        ({"storage_transformers": [{"name": "x"}]}, "storage_transformers"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [-1, 12]}}}, "chunk_shape[0]"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8]}}}, "chunk_shape"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [9, 12]}}}, "codecs[0]"),
        ({"chunk_grid": {"name": "rectilinear", "configuration": {}}}, "chunk_grid.configuration"),
        ({"chunk_grid": {"name": "hexagonal", "configuration": {}}}, "hexagonal"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_documents_that_cannot_be(tmp_path: Path, changes: dict[str, Any], key: str) -> None:
    path = document(tmp_path, **changes)
    with pytest.raises(ringio_zarr.MetadataError) as caught:
        ringio_zarr.open(path)
    assert f"{path}/zarr.json" in str(caught.value)
    assert key in str(caught.value)


def test_absurd_but_legal_shapes_cost_nothing(tmp_path: Path) -> None:
    """A chunk of petabytes that is not there is fill value; one that is there is refused before memory is taken."""
    grid = {"name": "regular", "configuration": {"chunk_shape": [2**30, 2**30]}}
    path = document(tmp_path, shape=[2**30, 2**30], chunk_grid=grid, codecs=[{"name": "bytes"}])
    array = ringio_zarr.open_array(path)
    with pytest.raises((ringio.RingioError, MemoryError)) as caught:
        array[:2, :2]
    assert "c/0/0" in str(caught.value)
    (path / "c/0/0").unlink()
    assert not array[:2, :2].any()
    with pytest.raises((MemoryError, ValueError)):
        array[...]


def test_the_index_of_a_shard_of_absurdly_many_chunks(tmp_path: Path) -> None:
    grid = {"name": "regular", "configuration": {"chunk_shape": [2**25, 2**25]}}
    sharding = {
        "name": "sharding_indexed",
        "configuration": {"chunk_shape": [1, 1], "codecs": ["bytes"], "index_codecs": ["bytes"]},
    }
    path = document(tmp_path, shape=[2**25, 2**25], chunk_grid=grid, codecs=[sharding])
    with pytest.raises(ringio.DecodeError, match="cannot hold its index"):
        ringio_zarr.open_array(path)[0, 0]


def test_documents_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "directory" / "zarr.json").mkdir(parents=True)
    with pytest.raises(IsADirectoryError) as caught:
        ringio_zarr.open(tmp_path / "directory")
    assert caught.value.filename == f"{tmp_path}/directory/zarr.json"
    (tmp_path / "fifo").mkdir()
    os.mkfifo(tmp_path / "fifo" / ".zarray")
    with pytest.raises(OSError, match="not a regular file"):
        ringio_zarr.open(tmp_path / "fifo")
    (tmp_path / "huge").mkdir()
    with (tmp_path / "huge" / "zarr.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ringio_zarr.MetadataError, match="bytes"):
        ringio_zarr.open(tmp_path / "huge")


def test_a_document_that_may_not_be_read(public_path: Path) -> None:
    write_plain(public_path / "a")
    (public_path / "a/zarr.json").chmod(0)
    with without_privileges(), pytest.raises(PermissionError) as caught:
        ringio_zarr.open(public_path / "a")
    assert caught.value.filename == f"{public_path}/a/zarr.json"


def test_nothing_is_there(tmp_path: Path) -> None:
    for path in [tmp_path, tmp_path / "nowhere", tmp_path / "nowhere" / "else"]:
        with pytest.raises(
            FileNotFoundError, match=r"looked for zarr.json, .zarray, .zgroup|nothing at this path"
        ) as caught:
            ringio_zarr.open(path)
        assert caught.value.filename == str(path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileNotFoundError, match="no Zarr array or group"):
        ringio_zarr.open(tmp_path / "file")


def test_arguments_that_make_no_sense(tmp_path: Path) -> None:
    write_plain(tmp_path / "a")
    for mode in ["w", "a", "r+", "w-"]:
        with pytest.raises(ValueError, match="only reads"):
            ringio_zarr.open(tmp_path / "a", mode=mode)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="zarr_format 4"):
        ringio_zarr.open(tmp_path / "a", zarr_format=4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nonesuch:// is not supported"):
        ringio_zarr.open("nonesuch://host/a")
    with pytest.raises(TypeError, match="got int"):
        ringio_zarr.open(7)
    with pytest.raises(ValueError, match=r"\.\."):
        ringio_zarr.open(tmp_path / "a", path="../b")
    with pytest.raises(ValueError, match="-1 bytes"):
        ringio_zarr.open(tmp_path / "a", shard_index_cache_bytes=-1)
    with pytest.raises(ringio_zarr.MetadataError, match="group"):
        ringio_zarr.open_group(tmp_path / "a")
