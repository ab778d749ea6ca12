/* draft.c: a plan is drawn from boxes in three calls and in one block of memory, which the next plan uses again.  The
   kernels are those of plan.c; what is saved is the way there and back, a dozen arrays for each. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "narrow.h"
#include "ringio.h"

struct ringio_draft *ringio_draft_new(void)
{
    return calloc(1, sizeof(struct ringio_draft));
}

void ringio_draft_free(struct ringio_draft *draft)
{
    free(draft->memory);
    free(draft->names);
    free(draft);
}

/* ----------------------------------------------------------------------------------------------------------- memory */

/* Hands out parts of a block; without a block it counts how large one has to be. */
struct carver {
    uint8_t *block;
    uint64_t nbytes;
    int overflows;
};

static void *carve(struct carver *carver, uint64_t count, uint64_t item_nbytes)
{
    uint64_t nbytes, end;
    void *part = carver->block ? carver->block + carver->nbytes : NULL;
    if (__builtin_mul_overflow(count, item_nbytes, &nbytes) ||
        __builtin_add_overflow(carver->nbytes, nbytes + 7, &end) || nbytes > UINT64_MAX - 7 || end > INT64_MAX) {
        carver->overflows = 1;
        return NULL;
    }
    carver->nbytes = end & ~(uint64_t)7;
    return part;
}

#define CARVE(carver, field, count) field = carve(carver, count, sizeof *(field))

static void carve_all(struct ringio_draft *draft, struct carver *carver, uint64_t pair_count, uint64_t dim_count)
{
    CARVE(carver, draft->projections, pair_count);
    draft->counts = carve(carver, pair_count, dim_count * sizeof *draft->counts);
    CARVE(carver, draft->chunk_ids, pair_count);
    CARVE(carver, draft->first_projections, pair_count + 1);
    CARVE(carver, draft->shards, pair_count + 1);
    CARVE(carver, draft->first_chunks, pair_count + 1);
    CARVE(carver, draft->chunk_files, pair_count);
    CARVE(carver, draft->offsets, pair_count);
    CARVE(carver, draft->nbytes, pair_count);
    CARVE(carver, draft->skipped, pair_count);
    CARVE(carver, draft->files, pair_count);
    CARVE(carver, draft->requests, pair_count);
    CARVE(carver, draft->tasks, pair_count);
    CARVE(carver, draft->task_chunks, pair_count);
}

/* Makes room for so many pairs of boxes and chunks.  Returns 0 or -ENOMEM. */
static int make_room(struct ringio_draft *draft, uint64_t pair_count, uint64_t dim_count)
{
    struct carver carver = {0};
    carve_all(draft, &carver, pair_count, dim_count);
    if (carver.overflows)
        return -ENOMEM;
    if (carver.nbytes > draft->memory_nbytes) {
        free(draft->memory);
        draft->memory_nbytes = 0;
        draft->memory = malloc(carver.nbytes);
        if (!draft->memory)
            return -ENOMEM;
        draft->memory_nbytes = carver.nbytes;
    }
    carver = (struct carver){.block = draft->memory};
    carve_all(draft, &carver, pair_count, dim_count);
    return 0;
}

/* ------------------------------------------------------------------------------------------------------------ boxes */

uint64_t ringio_plan_outside(const int64_t *rows, uint64_t count, uint32_t dim_count, const int64_t *limits)
{
    for (uint64_t i = 0; i < count; i++)
        for (uint32_t dim = 0; dim < dim_count; dim++)
            if (rows[i * dim_count + dim] < 0 || rows[i * dim_count + dim] > limits[dim])
                return i;
    return count;
}

static int row_is_good(const int64_t *row, uint64_t dim_count, int64_t least)
{
    for (uint64_t dim = 0; dim < dim_count; dim++)
        if (row[dim] < least)
            return 0;
    return 1;
}

static int boxes_are_good(const struct ringio_grid *grid, const struct ringio_boxes *boxes, uint64_t layout_count)
{
    if (boxes->box_count && !boxes->layouts && layout_count == 0)
        return 0;
    for (uint64_t box = 0; box < boxes->box_count; box++) {
        if (!row_is_good(boxes->starts + box * grid->dim_count, grid->dim_count, 0))
            return 0;
        if (box && boxes->counts_row_stride == 0 && boxes->steps_row_stride == 0 && !boxes->layouts)
            continue;
        if (!row_is_good(boxes->counts + box * boxes->counts_row_stride, grid->dim_count, 0) ||
            !row_is_good(boxes->steps + box * boxes->steps_row_stride, grid->dim_count, 1) ||
            (boxes->layouts && boxes->layouts[box] >= layout_count))
            return 0;
    }
    return 1;
}

/* The chunks and pairs are there. */
static void take_pairs(struct ringio_draft *draft, uint64_t chunk_count, uint64_t dim_count,
                       const struct ringio_layout *layouts, uint64_t layout_count, uint64_t ids_per_shard)
{
    draft->chunk_count = chunk_count;
    draft->shard_count =
        ringio_plan_segments(draft->chunk_ids, chunk_count, ids_per_shard, draft->shards, draft->first_chunks);
    draft->ids_per_shard = ids_per_shard;
    struct ringio_plan *plan = &draft->plan;
    plan->projections = draft->projections;
    plan->projection_count = draft->first_projections[chunk_count];
    plan->counts = draft->counts;
    plan->dim_count = dim_count;
    plan->layouts = layouts;
    plan->layout_count = layout_count;
}

int64_t ringio_draft_cut(struct ringio_draft *draft, const struct ringio_grid *grid, const struct ringio_boxes *boxes,
                         const struct ringio_layout *layouts, uint64_t layout_count, uint64_t ids_per_shard)
{
    narrow_undo(draft);
    draft->chunk_count = draft->shard_count = 0;
    if (ids_per_shard == 0 || !boxes_are_good(grid, boxes, layout_count))
        return -EINVAL;
    int64_t pair_count = ringio_plan_count(grid, boxes);
    if (pair_count < 0)
        return -ENOMEM;
    if (make_room(draft, (uint64_t)pair_count, grid->dim_count))
        return -ENOMEM;
    int64_t chunk_count = ringio_plan_intersect(grid, boxes, layouts, (uint64_t)pair_count, draft->projections,
                                                draft->counts, draft->chunk_ids, draft->first_projections);
    if (chunk_count < 0)
        return chunk_count;
    draft->first_projections[chunk_count] = (uint64_t)pair_count;
    take_pairs(draft, (uint64_t)chunk_count, grid->dim_count, layouts, layout_count, ids_per_shard);
    return chunk_count;
}

static int points_are_good(const struct ringio_grid *grid, uint64_t point_count, const int64_t *const *coordinates)
{
    for (uint32_t dim = 0; dim < grid->dim_count; dim++)
        for (uint64_t i = 0; i < point_count; i++)
            if (coordinates[dim][i] < 0)
                return 0;
    return 1;
}

int64_t ringio_draft_points(struct ringio_draft *draft, const struct ringio_grid *grid, uint64_t point_count,
                            const int64_t *const *coordinates, const struct ringio_layout *layout,
                            int64_t target_offset, uint64_t ids_per_shard)
{
    narrow_undo(draft);
    draft->chunk_count = draft->shard_count = 0;
    if (ids_per_shard == 0 || !points_are_good(grid, point_count, coordinates))
        return -EINVAL;
    if (make_room(draft, point_count, 1))
        return -ENOMEM;
    int64_t chunk_count = ringio_plan_points(grid, point_count, coordinates, layout, target_offset, draft->projections,
                                             draft->counts, draft->chunk_ids, draft->first_projections);
    if (chunk_count >= 0)
        take_pairs(draft, (uint64_t)chunk_count, 1, layout, 1, ids_per_shard);
    return chunk_count;
}

/* ---------------------------------------------------------------------------------------------- chunks in shards */

/* A file that holds chunks: where in it they may lie, and what its index says. */
struct shard {
    const struct ringio_index *index; /* NULL: there is no such file */
    uint64_t first, end;
};

/* Sets the plan's record of file number 'number'.  Returns 0 where what is known of it makes no sense. */
static int take_shard(struct ringio_draft *draft, const struct ringio_shard_files *known, uint64_t number,
                      const char *path, struct shard *shard)
{
    shard->index = (const struct ringio_index *)(uintptr_t)known->indexes[number];
    draft->files[number] = (struct ringio_file){.path_offset = (uint64_t)(path - known->paths)};
    if (!shard->index)
        return 1;
    const struct ringio_identity *identity = &shard->index->identity;
    if (identity->nbytes < known->index_nbytes)
        return 0;
    draft->files[number].nbytes = identity->nbytes;
    draft->files[number].device = identity->device;
    draft->files[number].inode = identity->inode;
    draft->files[number].mtime_ns = identity->mtime_ns;
    shard->first = known->index_is_first ? known->index_nbytes : 0;
    shard->end = known->index_is_first ? identity->nbytes : identity->nbytes - known->index_nbytes;
    return 1;
}

/* Finds the chunks of shard number 'number'.  Returns how many are there, or -1 for an entry that cannot be right. */
static int64_t find_chunks(struct ringio_draft *draft, uint64_t number, const struct shard *shard)
{
    const uint64_t *entries = shard->index ? (const uint64_t *)(shard->index + 1) : NULL;
    uint64_t first_id = draft->shards[number] * draft->ids_per_shard;
    int64_t present_count = 0;
    for (uint64_t i = draft->first_chunks[number]; i < draft->first_chunks[number + 1]; i++) {
        const uint64_t *entry = entries ? entries + (draft->chunk_ids[i] - first_id) * 2 : NULL;
        uint64_t offset = entry ? entry[0] : RINGIO_MISSING, nbytes = entry ? entry[1] : RINGIO_MISSING;
        int is_missing = offset == RINGIO_MISSING && nbytes == RINGIO_MISSING;
        draft->chunk_files[i] = (uint32_t)number;
        draft->offsets[i] = offset;
        draft->nbytes[i] = is_missing ? 0 : nbytes;
        if (is_missing)
            continue;
        if (nbytes == 0 || offset < shard->first || offset > shard->end || nbytes > shard->end - offset)
            return -1;
        present_count++;
    }
    return present_count;
}

static int is_as_known(const char *path, const struct shard *shard)
{
    struct ringio_identity now;
    identity_of_path(path, &now);
    return shard->index ? now.status == 0 && identity_equal(&now, &shard->index->identity) : now.status == -ENOENT;
}

int ringio_draft_find(struct ringio_draft *draft, const struct ringio_shard_files *known)
{
    const char *path = known->paths, *end = path + known->paths_nbytes;
    narrow_undo(draft);
    for (uint64_t i = 0; i < draft->shard_count; i++) {
        const char *next = path < end ? memchr(path, 0, (size_t)(end - path)) : NULL;
        struct shard shard;
        if (!next || !take_shard(draft, known, i, path, &shard))
            return 0;
        int64_t present_count = find_chunks(draft, i, &shard);
        if (present_count < 0 || (present_count == 0 && !is_as_known(path, &shard)))
            return 0;
        path = next + 1;
    }
    draft->plan.paths = known->paths;
    draft->plan.paths_nbytes = known->paths_nbytes;
    return 1;
}

/* ------------------------------------------------------------------------------------------- a file for each chunk */

#define DIGITS_MAX 20 /* of 2^64 - 1 */

static char *write_number(char *text, uint64_t number)
{
    char digits[DIGITS_MAX];
    int count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    while (count)
        *text++ = digits[--count];
    return text;
}

int ringio_draft_name_files(struct ringio_draft *draft, const char *prefix, char separator, const uint64_t *strides,
                            uint32_t dim_count)
{
    size_t prefix_nbytes = strlen(prefix);
    uint64_t name_nbytes = prefix_nbytes + dim_count * (DIGITS_MAX + 1) + 1, needed;
    narrow_undo(draft);
    if (dim_count > RINGIO_MAX_DIMS || __builtin_mul_overflow(name_nbytes, draft->chunk_count, &needed))
        return -ENOMEM;
    if (needed > draft->names_nbytes) {
        free(draft->names);
        draft->names_nbytes = 0;
        draft->names = malloc(needed);
        if (!draft->names)
            return -ENOMEM;
        draft->names_nbytes = needed;
    }
    char *text = draft->names;
    for (uint64_t i = 0; i < draft->chunk_count; i++) {
        draft->files[i] = (struct ringio_file){.path_offset = (uint64_t)(text - draft->names)};
        draft->chunk_files[i] = (uint32_t)i;
        draft->offsets[i] = 0;
        draft->nbytes[i] = RINGIO_TO_END;
        memcpy(text, prefix, prefix_nbytes);
        text += prefix_nbytes;
        uint64_t rest = draft->chunk_ids[i];
        for (uint32_t dim = 0; dim < dim_count; dim++) {
            text = write_number(text, rest / strides[dim]);
            rest %= strides[dim];
            *text++ = separator;
        }
        text[-(dim_count > 0)] = 0;
        text += dim_count == 0;
    }
    draft->plan.paths = draft->names;
    draft->plan.paths_nbytes = (uint64_t)(text - draft->names);
    return 0;
}

/* --------------------------------------------------------------------------------------------------------- requests */

int ringio_draft_finish(struct ringio_draft *draft, uint64_t max_gap_bytes, uint64_t max_request_bytes,
                        uint32_t request_flags)
{
    narrow_undo(draft);
    if (!narrow_chunks(draft, (request_flags & RINGIO_REQUEST_PART_OF_FILE) != 0))
        request_flags &= ~(uint32_t)RINGIO_REQUEST_PART_OF_FILE;
    struct ringio_pieces pieces = {
        .count = draft->chunk_count,
        .files = draft->chunk_files,
        .offsets = draft->offsets,
        .nbytes = draft->nbytes,
        .first_projections = draft->first_projections,
        .max_gap_bytes = max_gap_bytes,
        .max_request_bytes = max_request_bytes,
        .request_flags = request_flags,
    };
    int64_t request_count = ringio_plan_coalesce(&pieces, draft->requests, draft->tasks, draft->task_chunks);
    if (request_count < 0)
        return (int)request_count;
    struct ringio_plan *plan = &draft->plan;
    plan->files = draft->files;
    plan->file_count = draft->shard_count;
    plan->requests = draft->requests;
    plan->request_count = (uint64_t)request_count;
    plan->tasks = draft->tasks;
    plan->task_count = draft->chunk_count;
    return 0;
}

void ringio_draft_widen(struct ringio_draft *draft)
{
    narrow_undo(draft);
}
