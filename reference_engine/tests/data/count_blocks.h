/* Counts basic blocks that run, in code built with -fsanitize-coverage=trace-pc: work, the same on every machine.
 * Nothing is included: what follows this file has not said yet what it wants of the system's headers. */
#if defined(__clang__)
#define UNCOUNTED __attribute__((weak, no_sanitize("coverage")))
#else
#define UNCOUNTED __attribute__((weak, no_sanitize_coverage))
#endif
extern unsigned long long wl_blocks;
__attribute__((weak)) unsigned long long wl_blocks;
void __sanitizer_cov_trace_pc(void);
UNCOUNTED void __sanitizer_cov_trace_pc(void) { wl_blocks++; }
