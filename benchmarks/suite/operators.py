"""The operators over sizes, dtypes and workers, for airspeed velocity; see asv.conf.json."""

import inspect
import os

for _name in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{_name}_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

import lapsum  # noqa: E402

ALPHA = 0.1
OPERATORS = {
    # name: the arguments between x and alpha, from (x, n)
    "soft_rank": lambda x, n: (),
    "soft_sort": lambda x, n: (),
    "soft_topk": lambda x, n: (n / 2,),
    "log_soft_topk": lambda x, n: (n / 2,),
    "soft_quantile": lambda x, n: (0.5,),
    "soft_permute": lambda x, n: (x[..., ::-1].copy(),),
    "lap_sum": lambda x, n: (x[..., ::-1].copy(),),
    "lap_sum_inv": lambda x, n: (x,),
    "soft_permutation": lambda x, n: (),
}
SHAPES = [(10,), (1000,), (1_000_000,), (128, 1000), (500, 10450)]
HEADLINES = {
    "soft_topk over exp": ("soft_topk", (1_000_000,), np.exp, False),
    "soft_topk and vjp over exp": ("soft_topk", (1_000_000,), np.exp, True),
    "soft_topk and vjp 500 x 10450 over sort": ("soft_topk", (500, 10450), np.sort, True),
    "soft_topk and vjp 128 x 1000 over sort": ("soft_topk", (128, 1000), np.sort, True),
    "soft_rank over argsort": ("soft_rank", (1_000_000,), np.argsort, False),
    "soft_rank and vjp over argsort": ("soft_rank", (1_000_000,), np.argsort, True),
    "soft_sort over sort": ("soft_sort", (1_000_000,), np.sort, False),
    "soft_sort and vjp over sort": ("soft_sort", (1_000_000,), np.sort, True),
}


def call_of(name, shape, dtype="f8", workers=1):
    """The operator, its arguments and options; NotImplementedError is how asv skips."""
    func, options = getattr(lapsum, name), {}
    if workers != 1:
        if "workers" not in inspect.signature(func).parameters or os.cpu_count() < workers:
            raise NotImplementedError("no workers")
        options["workers"] = workers
    if name == "soft_permutation" and shape != (1000,):
        raise NotImplementedError("an n x n matrix")
    x = np.random.default_rng(20250713).normal(size=shape).astype(dtype)
    between = OPERATORS[name](x, shape[-1])
    if name == "lap_sum_inv":  # levels first, then the sources
        levels = np.broadcast_to(np.linspace(0, 1, shape[-1] + 2)[1:-1] * shape[-1], shape)
        return func, (levels.astype(dtype), x, ALPHA), options
    return func, (x, *between, ALPHA), options


class Operators:
    params = (list(OPERATORS), ["x".join(map(str, s)) for s in SHAPES], ["f8", "f4"], [1, 2])
    param_names = ("operator", "shape", "dtype", "workers")
    timeout = 120

    def setup(self, operator, shape, dtype, workers):
        shape = tuple(map(int, shape.split("x")))
        self.func, self.arguments, self.options = call_of(operator, shape, dtype, workers)
        self.lin = lapsum.linearize(self.func, *self.arguments, **self.options)
        self.cotangent = np.random.default_rng(1).normal(size=self.lin.value.shape)

    def time_value(self, *_):
        self.func(*self.arguments, **self.options)

    def time_linearize(self, *_):
        lapsum.linearize(self.func, *self.arguments, **self.options)

    def time_vjp(self, *_):
        self.lin.vjp(self.cotangent)

    def peakmem_linearize_and_vjp(self, *_):
        lapsum.linearize(self.func, *self.arguments, **self.options).vjp(self.cotangent)


class Headlines:
    """Ratios to NumPy, which stay comparable from machine to machine."""

    params = (list(HEADLINES),)
    param_names = ("figure",)
    unit = "ratio"
    timeout = 120

    def track_ratio(self, figure):
        from time import perf_counter

        name, shape, yardstick, derivative = HEADLINES[figure]
        func, arguments, _ = call_of(name, shape)
        cotangent = np.random.default_rng(1).normal(size=shape)

        def ours():
            if derivative:
                lapsum.linearize(func, *arguments).vjp(cotangent)
            else:
                func(*arguments)

        def seconds(call):
            start = perf_counter()
            call()
            return perf_counter() - start

        pair = (ours, lambda: yardstick(arguments[0]))
        turns = [[seconds(call) for call in pair] for _ in range(11)][2:]
        return float(np.median([a / b for a, b in turns]))
