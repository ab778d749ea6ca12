"""Who takes part in the benchmark of remote reads: each reads the same ranges of an object in its library's own way."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from _common import Entry, UnavailableError
from servers.latency import pattern

if TYPE_CHECKING:
    import ringio

Buffers = Sequence[Any] | npt.NDArray[np.uint8]
ReadRanges = Callable[[], Buffers]

THREADS = 32
IN_FLIGHT = 256  # for whoever lets us choose: more gains nobody anything at 20 ms
REGION = "us-east-1"


@dataclass(frozen=True)
class RemoteTask:
    """Ranges of one length in one object, whose bytes are ``servers.latency.pattern``'s."""

    base_url: str  # of the HTTP server
    s3_endpoint: str
    bucket: str
    key: str
    offsets: npt.NDArray[np.int64]
    length: int

    @property
    def url(self) -> str:
        return f"{self.base_url}/{self.bucket}/{self.key}"

    @property
    def s3_url(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def starts(self) -> list[int]:
        found: list[int] = self.offsets.tolist()
        return found

    @property
    def ends(self) -> list[int]:
        return [start + self.length for start in self.starts]

    @property
    def s3_options(self) -> dict[str, Any]:
        """obstore's words for the S3 endpoint; those for HTTP are part of them."""
        return {
            "endpoint": self.s3_endpoint,
            "region": REGION,
            "skip_signature": True,
            "virtual_hosted_style_request": False,
            "client_options": CLIENT_OPTIONS,
        }


# HTTP/1.1 is all that the servers speak; obstore keeps any number of connections, fsspec 100, botocore 10.
CLIENT_OPTIONS: dict[str, Any] = {"allow_http": True, "http1_only": True}


# ----------------------------------------------------------------------------------------------- ringio


def ringio_reader(url: str, **options: Any) -> ringio.Reader:
    """A reader that has been seen to read from the URL."""
    import ringio

    try:
        reader = ringio.Reader(**options)
        reader.read_ranges([(url, 0, 1)])
    except (FileNotFoundError, ValueError, ringio.BackendError) as error:
        raise UnavailableError(str(error)) from None
    return reader


def ringio_tuples(task: RemoteTask) -> ReadRanges:
    ranges = [(task.url, start, task.length) for start in task.starts]
    reader = ringio_reader(task.url)
    return lambda: reader.read_ranges(ranges)


def ringio_s3(task: RemoteTask) -> ReadRanges:
    ranges = [(task.s3_url, start, task.length) for start in task.starts]
    reader = ringio_reader(task.s3_url, store_options=task.s3_options)
    return lambda: reader.read_ranges(ranges)


def ringio_columns_out(task: RemoteTask) -> ReadRanges:
    import ringio

    reader = ringio_reader(task.url)
    count = len(task.offsets)
    ranges = ringio.Ranges(
        paths=[task.url],
        path_index=np.zeros(count, np.uint32),
        offsets=task.offsets,
        lengths=np.full(count, task.length, np.int64),
    )
    output = np.zeros((count, task.length), np.uint8)

    def read() -> Buffers:
        reader.read_ranges(ranges, out=output)
        return output

    return read


def ringio_async(task: RemoteTask) -> ReadRanges:
    ranges = [(task.url, start, task.length) for start in task.starts]
    reader = ringio_reader(task.url)
    if not hasattr(reader, "read_ranges_async"):
        raise UnavailableError("no read_ranges_async yet")
    return in_a_loop(lambda: reader.read_ranges_async(ranges))


# ----------------------------------------------------------------------------------------------- obstore


def in_a_loop(read: Callable[[], Awaitable[Buffers]]) -> ReadRanges:
    """Runs a coroutine each time, always on the same loop: a client may have bound its connections to it."""
    loop = asyncio.new_event_loop()

    async def run() -> Buffers:
        return await read()

    return lambda: loop.run_until_complete(run())


def obstore_http(task: RemoteTask) -> Any:
    from obstore.store import HTTPStore

    return HTTPStore.from_url(task.base_url, client_options=CLIENT_OPTIONS)  # type: ignore[arg-type]


def obstore_get_ranges(task: RemoteTask) -> ReadRanges:
    import obstore as obs

    store, path = obstore_http(task), f"{task.bucket}/{task.key}"
    starts, lengths = task.starts, [task.length] * len(task.offsets)
    return lambda: obs.get_ranges(store, path, starts=starts, lengths=lengths)


def obstore_get_ranges_s3(task: RemoteTask) -> ReadRanges:
    import obstore as obs
    from obstore.store import S3Store

    store = S3Store(task.bucket, **task.s3_options)
    starts, lengths = task.starts, [task.length] * len(task.offsets)
    return lambda: obs.get_ranges(store, task.key, starts=starts, lengths=lengths)


def obstore_threads(task: RemoteTask) -> ReadRanges:
    import obstore as obs

    store, path, length, starts = obstore_http(task), f"{task.bucket}/{task.key}", task.length, task.starts
    pool = ThreadPoolExecutor(THREADS)
    parts = [starts[first::THREADS] for first in range(THREADS)]

    def read_part(part: list[int]) -> list[Any]:
        return [obs.get_range(store, path, start=start, length=length) for start in part]

    def read() -> Buffers:
        buffers: list[Any] = [b""] * len(starts)
        for first, part in enumerate(pool.map(read_part, parts)):
            buffers[first::THREADS] = part
        return buffers

    return read


def obstore_async(task: RemoteTask) -> ReadRanges:
    import obstore as obs

    store, path, length, starts = obstore_http(task), f"{task.bucket}/{task.key}", task.length, task.starts

    async def read() -> Buffers:
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def read_one(start: int) -> Any:
            async with slots:
                return await obs.get_range_async(store, path, start=start, length=length)

        return await asyncio.gather(*map(read_one, starts))

    return in_a_loop(read)


# ----------------------------------------------------------------------------------------------- fsspec


def fsspec_http(task: RemoteTask) -> ReadRanges:
    import fsspec

    async def get_client(**kwargs: Any) -> Any:
        import aiohttp  # type: ignore[import-not-found, unused-ignore]

        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT), **kwargs)

    filesystem: Any = fsspec.filesystem("http", get_client=get_client)
    return fsspec_cat_ranges(filesystem, task, task.url)


def fsspec_s3(task: RemoteTask) -> ReadRanges:
    import fsspec

    filesystem: Any = fsspec.filesystem(
        "s3",
        anon=True,
        endpoint_url=task.s3_endpoint,
        config_kwargs={"max_pool_connections": IN_FLIGHT, "s3": {"addressing_style": "path"}},
    )
    return fsspec_cat_ranges(filesystem, task, f"{task.bucket}/{task.key}")


def fsspec_cat_ranges(filesystem: Any, task: RemoteTask, path: str) -> ReadRanges:
    paths, starts, ends = [path] * len(task.offsets), task.starts, task.ends
    # on_error: what is returned instead of bytes otherwise would pass for a result until it is looked at.
    return lambda: filesystem.cat_ranges(paths, starts, ends, on_error="raise")


# ----------------------------------------------------------------------------------------------- TensorStore


def tensorstore(task: RemoteTask, spec: dict[str, Any], key: str) -> ReadRanges:
    import tensorstore as ts

    limits = {f"{spec['driver']}_request_concurrency": {"limit": IN_FLIGHT}}
    store = ts.KvStore.open({**spec, "context": limits}).result()
    slices = [slice(start, end) for start, end in zip(task.starts, task.ends)]

    def read() -> Buffers:
        futures = [store.read(key, byte_range=it) for it in slices]
        return [future.result().value for future in futures]

    return read


def tensorstore_http(task: RemoteTask) -> ReadRanges:
    return tensorstore(task, {"driver": "http", "base_url": task.base_url}, f"{task.bucket}/{task.key}")


def tensorstore_s3(task: RemoteTask) -> ReadRanges:
    spec = {
        "driver": "s3",
        "bucket": task.bucket,
        "endpoint": task.s3_endpoint,
        "aws_region": REGION,
        "aws_credentials": {"type": "anonymous"},
    }
    return tensorstore(task, spec, task.key)


# ----------------------------------------------------------------------------------------------- the limit


def bare_sockets(task: RemoteTask) -> ReadRanges:
    """What the server and the loopback give at most: one request each on so many connections, and nothing looked at."""
    parts = urlsplit(task.url)
    host, port = parts.hostname, parts.port
    assert host is not None
    assert port is not None
    count, length = min(IN_FLIGHT, len(task.offsets)), task.length
    clients = [socket.create_connection((host, port)) for _ in range(count)]
    poller = select.epoll()
    for client in clients:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poller.register(client.fileno(), select.EPOLLIN)
    by_fd = {client.fileno(): client for client in clients}
    head = f"GET {parts.path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\nRange: bytes="
    requests = [f"{head}{start}-{end - 1}\r\n\r\n".encode() for start, end in zip(task.starts, task.ends)]
    output = np.zeros((len(requests), length), np.uint8)
    rows = [memoryview(row) for row in output]  # type: ignore[arg-type, unused-ignore]

    def read() -> Buffers:
        waiting = iter(range(len(requests)))
        places: dict[int, tuple[int, int]] = {}  # of each connection: the range, and how much of its body is there
        for client in clients:
            index = next(waiting)
            client.sendall(requests[index])
            places[client.fileno()] = (index, -1)
        while places:
            for fd, _ in poller.poll():
                index, done = places[fd]
                client = by_fd[fd]
                if done < 0:  # the head and what comes with it
                    data = client.recv(1 << 16)
                    body = data[data.index(b"\r\n\r\n") + 4 :]
                    done = len(body)
                    rows[index][:done] = body
                else:
                    done += client.recv_into(rows[index][done:])
                places[fd] = (index, done)
                if done == length:
                    following = next(waiting, None)
                    if following is None:
                        del places[fd]
                    else:
                        client.sendall(requests[following])
                        places[fd] = (following, -1)
        return output

    return read


LIMIT = f"limit: {IN_FLIGHT} bare sockets"
CONTENDERS: dict[str, Callable[[RemoteTask], ReadRanges]] = {
    LIMIT: bare_sockets,
    "ringio": ringio_tuples,
    "ringio, S3": ringio_s3,
    "ringio, columns, `out=`": ringio_columns_out,
    "ringio, `read_ranges_async`": ringio_async,
    "obstore `get_ranges`": obstore_get_ranges,
    "obstore `get_ranges`, S3": obstore_get_ranges_s3,
    f"obstore `get_range` in {THREADS} threads": obstore_threads,
    f"obstore `get_range_async`, {IN_FLIGHT} at once": obstore_async,
    "fsspec `cat_ranges`, HTTP": fsspec_http,
    "fsspec `cat_ranges`, S3": fsspec_s3,
    "TensorStore kvstore, HTTP": tensorstore_http,
    "TensorStore kvstore, S3": tensorstore_s3,
}


def entry(contender: str, task: RemoteTask) -> Entry:
    """Makes a contender; called in its own process."""
    read = CONTENDERS[contender](task)

    def check() -> None:
        buffers = read()
        assert len(buffers) == len(task.offsets), contender
        for buffer, start in zip(buffers, task.starts):
            if isinstance(buffer, Exception):
                raise buffer
            assert bytes(buffer) == pattern(start, task.length), f"{contender}: range at {start}"

    return Entry(read, check)
