"""`linearize`, `jvp` and `vjp`: from an operator's rule over lanes to the caller's shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._backends.types import Array, DType
from .arguments import array_of_shape
from .call import RULES, call_of, quiet, unbound
from .rule import Rule

Result = NDArray[Any] | np.floating[Any]  # a scalar where there are no dimensions


@dataclass(frozen=True, eq=False, repr=False)
class Linearization:
    """An operator's value at a point, with its derivative there; `linearize` makes it.

    Attributes
    ----------
    value : ndarray or scalar
        The operator's value, read-only (CuPy's arrays: a copy); copy it to change it.
    parameters : tuple of str
        Names of the differentiable parameters, in signature order.
    """

    value: Any
    parameters: tuple[str, ...]
    _rule: Rule
    _shape: tuple[int, ...]

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy from elsewhere is read-only as well.
        state["value"] = state["_rule"].kernels.freeze(state["value"])
        self.__dict__.update(state)

    def __repr__(self) -> str:
        return f"Linearization(value of shape {self._shape}, parameters={self.parameters})"

    def jvp(self, *tangents: Any) -> Result:
        """Return the derivative along `tangents`, the Jacobian-vector product.

        Parameters
        ----------
        *tangents : array_like or None
            One for each of `parameters`, of exactly its shape; None is zero.

        Returns
        -------
        ndarray or scalar
            Tangent of the value, of its shape and dtype.

        Raises
        ------
        TypeError
            If the number of tangents is wrong, or one is not real.
        ValueError
            If a tangent does not have the shape of its parameter.
        """
        rule = self._rule
        if len(tangents) != len(self.parameters):
            raise TypeError(
                f"jvp takes one tangent for each of {self.parameters} (None is zero), got "
                f"{len(tangents)}"
            )
        lanes = {}
        for (name, layout), tangent in zip(rule.layouts.items(), tangents, strict=True):
            if tangent is not None:
                array = array_of_shape(rule.kernels, f"tangent of {name}", tangent, layout.shape)
                lanes[name] = layout.pack(array)
        with quiet():
            out = rule.to_result(rule.jvp(lanes)) if lanes else rule.kernels.xp.zeros(self._shape)
            product: Result = rule.kernels.finish(out, rule.dtype)
            return product

    def vjp(self, cotangent: Any, wrt: str | Iterable[str] | None = None) -> tuple[Any, ...]:
        """Return the cotangents of the parameters, the vector-Jacobian product.

        Parameters
        ----------
        cotangent : array_like
            Cotangent of the value, of exactly its shape.
        wrt : str or sequence of str, optional
            Names of the parameters whose cotangents are computed, or one name; all by default.

        Returns
        -------
        tuple
            One cotangent for each of `parameters`, of its shape, and of its dtype if that is
            float16, float32 or float64, else float64; None where `wrt` leaves a parameter out.

        Raises
        ------
        TypeError
            If the cotangent is not real.
        ValueError
            If the cotangent has another shape than the value, or `wrt` names something else.
        """
        rule, wanted = self._rule, self.parameters
        if wrt is not None:
            wanted = (wrt,) if isinstance(wrt, str) or not isinstance(wrt, Iterable) else tuple(wrt)
            for name in wanted:
                if name not in self.parameters:
                    raise ValueError(
                        f"`wrt` must name parameters of {self.parameters}, got {name!r}"
                    )
        array = array_of_shape(rule.kernels, "cotangent", cotangent, self._shape)
        with quiet():
            bars = rule.vjp(rule.from_result(array), frozenset(wanted)) if wanted else {}
            return tuple(
                rule.kernels.finish(layout.unpack(bars[name]), rule.dtypes[name])
                if name in wanted
                else None
                for name, layout in rule.layouts.items()
            )

    def jacobian(self, name: str) -> Any:
        """Return the Jacobian in one parameter, as an operator over the flattened arguments.

        Parameters
        ----------
        name : str
            One of `parameters`.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator
            Of shape (value.size, parameter.size); the matrix itself is formed by its method
            `toarray` alone.  It can be pickled.

        Raises
        ------
        ValueError
            If `name` is not one of `parameters`.

        Examples
        --------
        >>> import numpy as np
        >>> import lapsum
        >>> lin = lapsum.linearize(lapsum.soft_rank, [3.0, 1.0, 2.0], 0.5)
        >>> lin.jacobian("x").toarray().round(3)
        array([[ 0.154, -0.018, -0.135],
               [-0.018,  0.154, -0.135],
               [-0.135, -0.135,  0.271]])
        """
        if name not in self.parameters:
            raise ValueError(f"`name` must be one of {self.parameters}, got {name!r}")
        return self._rule.kernels.linear_operator(JacobianProducts(self, name))


class JacobianProducts:
    """The Jacobian of a linearization in one parameter, over the flattened arguments.

    Parameters
    ----------
    lin : Linearization
    name : str
        One of its parameters.
    """

    def __init__(self, lin: Linearization, name: str) -> None:
        rule = lin._rule
        self.lin = lin
        self.at = lin.parameters.index(name)
        self.kernels = rule.kernels
        self.argument = rule.layouts[name].shape
        self.result = lin._shape
        self.shape = prod(self.result), prod(self.argument)
        self.dtype: DType = np.result_type(rule.dtype, rule.dtypes[name])

    def matvec(self, v: Array) -> Array:
        """Return the product with a vector."""
        tangents: list[Array | None] = [None] * len(self.lin.parameters)
        tangents[self.at] = v.reshape(self.argument)
        product: Any = self.lin.jvp(*tangents)
        return self.kernels.xp.ravel(product)

    def rmatvec(self, v: Array) -> Array:
        """Return the product of the transpose with a vector."""
        bars = self.lin.vjp(v.reshape(self.result), wrt=self.lin.parameters[self.at])
        return self.kernels.xp.ravel(bars[self.at])

    def toarray(self) -> Array:
        """Return the matrix, by as many products as its shorter side is long: O(n^2) in all."""
        rows, columns = self.shape
        by_rows = rows < columns
        product, n = (self.rmatvec, rows) if by_rows else (self.matvec, columns)
        out = self.kernels.xp.empty((n, max(rows, columns) if n else 0), self.dtype)
        if not n:
            return out.reshape(self.shape)
        for i in range(n):
            unit = self.kernels.xp.zeros(n)
            unit[i] = 1.0
            out[i] = product(unit)
        return out if by_rows else out.T


def linearize(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Linearization:
    """Value of an operator at a point, with its derivative; for one product use `vjp` or `jvp`.

    Parameters
    ----------
    func : callable
        An operator of lapsum, such as `soft_rank`, or a `functools.partial` of one.
    *args, **kwargs
        Its arguments, as in a call; positional or by keyword makes no difference.

    Returns
    -------
    Linearization
        With `value`, `parameters`, `jvp`, `vjp` and `jacobian`.  It keeps copies: no later change
        of an argument reaches it.

    Raises
    ------
    TypeError
        If `func` is not an operator of lapsum, or the arguments do not bind.

    Notes
    -----
    The differentiable parameters are the array arguments, `k` or `q`, `alpha`, and `weights` when
    given.  After the work for the value a product costs :math:`O(n)`, and the Jacobian is never
    formed.  Derivatives are exact everywhere, at ties too.  There are no second derivatives, since
    at a tie the Laplace CDF has none.  PyTorch and JAX differentiate their arrays themselves.

    Examples
    --------
    >>> import numpy as np
    >>> import lapsum
    >>> lin = lapsum.linearize(lapsum.soft_rank, [3.0, 1.0, 2.0], 0.5)
    >>> lin.parameters
    ('x', 'alpha')
    >>> lin.value.round(3)
    array([2.923, 1.077, 2.   ])
    >>> lin.jvp([1.0, 0.0, 0.0], None).round(3)
    array([ 0.154, -0.018, -0.135])
    """
    given: Any = func
    while isinstance(given, partial):
        given, args, kwargs = given.func, (*given.args, *args), {**given.keywords, **kwargs}
    func = given
    rule = RULES.get(func) if callable(func) and func.__hash__ is not None else None
    if rule is None:
        raise TypeError(
            f"`func` must be an operator of lapsum, got {func!r}; its arguments are given beside it"
        )
    if kwargs.pop("out", None) is not None:
        raise TypeError("linearize takes no `out`: a Linearization keeps its value")
    workers = kwargs.pop("workers", None)
    try:
        call = call_of(rule, workers, args, kwargs)
    except TypeError:
        wrong = unbound(func, args, kwargs)
        if wrong is None:
            raise
        raise wrong from None
    value = call.kernels.finish(call.to_result(call.quiet_linearize()), call.dtype)
    return Linearization(call.kernels.freeze(value), tuple(call.layouts), call, value.shape)


def jvp(
    func: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    /,
    **kwargs: Any,
) -> tuple[Result, Result]:
    """Value of an operator, and its derivative in one direction (forward mode).

    Parameters
    ----------
    func : callable
        An operator of lapsum.
    primals : tuple or list
        Its positional arguments.
    tangents : tuple or list of array_like or None
        One for each differentiable parameter, in signature order (`weights` last when given, by
        keyword too); None is zero.
    **kwargs
        The operator's keyword arguments.

    Returns
    -------
    value, tangent : ndarray or scalar
        Of the same shape and dtype; the value is read-only.

    Raises
    ------
    TypeError
        As `linearize`, or if there are too few or too many tangents, or no tuple or list of them.
    ValueError
        If a tangent does not have the shape of its parameter.

    Examples
    --------
    >>> import lapsum
    >>> value, tangent = lapsum.jvp(lapsum.soft_sort, ([3.0, 1.0], 0.5), ([1.0, 0.0], None))
    >>> value.round(3), tangent.round(3)
    (array([0.991, 3.009]), array([0.018, 0.982]))
    """
    for name, sequence in (("primals", primals), ("tangents", tangents)):
        if not isinstance(sequence, (tuple, list)):
            given = type(sequence).__name__
            raise TypeError(f"`{name}` must be a tuple, one entry for each argument, got {given}")
    lin = linearize(func, *primals, **kwargs)
    return lin.value, lin.jvp(*tangents)


def vjp(
    func: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> tuple[Result, Callable[..., Any]]:
    """Value of an operator, and the function that pulls gradients back (reverse mode).

    Parameters
    ----------
    func : callable
        An operator of lapsum.
    *args, **kwargs
        Its arguments.

    Returns
    -------
    value : ndarray or scalar
        The operator's value, read-only; copy it to change it.
    pullback : callable
        `pullback(cotangent, wrt=None)` returns a tuple, one cotangent for each differentiable
        parameter, see `Linearization.vjp`.

    Raises
    ------
    TypeError
        As `linearize`.

    Examples
    --------
    >>> import lapsum
    >>> value, pullback = lapsum.vjp(lapsum.soft_topk, [3.0, 1.0, 2.0], 1, 0.5)
    >>> x_bar, k_bar, alpha_bar = pullback([1.0, 0.0, 0.0])
    >>> x_bar.round(3)
    array([ 0.196, -0.023, -0.173])
    """
    lin = linearize(func, *args, **kwargs)
    return lin.value, lin.vjp
