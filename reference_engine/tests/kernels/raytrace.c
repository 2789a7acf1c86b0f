/* Spheres and a light, n x n rays, structures of f32. */
#include "kernel.h"
typedef struct { float x, y, z; } vec;
typedef struct { vec at; float r2, shade; } sphere;
static sphere world[8];
static NOINLINE float dot(const vec *a, const vec *b) { return a->x * b->x + a->y * b->y + a->z * b->z; }
static NOINLINE int hit(const sphere *s, const vec *o, const vec *d, float *t) {
    vec oc = {o->x - s->at.x, o->y - s->at.y, o->z - s->at.z};
    float b = dot(&oc, d), c = dot(&oc, &oc) - s->r2, disc = b * b - c;
    if (disc < 0) return 0;
    float root = __builtin_sqrtf(disc), x = -b - root;
    if (x < 0.001f || x >= *t) return 0;
    *t = x;
    return 1;
}
EXPORT i64 run(i32 n) {
    u32 s = 99; u64 sum = 0;
    for (i32 i = 0; i < 8; i++) { world[i].at.x = (float)(rnd(&s) & 7) - 3.5f; world[i].at.y = (float)(rnd(&s) & 7) - 3.5f; world[i].at.z = 6 + (float)(rnd(&s) & 7); world[i].r2 = 1 + (float)(rnd(&s) & 3); world[i].shade = (float)i / 8; }
    for (i32 y = 0; y < n; y++)
        for (i32 x = 0; x < n; x++) {
            vec o = {0, 0, 0}, d = {(float)x / (float)n - 0.5f, (float)y / (float)n - 0.5f, 1};
            float l = 1 / __builtin_sqrtf(dot(&d, &d)); d.x *= l; d.y *= l; d.z *= l;
            float t = 1e30f; i32 best = -1;
            for (i32 i = 0; i < 8; i++) if (hit(&world[i], &o, &d, &t)) best = i;
            if (best >= 0) sum += (u64)(world[best].shade * 255) + (u64)(t * 16);
        }
    return (i64)sum;
}
