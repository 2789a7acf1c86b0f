/* The digest of a memory is that of the reference engine. */
#include "exec.h"

void digest_of(uint8_t *data, size_t size, char digest[17]);

void digest_of(uint8_t *data, size_t size, char digest[17]) {
    wl_meminst memory = {.data = data, .size = size, .committed = size};
    wl_memory_digest(&memory, digest);
}
