"""How the kernels are compiled: at their first use, kept on disk from then on.

One thread, and every sum in one order: the same input gives the same bits on one machine, alone or in a batch.
A kernel calls kernels of its own file only: Numba compiles one again when its own file has changed, and would
not notice a change in another. Importing a kernel waits for Numba, so it is imported where a model is built.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., object])

Floats = NDArray[np.float64]
Tensor = NDArray[np.float32]


def compiled(*, sums_in_order: bool = True) -> Callable[[F], F]:
    """Compile a function when it is first called.

    Products and sums are fused (a * b + c is rounded once). With ``sums_in_order`` False a sum may also be taken
    in several parts at once, which is faster; its parts depend on its length alone.
    """
    fastmath = {"contract"} if sums_in_order else {"contract", "reassoc"}

    def compile_later(function: F) -> F:
        options: dict[str, Any] = {"fastmath": fastmath, "error_model": "numpy"}
        try:
            return cast(F, numba.njit(cache=True, **options)(function))
        except RuntimeError:
            # No folder of this disk may be written: each process compiles it again.
            return cast(F, numba.njit(**options)(function))

    return compile_later
