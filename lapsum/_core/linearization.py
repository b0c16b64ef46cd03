"""The value and derivative of an operator at a point: from lanes to the caller's shapes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from .._backends.protocol import LinearProducts
from .._backends.types import Array, DType
from .arguments import array_of_shape
from .call import quiet
from .rule import Rule

Result = NDArray[Any] | np.floating[Any]  # a scalar where there are no dimensions


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Linearization:
    """An operator's value at a point, with its derivative there; `linearize` makes it.

    Attributes
    ----------
    value : ndarray or scalar
        The operator's value, read-only (CuPy's arrays: a copy); copy it to change it.
    parameters : tuple of str
        Names of the differentiable parameters, in signature order.
    """

    value: Result
    parameters: tuple[str, ...]
    _rule: Rule
    _shape: tuple[int, ...]

    def __init__(self, value: Result, rule: Rule) -> None:
        # At once, since each attribute of a frozen class takes a call.
        self.__dict__.update(
            value=value, parameters=tuple(rule.layouts), _rule=rule, _shape=value.shape
        )

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
        arrays = {
            name: array_of_shape(rule.kernels, f"tangent of {name}", tangent, layout.shape)
            for (name, layout), tangent in zip(rule.layouts.items(), tangents, strict=True)
            if tangent is not None
        }
        product: Result
        if arrays:
            product = rule.tangent(arrays)
        else:
            product = rule.kernels.finish(rule.kernels.xp.zeros(self._shape), rule.dtype)
        return product

    @overload
    def vjp(self, cotangent: Any, wrt: None = None) -> tuple[Result, ...]: ...
    @overload
    def vjp(self, cotangent: Any, wrt: str | Iterable[str]) -> tuple[Result | None, ...]: ...
    def vjp(
        self, cotangent: Any, wrt: str | Iterable[str] | None = None
    ) -> tuple[Result | None, ...]:
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
        if wanted is self.parameters:
            return tuple(rule.cotangents(array, wanted))
        bars = dict(zip(wanted, rule.cotangents(array, wanted), strict=True)) if wanted else {}
        return tuple([bars.get(name) for name in self.parameters])

    def jacobian(self, name: str) -> JacobianOperator:
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
        operator: JacobianOperator
        operator = self._rule.kernels.linear_operator(JacobianProducts(self, name))
        return operator


class JacobianOperator(LinearProducts, Protocol):
    """What `Linearization.jacobian` returns: a LinearOperator of SciPy, or of CuPy."""

    @property
    def T(self) -> JacobianOperator: ...

    def __matmul__(self, other: Any, /) -> Array: ...


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
        bars: Any = self.lin.vjp(v.reshape(self.result), wrt=self.lin.parameters[self.at])
        return self.kernels.xp.ravel(bars[self.at])

    def toarray(self) -> Array:
        """Return the matrix: by a formula for its elements, else by products."""
        rule, name = self.lin._rule, self.lin.parameters[self.at]
        with quiet():
            blocks = rule.dense(name)
        return self._by_products() if blocks is None else self._of_lanes(rule, name, blocks)

    def _of_lanes(self, rule: Rule, name: str, blocks: Array) -> Array:
        """Return the matrix whose blocks these are; between lanes it is zero."""
        if len(blocks) == 1:
            lane: Array = blocks[0].astype(self.dtype, copy=False)
            return lane
        xp = self.kernels.xp
        at = xp.arange(self.shape[0]).reshape(self.result) * 1.0
        rows = rule.from_result(at).astype(int)[:, :, None]
        at = xp.arange(self.shape[1]).reshape(self.argument) * 1.0
        columns = rule.layouts[name].pack(rule.kernels, at).astype(int)[:, None, :]
        out = xp.zeros(self.shape).astype(self.dtype, copy=False)
        out[rows, columns] = blocks
        return out

    def _by_products(self) -> Array:
        """Return the matrix by as many products as its shorter side is long."""
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
