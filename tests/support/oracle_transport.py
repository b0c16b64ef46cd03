"""High-precision reference for entropic transport on a line, from the definitions alone.

The dual is solved in many digits, by Newton's method from the potentials that the package found,
which are only a start: the marginals are checked.
"""

import numpy as np
from mpmath import mp, mpf

DIGITS = 50


def _list(values):
    return [
        v if isinstance(v, mpf) else mpf(float(v)) for v in np.ravel(np.asarray(values, object))
    ]


def _shares(weights, n):
    weights = [mpf(1)] * n if weights is None else _list(weights)
    total = mp.fsum(weights)
    return [w / total for w in weights], total


def squashed(x, a, squash):
    """The entries that are transported."""
    if squash is None:
        return x
    mean = mp.fdot(a, x)
    std = mp.sqrt(mp.fsum(w * (v - mean) ** 2 for w, v in zip(a, x, strict=True)))
    return [1 / (1 + mp.exp(-(v - mean) / std)) if std else mpf(1) / 2 for v in x]


def plan(z, a, y, b, epsilon, start):
    """Rows P_ij/a_i of the plan."""
    n, m = len(z), len(y)
    g = _list(start)
    for _ in range(60):
        rows = []
        for i in range(n):
            e = [g[j] - (z[i] - y[j]) ** 2 / epsilon for j in range(m)]
            top = max(e)
            w = [b[j] * mp.exp(e[j] - top) for j in range(m)]
            total = mp.fsum(w)
            rows.append([v / total for v in w])
        masses = [mp.fsum(a[i] * rows[i][j] for i in range(n)) for j in range(m)]
        off = [b[j] - masses[j] for j in range(m)]
        if max(map(abs, off)) < mpf(10) ** (8 - DIGITS) or m == 1:
            return rows
        h = mp.matrix(m - 1, m - 1)
        for j in range(m - 1):
            for k in range(m - 1):
                h[j, k] = (masses[j] if j == k else 0) - mp.fsum(
                    a[i] * rows[i][j] * rows[i][k] for i in range(n)
                )
        step = mp.lu_solve(h, mp.matrix(off[:-1]))
        for j in range(m - 1):
            g[j] += step[j]
    raise AssertionError("no reference")


class Reference:
    """Values of one lane; every argument may be a list of mpf."""

    def __init__(
        self, x, epsilon, weights=None, targets=None, target_weights=None, *, squash, start
    ):
        with mp.workdps(DIGITS):
            self.x = _list(x)
            n = len(self.x)
            if targets is None:
                m = n if target_weights is None else len(target_weights)
                targets = [mpf(j) / (m - 1) for j in range(m)] if m > 1 else [mpf(1) / 2]
            y = _list(targets)
            self.a, self.total = _shares(weights, n)
            self.b, _ = _shares(target_weights, len(y))
            z = squashed(self.x, self.a, squash)
            (epsilon,) = _list(epsilon)
            self.rows = plan(z, self.a, y, self.b, epsilon, start)

    def rank(self):
        with mp.workdps(DIGITS):
            levels, level = [], mpf(0)
            for w in self.b:
                levels.append(level + w / 2)
                level += w
            return [mpf(1) / 2 + self.total * mp.fdot(row, levels) for row in self.rows]

    def at_targets(self, values):
        with mp.workdps(DIGITS):
            values = _list(values)
            columns = zip(*self.rows, strict=True)
            return [
                mp.fsum(w * p * v for w, p, v in zip(self.a, column, values, strict=True)) / b
                for column, b in zip(columns, self.b, strict=True)
            ]

    def at_entries(self, values):
        with mp.workdps(DIGITS):
            return [mp.fdot(row, _list(values)) for row in self.rows]

    def sort(self):
        return self.at_targets(self.x)
