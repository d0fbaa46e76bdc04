"""What the kernel is told of a memory map, so that more than the memory holds is read fast.

By itself it reads an image when it is first touched, a few pages at a time and more around them
than is wanted: 150 images of 96 px a second, of a store four times as large as the memory. Told
which images come, it reads those, all of them at once: 6,000 (`benchmarks/larger_than_memory.py`).
"""

from __future__ import annotations

import ctypes
import mmap

from torch import Tensor

_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def in_any_order(pixels: Tensor) -> None:
    """Say that rows come in any order: nothing is read but what is asked for.

    Args:
        pixels: [n, ...], contiguous; what is no memory map stays as it is.
    """
    _tell(pixels.data_ptr(), pixels.nbytes, mmap.MADV_RANDOM)


def will_need(pixels: Tensor, rows: Tensor) -> None:
    """Have these rows read, without waiting for them.

    Args:
        pixels: see `in_any_order`.
        rows: int64 [k] on the CPU.
    """
    start, size = pixels.data_ptr(), pixels.stride(0) * pixels.element_size()
    for row in rows.tolist():
        _tell(start + row * size, size, mmap.MADV_WILLNEED)


def _tell(start: int, size: int, what: int) -> None:
    """Advise on the pages of some bytes. It is advice: what comes of it does not matter."""
    before = start % mmap.PAGESIZE
    _madvise(start - before, size + before, what)
