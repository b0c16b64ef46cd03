"""What every operator asks of its arguments; each error names the argument and shows what came.

Values on a device are not looked at: there lanes of bad ones become NaN.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._backends.choose import array_kind
from .._backends.host import check_levels
from .._backends.protocol import Kernels
from .._backends.types import Array, DType, Flags, Floats

MOST_ALLOWED = 2.0**-6  # of a sum of weights in low precision


def check_out(kernels: Kernels, out: Any, shape: tuple[int, ...], dtype: DType) -> None:
    """Raise unless `out` can hold a result: an array of exactly its shape and dtype."""
    if not kernels.holds(out) or array_kind(out) is not kernels.array_type:
        raise TypeError(f"`out` must be an array like the result, got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(
            f"`out` must have shape {shape} and dtype {dtype}, got shape "
            f"{out.shape} and dtype {out.dtype}"
        )
    if kernels.on_host and not out.flags.writeable:
        raise ValueError("`out` must be writeable, got a read-only array")


def check_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool, if it is one or the integer 0 or 1."""
    if value is True or value is False:
        return value
    try:
        number = operator.index(bool(value) if isinstance(value, np.bool_) else value)
    except TypeError:
        number = -1
    if number not in (0, 1):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")
    return number == 1


def check_number(name: str, value: Any) -> float:
    """Return `value` as a float, if it is a real number; one too large becomes infinite."""
    try:
        if not isinstance(value, (str, bytes)):
            return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        pass
    raise TypeError(f"`{name}` must be a number, got {type(value).__name__}")


def allowance_of(level: DType, weights: DType | None, n: int) -> float:
    """Return by which part of itself a sum of n weights, given as a level, may be too large.

    Added up one by one, or divided by such a sum, it is n/2 roundings of their type at most.
    """
    allowance = 4.0 * float(np.finfo(level).eps)
    if weights is not None:
        allowance += (4.0 + 0.5 * n) * float(np.finfo(weights).eps)
    return min(allowance, MOST_ALLOWED)


def _first(array: Array, bad: Flags) -> Any:
    return array[bad].flat[0].item()


def check_alpha(alpha: Array, name: str = "alpha") -> None:
    """Raise ValueError unless every alpha on the host is positive and finite."""
    if type(alpha) is not np.ndarray:
        return
    if not alpha.ndim and 0.0 < alpha.item() < math.inf:
        return
    bad = ~((alpha > 0) & np.isfinite(alpha))
    if bad.any():
        value = _first(alpha, bad)
        hint = ""
        if value == 0:
            hint = "; any tiny number gives the hard limit"
        elif value < 0:
            hint = "; an order is chosen by `largest` or `descending`, not by a sign"
        raise ValueError(f"`{name}` must be positive and finite, got {value!r}{hint}")


def check_weights(weights: Array, name: str = "weights") -> None:
    """Raise ValueError unless every weight on the host is non-negative and finite."""
    if type(weights) is not np.ndarray or not weights.size:
        return
    if weights.min() >= 0 and weights.max() < np.inf:
        return
    bad = ~((weights >= 0) & np.isfinite(weights))
    if bad.any():
        raise ValueError(f"`{name}` must be non-negative and finite, got {_first(weights, bad)!r}")


def check_total(total: Floats, name: str = "weights") -> None:
    """Raise ValueError if weights on the host add up to more than the largest float."""
    if type(total) is np.ndarray and not np.isfinite(total).all():
        raise ValueError(f"`{name}` must have a finite sum, got one that overflows")


def check_targets(targets: Floats) -> None:
    """Raise ValueError unless lanes of targets are finite and ascending."""
    bad = ~np.isfinite(targets)
    if bad.any():
        raise ValueError(f"`targets` must be finite, got {_first(targets, bad)!r}")
    bad = targets[:, 1:] < targets[:, :-1]
    if bad.any():
        before, after = _first(targets[:, :-1], bad), _first(targets[:, 1:], bad)
        raise ValueError(f"`targets` must be in ascending order, got {before!r} before {after!r}")


def check_q(q: Array, sort: str = "soft_sort(x, alpha)") -> None:
    """Raise ValueError unless every q on the host lies strictly between 0 and 1.

    `sort` is the call whose ends are what 0 and 1 would ask for.
    """
    if type(q) is not np.ndarray:
        return
    if not q.ndim and 0.0 < q.item() < 1.0:
        return
    bad = ~((q > 0) & (q < 1))
    if bad.any():
        value = _first(q, bad)
        ends = {0.0: f"{sort}[0] is the soft minimum", 1.0: f"{sort}[-1] is the soft maximum"}
        hint = f"; {ends[value]}" if value in ends else ""
        raise ValueError(f"`q` must lie strictly between 0 and 1, got {value!r}{hint}")


def check_trimming(kernels: Kernels, low: Floats, high: Floats) -> None:
    """Raise ValueError unless 0 <= low < high <= 1, one pair a lane, on the host."""
    if not kernels.on_host:
        return
    for name, level in (("low", low), ("high", high)):
        bad = ~((level >= 0.0) & (level <= 1.0))
        if bad.any():
            raise ValueError(f"`{name}` must lie between 0 and 1, got {_first(level, bad)!r}")
    bad = ~(low < high)
    if bad.any():
        raise ValueError(
            f"`low` must be less than `high`, got {_first(low, bad)!r} and {_first(high, bad)!r}"
        )


def check_k(
    kernels: Kernels,
    arrays: Mapping[str, Array],
    k: Floats,
    total: Floats | None,
    n: int,
    dtypes: Mapping[str, DType],
) -> Floats:
    """Return the levels k, one a lane, infinite where they are the total weight.

    That is `total`, or n without weights, and they may exceed it as `allowance_of` says.  For a
    device they are returned as they are, and only k that were given on the host, beside entries
    without weights, are refused.
    """
    levels, bad = k, -1
    if type(k) is np.ndarray and k.size == 1 and total is None and 0.0 <= k.item() < n:
        return k
    allowance = allowance_of(dtypes["k"], dtypes.get("weights"), n)
    if kernels.on_host:
        levels, bad = check_levels(k, total, n, allowance)
    elif total is None and not kernels.holds(arrays["k"]):
        k = np.ravel(arrays["k"]).astype(float)
        _, bad = check_levels(k, total, n, allowance)
    if bad >= 0:
        most = f"{n}, the number of entries"
        if total is not None:
            most = f"the total weight {total[bad].item()!r}"
        hint, alpha = "", arrays.get("alpha")
        given = k[bad].item()
        limit = n if total is None else total[bad].item()
        scales = alpha if isinstance(alpha, np.ndarray) else np.zeros(1)
        if given > 0 and ((scales % 1 == 0) & (scales >= 1) & (scales <= limit)).all():
            hint = "; perhaps it was swapped with `alpha`: the order is (x, k, alpha)"
        raise ValueError(f"`k` must lie between 0 and {most}, got {given!r}{hint}")
    return levels


def check_numpy(kernels: Kernels, what: str) -> None:
    """Raise TypeError unless the arrays are NumPy's."""
    if not kernels.on_host:
        module = kernels.array_type.__module__.partition(".")[0]
        raise TypeError(f"{what} is for NumPy's arrays, got it beside those of {module}")
