"""`linearize`, `jvp` and `vjp`: an operator's rule at a point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .call import RULES, call_of, unbound
from .linearization import Linearization, Result


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
    return Linearization(call.kernels.freeze(value), call)


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
        An operator of lapsum, or a `functools.partial` of one.
    primals : tuple or list
        Its positional arguments.
    tangents : tuple or list of array_like or None
        One for each differentiable parameter, in signature order (`weights` last when given, by
        keyword too), those that a partial binds included; None is zero.
    **kwargs
        The operator's keyword arguments.

    Returns
    -------
    value, tangent : ndarray or scalar
        Of the same shape and dtype; the value is read-only.

    Raises
    ------
    TypeError
        As `linearize`, or if `tangents` is not a tuple or list with one entry for each parameter.
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
) -> tuple[Result, Callable[..., tuple[Result, ...]]]:
    """Value of an operator, and the function that pulls gradients back (reverse mode).

    Parameters
    ----------
    func : callable
        An operator of lapsum, or a `functools.partial` of one.
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
