/* sums.c: running sums, 16 bytes at once.

   In a vector each item gets the one before it added, then what is two before it, then four: so few steps make the sums
   inside the vector.  Then the sum of all before is added, which alone has to wait for the vector before. */
#include "sums.h"

#include <string.h>

typedef uint8_t items_1 __attribute__((vector_size(16)));
typedef uint16_t items_2 __attribute__((vector_size(16)));
typedef uint32_t items_4 __attribute__((vector_size(16)));

/* Items of 'a' and 'b', one behind the other, by their numbers. */
#ifdef __clang__
#define PICK(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

static inline items_1 sums_inside_1(items_1 v)
{
    const items_1 zero = {0};
    v += PICK(items_1, zero, v, 0, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30);
    v += PICK(items_1, zero, v, 0, 1, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29);
    v += PICK(items_1, zero, v, 0, 1, 2, 3, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27);
    return v + PICK(items_1, zero, v, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
}

static inline items_2 sums_inside_2(items_2 v)
{
    const items_2 zero = {0};
    v += PICK(items_2, zero, v, 0, 8, 9, 10, 11, 12, 13, 14);
    v += PICK(items_2, zero, v, 0, 1, 8, 9, 10, 11, 12, 13);
    return v + PICK(items_2, zero, v, 0, 1, 2, 3, 8, 9, 10, 11);
}

static inline items_4 sums_inside_4(items_4 v)
{
    const items_4 zero = {0};
    v += PICK(items_4, zero, v, 0, 4, 5, 6);
    return v + PICK(items_4, zero, v, 0, 1, 4, 5);
}

static inline items_1 last_of_1(items_1 v)
{
    return PICK(items_1, v, v, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15);
}

static inline items_2 last_of_2(items_2 v)
{
    return PICK(items_2, v, v, 7, 7, 7, 7, 7, 7, 7, 7);
}

static inline items_4 last_of_4(items_4 v)
{
    return PICK(items_4, v, v, 3, 3, 3, 3);
}

/* Items one by one: behind the last whole vector, and those that are as long as a register. */
#define ONE_BY_ONE(type)                                                                                               \
    for (type item; i < count; i++) {                                                                                  \
        memcpy(&item, source + i * sizeof item, sizeof item);                                                          \
        item = (type)(item + sum);                                                                                     \
        memcpy(target + i * sizeof item, &item, sizeof item);                                                          \
        sum = item;                                                                                                    \
    }

#define RUN(itemsize, type)                                                                                            \
    static uint64_t run_##itemsize(const uint8_t *source, uint8_t *target, size_t count, uint64_t sum)                 \
    {                                                                                                                  \
        items_##itemsize before = (items_##itemsize){0} + (type)sum, v;                                                \
        size_t i = 0, in_vector = sizeof v / sizeof(type);                                                             \
        for (; count - i >= in_vector; i += in_vector) {                                                               \
            memcpy(&v, source + i * sizeof(type), sizeof v);                                                           \
            v = sums_inside_##itemsize(v);                                                                             \
            items_##itemsize last = last_of_##itemsize(v);                                                             \
            v += before;                                                                                               \
            before += last;                                                                                            \
            memcpy(target + i * sizeof(type), &v, sizeof v);                                                           \
        }                                                                                                              \
        sum = before[0];                                                                                               \
        ONE_BY_ONE(type)                                                                                               \
        return sum;                                                                                                    \
    }

RUN(1, uint8_t)
RUN(2, uint16_t)
RUN(4, uint32_t)

static uint64_t run_8(const uint8_t *source, uint8_t *target, size_t count, uint64_t sum)
{
    size_t i = 0;
    ONE_BY_ONE(uint64_t)
    return sum;
}

uint64_t sums_run(size_t itemsize, const uint8_t *source, uint8_t *target, size_t count, uint64_t sum)
{
    switch (itemsize) {
    case 1:
        return run_1(source, target, count, sum);
    case 2:
        return run_2(source, target, count, sum);
    case 4:
        return run_4(source, target, count, sum);
    default:
        return run_8(source, target, count, sum);
    }
}
