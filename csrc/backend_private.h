/* backend_private.h: what the backends share among themselves.  Workers include backend.h alone. */
#ifndef RINGIO_BACKEND_PRIVATE_H
#define RINGIO_BACKEND_PRIVATE_H

#include <stdint.h>

#include "backend.h"

/* ---------------------------------------------------------------------------------------------- first in, first out */

/* Slots chained by their 'next'. */
struct slot_queue {
    struct slot *first, *last;
    uint32_t count;
};

static inline void slot_queue_push(struct slot_queue *queue, struct slot *slot)
{
    slot->next = NULL;
    *(queue->first ? &queue->last->next : &queue->first) = slot;
    queue->last = slot;
    queue->count++;
}

/* NULL when it is empty. */
static inline struct slot *slot_queue_pop(struct slot_queue *queue)
{
    struct slot *slot = queue->first;
    if (slot) {
        queue->first = slot->next;
        queue->count--;
    }
    return slot;
}

/* Moves up to 'capacity' slots into 'completed'; returns how many. */
static inline uint32_t slot_queue_drain(struct slot_queue *queue, struct slot **completed, uint32_t capacity)
{
    uint32_t count = 0;
    while (count < capacity && queue->first)
        completed[count++] = slot_queue_pop(queue);
    return count;
}

/* --------------------------------------------------------------------------------------------------- the next piece */

/* What one system call of 'slot' reads. */
static inline uint32_t slot_piece_nbytes(const struct slot *slot)
{
    uint64_t nbytes = slot->want_nbytes - slot->got_nbytes;
    return (uint32_t)(nbytes < BACKEND_PIECE_NBYTES ? nbytes : BACKEND_PIECE_NBYTES);
}

/* Where that piece goes: '*single' makes up the one place of a read without vectors. */
static inline const struct iovec *slot_places(const struct slot *slot, struct iovec *single, uint32_t *count)
{
    if (slot->vectors) {
        *count = slot->vectors->count - slot->vectors->first;
        return slot->vectors->items + slot->vectors->first;
    }
    *single = (struct iovec){slot->data + slot->got_nbytes, slot_piece_nbytes(slot)};
    *count = 1;
    return single;
}

/* No file reaches so far.  The kernel takes a position above INT64_MAX as negative, and io_uring takes -1 as "where the
   descriptor stands". */
static inline int slot_is_out_of_reach(const struct slot *slot)
{
    const uint64_t reach = (uint64_t)INT64_MAX - BACKEND_PIECE_NBYTES;
    return slot->offset > reach || slot->got_nbytes > reach - slot->offset;
}

/* ------------------------------------------------------------------------------------------------------- the window */

/* How much is worth having in flight.  Cached data is best read in small helpings that are still in the core's cache
   when they are decoded; what has to be waited for needs depth. */
struct window {
    float cached_share; /* of the latest reads, how many answered at once: 0 to 1 */
    uint32_t count, count_max;
    uint64_t nbytes;
};

/* Direct reads in flight in one worker: more bring nothing, and a virtual disk has 256 places for all workers, beyond
   which submitting waits. */
#define DIRECT_COUNT_MAX 64

#define WINDOW_CACHED_SHARE 0.9f
#define WINDOW_WAITING_SHARE 0.5f

void window_init(struct window *window, uint32_t count_max);

/* window_adapt() learns that of 'count' reads 'cached_count' answered at once. */
void window_adapt(struct window *window, uint32_t cached_count, uint32_t count);

#endif
