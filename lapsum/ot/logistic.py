"""The threshold of a sum of logistic CDFs, and derivatives of top-k by it."""

from __future__ import annotations

import numpy as np

from .._backends.protocol import Kernels
from .._backends.types import EvenKernel, Flags, Floats, sum_in_lane

_MOST_STEPS = 200


class LogisticLanes:
    """The top-k of lanes, by kernels for the logistic density; those these leave, carefully.

    Parameters
    ----------
    kernels : Kernels
    x : array, shape (lanes, n)
        The entries, the largest of which are selected; without NaN.
    k, alpha : arrays, shape (lanes,)
    keep : bool
        Whether derivatives are to follow.

    Attributes
    ----------
    p : array, shape (lanes, n)
    """

    def __init__(self, kernels: Kernels, x: Floats, k: Floats, alpha: Floats, keep: bool) -> None:
        levels = np.where(k < x.shape[1], k, np.inf)
        logistic = EvenKernel("logistic")
        given = x, -1.0, alpha, levels, None, None
        self.fast = kernels.short_lanes("topk", logistic, *given, keep, None)
        self.left: Flags | None = np.ones(len(x), bool)
        if self.fast is not None:
            self.p, self.left = self.fast.values, self.fast.left
        if self.left is not None:
            left = self.left
            self.careful = LogisticTopk(-x[left], k[left], alpha[left])
            if self.fast is None:
                self.p = self.careful.p
            else:
                self.p[left] = self.careful.p

    def push(self, x_dot: Floats | None, k_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        """Return the tangent of p."""
        dots = {"x": x_dot, "k": k_dot, "alpha": alpha_dot}
        out = np.zeros(self.p.shape)
        if self.fast is not None:
            some = {name: dot for name, dot in dots.items() if dot is not None}
            out = self.fast.jvp(some)[0] if some else out
        if self.left is not None:
            here = (None if dot is None else dot[self.left] for dot in dots.values())
            z_dot, k_dot, alpha_dot = here
            z_dot = None if z_dot is None else -z_dot
            out[self.left] = self.careful.push(z_dot, k_dot, alpha_dot)
        return out

    def pull(self, bar: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the cotangents of x, k and alpha."""
        if self.fast is None:
            z_bar, k_bar, alpha_bar = self.careful.pull(bar)
            return -z_bar, k_bar, alpha_bar
        bars, _ = self.fast.vjp(bar)
        if self.left is not None:
            z_bar, *others = self.careful.pull(bar[self.left])
            for name, part in zip(("x", "k", "alpha"), (-z_bar, *others), strict=True):
                bars[name][self.left] = part
        return bars["x"], bars["k"], bars["alpha"]


class LogisticTopk:
    """p_i = 1/(1 + e^{-t_i}), t_i = (b - z_i)/alpha, with b such that they add up to k.

    Parameters
    ----------
    z : array, shape (lanes, n)
        Without NaN.  Infinite entries are the limit of large ones: those at -inf are full before
        others count, and those at +inf share what these leave.
    k : array, shape (lanes,)
        In [0, n].
    alpha : array, shape (lanes,)

    Attributes
    ----------
    p : array, shape (lanes, n)
    """

    def __init__(self, z: Floats, k: Floats, alpha: Floats) -> None:
        self.alpha = alpha[:, None]
        finite = np.isfinite(z)
        low, high = z == -np.inf, z == np.inf
        rest = k - low.sum(axis=-1)
        count = finite.sum(axis=-1)
        inside = (rest > 0.0) & (rest < count)
        self.moving = finite & inside[:, None]
        self.z = np.where(self.moving, z, 0.0)
        t = np.full(z.shape, np.inf)
        if inside.any():
            t[inside] = _solve(z[inside], finite[inside], rest[inside], alpha[inside])
        full = low | (finite & ~inside[:, None] & (rest > 0.0)[:, None])
        p = np.where(self.moving, 1.0 / (1.0 + np.exp(-t)), np.where(full, 1.0, 0.0))
        # Where the level falls among entries at an infinity, or on one side of all of the others.
        self.sharing = (low & (rest <= 0.0)[:, None]) | (high & (rest >= count)[:, None])
        self.shared = (
            self.sharing / np.maximum(sum_in_lane(self.sharing.astype(float)), 1.0)[:, None]
        )
        left = np.where(rest <= 0.0, k, rest - count)
        self.p = np.where(self.sharing, self.shared * left[:, None], p)
        self.t = t
        with np.errstate(over="ignore"):
            slope = np.where(self.moving, self.p / (1.0 + np.exp(t)), 0.0)
        self.slope = slope
        total = sum_in_lane(slope)[:, None]
        self.q = np.where(total > 0.0, slope / np.where(total > 0.0, total, 1.0), 0.0)

    def push(self, z_dot: Floats | None, k_dot: Floats | None, alpha_dot: Floats | None) -> Floats:
        """Return the tangent of p."""
        out = np.zeros(self.p.shape)
        if k_dot is not None:
            out = out + (self.q + self.shared) * k_dot[:, None]
        if z_dot is not None:
            away = np.where(self.moving, z_dot, 0.0)
            out = out + self.slope * (sum_in_lane(self.q * away)[:, None] - away) / self.alpha
        if alpha_dot is not None:
            away = self._away
            along = self.slope * (away - sum_in_lane(self.q * away)[:, None])
            out = out + along * (alpha_dot[:, None] / self.alpha)
        return out

    def pull(self, bar: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the cotangents of z, k and alpha."""
        k_bar = sum_in_lane((self.q + self.shared) * bar)
        centred = self.slope * (bar - sum_in_lane(self.q * bar)[:, None])
        alpha_bar = sum_in_lane(centred * self._away) / self.alpha[:, 0]
        return -centred / self.alpha, k_bar, alpha_bar

    @property
    def _away(self) -> Floats:
        """(z - b)/alpha, 0 where nothing depends on it."""
        return np.where(self.slope > 0.0, -self.t, 0.0)


def _solve(z: Floats, finite: Flags, k: Floats, alpha: Floats) -> Floats:
    """Return (b - z)/alpha, 0 < k < the number of finite entries of every lane.

    With L the mass of entries above b and R what those below lack, L - R = d; Newton's method is
    used on the logarithm of the two sides, which is nearly linear in b in plateaus, too.
    """
    n = finite.sum(axis=-1)
    j = np.ceil(k).astype(np.intp)
    ordered = np.sort(np.where(finite, z, np.inf), axis=-1)
    at = ordered[np.arange(len(z)), j - 1]
    after = ordered[np.arange(len(z)), np.minimum(j, n - 1)]
    u = np.where(finite, (at[:, None] - z) / alpha[:, None], -np.inf)
    part, others = k - (j - 1), n - (j - 1)
    low = np.log(part / others) - np.log1p(-part / others)
    whole = k == j
    high = np.where(whole, 0.0, k / j)
    high = np.where(whole, (after - at) / alpha + np.log(k) + 1.0, np.log(high) - np.log1p(-high))
    high = np.minimum(high, 1e300)
    s = np.where(whole, np.minimum(0.5 * (after - at) / alpha, high), np.minimum(0.0, high))
    s = np.maximum(s, low)
    for _ in range(_MOST_STEPS):
        t: Floats = u + s[:, None]
        e = np.exp(-np.abs(t))
        tail = e / (1.0 + e)
        slope = tail / (1.0 + e)
        below = t >= 0.0
        d = k - below.sum(axis=-1)
        left, lacking = (np.where(side, tail, 0.0).sum(axis=-1) for side in (~below, below))
        left_slope, lacking_slope = (
            np.where(side, slope, 0.0).sum(axis=-1) for side in (~below, below)
        )
        more, less = left + np.maximum(-d, 0.0), lacking + np.maximum(d, 0.0)
        f = np.log(more) - np.log(less)
        step = -f / (left_slope / more + lacking_slope / less)
        done = (more == less) | (np.abs(step) <= 2.0**-52 * np.maximum(1.0, np.abs(s)))
        if done.all():
            return t
        low, high = np.where(f < 0.0, s, low), np.where(f > 0.0, s, high)
        new = s + step
        new = np.where((new > low) & (new < high), new, 0.5 * low + 0.5 * high)
        # Rounding may leave no float between the two.
        done |= (new <= low) | (new >= high)
        s = np.where(done, s, new)
        if done.all():
            break
    else:
        worst = float(np.abs(f[~done]).max())
        raise RuntimeError(
            f"the threshold of soft_topk did not converge: after {_MOST_STEPS} steps both sides of "
            f"it balance to a relative {worst:.1e} only"
        )
    t = u + s[:, None]
    return t
