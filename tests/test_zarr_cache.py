"""The cache of shard indexes: bounded, never stale, and whole in a child process."""

from __future__ import annotations

import os
import pickle
import threading
from typing import Any

import numpy as np
import pytest

from ringio_zarr._cache import Cache, IndexKey, ShardIndex, default_cache

ENTRY_COUNT = 100  # 1600 bytes, and what an entry of the cache costs besides


def key(number: int) -> IndexKey:
    return IndexKey(f"/a/c/{number}", 0, 10_000, "layout")


def index(number: int, identity: bytes = b"old") -> ShardIndex:
    return ShardIndex.of(identity, np.full((ENTRY_COUNT, 2), number, np.uint64))


def test_the_least_recently_used_goes_first() -> None:
    cache = Cache(3 * 2500)
    cache.put_many([(key(number), index(number)) for number in range(3)])
    assert len(cache) == 3
    cache.get_many([(key(0), b"old")])
    cache.put_many([(key(3), index(3))])
    found = cache.get_many([(key(number), b"old") for number in range(4)])
    assert [bool(one) for one in found] == [True, False, True, True]
    assert found[3] is not None
    assert (found[3].entries == 3).all()
    assert 0 < cache.nbytes <= cache.capacity_bytes


def test_an_index_of_another_state_of_the_file_is_let_go() -> None:
    cache = Cache()
    cache.put_many([(key(0), index(0))])
    assert cache.get_many([(key(0), b"new")]) == [None]
    assert cache.get_many([(key(0), b"old")]) == [None]
    assert (len(cache), cache.nbytes) == (0, 0)


def test_the_same_path_read_in_another_way_is_another_index() -> None:
    cache = Cache()
    cache.put_many([(key(0), index(0))])
    for other in [key(0)._replace(offset=8), key(0)._replace(nbytes=9), key(0)._replace(layout="other")]:
        assert cache.get_many([(other, b"old")]) == [None]
    assert len(cache) == 1


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    for cache in [Cache(0), Cache(ENTRY_COUNT)]:
        cache.put_many([(key(0), index(0))])
        assert (len(cache), cache.nbytes) == (0, 0)


def test_put_twice_counts_once() -> None:
    cache = Cache()
    cache.put_many([(key(0), index(0)), (key(0), index(1))])
    nbytes = cache.nbytes
    cache.put_many([(key(0), index(2))])
    assert (len(cache), cache.nbytes) == (1, nbytes)


def test_ages_are_numbers_of_seconds() -> None:
    age: Any = "x"
    with pytest.raises(TypeError, match="max_age_s is 'x'; a number of seconds is due"):
        Cache(max_age_s=age)
    with pytest.raises(ValueError, match="metadata_max_age_s is -1"):
        Cache(metadata_max_age_s=-1)


def test_pickles_as_its_size() -> None:
    cache = Cache(12345)
    cache.put_many([(key(0), index(0))])
    other = pickle.loads(pickle.dumps(cache))
    assert (other.capacity_bytes, len(other)) == (12345, 0)
    assert pickle.loads(pickle.dumps(default_cache)) is default_cache


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork() in a process with threads
@pytest.mark.parametrize("held", [False, True])
def test_a_child_process_has_a_cache_that_works(held: bool) -> None:
    """Even when another thread of the parent is inside the cache: the child starts anew then."""
    cache = Cache()
    cache.put_many([(key(0), index(0))])
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with cache._lock:
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    if held:
        thread.start()
        assert inside.wait(30)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            before = len(cache)
            cache.put_many([(key(1), index(1))])
            status = 0 if (before, len(cache)) == ((0, 1) if held else (1, 2)) else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    leave.set()
    if held:
        thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
    assert len(cache) == 1


def test_threads_share_it() -> None:
    cache = Cache(20 * 2500)

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(300):
            number = int(rng.integers(0, 40))
            found = cache.get_many([(key(number), b"old")])[0]
            assert found is None or (found.entries == number).all()
            cache.put_many([(key(number), index(number))])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < cache.nbytes <= cache.capacity_bytes
    assert cache.nbytes == sum(one.entries.nbytes + 600 for one in cache._indexes.values())
