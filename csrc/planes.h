/* planes.h: a decoded chunk as its byte planes, which is what a byte shuffle leaves: byte b of element i is at[b][i].
   Joined straight to where the elements are wanted, they save a pass over the chunk. */
#ifndef RINGIO_PLANES_H
#define RINGIO_PLANES_H

#include <stddef.h>
#include <stdint.h>

#define PLANES_MAX 8

struct planes {
    uint32_t count; /* 2, 4 or 8, the bytes of an element; 0: there are none */
    const uint8_t *at[PLANES_MAX];
};

/* Whether elements of so many bytes can be joined here. */
static inline int planes_can_join(size_t itemsize)
{
    return itemsize == 2 || itemsize == 4 || itemsize == 8;
}

/* Two planes, for who joins many short rows: a call for each would take as long as the row.  gcc makes vector
   instructions of the loop, since interleaving is a pattern that it knows.  'restrict' is true, and without it nothing
   could be read ahead of a write. */
static inline void planes_join_two(const uint8_t *restrict low, const uint8_t *restrict high, uint8_t *restrict target,
                                   size_t item_count)
{
    for (size_t i = 0; i < item_count; i++) {
        target[2 * i] = low[i];
        target[2 * i + 1] = high[i];
    }
}

/* planes_join() writes elements 'first' up to first + item_count, one behind the other. */
void planes_join(const struct planes *planes, size_t first, size_t item_count, uint8_t *target);

#endif
