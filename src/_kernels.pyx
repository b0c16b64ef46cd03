# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, freethreading_compatible=True
"""Loops over lanes of float64 arrays, by topic in kernels/; the formulas are in laplace.h.

Every array is (lanes, n), C-contiguous; `count[l]` nodes of lane l are in use, sorted ascending.
`source_lane[l]` names the lane of the sources that lane l of the targets or the values belongs to.
Inputs are marked # IN and outputs # OUT.  Each call takes lanes start to stop, so that several
threads can share the lanes of one array.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS,
    PyBUF_SIMPLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.pythread cimport (
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
    WAIT_LOCK,
)
from _thread import start_new_thread

from libc.math cimport isfinite, sqrt
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef extern from "laplace.h" nogil:
    ctypedef struct lap_root:
        int side
        double u, left, right, q_left, q_right, density, centre

    double lap_step(double, double, double)
    double lap_offset(double, double, double, double, double)
    double lap_threshold(double, double, double, double)
    double lap_level(double, double, double)
    double lap_cdf(double)
    double lap_pdf(double)
    double lap_logcdf(double)
    double lap_logcdf_slope(double)
    double lap_cdf_difference(double, double, double)
    double lap_decay_value(double)
    void lap_add(double, double*, double*)
    void lap_scan(double, double, double*, double*)
    lap_root lap_solve_below(double, double)
    lap_root lap_solve_above(double, double)
    lap_root lap_solve_between(double, double, double, double)

cdef extern from "denormals.h" nogil:
    uint64_t LAP_FLUSHED
    uint64_t lap_float_mode()
    void lap_set_float_mode(uint64_t)

cdef extern from "simd/scan.h" nogil:
    ctypedef struct lap_two:
        pass
    lap_two lap_both(double, double)
    double lap_first(lap_two)
    double lap_second(lap_two)
    lap_two lap_total(lap_two, lap_two)
    void lap_scan_two(lap_two, lap_two, lap_two*, lap_two*)

cdef extern from "transport/plan.h" nogil:
    enum:
        LAP_DONE
        LAP_NO_MEMORY

    ctypedef struct lap_plan:
        const double *x
        const double *a
        const double *y
        const double *b
        const double *edge
        double *shift
        ptrdiff_t n, m
        double rate

    ctypedef struct lap_transport:
        int (*solve)(const lap_plan*, double*, ptrdiff_t*) noexcept nogil
        int (*products)(const lap_plan*, const double*, const double*, double*, double*, double*,
                        double*, ptrdiff_t*) noexcept nogil
        int (*deviations)(const lap_plan*, double*, double*) noexcept nogil
        int (*mirror)(const lap_plan*, double*, double*) noexcept nogil
        int (*matrix)(const lap_plan*, double*) noexcept nogil
        int (*equations)(const lap_plan*, double*) noexcept nogil
        int (*pull)(const lap_plan*, const lap_plan*, const double*, const double*, const double*,
                    double*, double*, double*, double*, double*, double*) noexcept nogil
        int (*push)(const lap_plan*, const lap_plan*, const double*, const double*, const double*,
                    const double*, const double*, const double*, double*, const double*,
                    const double*, double*) noexcept nogil

include "kernels/short_table.pxi"

cdef extern from "general/tree.h" nogil:
    enum:
        LAP_DEGREE

    ctypedef struct lap_kernel:
        const double *table
        ptrdiff_t panels
        double unit, reach
        int kind, bits

    int lap_tree_sums(const lap_kernel*, ptrdiff_t, const double*, const double*, const double*,
                      double, double*, double*)

cdef extern from "simd/even.h" nogil:
    enum:
        LAP_STUDENT
        LAP_TABLE
        LAP_SERIES

    ctypedef struct lap_even:
        int kind
        lap_kernel tail, pdf
        double least
        const double *series
        double df, root_df, top

    ctypedef struct lap_even_points:
        const double *anchor
        const double *u
        int m

    ctypedef struct lap_bilinear:
        const double *rows
        const double *entries
        int by_rows

    ctypedef struct lap_even_table:
        void (*ranks)(const lap_even*, const lap_short_lanes*, ptrdiff_t, ptrdiff_t, void*,
                      unsigned char*) noexcept nogil
        void (*rank_products)(const lap_even*, const lap_short_lanes*, ptrdiff_t, ptrdiff_t,
                              const void*, const double*, void*, double*,
                              unsigned char*) noexcept nogil
        void (*solve)(const lap_even*, const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const double*,
                      double, int, double*, double*, double*, unsigned char*) noexcept nogil
        void (*entries)(const lap_even*, const lap_short_lanes*, ptrdiff_t, ptrdiff_t,
                        const lap_even_points*, int, double*, double*, double*, double*,
                        unsigned char*) noexcept nogil
        void (*pull)(const lap_even*, const lap_short_lanes*, ptrdiff_t, ptrdiff_t,
                     const lap_even_points*, const double*, double*, double*, double*,
                     unsigned char*) noexcept nogil
        void (*push)(const lap_even*, const lap_short_lanes*, ptrdiff_t, ptrdiff_t,
                     const lap_even_points*, const double*, const double*, const double*, double*,
                     unsigned char*) noexcept nogil
        void (*matrix)(const lap_even*, const lap_short_lanes*, ptrdiff_t, ptrdiff_t,
                       const lap_even_points*, double*, unsigned char*) noexcept nogil
        void (*matrix_pull)(const lap_even*, const lap_short_lanes*, ptrdiff_t, ptrdiff_t,
                            const lap_even_points*, const double*, double*, double*,
                            unsigned char*) noexcept nogil
        void (*multiply)(const lap_even*, const lap_short_lanes*, ptrdiff_t, ptrdiff_t,
                         const lap_even_points*, const double*, int, double*,
                         unsigned char*) noexcept nogil
        void (*multiply_pull)(const lap_even*, const lap_short_lanes*, ptrdiff_t, ptrdiff_t,
                              const lap_even_points*, const lap_bilinear*, double*, double*,
                              double*, unsigned char*) noexcept nogil

cdef extern from "simd/loops.h" nogil:
    ctypedef struct lap_pair:
        double high, low

    ctypedef struct lap_anchored:
        double lo, hi, u, density, left, right

    ctypedef struct lap_pulled:
        lap_pair h, along

    enum:
        LAP_EDGES

    ctypedef struct lap_edges:
        double *index
        double *lo
        double *hi
        double *u
        double *place
        double *before
        double *after

    ctypedef struct lap_table:
        const char *name
        void (*exp)(const double*, ptrdiff_t, double*) noexcept nogil
        void (*add_up)(const double*, ptrdiff_t, double*) noexcept nogil
        void (*decays)(const double*, ptrdiff_t, double*, double*) noexcept nogil
        void (*steps)(const double*, const double*, ptrdiff_t, double, double*) noexcept nogil
        void (*levels_up_to)(const double*, const double*, ptrdiff_t, ptrdiff_t, double,
                             double*) noexcept nogil
        void (*solve)(const double*, const double*, const double*, const ptrdiff_t*, ptrdiff_t,
                      const double*, double, signed char*, double*, double*, int,
                      ptrdiff_t) noexcept nogil
        void (*thresholds)(const double*, const double*, const double*, ptrdiff_t, double,
                           double*) noexcept nogil
        void (*shares)(const lap_edges*, ptrdiff_t, double, double*) noexcept nogil
        void (*insides)(const lap_edges*, const int64_t*, const double*, ptrdiff_t, double,
                        double*) noexcept nogil
        void (*widths)(const double*, const double*, const double*, ptrdiff_t, double,
                       double*) noexcept nogil
        void (*rises)(const void*, int, const double*, ptrdiff_t, const lap_anchored*, double,
                      double, double, double*, lap_pair*) noexcept nogil
        const lap_transport *transport

        const lap_short_table *shorts

    const lap_table *lap_find_table(const char*)
    const char *lap_vendor()

cdef extern from "general/logistic.h" nogil:
    int lap_logistic_topk(const lap_table*, const double*, ptrdiff_t, double, double, double, int,
                          double*, double*, double*, double*)

cdef extern from "lanes/search.h" nogil:
    ctypedef void (*lap_task)(void*, ptrdiff_t) noexcept nogil

    ctypedef struct lap_runner:
        void (*run)(const lap_runner*, lap_task, void*, ptrdiff_t) noexcept nogil

    ctypedef struct lap_selected:
        lap_root root
        double left_node, right_node
        int copied

    ctypedef struct lap_lane:
        const lap_table *table
        const lap_runner *runner
        const void *x
        void *copy
        int single
        const double *c
        ptrdiff_t n
        double sign, alpha

    int lap_select(const lap_lane*, double, double, void*, double*, lap_selected*)

cdef extern from "lanes/products.h" nogil:
    void lap_lane_copy(const lap_lane*)
    void lap_lane_cdf(const lap_lane*, const lap_anchored*, int, void*)
    void lap_lane_pull(const lap_lane*, const lap_anchored*, const void*, int, double*, void*,
                       lap_pulled*)
    void lap_lane_push(const lap_lane*, const lap_anchored*, const double*, double, double, int,
                       double*)
    const int LAP_FEW
    void lap_lane_softmax(const lap_lane*, const lap_anchored*, int, const double*, const double*,
                          void*, lap_pulled*)

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define AHEAD(p, write) __builtin_prefetch(p, write)
    #else
    #define AHEAD(p, write) ((void)(p))
    #endif
    #define DISTANCE 24 /* entries: what random access waits for is then there */
    """
    void AHEAD(const void*, int) nogil
    const Py_ssize_t DISTANCE

cdef extern from "math.h" nogil:
    double exp(double)
    double expm1(double)
    double INFINITY
    double NAN


cdef enum:
    BLOCK = 256                         # what fits into the nearest cache several times

ctypedef fused entry:                   # floats are read as they are, and results rounded once
    float
    double


cdef const lap_table *_table = NULL


def choose(str level):
    """Take the loops of a SIMD level, "" for the best that this processor has; return its name."""
    global _table
    cdef bytes name = level.encode()
    cdef const lap_table *table = lap_find_table(name)
    if table is NULL:
        return None
    _table = table
    return table.name.decode()


def vendor():
    """Return who made this processor: "amd", "intel" or "", which is unknown."""
    return lap_vendor().decode()


include "kernels/order.pxi"
include "kernels/keys.pxi"
include "kernels/scans.pxi"
include "kernels/meeting.pxi"
include "kernels/nodes.pxi"
include "kernels/ranks.pxi"
include "kernels/targets.pxi"
include "kernels/thresholds.pxi"
include "kernels/sorts.pxi"
include "kernels/pulls.pxi"
include "kernels/cotangents.pxi"
include "kernels/threads.pxi"
include "kernels/selection.pxi"
include "kernels/short.pxi"
include "kernels/short_permute.pxi"
include "kernels/even.pxi"
include "kernels/entries.pxi"
include "kernels/permutation.pxi"
include "kernels/product.pxi"
include "kernels/permute.pxi"
include "kernels/general.pxi"
include "kernels/transport.pxi"
include "kernels/denormals.pxi"
