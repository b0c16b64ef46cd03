/* What runs the kernels: guarded calls, fibres for the threads of a block, fenced memory. */
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>

struct uint3 {
    unsigned x, y, z;
};

extern "C" {
uint3 threadIdx, blockIdx, blockDim, gridDim;
char *cuda_dynamic_shared;
}

enum { OUT_OF_BOUNDS = 1, DIVERGENT, TIMEOUT, SEGFAULT, TRAP };

/* --- Calls that come back whatever the kernel does ------------------------------------------- */

struct Fault {
    ptrdiff_t code, where, index, size, block[3], thread[3];
};
static Fault *fault_;
static sigjmp_buf back_;
static pthread_t launcher_;
static bool fibres_spoilt_;

extern "C" [[noreturn]] void cuda_fault(int code, ptrdiff_t where, ptrdiff_t index, ptrdiff_t size)
{
    *fault_ = {code, where, index, size,
               {blockIdx.x, blockIdx.y, blockIdx.z}, {threadIdx.x, threadIdx.y, threadIdx.z}};
    fibres_spoilt_ = true;
    siglongjmp(back_, 1);
}

static void on_signal(int signal, siginfo_t *info, void *)
{
    if (!pthread_equal(pthread_self(), launcher_)) {
        pthread_kill(launcher_, signal);
        return;
    }
    cuda_fault(signal == SIGVTALRM ? TIMEOUT : signal == SIGSEGV || signal == SIGBUS ? SEGFAULT : TRAP,
               (ptrdiff_t)info->si_addr, 0, 0);
}

static const int signals_[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGVTALRM};
enum { SIGNALS = sizeof signals_ / sizeof *signals_ };

/* Run `call(data)`; whatever happens, the handlers are those of before when it returns. */
static void guarded(void (*call)(void *), void *data, double seconds, Fault *fault)
{
    static char stack[65536];
    struct sigaction action, old[SIGNALS];
    stack_t own, before;
    itimerval limit = {{0, 0}, {(time_t)seconds, (suseconds_t)((seconds - (time_t)seconds) * 1e6)}},
              none = {{0, 0}, {0, 0}};
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    /* SA_NODEFER: the handler leaves by a jump, which must not leave the signal blocked. */
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    own.ss_sp = stack;
    own.ss_size = sizeof stack;
    own.ss_flags = 0;
    fault->code = 0;
    fault_ = fault;
    launcher_ = pthread_self();
    sigaltstack(&own, &before);
    for (int i = 0; i < SIGNALS; ++i)
        sigaction(signals_[i], &action, &old[i]);
    setitimer(ITIMER_VIRTUAL, &limit, nullptr);
    if (!sigsetjmp(back_, 0))
        call(data);
    setitimer(ITIMER_VIRTUAL, &none, nullptr);
    for (int i = 0; i < SIGNALS; ++i)
        sigaction(signals_[i], &old[i], nullptr);
    /* A handler that was left by a jump counts as gone once its stack is out of use. */
    sigaltstack(&before, nullptr);
}

/* --- Elementwise and reduction kernels ------------------------------------------------------- */

typedef void (*Loop)(const ptrdiff_t *words, ptrdiff_t outer, ptrdiff_t inner, ptrdiff_t step);
struct LoopCall {
    Loop loop;
    const ptrdiff_t *words;
    ptrdiff_t outer, inner, step;
};

extern "C" void cuda_run_loop(Loop loop, const ptrdiff_t *words, ptrdiff_t outer, ptrdiff_t inner,
                              ptrdiff_t step, double seconds, Fault *fault)
{
    LoopCall call = {loop, words, outer, inner, step};
    guarded([](void *data) {
        LoopCall *c = (LoopCall *)data;
        c->loop(c->words, c->outer, c->inner, c->step);
    }, &call, seconds, fault);
}

/* --- Raw kernels ----------------------------------------------------------------------------- */

enum { MAX_THREADS = 1024, STACK = 65536, PAGE = 4096 };
enum State { READY, AT_BLOCK, AT_WARP, DONE };

struct Fibre {
    ucontext_t boot;
    jmp_buf env;
    bool booted;
    State state;
    int line;
    unsigned mask;
};
struct RawCall {
    void (*thread)(void **);
    void **arguments;
    unsigned grid[3], block[3];
    char *shared;
    ptrdiff_t shared_size, dynamic_size, poison, barriers, seed;
};

static Fibre fibres_[MAX_THREADS];
static char *stacks_;
static jmp_buf scheduler_;
static const RawCall *raw_;
static int me_;
static unsigned long long exchange_[MAX_THREADS];

extern "C" unsigned cuda_lane() { return me_ & 31; }
extern "C" unsigned long long *cuda_exchange() { return exchange_ + (me_ & ~31); }

static void place(int t)
{
    const unsigned *b = raw_->block;
    me_ = t;
    threadIdx = {t % b[0], t / b[0] % b[1], t / (b[0] * b[1])};
}

/* Every fibre lives for all blocks of all launches: a switch must not cost a system call. */
static void fibre_main()
{
    for (;;) {
        raw_->thread(raw_->arguments);
        fibres_[me_].state = DONE;
        if (!_setjmp(fibres_[me_].env))
            _longjmp(scheduler_, 1);
    }
}

static __attribute__((noinline)) void resume(int t)
{
    place(t);
    if (_setjmp(scheduler_))
        return;
    if (fibres_[t].booted)
        _longjmp(fibres_[t].env, 1);
    fibres_[t].booted = true;
    setcontext(&fibres_[t].boot);
}

static void wait(State state)
{
    fibres_[me_].state = state;
    if (!_setjmp(fibres_[me_].env))
        _longjmp(scheduler_, 1);
}
extern "C" void cuda_sync_block(int line)
{
    fibres_[me_].line = line;
    wait(AT_BLOCK);
}
extern "C" void cuda_sync_warp(unsigned mask)
{
    fibres_[me_].mask = mask;
    wait(AT_WARP);
}

static unsigned random_;
static unsigned draw(unsigned below)
{
    random_ = random_ * 1664525u + 1013904223u;
    return (unsigned)(((unsigned long long)random_ * below) >> 32);
}
template <class Int> static void shuffle(Int *order, Int n)
{
    for (Int i = n; i-- > 1;) {
        Int j = (Int)draw((unsigned)i + 1), other = order[j];
        order[j] = order[i];
        order[i] = other;
    }
}

static void make_fibres(int threads)
{
    if (!stacks_) {
        stacks_ = (char *)mmap(nullptr, (size_t)MAX_THREADS * (STACK + PAGE), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        for (int t = 0; t < MAX_THREADS; ++t)
            mprotect(stacks_ + (size_t)t * (STACK + PAGE), PAGE, PROT_NONE);
    }
    if (fibres_spoilt_)
        for (int t = 0; t < MAX_THREADS; ++t)
            fibres_[t].booted = false;
    fibres_spoilt_ = false;
    for (int t = 0; t < threads; ++t) {
        Fibre &f = fibres_[t];
        f.state = READY;
        if (f.booted)
            continue;
        getcontext(&f.boot);
        f.boot.uc_stack.ss_sp = stacks_ + (size_t)t * (STACK + PAGE) + PAGE;
        f.boot.uc_stack.ss_size = STACK;
        f.boot.uc_link = nullptr;
        makecontext(&f.boot, fibre_main, 0);
    }
}

/* Let the threads of warps go on whose whole mask has arrived; whether there were any. */
static bool release_warps(int threads)
{
    bool any = false;
    for (int t = 0; t < threads; ++t) {
        if (fibres_[t].state != AT_WARP)
            continue;
        int base = t & ~31, there = 0, wanted = 0;
        unsigned mask = fibres_[t].mask;
        for (int lane = 0; lane < 32 && base + lane < threads; ++lane)
            if (mask >> lane & 1) {
                const Fibre &f = fibres_[base + lane];
                ++wanted;
                there += f.state == AT_WARP && f.mask == mask;
            }
        if (there != wanted || !(mask >> (t & 31) & 1))
            continue;
        for (int lane = 0; lane < 32 && base + lane < threads; ++lane)
            if (mask >> lane & 1)
                fibres_[base + lane].state = READY;
        any = true;
    }
    return any;
}

static void run_block(int threads, int *order)
{
    make_fibres(threads);
    for (;;) {
        int done = 0, block = 0, line = 0;
        bool same = true;
        shuffle(order, threads);
        for (int k = 0; k < threads; ++k)
            if (fibres_[order[k]].state == READY)
                resume(order[k]);
        if (release_warps(threads))
            continue;
        for (int t = 0; t < threads; ++t)
            if (fibres_[t].state == DONE)
                ++done;
            else if (fibres_[t].state == AT_BLOCK) {
                same = same && (!line || line == fibres_[t].line);
                line = fibres_[t].line;
                ++block;
            }
        if (done == threads)
            return;
        if (block != threads || !same)
            cuda_fault(DIVERGENT, done, block, threads);
        for (int t = 0; t < threads; ++t)
            fibres_[t].state = READY;
    }
}

static void run_raw(void *data)
{
    const RawCall *call = raw_ = (const RawCall *)data;
    const unsigned *g = call->grid, *b = call->block;
    const int threads = (int)(b[0] * b[1] * b[2]);
    const ptrdiff_t blocks = (ptrdiff_t)g[0] * g[1] * g[2];
    static int order[MAX_THREADS];
    gridDim = {g[0], g[1], g[2]};
    blockDim = {b[0], b[1], b[2]};
    random_ = (unsigned)call->seed;
    for (int t = 0; t < threads; ++t)
        order[t] = t;
    /* An odd step through a power of two visits every block, in a scattered order. */
    ptrdiff_t round = 1, block = draw(1u << 16);
    while (round < blocks)
        round *= 2;
    const ptrdiff_t step = (ptrdiff_t)(draw(1u << 20) | 1);
    for (ptrdiff_t k = 0; k < round; ++k) {
        block = (block + step) & (round - 1);
        if (block >= blocks)
            continue;
        blockIdx = {(unsigned)(block % g[0]), (unsigned)(block / g[0] % g[1]),
                    (unsigned)(block / ((ptrdiff_t)g[0] * g[1]))};
        memset(call->shared, (int)call->poison, (size_t)call->shared_size);
        if (call->dynamic_size)
            memset(cuda_dynamic_shared, (int)call->poison, (size_t)call->dynamic_size);
        if (call->barriers)
            run_block(threads, order);
        else {
            shuffle(order, threads);
            for (int k2 = 0; k2 < threads; ++k2) {
                place(order[k2]);
                call->thread(call->arguments);
            }
        }
    }
}

extern "C" void cuda_run_raw(RawCall *call, char *dynamic, double seconds, Fault *fault)
{
    cuda_dynamic_shared = dynamic;
    guarded(run_raw, call, seconds, fault);
}

/* --- Memory between two pages that cannot be touched ----------------------------------------- */

/* Return the first byte of `pages` pages, or null. */
extern "C" char *cuda_fenced(size_t pages)
{
    char *all = (char *)mmap(nullptr, (pages + 2) * PAGE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == (char *)MAP_FAILED)
        return nullptr;
    mprotect(all, PAGE, PROT_NONE);
    mprotect(all + (pages + 1) * PAGE, PAGE, PROT_NONE);
    return all + PAGE;
}

extern "C" void cuda_unfence(char *first, size_t pages)
{
    munmap(first - PAGE, (pages + 2) * PAGE);
}
