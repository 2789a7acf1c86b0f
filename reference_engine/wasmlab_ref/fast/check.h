/* The front end alone, for tests. */
#ifndef WASMLAB_CHECK_H
#define WASMLAB_CHECK_H

#include "module.h"

/* Decode and validate, keep nothing: the stage that refuses the module, or WL_OK. */
wl_stage wl_check(wl_engine *, const uint8_t *bytes, size_t size, uint32_t features, wl_error *);

#endif
