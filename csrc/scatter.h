/* scatter.h: copy a box of a decoded chunk to its place in a target, or fill that place.

   A walk is one projection made ready: checked against both buffers, dimensions of one element dropped, and those that
   are contiguous in both buffers merged.  What is left is a few nested loops around one row. */
#ifndef RINGIO_SCATTER_H
#define RINGIO_SCATTER_H

#include <stddef.h>

#include "planes.h"
#include "ringio.h"

struct scatter_walk {
    int64_t source_offset;
    int64_t target_offset;
    size_t source_first; /* the first byte of the source that is wanted */
    size_t source_end;   /* the one behind the last */
    uint32_t dim_count;
    uint32_t itemsize;
    size_t row_nbytes; /* contiguous in both; 0: there is nothing to copy */
    int64_t counts[RINGIO_MAX_DIMS];
    int64_t source_strides[RINGIO_MAX_DIMS];
    int64_t target_strides[RINGIO_MAX_DIMS];
};

/* scatter_prepare() makes 'walk' from a projection and its 'counts' (one per dimension).  Returns 0, or
   -RINGIO_BAD_PLAN with '*reason' RINGIO_PLAN_SOURCE_BOX or RINGIO_PLAN_TARGET_BOX when the box reaches outside
   'source_nbytes' or 'target_nbytes'. A fill has no source: pass fill = 1 and the source is not looked at. */
int scatter_prepare(struct scatter_walk *walk, const struct ringio_projection *projection,
                    const struct ringio_layout *layout, const int64_t *counts, uint32_t dim_count, int fill,
                    uint64_t source_nbytes, uint64_t target_nbytes, uint64_t *reason);

/* scatter_source_span() gives the first byte of the source that a projection wants, and the one behind the last.
   Returns 0 where it wants none, or more than there can be. */
int scatter_source_span(const struct ringio_projection *projection, const struct ringio_layout *layout,
                        const int64_t *counts, uint32_t dim_count, size_t *first, size_t *end);

/* True when the whole of a decoded chunk of 'source_nbytes' lands in one piece: it can be decoded in place. */
int scatter_is_whole(const struct scatter_walk *walk, uint64_t source_nbytes);

/* scatter_prefetch() asks for the target's cache lines where the box is small: they arrive while its chunk is decoded.
   Larger boxes are fetched row by row, by scatter_copy(). */
void scatter_prefetch(const struct scatter_walk *walk, const uint8_t *target);

/* The cache line of all processors that matter here. */
#define CACHE_LINE_NBYTES 64

/* scatter_prefetch_row() asks for the cache lines of one row that will be written to. */
static inline void scatter_prefetch_row(const uint8_t *row, size_t nbytes)
{
    for (size_t at = 0; at < nbytes; at += CACHE_LINE_NBYTES)
        __builtin_prefetch(row + at, 1);
    __builtin_prefetch(row + nbytes - 1, 1);
}

/* scatter_copy() does the walk; the buffers must not overlap. */
void scatter_copy(const struct scatter_walk *walk, const uint8_t *source, uint8_t *target);

/* scatter_takes_planes() says whether scatter_join() can do the walk: each row of it starts and ends with an item. */
int scatter_takes_planes(const struct scatter_walk *walk);

/* scatter_join() does the walk with a chunk whose elements are in planes, as many as an element has bytes. */
void scatter_join(const struct scatter_walk *walk, const struct planes *planes, uint8_t *target);

/* scatter_fill() writes 'value' (itemsize bytes) to every element of the target box. */
void scatter_fill(const struct scatter_walk *walk, const uint8_t *value, uint8_t *target);

#endif
