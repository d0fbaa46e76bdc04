"""Out of memory, whoever says so, is one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from seamask.base.errors import UserError

REMEDY = "take a smaller --batch-size, a larger --accumulate, or --precision bf16"
_BYTES = r"tried to allocate (?P<bytes>\d+) bytes"  # PyTorch on a CPU
_WORDS = r"[Tt]ried to allocate (?P<words>[\d.]+ [KMGT]?i?B)"  # PyTorch on a GPU
_NUMPY = r"Unable to allocate (?P<numpy>[\d.]+ [KMGTPE]?i?B)"
_SIGNS = re.compile(
    r"out of memory|can't allocate memory|[Cc]annot allocate memory|_ALLOC_FAILED|"
    r"can't start new thread|failed to map segment|Storage size calculation overflowed|"
    r"std::bad_alloc|Unable to allocate|array is too big|not enough memory"
)


def memory_asked(error: BaseException) -> str | None:
    """Return how much memory an error says there is not, empty if it does not say how much.

    None: it is not about memory.
    """
    text = str(error)
    if not isinstance(error, MemoryError) and not (
        isinstance(error, RuntimeError | OSError | ImportError) and _SIGNS.search(text)
    ):
        return None
    for pattern in (_BYTES, _WORDS, _NUMPY):
        if found := re.search(pattern, text):
            (amount,) = found.groups()
            return f"{int(amount) / 2**30:,.2f} GiB" if amount.isdigit() else amount
    return ""


def no_memory(error: BaseException, remedy: str = REMEDY) -> UserError | None:
    """Build the line for an error about memory; None for any other error."""
    asked = memory_asked(error)
    if asked is None:
        return None
    where = " of the GPU" if "CUDA" in str(error) or "CUBLAS" in str(error) else ""
    more = f" ({asked} more were asked for)" if asked else ""
    return UserError(f"out of memory{where}{more}: {remedy}")


@contextmanager
def memory_errors(remedy: str = REMEDY) -> Iterator[None]:
    """Within, or in a function that this decorates, out of memory is a `UserError`.

    Args:
        remedy: what to do.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        line = no_memory(error, remedy)
        if line is None:
            raise
        raise line from error
