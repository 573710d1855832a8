"""Who does the work of a sweep: this process, forked processes on this machine, or a Dask cluster.

Forked processes share the bars with the one that forked them, and start in a few milliseconds. A Dask worker reads
them from the lake, once per worker; it must see the notebook and the lake under the same paths.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import islice
from threading import Lock
from typing import Any, Protocol

from cashup.errors import UsageError, WorkFailed
from cashup.research.sweeping.judge import Judge, Task, Trial
from cashup.research.sweeping.search import Numbered

Block = Sequence[Numbered]

LARGEST_BLOCK = 16
"""Sets that one process takes at a time: neighbours, so that what one of them computed serves the next."""

TRIM, TOP_PAD, MMAP = -1, -2, -3
KEPT_BYTES = 256 * 1024**2
"""What the allocator keeps for the next set: a column of a year of minutes is 4 MB, and asking the kernel for fresh
zeroed pages each time costs as much as computing it."""


class Pool(Protocol):
    """Tries blocks of sets; the order in which they come back is no promise."""

    workers: int

    def trials(self, sets: Iterator[Numbered], block: int) -> Iterator[list[Trial]]:
        """The trials of every set, a block at a time."""


@contextmanager
def open_pool(scheduler: str, workers: int | None, judge: Judge) -> Iterator[Pool]:
    """`local` (this process), `processes`, `dask` (a cluster on this machine) or `tcp://...` (that cluster)."""
    count = workers or len(os.sched_getaffinity(0))
    if count < 1:
        raise UsageError(f"a sweep needs at least one worker; it is {count}")
    if scheduler == "local" or (scheduler == "processes" and count == 1):
        yield _Alone(judge)
    elif scheduler == "processes":
        with _forked(judge, count) as executor:
            yield _Crew(executor, count, _try_here)
    elif scheduler == "dask" or "://" in scheduler:
        with _dask(scheduler, count) as (executor, found):
            yield _Crew(executor, found, _try_there, judge.task)
    else:
        raise UsageError(f"there is no scheduler {scheduler!r}; there are local, processes, dask and tcp://HOST:PORT")


def block_size(total: int, workers: int) -> int:
    """Large enough that neighbours share their work, small enough that nobody waits for the last one."""
    return max(1, min(LARGEST_BLOCK, total // (workers * 4)))


class _Alone:
    workers = 1

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def trials(self, sets: Iterator[Numbered], block: int) -> Iterator[list[Trial]]:
        for number, params in sets:
            yield [self._judge.trial(number, params)]


class _Crew:
    """Blocks on an executor, two for each worker under way: memory does not grow with the grid."""

    def __init__(self, executor: Executor, workers: int, work: Any, *told: Any) -> None:
        self.workers = workers
        self._executor = executor
        self._work = work
        self._told = told

    def trials(self, sets: Iterator[Numbered], block: int) -> Iterator[list[Trial]]:
        under_way: set[Future[list[Trial]]] = set()
        blocks = iter(lambda: list(islice(sets, block)), [])
        try:
            while True:
                for chosen in islice(blocks, 2 * self.workers - len(under_way)):
                    under_way.add(self._executor.submit(partial(self._work, *self._told), chosen))
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise WorkFailed("a process of the sweep died (out of memory?); resume it with fewer --workers") from error
        finally:
            for future in under_way:
                future.cancel()


_here: Judge | None = None


def _try_here(block: Block) -> list[Trial]:
    assert _here is not None  # noqa: S101
    return [_here.trial(number, params) for number, params in block]


def _become(judge: Judge) -> None:
    """What a forked process does first. Ctrl-C is for the one that forked it."""
    global _here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _here = judge
    gc.freeze()
    keep_memory()


@contextmanager
def _forked(judge: Judge, workers: int) -> Iterator[Executor]:
    gc.collect()
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_become, initargs=(judge,)) as executor:
        try:
            yield executor
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def keep_memory() -> None:
    """Let glibc reuse large arrays instead of returning each to the kernel; elsewhere nothing happens."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for name, value in ((MMAP, KEPT_BYTES), (TRIM, KEPT_BYTES), (TOP_PAD, KEPT_BYTES // 8)):
        mallopt(name, value)


_lock = Lock()


def _try_there(task: Task, block: Block) -> list[Trial]:
    with _lock:  # a cluster's worker may have threads; a notebook is loaded by one at a time
        judge = _judge_of(_Known(task))
        return [judge.trial(number, params) for number, params in block]


class _Known:
    """A task as a key: its pickled form, because a task holds dictionaries."""

    def __init__(self, task: Task) -> None:
        from distributed.protocol import pickle

        library: Any = pickle  # it has no types

        self.task = task
        self.text: bytes = library.dumps(task)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


@lru_cache(maxsize=2)
def _judge_of(known: _Known) -> Judge:
    keep_memory()
    return Judge(known.task)


@contextmanager
def _dask(scheduler: str, workers: int) -> Iterator[tuple[Executor, int]]:
    import distributed

    library: Any = distributed  # it has no types
    cluster: Any = None
    if scheduler == "dask":
        cluster = library.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=40)
    try:
        try:
            client = library.Client(cluster if cluster is not None else scheduler, timeout=10)
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(
                f"there is no Dask scheduler at {scheduler} ({error}); start one, or use --scheduler dask"
            ) from error
        with client:
            found = max(len(client.scheduler_info(n_workers=-1)["workers"]), 1)
            yield client.get_executor(pure=False, retries=2), found
    finally:
        if cluster is not None:
            cluster.close()
