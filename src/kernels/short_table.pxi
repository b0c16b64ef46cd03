# What simd/short.h declares.

cdef extern from "simd/short.h" nogil:
    enum:
        LAP_SHORT_BLOCK
        LAP_SHORT_ROWS

    ctypedef struct lap_short_lanes:
        const void *x
        int single, n
        ptrdiff_t lanes
        double sign
        const double *alpha
        const double *weights

    ctypedef struct lap_short_table:
        int most
        const lap_short_table *longer
        const void *even
        void (*ranks)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, void*, unsigned char*,
                      unsigned char*) noexcept nogil
        void (*rank_products)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const unsigned char*,
                              const void*, const double*, const double*, void*, double*, double*,
                              unsigned char*) noexcept nogil
        void (*topk)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const double*, int, void*,
                     double*, unsigned char*) noexcept nogil
        void (*topk_pull)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const double*, int,
                          const void*, void*, double*, double*, double*,
                          unsigned char*) noexcept nogil
        void (*topk_push)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const double*, int,
                          const void*, const double*, const double*, const double*, void*,
                          unsigned char*) noexcept nogil
        void (*sorts)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, void*, unsigned char*,
                      unsigned char*) noexcept nogil
        void (*sort_pull)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const unsigned char*,
                          const void*, void*, double*, unsigned char*) noexcept nogil
        void (*sort_push)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const unsigned char*,
                          const void*, const double*, void*, unsigned char*) noexcept nogil
        void (*permute)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const double*, int, double*,
                        unsigned char*, unsigned char*) noexcept nogil
        void (*permute_pull)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const unsigned char*,
                             const double*, int, const double*, double*, double*, double*,
                             unsigned char*) noexcept nogil
        void (*permute_push)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const unsigned char*,
                             const double*, const double*, const double*, const double*, double*,
                             unsigned char*) noexcept nogil
        void (*permutation)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, void*, unsigned char*,
                            unsigned char*) noexcept nogil
        void (*permutation_pull)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t,
                                 const unsigned char*, const double*, double*, double*,
                                 unsigned char*) noexcept nogil
        void (*permutation_push)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t,
                                 const unsigned char*, const double*, const double*, double*,
                                 unsigned char*) noexcept nogil
        void (*quantiles)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const double*, int,
                          double*, double*, unsigned char*) noexcept nogil
        void (*quantile_pull)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const double*,
                              const double*, const double*, int, const double*, void*, double*,
                              double*, double*, unsigned char*) noexcept nogil
        void (*quantile_push)(const lap_short_lanes*, ptrdiff_t, ptrdiff_t, const double*,
                              const double*, const double*, int, const void*, const double*,
                              const double*, const double*, double*, unsigned char*) noexcept nogil
