/* Which tables of loops this build has, which of them this processor can run, and who made it. */
#include "loops.h"

#include <string.h>

extern const lap_table lap_table_baseline;
#ifdef LAP_X86_LEVELS
extern const lap_table lap_table_avx2, lap_table_avx512;

static int supports_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int supports_avx512(void)
{
    return supports_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw");
}
#endif

const char *lap_vendor(void)
{
#ifdef LAP_X86_LEVELS
    __builtin_cpu_init();
    if (__builtin_cpu_is("amd"))
        return "amd";
    if (__builtin_cpu_is("intel"))
        return "intel";
#endif
    return "";
}

const lap_table *lap_find_table(const char *level)
{
    int any = !*level;
#ifdef LAP_X86_LEVELS
    __builtin_cpu_init();
    if ((any || !strcmp(level, "avx512")) && supports_avx512())
        return &lap_table_avx512;
    if ((any || !strcmp(level, "avx2")) && supports_avx2())
        return &lap_table_avx2;
#endif
    return any || !strcmp(level, "baseline") ? &lap_table_baseline : NULL;
}
