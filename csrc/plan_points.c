/* plan_points.c: single elements of an array, in any number and order, become chunks and what is wanted of each. */
#include <errno.h>
#include <stdlib.h>

#include "ringio.h"
#include "sort.h"

/* Points are looked up so many at a time, one dimension after the other: what a dimension has stays in registers, and
   the block in the cache. */
#define BLOCK_POINTS 512

static void add_dimension(const struct ringio_grid *grid, uint32_t dim, const int64_t *coordinates, uint64_t count,
                          uint64_t *ids, uint64_t *offsets)
{
    uint64_t length = (uint64_t)grid->chunk_shape[dim], stride = (uint64_t)grid->chunk_strides[dim];
    uint64_t last = grid->id_strides[(grid->level_count - 1) * RINGIO_MAX_DIMS + dim]; /* whose factors are ones */
    for (uint64_t i = 0; i < count; i++) {
        uint64_t position = (uint64_t)coordinates[i], chunk = position / length;
        offsets[i] += (position - chunk * length) * stride;
        for (uint32_t level = 0; level + 1 < grid->level_count; level++) {
            uint64_t factor = (uint64_t)grid->level_factors[level * RINGIO_MAX_DIMS + dim];
            uint64_t outer = chunk / factor;
            chunk -= outer * factor;
            ids[i] += outer * grid->id_strides[level * RINGIO_MAX_DIMS + dim];
        }
        ids[i] += chunk * last;
    }
}

/* Writes the chunk of each point, and where it lies in it.  Returns 1 when the chunks ascend already. */
static int find_points(const struct ringio_grid *grid, uint64_t point_count, const int64_t *const *coordinates,
                       struct sort_entry *entries, uint64_t *offsets)
{
    uint64_t ids[BLOCK_POINTS], last = 0;
    int sorted = 1;
    for (uint64_t first = 0; first < point_count; first += BLOCK_POINTS) {
        uint64_t count = point_count - first < BLOCK_POINTS ? point_count - first : BLOCK_POINTS;
        for (uint64_t i = 0; i < count; i++)
            ids[i] = offsets[first + i] = 0;
        for (uint32_t dim = 0; dim < grid->dim_count; dim++)
            add_dimension(grid, dim, coordinates[dim] + first, count, ids, offsets + first);
        for (uint64_t i = 0; i < count; i++) {
            sorted &= ids[i] >= last;
            last = ids[i];
            entries[first + i] = (struct sort_entry){ids[i], first + i};
        }
    }
    return sorted;
}

int64_t ringio_plan_points(const struct ringio_grid *grid, uint64_t point_count, const int64_t *const *coordinates,
                           const struct ringio_layout *layout, int64_t target_offset,
                           struct ringio_projection *projections, int64_t *counts, uint64_t *chunk_ids,
                           uint64_t *first_pairs)
{
    struct sort_entry *room = sort_alloc(point_count);
    uint64_t *offsets = malloc((point_count ? point_count : 1) * sizeof *offsets);
    if (!room || !offsets) {
        free(room);
        free(offsets);
        return -ENOMEM;
    }
    int sorted = find_points(grid, point_count, coordinates, room, offsets);
    const struct sort_entry *order = sorted ? room : sort_by_key(room, point_count);
    uint64_t source_stride = (uint64_t)layout->source_strides[0], pair_count = 0, next_point = 0, next_offset = 0;
    int64_t chunk_count = 0;
    for (uint64_t i = 0; i < point_count; i++) {
        uint64_t id = order[i].key, point = order[i].index, offset = offsets[point];
        if (chunk_count == 0 || id != chunk_ids[chunk_count - 1]) {
            chunk_ids[chunk_count] = id;
            first_pairs[chunk_count++] = pair_count;
        } else if (point == next_point && offset == next_offset) { /* lies behind the last one, in both */
            counts[pair_count - 1]++;
            next_point++;
            next_offset += source_stride;
            continue;
        }
        projections[pair_count] = (struct ringio_projection){
            (int64_t)offset, target_offset + (int64_t)point * layout->target_strides[0], 0};
        counts[pair_count++] = 1;
        next_point = point + 1;
        next_offset = offset + source_stride;
    }
    first_pairs[chunk_count] = pair_count;
    free(room);
    free(offsets);
    return chunk_count;
}
