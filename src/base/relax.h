/* What a loop does between two looks at a word that another thread is about to write. */
#ifndef BASE_RELAX_H
#define BASE_RELAX_H

/* Lets the host's other hardware thread have the core for a moment, and keeps the loop from
 * reading far ahead. Any thread. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
