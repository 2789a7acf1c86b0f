/* The front end alone, for tests: is this a module? */
#include "check.h"
#include "opcodes.h"

wl_stage wl_check(wl_engine *engine, const uint8_t *bytes, size_t size, uint32_t features, wl_error *error) {
    wl_limits limits = wl_default_limits();
    wl_module *module;
    limits.features = features & WL_ALL_FEATURES;
    wl_stage stage = wl_load(engine, bytes, size, &limits, &module, error);
    wl_module_release(module);
    return stage;
}
