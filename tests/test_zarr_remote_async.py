"""Arrays behind a slow server, opened and read in an event loop that has other things to do."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, ShardingCodec, ZstdCodec

import ringio
import ringio_zarr
from servers.rules import Rule

DATA = np.random.default_rng(0).integers(0, 50, (60, 50)).astype("<i4")
SHARDING = ShardingCodec(chunk_shape=(5, 10), codecs=[BytesCodec(), ZstdCodec()])
LAYOUTS: dict[str, dict[str, Any]] = {
    "files": {"chunks": (10, 20)},
    "shards": {"chunks": (20, 30), "serializer": SHARDING, "compressors": []},
}
DELAY_S = 0.4


async def beat(pauses: list[float]) -> None:
    """Note how long the loop does not come round, until cancelled."""
    while True:
        start = time.perf_counter()
        await asyncio.sleep(0.01)
        pauses.append(time.perf_counter() - start)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_slow_server_does_not_keep_the_loop_waiting(layout: str, latency: Any, tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a", data=DATA, **LAYOUTS[layout])
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            latency.put(f"slow/{layout}/{path.relative_to(tmp_path)}", path.read_bytes())

    async def work() -> tuple[list[float], float]:
        start = time.perf_counter()
        pauses: list[float] = []
        heart = asyncio.create_task(beat(pauses))
        with ringio.Reader() as reader:
            array: Any = await ringio_zarr.open_async(str(latency.url(f"slow/{layout}/a")), reader=reader)
            np.testing.assert_array_equal(await array.read_async((slice(3, 57), slice(None, None, 2))), DATA[3:57, ::2])
            np.testing.assert_array_equal(await array.read_async(DATA > 20), DATA[DATA > 20])
            results = await array.read_many_async([np.s_[:9], np.s_[30, 4:]])
        heart.cancel()
        np.testing.assert_array_equal(results[0], DATA[:9])
        np.testing.assert_array_equal(results[1], DATA[30, 4:])
        return pauses, time.perf_counter() - start

    asyncio.run(work())  # whatever is imported or made once
    latency.reset()
    latency.rules(Rule(delay_s=DELAY_S))
    pauses, passed = asyncio.run(work())
    assert passed > 3 * DELAY_S
    assert max(pauses) < DELAY_S * 2 / 3
