"""What is done to entries before they are transported: standardised and squashed, or nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from .._backends.types import Flags, Floats, any_in_lane, sum_in_lane

FAR = 1e300  # stands for an infinite entry that is not squashed
_FARTHEST = 1e100  # standard deviations, beyond which an entry of no weight is moved back


class Squash(ABC):
    """Entries z of a transport as a function of x and of weights that add up to one.

    Attributes
    ----------
    z : array, shape (lanes, n)
        Finite.
    moving : array of bool, shape (lanes, n)
        Which entries of x the result may have derivatives in.
    """

    z: Floats
    moving: Flags

    @abstractmethod
    def push(self, x_dot: Floats | None, a_dot: Floats | None) -> Floats | None:
        """Return the tangent of z, None for zero."""

    @abstractmethod
    def pull(self, z_bar: Floats) -> tuple[Floats, Floats | None]:
        """Return the cotangents of x and of the weights, None for zero."""


class Plain(Squash):
    """The entries as they are."""

    def __init__(self, x: Floats, a: Floats) -> None:
        self.moving = np.isfinite(x)
        self.z = np.clip(x, -FAR, FAR)

    def push(self, x_dot: Floats | None, a_dot: Floats | None) -> Floats | None:
        """Return the tangent of z."""
        return None if x_dot is None else np.where(self.moving, x_dot, 0.0)

    def pull(self, z_bar: Floats) -> tuple[Floats, Floats | None]:
        """Return the cotangents of x and of the weights."""
        return np.where(self.moving, z_bar, 0.0), None


class Logistic(Squash):
    """1/(1 + e^{-u}) with u = (x - mean)/std; u = 0 where all entries of some weight are equal.

    Infinite entries are the limit of large ones, beside which finite ones are all equal.
    """

    def __init__(self, x: Floats, a: Floats) -> None:
        infinite = any_in_lane(np.isinf(x) & (a > 0.0))[:, None]
        self.moving = np.isfinite(x) & ~infinite
        x = np.where(infinite, np.where(np.isinf(x), np.sign(x), 0.0), x)
        x = np.where(np.isfinite(x), x, 0.0)  # an entry of no weight
        # Differences from an entry of some weight, which are zero where all are equal, scaled by a
        # power of two so that no square overflows or underflows.
        first = np.argmax(a > 0.0, axis=-1)[:, None] if x.shape[1] else np.zeros((len(x), 1), int)
        origin = np.take_along_axis(x, first, axis=-1) if x.shape[1] else np.zeros((len(x), 1))
        away = 0.5 * x - 0.5 * origin
        largest = np.max(np.where(a > 0.0, np.abs(away), 0.0), axis=-1, initial=0.0)
        self.exponent = np.frexp(largest)[1][:, None]
        away = np.ldexp(away, -self.exponent)
        self.a = a
        away = away - sum_in_lane(np.where(a > 0.0, a * away, 0.0))[:, None]
        variance = sum_in_lane(np.where(a > 0.0, a * away * away, 0.0))[:, None]
        self.std = np.where(variance > 0.0, np.sqrt(variance), np.inf)
        self.u = np.clip(away / self.std, -_FARTHEST, _FARTHEST)
        self.z = 1.0 / (1.0 + np.exp(-self.u))
        self.slope = self.z / (1.0 + np.exp(self.u))

    def push(self, x_dot: Floats | None, a_dot: Floats | None) -> Floats | None:
        """Return the tangent of z."""
        a, u = self.a, self.u
        out = None
        if x_dot is not None:
            x_dot = np.ldexp(np.where(self.moving, x_dot, 0.0) / self.std, -1 - self.exponent)
            mean, along = (sum_in_lane(w * x_dot)[:, None] for w in (a, a * u))
            out = x_dot - mean - u * along
        if a_dot is not None:
            mean, along = (sum_in_lane(w * a_dot)[:, None] for w in (u, u * u))
            by_weights = -mean - 0.5 * u * along
            out = by_weights if out is None else out + by_weights
        return None if out is None else self.slope * out

    def pull(self, z_bar: Floats) -> tuple[Floats, Floats | None]:
        """Return the cotangents of x and of the weights."""
        a, u = self.a, self.u
        u_bar = np.where((self.slope == 0.0) | (z_bar == 0.0), 0.0, self.slope * z_bar)
        total, along = (sum_in_lane(w)[:, None] for w in (u_bar, u_bar * u))
        x_bar = np.ldexp((u_bar - a * total - a * u * along) / self.std, -1 - self.exponent)
        a_bar = -total * u - 0.5 * along * u * u
        return np.where(self.moving, x_bar, 0.0), a_bar


def squashed(squash: Any, x: Floats, a: Floats) -> Squash:
    """Return the entries of a transport, or raise if `squash` names no way to make them."""
    check_squash(squash)
    return Plain(x, a) if squash is None else Logistic(x, a)


def check_squash(squash: Any) -> None:
    """Raise unless `squash` is one of the ways."""
    if squash is None or (isinstance(squash, str) and squash == "logistic"):
        return
    error = ValueError if isinstance(squash, str) else TypeError
    raise error(f'`squash` must be "logistic" or None, got {squash!r}')


def evenly_spaced(m: int, lanes: int) -> Floats:
    """Return m targets from 0 to 1, in the middle for one, for each lane."""
    targets = np.linspace(0.0, 1.0, m) if m > 1 else np.full(m, 0.5)
    return np.ascontiguousarray(np.broadcast_to(targets, (lanes, m)))
