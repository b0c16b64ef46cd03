"""A call of every operator on random data of any shape."""

import numpy as np
from contract import contracts

import lapsum
from lapsum._adapters.adapter import Call
from lapsum._core.call import RULES

EVERY = {c.name: c for c in contracts()}


def call(name, rng, shape, weighted=False):
    """Arguments of an operator on data of a shape, enough of it to be shared."""
    contract = EVERY[name]
    x = rng.normal(size=shape)
    lanes = {contract.data: x}
    lanes.update(
        {k: rng.normal(size=shape) for k in contract.lanes if k not in (contract.data, "weights")}
    )
    if name == "lap_sum_inv":
        lanes["w"] = rng.uniform(0, shape[-1] / 2, size=shape)
    if "k" in contract.scalars:
        lanes["k"] = shape[-1] / 3
    if "low" in contract.scalars:
        lanes.update({"low": 0.2, "high": 0.7})
    if name == "soft_quantile":
        lanes["q"] = [0.1, 0.5]
    if weighted:
        lanes["weights"] = rng.uniform(1.0, 2.0, shape)
    return getattr(lapsum, name), {**lanes, "alpha": 0.1}


def call_and_arrays(name, rng, options, shape=(4, 4), weighted=True, **given):
    """The operator, its call as adapters have it, and arrays for all of its parameters."""
    func, arguments = call(name, rng, shape, weighted and EVERY[name].weighted)
    arguments.update(given)
    arrays = {n: np.asarray(v, float) for n, v in arguments.items()}
    return func, Call(RULES[func], tuple(arrays), options, None), arrays
