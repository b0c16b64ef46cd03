"""The SIMD levels that this processor has."""

from lapsum import _kernels
from lapsum._backends.numpy.loops import simd as BEST

LEVELS = [level for level in ("baseline", "avx2", "avx512") if _kernels.choose(level)]
_kernels.choose(BEST)


def at_every_level():
    """Each level in turn, chosen; afterwards the best one again."""
    try:
        for level in LEVELS:
            _kernels.choose(level)
            yield level
    finally:
        _kernels.choose(BEST)
