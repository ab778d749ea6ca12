#define _GNU_SOURCE
#include "slab.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ringio.h"

/* A region is one huge page (2 MiB on x86-64 and the common arm64 kernels), cut into buffers of one class. */
#define REGION_NBYTES ((uint64_t)2 << 20)
#define SMALLEST_NBYTES ((uint64_t)4096)
#define CLASS_COUNT 10 /* 4 KiB, 8 KiB ... REGION_NBYTES */

/* Small memory that a slab may hold: 128 requests of 256 KiB, the deepest window of cold reads. */
#define REGIONS_MAX 16

/* Large buffers kept for the next request: a source and a scratch for each of two. */
#define SPARES_MAX 4

struct free_buffer {
    struct free_buffer *next;
};

struct large_buffer {
    uint8_t *data;
    uint64_t nbytes;
};

struct slab {
    struct memory_limit *limit;
    struct free_buffer *free[CLASS_COUNT];
    uint8_t *regions[REGIONS_MAX];
    uint32_t region_count;
    uint32_t regions_used; /* handed to a class; the others are spare */
    uint32_t regions_max;
    uint32_t small_in_use; /* buffers taken and not given back */
    uint32_t large_in_use;
    uint32_t spare_count;
    struct large_buffer spares[SPARES_MAX];
    uint8_t *small_scratch;
};

void memory_limit_init(struct memory_limit *limit, uint64_t limit_nbytes, uint32_t slab_count)
{
    limit->share_nbytes = limit_nbytes / 2 / slab_count;
    limit->large_nbytes = limit_nbytes - limit->share_nbytes * slab_count;
    limit->large_held_nbytes = 0;
    pthread_mutex_init(&limit->mutex, NULL);
    pthread_cond_init(&limit->released, NULL);
    atomic_init(&limit->held_nbytes, 0);
    atomic_init(&limit->peak_nbytes, 0);
}

void memory_limit_destroy(struct memory_limit *limit)
{
    pthread_mutex_destroy(&limit->mutex);
    pthread_cond_destroy(&limit->released);
}

static void held_add(struct memory_limit *limit, uint64_t nbytes)
{
    uint64_t held = atomic_fetch_add_explicit(&limit->held_nbytes, nbytes, memory_order_relaxed) + nbytes;
    uint64_t peak = atomic_load_explicit(&limit->peak_nbytes, memory_order_relaxed);
    while (held > peak && !atomic_compare_exchange_weak_explicit(&limit->peak_nbytes, &peak, held, memory_order_relaxed,
                                                                 memory_order_relaxed))
        ;
}

static void held_remove(struct memory_limit *limit, uint64_t nbytes)
{
    atomic_fetch_sub_explicit(&limit->held_nbytes, nbytes, memory_order_relaxed);
}

struct slab *slab_new(struct memory_limit *limit)
{
    struct slab *slab = calloc(1, sizeof *slab);
    if (!slab)
        return NULL;
    slab->limit = limit;
    uint64_t regions = limit->share_nbytes / REGION_NBYTES;
    slab->regions_max = regions > REGIONS_MAX ? REGIONS_MAX : (uint32_t)regions;
    if (slab->regions_max < 2) /* a source and a scratch of two classes need a region each */
        slab->regions_max = 0;
    return slab;
}

/* Anonymous memory that starts on a huge page boundary and does not go to children. */
static uint8_t *map_aligned(struct memory_limit *limit, uint64_t nbytes)
{
    uint64_t padded = nbytes + REGION_NBYTES;
    uint8_t *start = mmap(NULL, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    uint64_t skip = (REGION_NBYTES - (uintptr_t)start % REGION_NBYTES) % REGION_NBYTES;
    if (skip)
        munmap(start, skip);
    if (padded - skip > nbytes)
        munmap(start + skip + nbytes, padded - skip - nbytes);
#ifdef MADV_HUGEPAGE
    madvise(start + skip, nbytes, MADV_HUGEPAGE);
#endif
#ifdef MADV_DONTFORK
    madvise(start + skip, nbytes, MADV_DONTFORK);
#endif
    held_add(limit, nbytes);
    return start + skip;
}

static void unmap(struct memory_limit *limit, uint8_t *data, uint64_t nbytes)
{
    munmap(data, nbytes);
    held_remove(limit, nbytes);
}

uint8_t *slab_small_scratch(struct slab *slab)
{
    if (!slab->small_scratch)
        slab->small_scratch = map_aligned(slab->limit, SLAB_SMALL_NBYTES);
    return slab->small_scratch;
}

/* ---------------------------------------------------------------------------------------------------- small buffers */

static uint32_t class_of(uint64_t nbytes)
{
    uint32_t class = 0;
    while (SMALLEST_NBYTES << class < nbytes)
        class++;
    return class;
}

/* Cuts a spare or new region into buffers of 'class'.  Returns 0, -EAGAIN when the share is used up, or -ENOMEM. */
static int add_region(struct slab *slab, uint32_t class)
{
    if (slab->regions_used == slab->region_count) {
        if (slab->region_count == slab->regions_max)
            return -EAGAIN;
        uint8_t *region = map_aligned(slab->limit, REGION_NBYTES);
        if (!region)
            return -ENOMEM;
        slab->regions[slab->region_count++] = region;
    }
    uint8_t *region = slab->regions[slab->regions_used++];
    uint64_t nbytes = SMALLEST_NBYTES << class;
    for (uint64_t end = REGION_NBYTES; end > 0; end -= nbytes) {
        struct free_buffer *buffer = (struct free_buffer *)(void *)(region + end - nbytes);
        buffer->next = slab->free[class];
        slab->free[class] = buffer;
    }
    return 0;
}

/* With no small buffer in use all regions are spare again, whatever class they served. */
static void reset_regions(struct slab *slab)
{
    assert(slab->small_in_use == 0);
    memset(slab->free, 0, sizeof slab->free);
    slab->regions_used = 0;
}

static int take_small(struct slab *slab, uint64_t nbytes, uint8_t **buffer)
{
    uint32_t class = class_of(nbytes);
    if (!slab->free[class]) {
        if (slab->small_in_use == 0)
            reset_regions(slab);
        int status = add_region(slab, class);
        if (status)
            return status;
    }
    *buffer = (uint8_t *)slab->free[class];
    slab->free[class] = slab->free[class]->next;
    slab->small_in_use++;
    return 0;
}

static void give_small(struct slab *slab, uint8_t *buffer, uint64_t nbytes)
{
    struct free_buffer *freed = (struct free_buffer *)(void *)buffer;
    uint32_t class = class_of(nbytes);
    freed->next = slab->free[class];
    slab->free[class] = freed;
    assert(slab->small_in_use > 0);
    slab->small_in_use--;
}

/* ---------------------------------------------------------------------------------------------------- large buffers */

/* A buffer that does not fit a class, or whose slab has no region to its name, counts as large. */
static uint64_t large_nbytes(const struct slab *slab, uint64_t nbytes)
{
    int large = nbytes > REGION_NBYTES || (nbytes && slab->regions_max == 0);
    return large ? (nbytes + 4095) & ~(uint64_t)4095 : 0;
}

static void allowance_release(struct memory_limit *limit, uint64_t nbytes)
{
    pthread_mutex_lock(&limit->mutex);
    limit->large_held_nbytes -= nbytes;
    pthread_cond_broadcast(&limit->released);
    pthread_mutex_unlock(&limit->mutex);
}

static void drop_spares(struct slab *slab)
{
    for (; slab->spare_count; slab->spare_count--) {
        struct large_buffer *spare = &slab->spares[slab->spare_count - 1];
        unmap(slab->limit, spare->data, spare->nbytes);
        allowance_release(slab->limit, spare->nbytes);
    }
}

void slab_rest(struct slab *slab)
{
    struct memory_limit *limit = slab->limit;
    pthread_mutex_lock(&limit->mutex);
    int plenty = limit->large_held_nbytes <= limit->large_nbytes / 4;
    pthread_mutex_unlock(&limit->mutex);
    if (!plenty)
        drop_spares(slab);
}

/* Returns 0, or -EAGAIN when the slabs hold too much. */
static int allowance_take(struct memory_limit *limit, uint64_t nbytes)
{
    pthread_mutex_lock(&limit->mutex);
    int fits = nbytes <= limit->large_nbytes - limit->large_held_nbytes;
    if (fits)
        limit->large_held_nbytes += nbytes;
    pthread_mutex_unlock(&limit->mutex);
    return fits ? 0 : -EAGAIN;
}

/* Waits until 'nbytes' of the allowance are free. */
static void allowance_wait(struct memory_limit *limit, uint64_t nbytes)
{
    pthread_mutex_lock(&limit->mutex);
    while (nbytes > limit->large_nbytes - limit->large_held_nbytes)
        pthread_cond_wait(&limit->released, &limit->mutex);
    pthread_mutex_unlock(&limit->mutex);
}

/* A spare that is large enough and not more than twice that, or NULL. */
static uint8_t *take_spare(struct slab *slab, uint64_t nbytes, uint64_t *spare_nbytes)
{
    for (uint32_t i = slab->spare_count; i-- > 0;) {
        struct large_buffer spare = slab->spares[i];
        if (spare.nbytes < nbytes || spare.nbytes / 2 > nbytes)
            continue;
        slab->spares[i] = slab->spares[--slab->spare_count];
        *spare_nbytes = spare.nbytes;
        return spare.data;
    }
    return NULL;
}

static int take_large(struct slab *slab, uint64_t nbytes, uint8_t **buffer, uint64_t *taken_nbytes)
{
    *taken_nbytes = nbytes;
    *buffer = take_spare(slab, nbytes, taken_nbytes);
    if (!*buffer) {
        int status = allowance_take(slab->limit, nbytes);
        if (status)
            return status;
        *buffer = map_aligned(slab->limit, nbytes);
        if (!*buffer) {
            allowance_release(slab->limit, nbytes);
            return -ENOMEM;
        }
    }
    slab->large_in_use++;
    return 0;
}

static void give_large(struct slab *slab, uint8_t *buffer, uint64_t nbytes)
{
    assert(slab->large_in_use > 0);
    slab->large_in_use--;
    if (slab->spare_count < SPARES_MAX) {
        slab->spares[slab->spare_count++] = (struct large_buffer){buffer, nbytes};
        return;
    }
    unmap(slab->limit, buffer, nbytes);
    allowance_release(slab->limit, nbytes);
}

/* ------------------------------------------------------------------------------------------------------------- both */

static int take_one(struct slab *slab, uint64_t *nbytes, uint8_t **buffer)
{
    *buffer = NULL;
    if (*nbytes == 0)
        return 0;
    uint64_t large = large_nbytes(slab, *nbytes);
    return large ? take_large(slab, large, buffer, nbytes) : take_small(slab, *nbytes, buffer);
}

static void give_one(struct slab *slab, uint64_t nbytes, uint8_t **buffer)
{
    if (!*buffer)
        return;
    if (large_nbytes(slab, nbytes))
        give_large(slab, *buffer, nbytes);
    else
        give_small(slab, *buffer, nbytes);
    *buffer = NULL;
}

uint64_t slab_limit(const struct memory_limit *limit)
{
    return limit->large_nbytes / 4 * 3;
}

const struct memory_limit *slab_memory_limit(const struct slab *slab)
{
    return slab->limit;
}

/* Takes both or neither.  Returns as slab_take(). */
static int take_both(struct slab *slab, struct slab_buffers *buffers)
{
    struct slab_buffers taken = *buffers;
    int status = take_one(slab, &taken.source_nbytes, &taken.source);
    if (status)
        return status;
    status = take_one(slab, &taken.scratch_nbytes, &taken.scratch);
    if (status)
        give_one(slab, taken.source_nbytes, &taken.source);
    else
        *buffers = taken;
    return status;
}

int slab_take(struct slab *slab, struct slab_buffers *buffers)
{
    uint64_t most = slab_limit(slab->limit);
    if (buffers->source_nbytes > most || buffers->scratch_nbytes > most)
        return -RINGIO_NO_MEMORY;
    uint64_t large = large_nbytes(slab, buffers->source_nbytes) + large_nbytes(slab, buffers->scratch_nbytes);
    if (large > most)
        return -RINGIO_NO_MEMORY;
    int status = take_both(slab, buffers);
    while (status == -EAGAIN && slab->small_in_use == 0 && slab->large_in_use == 0) {
        /* Regions of other classes, our own spares or other slabs stand in the way.  Without the spares we hold
           nothing, so we may wait; who else gets it first lets go of it again. */
        reset_regions(slab);
        drop_spares(slab);
        allowance_wait(slab->limit, large);
        status = take_both(slab, buffers);
    }
    return status;
}

void slab_give(struct slab *slab, struct slab_buffers *buffers)
{
    give_one(slab, buffers->source_nbytes, &buffers->source);
    give_one(slab, buffers->scratch_nbytes, &buffers->scratch);
}

void slab_free(struct slab *slab)
{
    assert(slab->small_in_use == 0 && slab->large_in_use == 0);
    drop_spares(slab);
    for (uint32_t i = 0; i < slab->region_count; i++)
        unmap(slab->limit, slab->regions[i], REGION_NBYTES);
    if (slab->small_scratch)
        unmap(slab->limit, slab->small_scratch, SLAB_SMALL_NBYTES);
    free(slab);
}
