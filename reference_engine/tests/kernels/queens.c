/* n queens by recursion over bit sets. */
#include "kernel.h"
static u32 place(u32 all, u32 cols, u32 left, u32 right) {
    if (cols == all) return 1;
    u32 count = 0, free_ = all & ~(cols | left | right);
    while (free_) {
        u32 bit = free_ & -free_;
        free_ ^= bit;
        count += place(all, cols | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return count;
}
EXPORT i64 run(i32 n) { u32 all = (1u << n) - 1; return place(all, 0, 0, 0); }
