"""What `src/_kernels.pyx` defines, with the types that its arguments have in C.

Every array is C-contiguous.  What a loop takes and gives, and when None may stand for it, is said
beside its parameters in `src/kernels/`.
"""

from collections.abc import Callable
from typing import Any, Generic, Literal, ParamSpec, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float64]
_Entries: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
_Keys: TypeAlias = NDArray[np.uint64]
_Indices: TypeAlias = NDArray[np.intp]
_Bytes: TypeAlias = NDArray[np.uint8]
_Signs: TypeAlias = NDArray[np.int8]

_P = ParamSpec("_P")

class _ByKind(Generic[_P]):
    """A loop compiled for entries of both kinds, called as `loop["float"](...)`."""

    def __init__(self, loop: Callable[_P, None]) -> None: ...
    def __getitem__(self, kind: str) -> Callable[_P, None]: ...
    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> None: ...

def choose(level: str) -> str | None: ...
def vendor() -> Literal["amd", "intel", ""]: ...

# kernels/order.pxi

@_ByKind
def distribute(
    x: _Entries,
    weights: _Floats | None,
    sample: _Floats,
    parts: int,
    part: _Bytes,
    first: _Indices,
    out: _Floats,
    count: _Indices,
    nan_lanes: _Bytes,
    start: int,
    stop: int,
) -> None: ...
@_ByKind
def rearrange(
    values: _Floats,
    places: _Indices,
    part: _Bytes | None,
    first: _Indices | None,
    source_lane: _Indices | None,
    back: bool,
    scratch: _Floats | None,
    out: _Entries,
    start: int,
    stop: int,
) -> None: ...

# kernels/keys.pxi

@_ByKind
def pack(
    x: _Entries,
    weights: _Floats | None,
    width: int,
    keys: _Keys,
    count: _Indices,
    nan_lanes: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def sort(width: int, keys: _Keys, start: int, stop: int) -> None: ...
def repack(x: _Floats, count: _Indices, width: int, keys: _Keys, start: int, stop: int) -> None: ...
@_ByKind
def unpack(
    x: _Entries,
    width: int,
    whole: bool,
    count: _Indices,
    keys: _Keys,
    out: _Floats,
    unsorted: _Bytes,
    start: int,
    stop: int,
) -> None: ...

# kernels/scans.pxi

def gaps(
    x: _Floats, count: _Indices, alpha: _Floats, out: _Floats, start: int, stop: int
) -> None: ...
def decays(gap: _Floats, out: _Floats, start: int, stop: int) -> None: ...
def scan(
    decay: _Floats | None,
    values: _Floats | None,
    source_lane: _Indices,
    reverse: bool,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
def scan_both(
    gap: _Floats,
    values: _Floats | None,
    source_lane: _Indices,
    left: _Floats,
    right: _Floats,
    start: int,
    stop: int,
) -> None: ...
def moments(
    decay: _Floats,
    step: _Floats,
    base: _Floats,
    source_lane: _Indices,
    reverse: bool,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
def cumulate(values: _Floats, high: _Floats, low: _Floats, start: int, stop: int) -> None: ...
def totals(values: _Floats, out: _Floats, start: int, stop: int) -> None: ...

# kernels/ranks.pxi

@_ByKind
def ranks(
    x: _Floats,
    gap: _Floats,
    places: _Indices,
    part: _Bytes | None,
    first: _Indices | None,
    count: _Indices,
    alpha: _Floats,
    weights: _Floats | None,
    high: _Floats | None,
    low: _Floats | None,
    left: _Floats,
    right: _Floats,
    scratch: _Floats | None,
    out: _Entries,
    start: int,
    stop: int,
) -> None: ...
def pull_ranks(
    x: _Floats,
    gap: _Floats,
    places: _Indices,
    part: _Bytes | None,
    first: _Indices | None,
    count: _Indices,
    A: _Floats,
    B: _Floats,
    alpha: _Floats,
    sign: float,
    bar: _Floats,
    scratch: _Floats,
    x_bar: _Floats,
    alpha_bar: _Floats,
    start: int,
    stop: int,
) -> None: ...
def push_ranks(
    x: _Floats,
    gap: _Floats,
    places: _Indices,
    part: _Bytes | None,
    first: _Indices | None,
    count: _Indices,
    A: _Floats,
    B: _Floats,
    alpha: _Floats,
    sign: float,
    x_dot: _Floats | None,
    along: _Floats | None,
    scratch: _Floats,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
def pull_weighted_ranks(
    x: _Floats,
    gap: _Floats,
    places: _Indices,
    part: _Bytes | None,
    first: _Indices | None,
    count: _Indices,
    weights: _Floats,
    A: _Floats,
    B: _Floats,
    alpha: _Floats,
    sign: float,
    bar: _Floats,
    sorted_bar: _Floats,
    scratch: _Floats,
    x_bar: _Floats,
    alpha_bar: _Floats,
    weights_bar: _Floats,
    start: int,
    stop: int,
) -> None: ...

# kernels/targets.pxi

def locate(
    x: _Floats,
    count: _Indices,
    alpha: _Floats,
    lo: _Floats,
    hi: _Floats | None,
    u: _Floats | None,
    source_lane: _Indices,
    index: _Indices,
    start: int,
    stop: int,
) -> None: ...
def distances(
    x: _Floats,
    count: _Indices,
    alpha: _Floats,
    lo: _Floats,
    hi: _Floats | None,
    u: _Floats | None,
    source_lane: _Indices,
    index: _Indices,
    left: _Floats,
    right: _Floats,
    start: int,
    stop: int,
) -> None: ...
def level(
    x: _Floats,
    count: _Indices,
    alpha: _Floats,
    A: _Floats,
    B: _Floats,
    high: _Floats | None,
    low: _Floats | None,
    targets: _Floats,
    source_lane: _Indices,
    index: _Indices,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
def gather(
    left: _Floats,
    right: _Floats,
    source_lane: _Indices,
    left_at: _Indices,
    right_at: _Indices,
    left_by: _Floats,
    right_by: _Floats,
    lane: _Indices,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
def scatter(
    values: _Floats,
    left_at: _Indices,
    right_at: _Indices,
    left_by: _Floats,
    right_by: _Floats,
    lane: _Indices,
    source_lane: _Indices,
    left: _Floats,
    right: _Floats,
    start: int,
    stop: int,
) -> None: ...

# kernels/thresholds.pxi

def solve(
    gap: _Floats,
    count: _Indices,
    weights: _Floats | None,
    high: _Floats | None,
    low: _Floats | None,
    A: _Floats,
    B: _Floats,
    levels: _Floats,
    source_lane: _Indices,
    known: bool,
    index: _Indices,
    side: _Signs,
    u: _Floats,
    factors: _Floats | None,
    start: int,
    stop: int,
) -> None: ...
def solve_steps(
    gap: _Floats,
    count: _Indices,
    A: _Floats,
    B: _Floats,
    first: float,
    index: _Indices,
    side: _Signs,
    u: _Floats,
    factors: _Floats,
    start: int,
    stop: int,
) -> None: ...
def anchors(
    x: _Floats,
    index: _Indices,
    side: _Signs,
    source_lane: _Indices,
    lo: _Floats,
    hi: _Floats,
    start: int,
    stop: int,
) -> None: ...
def thresholds(
    x: _Floats,
    index: _Indices,
    side: _Signs,
    u: _Floats,
    alpha: _Floats,
    source_lane: _Indices,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...

# kernels/sorts.pxi

def sorted_values(
    x: _Floats,
    gap: _Floats,
    count: _Indices,
    A: _Floats,
    B: _Floats,
    alpha: _Floats,
    first: float,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
def pull_sorted(
    x: _Floats,
    gap: _Floats,
    places: _Indices,
    part: _Bytes | None,
    first: _Indices | None,
    count: _Indices,
    A: _Floats,
    B: _Floats,
    lowest: float,
    bar: _Floats,
    scratch: _Floats,
    x_bar: _Floats,
    alpha_bar: _Floats,
    start: int,
    stop: int,
) -> None: ...

# kernels/cotangents.pxi

def pull_targets(
    x: _Floats,
    gap: _Floats,
    places: _Indices,
    part: _Bytes | None,
    first: _Indices | None,
    count: _Indices,
    weights: _Floats | None,
    A: _Floats,
    B: _Floats,
    alpha: _Floats,
    targets: _Floats,
    index: _Indices,
    bar: _Floats,
    left: _Floats,
    right: _Floats,
    whole: _Floats | None,
    targets_bar: _Floats,
    x_bar: _Floats,
    alpha_bar: _Floats,
    weights_bar: _Floats | None,
    ascending: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def pull_levels(
    x: _Floats,
    gap: _Floats,
    places: _Indices,
    part: _Bytes | None,
    first: _Indices | None,
    count: _Indices,
    weights: _Floats | None,
    high: _Floats | None,
    low: _Floats | None,
    A: _Floats,
    B: _Floats,
    alpha: _Floats,
    levels: _Floats,
    index: _Indices,
    bar: _Floats,
    left: _Floats,
    right: _Floats,
    whole: _Floats | None,
    levels_bar: _Floats,
    x_bar: _Floats,
    alpha_bar: _Floats,
    weights_bar: _Floats | None,
    plain: _Bytes,
    start: int,
    stop: int,
) -> None: ...

# kernels/threads.pxi

def run_lanes(
    kernel: Callable[..., object], args: tuple[Any, ...], lanes: int, workers: int
) -> None: ...

# kernels/selection.pxi

def check_levels(
    levels: _Floats, totals: _Floats | None, n: float, allowance: float, out: _Floats
) -> int: ...
@_ByKind
def select_topk(
    workers: int,
    x: _Entries,
    weights: _Floats | None,
    sign: float,
    levels: _Floats,
    totals: _Floats | None,
    alpha: _Floats,
    logarithm: bool,
    copy: _Entries | None,
    p: _Entries,
    solved: _Bytes,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
@_ByKind
def select_thresholds(
    workers: int,
    x: _Entries,
    weights: _Floats | None,
    levels: _Floats,
    totals: _Floats | None,
    alpha: _Floats,
    solved: _Bytes,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
def probabilities(
    x: _Floats,
    thresholds: _Floats,
    alpha: _Floats,
    logarithm: bool,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
@_ByKind
def pull(
    workers: int,
    x: _Entries,
    thresholds: _Floats,
    weights: _Floats | None,
    sign: float,
    alpha: _Floats,
    bar: _Entries,
    logarithm: bool,
    x_bar: _Entries,
    level_bar: _Floats,
    alpha_bar: _Floats,
    start: int,
    stop: int,
) -> None: ...
@_ByKind
def push(
    workers: int,
    x: _Entries,
    thresholds: _Floats,
    weights: _Floats | None,
    sign: float,
    alpha: _Floats,
    dot: _Floats | None,
    level_dot: _Floats,
    alpha_dot: _Floats,
    logarithm: bool,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
@_ByKind
def softmax(
    workers: int,
    x: _Entries,
    thresholds: _Floats,
    weights: _Floats | None,
    alpha: _Floats,
    dot: _Floats | None,
    bar: _Floats | None,
    x_bar: _Entries | None,
    average: _Floats,
    slope: _Floats,
    start: int,
    stop: int,
) -> None: ...
@_ByKind
def pull_weights(
    x: _Entries,
    thresholds: _Floats,
    weights: _Floats,
    totals: _Floats,
    alpha: _Floats,
    bar: _Floats,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...

# kernels/short.pxi

def short_most() -> int: ...
def short_blocks(lanes: int) -> tuple[int, int]: ...
def short_found(lanes: int) -> int: ...
def short_ranks(
    x: _Entries,
    sign: float,
    alpha: _Floats,
    weights: _Floats | None,
    y: _Entries,
    places: _Bytes | None,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_ranks_vjp(
    x: _Entries,
    sign: float,
    alpha: _Floats,
    weights: _Floats | None,
    places: _Bytes,
    bar: _Entries,
    x_bar: _Entries,
    alpha_bar: _Floats,
    weights_bar: _Floats | None,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_ranks_jvp(
    x: _Entries,
    sign: float,
    alpha: _Floats,
    weights: _Floats | None,
    places: _Bytes,
    x_dot: _Entries,
    alpha_dot: _Floats,
    weights_dot: _Floats | None,
    y_dot: _Entries,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_topk(
    x: _Entries,
    sign: float,
    alpha: _Floats,
    weights: _Floats | None,
    levels: _Floats,
    logarithm: bool,
    p: _Entries,
    found: _Floats | None,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_topk_vjp(
    x: _Entries,
    sign: float,
    alpha: _Floats,
    weights: _Floats | None,
    found: _Floats,
    logarithm: bool,
    bar: _Entries,
    x_bar: _Entries,
    level_bar: _Floats,
    alpha_bar: _Floats,
    weights_bar: _Floats | None,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_topk_jvp(
    x: _Entries,
    sign: float,
    alpha: _Floats,
    weights: _Floats | None,
    found: _Floats,
    logarithm: bool,
    x_dot: _Entries,
    level_dot: _Floats,
    alpha_dot: _Floats,
    weights_dot: _Floats | None,
    p_dot: _Entries,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_sorts(
    x: _Entries,
    sign: float,
    alpha: _Floats,
    y: _Entries,
    places: _Bytes | None,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_sorts_vjp(
    x: _Entries,
    sign: float,
    alpha: _Floats,
    places: _Bytes,
    bar: _Entries,
    x_bar: _Entries,
    alpha_bar: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_sorts_jvp(
    x: _Entries,
    sign: float,
    alpha: _Floats,
    places: _Bytes,
    x_dot: _Entries,
    alpha_dot: _Floats,
    y_dot: _Entries,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_permute(
    x: _Entries,
    sign: float,
    alpha: _Floats,
    values: _Floats,
    transpose: bool,
    y: _Floats,
    places: _Bytes | None,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_permute_vjp(
    x: _Entries,
    sign: float,
    alpha: _Floats,
    values: _Floats,
    transpose: bool,
    places: _Bytes,
    bar: _Floats,
    x_bar: _Floats,
    values_bar: _Floats,
    alpha_bar: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_permute_jvp(
    x: _Entries,
    sign: float,
    alpha: _Floats,
    values: _Floats,
    places: _Bytes,
    x_dot: _Floats,
    values_dot: _Floats,
    alpha_dot: _Floats,
    y_dot: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_permutation(
    x: _Entries,
    alpha: _Floats,
    out: _Entries,
    places: _Bytes | None,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_permutation_vjp(
    x: _Entries,
    alpha: _Floats,
    places: _Bytes,
    bar: _Floats,
    x_bar: _Floats,
    alpha_bar: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_permutation_jvp(
    x: _Entries,
    alpha: _Floats,
    places: _Bytes,
    x_dot: _Floats,
    alpha_dot: _Floats,
    p_dot: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_quantiles(
    x: _Entries,
    alpha: _Floats,
    weights: _Floats | None,
    levels: _Floats,
    few: int,
    b: _Floats,
    found: _Floats | None,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_quantiles_vjp(
    x: _Entries,
    alpha: _Floats,
    weights: _Floats | None,
    found: _Floats,
    q: _Floats,
    total: _Floats | None,
    few: int,
    bar: _Floats,
    x_bar: _Entries,
    q_bar: _Floats,
    alpha_bar: _Floats,
    weights_bar: _Floats | None,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def short_quantiles_jvp(
    x: _Entries,
    alpha: _Floats,
    weights: _Floats | None,
    found: _Floats,
    q: _Floats,
    total: _Floats | None,
    few: int,
    x_dot: _Entries,
    q_dot: _Floats,
    alpha_dot: _Floats,
    weights_dot: _Floats | None,
    b_dot: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...

# kernels/even.pxi

_Table: TypeAlias = tuple[_Floats, float, float, int, int]

@final
class Even:
    """A density as the loops below take it."""

    def __init__(
        self,
        kind: int,
        least: float,
        tail: _Table | None,
        pdf: _Table | None,
        student: tuple[_Floats, float, float] | None,
    ) -> None: ...

def even_ranks(
    density: Even,
    x: _Entries,
    sign: float,
    alpha: _Floats,
    y: _Entries,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def even_ranks_vjp(
    density: Even,
    x: _Entries,
    sign: float,
    alpha: _Floats,
    bar: _Entries,
    x_bar: _Entries,
    alpha_bar: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def even_ranks_jvp(
    density: Even,
    x: _Entries,
    sign: float,
    alpha: _Floats,
    x_dot: _Entries,
    alpha_dot: _Floats,
    y_dot: _Entries,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def even_solve(
    density: Even,
    x: _Entries,
    sign: float,
    alpha: _Floats,
    levels: _Floats | None,
    first: float,
    m: int,
    anchor: _Floats,
    u: _Floats,
    b: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def even_entries(
    density: Even,
    x: _Entries,
    sign: float,
    alpha: _Floats,
    anchor: _Floats,
    u: _Floats,
    form: int,
    p: _Floats,
    shares: _Floats | None,
    slopes: _Floats | None,
    sums: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def even_solve_vjp(
    density: Even,
    x: _Entries,
    alpha: _Floats,
    anchor: _Floats,
    u: _Floats,
    m: int,
    bar: _Floats,
    x_bar: _Floats,
    levels_bar: _Floats,
    alpha_bar: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def even_solve_jvp(
    density: Even,
    x: _Entries,
    alpha: _Floats,
    anchor: _Floats,
    u: _Floats,
    m: int,
    x_dot: _Floats,
    levels_dot: _Floats | None,
    alpha_dot: _Floats,
    b_dot: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def even_matrix(
    density: Even,
    x: _Entries,
    alpha: _Floats,
    anchor: _Floats,
    u: _Floats,
    p: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def even_matrix_vjp(
    density: Even,
    x: _Entries,
    alpha: _Floats,
    anchor: _Floats,
    u: _Floats,
    bar: _Floats,
    x_bar: _Floats,
    alpha_bar: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def even_multiply(
    density: Even,
    x: _Entries,
    alpha: _Floats,
    anchor: _Floats,
    u: _Floats,
    values: _Floats,
    transpose: bool,
    product: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...
def even_multiply_vjp(
    density: Even,
    x: _Entries,
    alpha: _Floats,
    anchor: _Floats,
    u: _Floats,
    rows: _Floats,
    entries: _Floats,
    by_rows: bool,
    product: _Floats,
    x_bar: _Floats,
    alpha_bar: _Floats,
    left: _Bytes,
    start: int,
    stop: int,
) -> None: ...

# kernels/entries.pxi

def offsets(
    lo: _Floats,
    hi: _Floats,
    u: _Floats,
    x: _Floats,
    alpha: _Floats,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
def steps(
    origin: _Floats, x: _Floats, alpha: _Floats, out: _Floats, start: int, stop: int
) -> None: ...
def exps(t: _Floats, out: _Floats, start: int, stop: int) -> None: ...
def cdf(t: _Floats, out: _Floats, start: int, stop: int) -> None: ...
def pdf(t: _Floats, out: _Floats, start: int, stop: int) -> None: ...
def logcdf_slope(t: _Floats, out: _Floats, start: int, stop: int) -> None: ...
def shares(
    left: _Floats,
    right: _Floats,
    q_left: _Floats,
    q_right: _Floats,
    density: _Floats,
    x: _Floats,
    t: _Floats,
    alpha: _Floats,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...

# kernels/permutation.pxi

def widths(
    lo: _Floats, hi: _Floats, u: _Floats, alpha: _Floats, out: _Floats, start: int, stop: int
) -> None: ...
@_ByKind
def permutation(
    x: _Floats,
    order: _Indices,
    count: _Indices,
    index: _Indices,
    lo: _Floats,
    hi: _Floats,
    u: _Floats,
    width: _Floats,
    alpha: _Floats,
    out: _Entries,
    start: int,
    stop: int,
) -> None: ...
def permutation_jvp(
    x: _Floats,
    lo: _Floats,
    hi: _Floats,
    u: _Floats,
    alpha: _Floats,
    x_dot: _Floats | None,
    b_dot: _Floats | None,
    alpha_dot: _Floats | None,
    nodes: _Floats,
    deviation: _Floats,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
def permutation_vjp(
    x: _Floats,
    lo: _Floats,
    hi: _Floats,
    u: _Floats,
    alpha: _Floats,
    nodes: _Floats,
    deviation: _Floats,
    bar: _Floats,
    b_bar: _Floats,
    x_bar: _Floats,
    alpha_bar: _Floats,
    start: int,
    stop: int,
) -> None: ...

# kernels/product.pxi

def intervals(
    x: _Floats,
    gap: _Floats,
    count: _Indices,
    A: _Floats,
    B: _Floats,
    alpha: _Floats,
    row: _Indices,
    inside: _Floats,
    at: _Indices,
    by: _Floats,
    start: int,
    stop: int,
) -> None: ...
def collect(
    values: _Floats,
    inside: _Floats,
    row: _Indices,
    source_lane: _Indices,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
def spread(
    values: _Floats,
    inside: _Floats,
    row: _Indices,
    source_lane: _Indices,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
def level_ties(
    x: _Floats, source_lane: _Indices, values: _Floats, start: int, stop: int
) -> None: ...

# kernels/permute.pxi

def pull_permutation(
    x: _Floats,
    gap: _Floats,
    places: _Indices,
    part: _Bytes | None,
    first: _Indices | None,
    count: _Indices,
    A: _Floats,
    B: _Floats,
    alpha: _Floats,
    values: _Floats,
    positions: _Floats,
    scratch: _Floats,
    x_bar: _Floats,
    alpha_bar: _Floats,
    start: int,
    stop: int,
) -> None: ...
def push_permutation(
    x: _Floats,
    gap: _Floats,
    places: _Indices,
    part: _Bytes | None,
    first: _Indices | None,
    count: _Indices,
    A: _Floats,
    B: _Floats,
    alpha: _Floats,
    values: _Floats,
    x_dot: _Floats | None,
    alpha_dot: _Floats | None,
    scratch: _Floats,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...
def transpose_product(
    x: _Floats,
    gap: _Floats,
    count: _Indices,
    A: _Floats,
    B: _Floats,
    row: _Indices,
    inside: _Floats,
    after: _Indices,
    before_by: _Floats,
    after_by: _Floats,
    positions: _Floats,
    source_lane: _Indices,
    scratch: _Floats,
    out: _Floats,
    start: int,
    stop: int,
) -> None: ...

# kernels/general.pxi

TABLE_DEGREE: int

def tree_sums(
    table: _Floats,
    unit: float,
    reach: float,
    kind: int,
    bits: int,
    x: _Floats,
    low: _Floats | None,
    v: _Floats,
    alpha: _Floats,
    sums: _Floats,
    steps: _Floats,
    start: int,
    stop: int,
) -> None: ...
def logistic_topk(
    x: _Floats,
    sign: float,
    level: _Floats,
    alpha: _Floats,
    logarithm: bool,
    p: _Floats,
    f: _Floats,
    slopes: _Floats,
    density: _Floats,
    solved: NDArray[np.int8],
    start: int,
    stop: int,
) -> None: ...

# kernels/transport.pxi

_Status: TypeAlias = NDArray[np.int32]

def transport_solve(
    x: _Floats,
    a: _Floats,
    y: _Floats,
    b: _Floats,
    edge: _Floats,
    shift: _Floats,
    rate: _Floats,
    nodes: _Indices,
    columns: _Indices,
    error: _Floats,
    evaluations: _Indices,
    status: _Status,
    start: int,
    stop: int,
) -> None: ...
def transport_products(
    x: _Floats,
    a: _Floats,
    y: _Floats,
    b: _Floats,
    edge: _Floats,
    shift: _Floats,
    rate: _Floats,
    rows: _Indices,
    columns: _Indices,
    s: _Floats | None,
    v: _Floats | None,
    over_columns: _Floats | None,
    column_sums: _Floats | None,
    over_rows: _Floats | None,
    log_sums: _Floats | None,
    top: _Indices | None,
    status: _Status,
    start: int,
    stop: int,
) -> None: ...
def transport_deviations(
    x: _Floats,
    a: _Floats,
    y: _Floats,
    b: _Floats,
    edge: _Floats,
    shift: _Floats,
    rate: _Floats,
    rows: _Indices,
    columns: _Indices,
    mean: _Floats,
    deviation: _Floats,
    status: _Status,
    start: int,
    stop: int,
) -> None: ...
def transport_mirror(
    x: _Floats,
    a: _Floats,
    y: _Floats,
    b: _Floats,
    edge: _Floats,
    shift: _Floats,
    rate: _Floats,
    rows: _Indices,
    columns: _Indices,
    row_edge: _Floats,
    row_shift: _Floats,
    status: _Status,
    start: int,
    stop: int,
) -> None: ...
def transport_matrix(
    x: _Floats,
    a: _Floats,
    y: _Floats,
    b: _Floats,
    edge: _Floats,
    shift: _Floats,
    rate: _Floats,
    rows: _Indices,
    columns: _Indices,
    out: _Floats,
    status: _Status,
    start: int,
    stop: int,
) -> None: ...
def transport_equations(
    x: _Floats,
    a: _Floats,
    y: _Floats,
    b: _Floats,
    edge: _Floats,
    shift: _Floats,
    rate: _Floats,
    nodes: _Indices,
    columns: _Indices,
    z: _Floats,
    status: _Status,
    start: int,
    stop: int,
) -> None: ...
def transport_pull(
    x: _Floats,
    a: _Floats,
    nodes_x: _Floats,
    nodes_a: _Floats,
    y: _Floats,
    b: _Floats,
    edge: _Floats,
    shift: _Floats,
    rate: _Floats,
    rows: _Indices,
    nodes: _Indices,
    columns: _Indices,
    r: _Floats,
    c: _Floats,
    d: _Floats | None,
    lambda_: _Floats,
    mean_lambda: _Floats,
    mean_c: _Floats,
    x_bar: _Floats,
    y_bar: _Floats,
    column_sums: _Floats,
    status: _Status,
    start: int,
    stop: int,
) -> None: ...
def transport_push(
    x: _Floats,
    a: _Floats,
    nodes_x: _Floats,
    nodes_a: _Floats,
    y: _Floats,
    b: _Floats,
    edge: _Floats,
    shift: _Floats,
    rate: _Floats,
    rows: _Indices,
    nodes: _Indices,
    columns: _Indices,
    x_dot: _Floats | None,
    y_dot: _Floats | None,
    a_dot: _Floats | None,
    b_dot: _Floats | None,
    s: _Floats | None,
    over_columns: _Floats | None,
    over_columns_dot: _Floats | None,
    v: _Floats | None,
    over_rows: _Floats | None,
    over_rows_dot: _Floats | None,
    status: _Status,
    start: int,
    stop: int,
) -> None: ...
def transport_cells(
    x: _Floats,
    a: _Floats,
    y: _Floats,
    b: _Floats,
    rows: _Indices,
    columns: _Indices,
    area: _Floats,
    row_cells: _Indices,
    column_cells: _Indices,
    start: int,
    stop: int,
) -> None: ...
def transport_gauss(
    t: _Floats,
    w: _Floats,
    cells: _Indices,
    stops: _Indices,
    scratch: _Floats,
    diagonal: _Floats,
    above: _Floats,
    start: int,
    stop: int,
) -> None: ...
def transport_onto_nodes(
    t: _Floats,
    cells: _Indices,
    stops: _Indices,
    nodes: _Floats,
    weights: _Floats,
    at_points: _Floats,
    at_nodes: _Floats,
    start: int,
    stop: int,
) -> None: ...

# kernels/denormals.pxi
def keep_denormals() -> int: ...
def set_float_mode(mode: int) -> None: ...
