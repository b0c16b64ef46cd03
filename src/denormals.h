/* Denormal numbers, which some libraries have the processor take for zero in their threads. */
#ifndef LAPSUM_DENORMALS_H
#define LAPSUM_DENORMALS_H

#include <stdint.h>

#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
#define LAP_FLUSHED 0x8040u /* results, and operands */
static inline uint64_t lap_float_mode(void) { return _mm_getcsr(); }
static inline void lap_set_float_mode(uint64_t mode) { _mm_setcsr((unsigned int)mode); }
#elif defined(__aarch64__) && defined(__GNUC__)
#define LAP_FLUSHED ((uint64_t)1 << 24)
static inline uint64_t lap_float_mode(void) {
  uint64_t mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
static inline void lap_set_float_mode(uint64_t mode) {
  __asm__ volatile("msr fpcr, %0" : : "r"(mode));
}
#else
#define LAP_FLUSHED 0
static inline uint64_t lap_float_mode(void) { return 0; }
static inline void lap_set_float_mode(uint64_t mode) { (void)mode; }
#endif

#endif
