/* What CUDA C++ and CuPy give to the body of a kernel, for a C++ compiler of the host.
 *
 * No system header is included, so that a kernel compiles in a tenth of a second.
 */
#pragma once

typedef decltype(sizeof(0)) size_t;
typedef decltype((char *)0 - (char *)0) ptrdiff_t;
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long int64_t;
typedef unsigned long uint64_t;

#define __CUDACC_RTC__ 1
#define __device__
#define __host__
#define __global__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
/* Blocks run one after another, so one copy will do; the section lets each block find it all. */
#define __shared__ static __attribute__((section("cuda_shared")))
#define __syncthreads() cuda_sync_block(__LINE__)
#define __syncwarp(...) cuda_sync_warp(cuda_mask(__VA_ARGS__))
#define __threadfence() ((void)0)
#define __threadfence_block() ((void)0)
#define assert(condition) ((condition) ? (void)0 : cuda_fault(CUDA_ASSERT, 0, __LINE__, 0))

#define NULL 0
#define M_PI 3.14159265358979323846
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define CUDART_INF __builtin_inf()
#define CUDART_NAN __builtin_nan("")

struct uint3 {
    unsigned x, y, z;
};
typedef uint3 dim3;

enum {
    CUDA_OUT_OF_BOUNDS = 1, CUDA_DIVERGENT, CUDA_TIMEOUT, CUDA_SEGFAULT, CUDA_TRAP, CUDA_ASSERT,
    CUDA_WRONG_NDIM
};

extern "C" {
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
extern char *cuda_dynamic_shared;
[[noreturn]] void cuda_fault(int code, ptrdiff_t where, ptrdiff_t index, ptrdiff_t size);
void cuda_sync_block(int line);
void cuda_sync_warp(unsigned mask);
unsigned cuda_lane();
/* Room for what the lanes of a warp show to each other. */
unsigned long long *cuda_exchange();
}
static const int warpSize = 32;
static inline unsigned cuda_mask(unsigned mask = 0xffffffffu) { return mask; }

/* --- Mathematics ---------------------------------------------------------------------------- */

#define CUDA_UNARY(name)                                                                          \
    static inline double name(double x) { return __builtin_##name(x); }                           \
    static inline float name(float x) { return __builtin_##name##f(x); }                          \
    static inline float name##f(float x) { return __builtin_##name##f(x); }
#define CUDA_BINARY(name)                                                                         \
    static inline double name(double x, double y) { return __builtin_##name(x, y); }              \
    static inline float name(float x, float y) { return __builtin_##name##f(x, y); }              \
    static inline float name##f(float x, float y) { return __builtin_##name##f(x, y); }
CUDA_UNARY(exp) CUDA_UNARY(exp2) CUDA_UNARY(expm1) CUDA_UNARY(log) CUDA_UNARY(log2)
CUDA_UNARY(log10) CUDA_UNARY(log1p) CUDA_UNARY(sqrt) CUDA_UNARY(cbrt) CUDA_UNARY(fabs)
CUDA_UNARY(floor) CUDA_UNARY(ceil) CUDA_UNARY(trunc) CUDA_UNARY(rint) CUDA_UNARY(round)
CUDA_UNARY(sin) CUDA_UNARY(cos) CUDA_UNARY(tan) CUDA_UNARY(atan) CUDA_UNARY(sinh)
CUDA_UNARY(cosh) CUDA_UNARY(tanh) CUDA_UNARY(asinh) CUDA_UNARY(acosh) CUDA_UNARY(atanh)
CUDA_UNARY(erf) CUDA_UNARY(erfc)
static inline double erfcx(double x)
{
    if (x < 10.0) { /* the square in two parts, of which the first is exact */
        const double whole = __builtin_rint(16.0 * x) / 16.0, rest = x - whole;
        return __builtin_exp(whole * whole) * __builtin_exp(rest * (x + whole)) * __builtin_erfc(x);
    }
    const double square = 0.5 / (x * x);
    double sum = 1.0;
    for (int m = 12; m > 0; --m)
        sum = 1.0 - (2 * m - 1) * square * sum;
    return 0.56418958354775628695 / x * sum;
}
CUDA_BINARY(pow) CUDA_BINARY(hypot) CUDA_BINARY(atan2) CUDA_BINARY(fmod) CUDA_BINARY(fmin)
CUDA_BINARY(fmax) CUDA_BINARY(copysign) CUDA_BINARY(nextafter) CUDA_BINARY(fdim)

static inline double abs(double x) { return __builtin_fabs(x); }
static inline float abs(float x) { return __builtin_fabsf(x); }
static inline int abs(int x) { return x < 0 ? -x : x; }
static inline long abs(long x) { return x < 0 ? -x : x; }
static inline long long abs(long long x) { return x < 0 ? -x : x; }
static inline double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
static inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
static inline float fmaf(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
static inline double ldexp(double x, int e) { return __builtin_ldexp(x, e); }
static inline float ldexp(float x, int e) { return __builtin_ldexpf(x, e); }
static inline double scalbn(double x, int e) { return __builtin_scalbn(x, e); }
static inline float scalbn(float x, int e) { return __builtin_scalbnf(x, e); }
static inline double frexp(double x, int *e) { return __builtin_frexp(x, e); }
static inline float frexp(float x, int *e) { return __builtin_frexpf(x, e); }
static inline int ilogb(double x) { return __builtin_ilogb(x); }
static inline double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
static inline bool isnan(double x) { return __builtin_isnan(x); }
static inline bool isinf(double x) { return __builtin_isinf(x); }
static inline bool isfinite(double x) { return __builtin_isfinite(x); }
static inline bool signbit(double x) { return __builtin_signbit(x); }
static inline bool isnan(float x) { return __builtin_isnan(x); }
static inline bool isinf(float x) { return __builtin_isinf(x); }
static inline bool isfinite(float x) { return __builtin_isfinite(x); }
static inline bool signbit(float x) { return __builtin_signbit(x); }

/* Of floats, the one that is a number; CUDA's min and max are fmin and fmax. */
static inline double min(double x, double y) { return __builtin_fmin(x, y); }
static inline double max(double x, double y) { return __builtin_fmax(x, y); }
static inline float min(float x, float y) { return __builtin_fminf(x, y); }
static inline float max(float x, float y) { return __builtin_fmaxf(x, y); }
#define CUDA_MINMAX(T)                                                                            \
    static inline T min(T x, T y) { return x < y ? x : y; }                                       \
    static inline T max(T x, T y) { return x < y ? y : x; }
CUDA_MINMAX(int) CUDA_MINMAX(unsigned) CUDA_MINMAX(long) CUDA_MINMAX(unsigned long)
CUDA_MINMAX(long long) CUDA_MINMAX(unsigned long long)

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }

template <class To, class From> static inline To cuda_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    __builtin_memcpy(&to, &from, sizeof to);
    return to;
}
static inline double __longlong_as_double(long long x) { return cuda_bits<double>(x); }
static inline long long __double_as_longlong(double x) { return cuda_bits<long long>(x); }
static inline float __int_as_float(int x) { return cuda_bits<float>(x); }
static inline int __float_as_int(float x) { return cuda_bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return cuda_bits<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return cuda_bits<float>(x); }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline double __ddiv_rn(double x, double y) { return x / y; }
static inline double __dsqrt_rn(double x) { return __builtin_sqrt(x); }
static inline double __fma_rn(double x, double y, double z) { return __builtin_fma(x, y, z); }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
template <class T> static inline T __ldg(const T *p) { return *p; }

/* Half precision as CuPy has it: stored in 16 bits, computed with as float, rounded once. */
class float16 {
    unsigned short bits_;
    void set(double v)
    {
        int e;
        double a = __builtin_fabs(v), q;
        unsigned magnitude;
        if (a != a)
            magnitude = 0x7e00;
        else if (a >= 65520.0)
            magnitude = 0x7c00;
        else if (a < 0x1p-14)
            magnitude = (unsigned)__builtin_rint(a * 0x1p24);
        else {
            q = __builtin_rint(__builtin_frexp(a, &e) * 2048.0);
            magnitude = (unsigned)((e + 14) * 1024 + ((int)q - 1024));
        }
        bits_ = (unsigned short)(magnitude | (__builtin_signbit(v) ? 0x8000u : 0u));
    }

public:
    float16() {}
    float16(float v) { set(v); }
    explicit float16(bool v) { set(v); }
    explicit float16(double v) { set(v); }
    explicit float16(int v) { set(v); }
    explicit float16(unsigned v) { set(v); }
    explicit float16(long long v) { set((double)v); }
    explicit float16(unsigned long long v) { set((double)v); }
    template <class T> float16 &operator=(const T &v) { return *this = static_cast<float16>(v); }
    float16 &operator=(const float16 &) = default;
    float16(const float16 &) = default;
    operator float() const
    {
        int e = bits_ >> 10 & 31, m = bits_ & 1023;
        float a = e == 31  ? (m ? __builtin_nanf("") : __builtin_inff())
                  : e == 0 ? (float)m * 0x1p-24f
                           : __builtin_ldexpf((float)(m + 1024), e - 25);
        return bits_ & 0x8000 ? -a : a;
    }
};

/* --- Atomics and warps ----------------------------------------------------------------------- */

#define CUDA_ATOMIC(name, expression)                                                             \
    template <class T, class U> static inline T name(T *p, U v)                                   \
    {                                                                                             \
        T old = *p, value = (T)v;                                                                 \
        *p = (expression);                                                                        \
        return old;                                                                               \
    }
CUDA_ATOMIC(atomicAdd, old + value) CUDA_ATOMIC(atomicSub, old - value)
CUDA_ATOMIC(atomicMax, old < value ? value : old) CUDA_ATOMIC(atomicMin, value < old ? value : old)
CUDA_ATOMIC(atomicExch, value) CUDA_ATOMIC(atomicOr, old | value)
CUDA_ATOMIC(atomicAnd, old & value) CUDA_ATOMIC(atomicXor, old ^ value)
template <class T> static inline T atomicCAS(T *p, T compare, T value)
{
    T old = *p;
    if (old == compare)
        *p = value;
    return old;
}

template <class T> static inline T cuda_shuffle(unsigned mask, T value, unsigned from)
{
    unsigned long long *room = cuda_exchange(), word = 0;
    static_assert(sizeof(T) <= sizeof word, "");
    __builtin_memcpy(&word, &value, sizeof value);
    room[cuda_lane()] = word;
    cuda_sync_warp(mask);
    __builtin_memcpy(&value, &room[from], sizeof value);
    cuda_sync_warp(mask);
    return value;
}
template <class T> static inline T __shfl_sync(unsigned mask, T value, int from, int width = 32)
{
    return cuda_shuffle(mask, value, (cuda_lane() & ~(width - 1u)) | ((unsigned)from & (width - 1u)));
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned d, int width = 32)
{
    unsigned lane = cuda_lane();
    return cuda_shuffle(mask, v, (lane & (width - 1u)) >= d ? lane - d : lane);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned d, int width = 32)
{
    unsigned lane = cuda_lane();
    return cuda_shuffle(mask, v, (lane & (width - 1u)) + d < (unsigned)width ? lane + d : lane);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T v, int d, int width = 32)
{
    return cuda_shuffle(mask, v, cuda_lane() ^ (unsigned)d);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate)
{
    unsigned long long *room = cuda_exchange();
    unsigned lane, votes = 0;
    room[cuda_lane()] = predicate != 0;
    cuda_sync_warp(mask);
    for (lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1 && room[lane])
            votes |= 1u << lane;
    cuda_sync_warp(mask);
    return votes;
}
static inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
static inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, p) == mask; }

/* --- Arrays of elementwise and reduction kernels --------------------------------------------- */

/* A launch passes six words for each array: data, size, ndim, how it is laid out, where its shape
 * and strides (in bytes) stand among the words, and the number of its parameter. */
enum { CUDA_STRIDED, CUDA_CONTIGUOUS, CUDA_ONE_ELEMENT };

template <class T> class CArray {
    T *data_;
    ptrdiff_t size_, ndim_, layout_;
    const ptrdiff_t *shape_, *strides_;
    int parameter_;

    T &strided(ptrdiff_t i) const
    {
        char *at = (char *)data_;
        for (ptrdiff_t d = ndim_ - 1; d >= 0; --d) {
            at += i % shape_[d] * strides_[d];
            i /= shape_[d];
        }
        return *(T *)at;
    }
    T &checked(ptrdiff_t i) const
    {
        if ((size_t)i >= (size_t)size_)
            cuda_fault(CUDA_OUT_OF_BOUNDS, parameter_, i, size_);
        return layout_ == CUDA_STRIDED ? strided(i) : data_[i];
    }
    template <class Int> T &at(const Int *index, int length) const
    {
        ptrdiff_t i = 0;
        if (length != ndim_)
            cuda_fault(CUDA_WRONG_NDIM, parameter_, length, ndim_);
        for (int d = 0; d < length; ++d) {
            if ((size_t)index[d] >= (size_t)shape_[d])
                cuda_fault(CUDA_OUT_OF_BOUNDS, parameter_, index[d], shape_[d]);
            i = i * shape_[d] + index[d];
        }
        return checked(i);
    }

public:
    CArray(const ptrdiff_t *words, int parameter) : parameter_(parameter)
    {
        const ptrdiff_t *own = words + 5 * parameter;
        data_ = (T *)own[0];
        size_ = own[1];
        ndim_ = own[2];
        layout_ = own[3];
        shape_ = words + own[4];
        strides_ = shape_ + ndim_;
    }
    ptrdiff_t size() const { return size_; }
    const ptrdiff_t *shape() const { return shape_; }
    const ptrdiff_t *strides() const { return strides_; }
    T &operator[](ptrdiff_t i) { return checked(i); }
    const T &operator[](ptrdiff_t i) const { return checked(i); }
    template <class Int, int length> T &operator[](const Int (&index)[length])
    {
        return at(index, length);
    }
    template <class Int, int length> const T &operator[](const Int (&index)[length]) const
    {
        return at(index, length);
    }
    /* The element that belongs to a place of the loop, to which the array was broadcast. */
    T &element(ptrdiff_t i) const
    {
        return layout_ == CUDA_CONTIGUOUS    ? data_[i]
               : layout_ == CUDA_ONE_ELEMENT ? *data_
                                             : strided(i);
    }
};

class CIndexer {
    ptrdiff_t size_;

public:
    explicit CIndexer(ptrdiff_t size) : size_(size) {}
    ptrdiff_t size() const { return size_; }
};

/* An order in which to visit 0, ..., size - 1: backwards for step 0, else in groups of 32 of which
 * every step-th comes next, so that neighbours meet in both orders. */
struct CudaOrder {
    ptrdiff_t size, step, groups, group, i, end, left;
    CudaOrder(ptrdiff_t size_, ptrdiff_t step_)
        : size(size_), step(step_), groups((size_ + 31) / 32), group(0), left(size_)
    {
        if (step == 0)
            i = size - 1;
        else
            start();
    }
    void start()
    {
        i = 32 * group;
        end = i + 32 < size ? i + 32 : size;
    }
    bool more() const { return left > 0; }
    void next()
    {
        --left;
        if (step == 0)
            --i;
        else if (++i == end) {
            group = (group + step) % groups;
            start();
        }
    }
};

static inline double cuda_magnitude(double x)
{
    x = __builtin_fabs(x);
    return __builtin_isfinite(x) ? x : 0.0;
}
