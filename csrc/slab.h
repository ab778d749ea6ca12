/* slab.h: the buffers of one worker, in size classes, on huge pages, recycled.

   Huge pages double what O_DIRECT and large copies reach, and buffers that come back in last-out-first-in order are
   still in the cache.  A slab cuts small buffers from its own share of the reader's memory limit; buffers above 2 MiB
   come out of an allowance that all slabs share.  A slab waits for that allowance only while it holds nothing, so no
   two slabs can wait for each other. */
#ifndef RINGIO_SLAB_H
#define RINGIO_SLAB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Shared by the slabs of one reader. */
struct memory_limit {
    uint64_t share_nbytes; /* one slab's, for small buffers */
    uint64_t large_nbytes; /* for the large buffers of all slabs */
    pthread_mutex_t mutex; /* guards the next two */
    pthread_cond_t released;
    uint64_t large_held_nbytes;
    _Atomic uint64_t held_nbytes;
    _Atomic uint64_t peak_nbytes;
};

void memory_limit_init(struct memory_limit *limit, uint64_t limit_nbytes, uint32_t slab_count);
void memory_limit_destroy(struct memory_limit *limit);

/* What one request needs, taken and given back together.  A size of 0 takes nothing. */
struct slab_buffers {
    uint8_t *source;
    uint8_t *scratch;
    uint64_t source_nbytes;
    uint64_t scratch_nbytes;
};

struct slab;

/* slab_new() gives NULL when out of memory. */
struct slab *slab_new(struct memory_limit *limit);

/* slab_free() unmaps everything; no buffer may be in use. */
void slab_free(struct slab *slab);

/* slab_take() finds 'source' and 'scratch' of at least the sizes set in 'buffers', aligned to 4096.  Returns 0;
   -EAGAIN while buffers of this slab are in use and there is no room (give some back first); -RINGIO_NO_MEMORY when the
   limit can never hold them; or -ENOMEM.  With none in use it may wait for other slabs. */
int slab_take(struct slab *slab, struct slab_buffers *buffers);

/* slab_give() takes back what slab_take() gave. */
void slab_give(struct slab *slab, struct slab_buffers *buffers);

/* slab_rest() is called by a thread that has nothing to do: it keeps large spares for the next job only while all slabs
   together hold no more than a quarter of the allowance.  As no request may ask for more than the other three
   (slab_limit()), none waits for a slab that rests. */
void slab_rest(struct slab *slab);

/* slab_limit() is the most large memory that one slab_take() can be given. */
uint64_t slab_limit(const struct memory_limit *limit);
const struct memory_limit *slab_memory_limit(const struct slab *slab);

/* slab_small_scratch() is a buffer of SLAB_SMALL_NBYTES that is always there, one a slab; NULL when out of memory. */
#define SLAB_SMALL_NBYTES ((uint64_t)1 << 20)
uint8_t *slab_small_scratch(struct slab *slab);

#endif
