"""Progress of a long batch: a callback, a bar of tqdm or rich, or a line of text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Progress: TypeAlias = "bool | Callable[[int, int], object] | None"

_TEXT_INTERVAL_S: Final = 0.5
_REPORT_INTERVAL_S: Final = 0.02
_LOG_INTERVAL_S: Final = 10.0  # where nobody watches
_BAR_WIDTH: Final = 30


class Watcher:
    """Turns the number of finished requests into bytes, for whoever wants to know.

    Args:
        progress: True for a bar on standard error, or a function of (bytes done, bytes in all).
        request_nbytes: of the requests, in the order in which they are started.
    """

    def __init__(self, progress: Callable[[int, int], object] | bool, request_nbytes: NDArray[np.float64]) -> None:
        self._bytes_done = np.concatenate(([0.0], np.cumsum(request_nbytes)))
        self.bytes_total = int(self._bytes_done[-1])
        self._report = progress if callable(progress) else _bar(self.bytes_total)

    def __call__(self, requests_done: int) -> None:
        """Report that so many requests are done."""
        self._report(int(self._bytes_done[min(requests_done, len(self._bytes_done) - 1)]), self.bytes_total)

    def finish(self) -> None:
        """Report that all is done."""
        self._report(self.bytes_total, self.bytes_total)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """All is done; or a bar ends where it is, before what went wrong is said."""
        if kind is None:
            self.finish()
        elif isinstance(self._report, _TqdmBar):
            self._report.close()


class StreamWatcher:
    """The same for a stream, which counts bytes, and may not know how many there will be.

    Args:
        progress: as for :class:`Watcher`.
        bytes_total: None: not known; then it is what has been asked for so far.
    """

    def __init__(self, progress: Callable[[int, int], object] | bool, bytes_total: int | None) -> None:
        self._report = progress if callable(progress) else _bar(bytes_total or 0)
        self._total = bytes_total
        self._asked = self._done = 0
        self._next = 0.0

    def expect(self, nbytes: int) -> None:
        """So many bytes more have been asked for."""
        self._asked += nbytes

    def add(self, nbytes: int) -> None:
        """So many bytes more are done."""
        self._done += nbytes
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REPORT_INTERVAL_S
            # Never all of them before the end: a bar is taken down then.
            total = max(self._asked, self._done + 1) if self._total is None else self._total
            if self._done < total:
                self._report(self._done, total)

    def finish(self) -> None:
        """All is done."""
        self._report(self._asked, self._asked)


def check_progress(progress: Progress) -> Callable[[int, int], object] | bool:
    """What the caller gave as ``progress=``, False for None.

    Raises:
        TypeError: it is neither a bool nor callable.
    """
    if progress is None or isinstance(progress, bool) or callable(progress):
        return False if progress is None else progress
    raise TypeError(f"progress is {progress!r}; True or a function of (bytes_done, bytes_total) is due")


def progress_bar(bytes_total: int) -> Callable[[int, int], object]:
    """The bar that ``progress=True`` shows, on standard error: for work that takes many batches.

    Args:
        bytes_total: how much there is to do.

    Returns:
        A function of (bytes done, bytes in all), which takes the bar down when both are the same. Where tqdm is not
        installed it writes a line to a terminal, with rich's bar or as plain text, and nothing elsewhere.
    """
    return _bar(bytes_total)


def _bar(bytes_total: int) -> Callable[[int, int], object]:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _line() if sys.stderr.isatty() else _silent
    interval_s = 0.1 if sys.stderr.isatty() else _LOG_INTERVAL_S
    return _TqdmBar(tqdm(total=bytes_total, unit="B", unit_scale=True, mininterval=interval_s))


def _line() -> Callable[[int, int], object]:
    try:
        from rich.console import Console
        from rich.progress_bar import ProgressBar
    except ImportError:
        return _TextLine()
    return _RichLine(Console(file=sys.stderr), ProgressBar)


def _silent(_bytes_done: int, _bytes_total: int) -> None:
    pass


class _TqdmBar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def __call__(self, bytes_done: int, bytes_total: int) -> None:
        self._bar.total = bytes_total
        self._bar.update(bytes_done - self._bar.n)
        if bytes_done == bytes_total:
            self.close()

    def close(self) -> None:
        self._bar.close()


class _TextLine:
    """A line that is written over and over."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._next = self._start

    def __call__(self, bytes_done: int, bytes_total: int) -> None:
        now = time.monotonic()
        finished = bytes_done == bytes_total
        if now < self._next and not finished:
            return
        self._next = now + _TEXT_INTERVAL_S
        speed = bytes_done / max(now - self._start, 1e-9) / 1e6
        share = bytes_done / max(bytes_total, 1)
        text = f"{int(share * 100):3d} %  {bytes_done / 1e6:,.0f} MB  {speed:,.0f} MB/s"
        self._show(share, text, "\n" if finished else "")

    def _show(self, _share: float, text: str, end: str) -> None:
        sys.stderr.write(f"\r{text}{end}")
        sys.stderr.flush()


class _RichLine(_TextLine):
    """Not one of rich's live displays: those have to be ended, whatever becomes of the batch."""

    def __init__(self, console: Any, bar: Any) -> None:
        super().__init__()
        self._console = console
        self._bar = bar

    def _show(self, share: float, text: str, end: str) -> None:
        bar = self._bar(total=1.0, completed=share, width=_BAR_WIDTH)
        self._console.print(bar, text, end=end or "\r", highlight=False)
