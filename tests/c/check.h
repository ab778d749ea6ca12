/* check.h: what the C tests share. A test program returns 0 for a pass, 77 for a skip. */
#ifndef RINGIO_TESTS_CHECK_H
#define RINGIO_TESTS_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);          \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

/* SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return random_next(state) % limit;
}

/* 'count' zeroed items in a block of exactly that size, so that a sanitizer sees one byte too many. */
static inline void *make_array(uint64_t count, size_t item_nbytes)
{
    void *array = calloc(count ? count : 1, item_nbytes);
    CHECK(array);
    return array;
}

#endif
