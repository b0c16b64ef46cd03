"""A call of every operator on random data of any shape."""

from contract import contracts

import lapsum

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
