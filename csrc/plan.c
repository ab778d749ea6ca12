/* plan.c: planning is pure maths.  Boxes over a regular grid become (box, chunk) pairs, pairs become chunks, chunks are
   looked up in shard indexes, pieces are sorted and coalesced into requests.  Nothing here opens a file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ringio.h"
#include "sort.h"

/* What one chunk coordinate along one dimension adds to a pair: everything is additive over the dimensions. */
struct part {
    uint64_t id;
    int64_t source_offset;
    int64_t target_offset;
    int64_t count;
};

static const int64_t *box_row(const int64_t *rows, uint64_t box, uint64_t row_stride)
{
    return rows + box * row_stride;
}

static int64_t target_offset_of(const struct ringio_boxes *boxes, uint64_t box)
{
    return boxes->target_offsets ? boxes->target_offsets[box]
                                 : boxes->target_offset + (int64_t)box * boxes->target_stride;
}

/* How many chunks a run of 'count' elements, 'step' apart, from 'start' touches; -EOVERFLOW where its last element has
   a number that is none. */
static int64_t chunks_touched(int64_t start, int64_t count, int64_t step, int64_t chunk)
{
    int64_t last;
    if (count == 0)
        return 0;
    if (__builtin_mul_overflow(count - 1, step, &last) || __builtin_add_overflow(start, last, &last))
        return -EOVERFLOW;
    return step >= chunk ? count : last / chunk - start / chunk + 1;
}

int64_t ringio_plan_count(const struct ringio_grid *grid, const struct ringio_boxes *boxes)
{
    int64_t pair_count = 0;
    for (uint64_t box = 0; box < boxes->box_count; box++) {
        const int64_t *starts = box_row(boxes->starts, box, grid->dim_count);
        const int64_t *counts = box_row(boxes->counts, box, boxes->counts_row_stride);
        const int64_t *steps = box_row(boxes->steps, box, boxes->steps_row_stride);
        int64_t product = 1;
        for (uint32_t dim = 0; dim < grid->dim_count; dim++)
            product *= counts[dim] != 0; /* an empty box is no overflow, however long it is elsewhere */
        for (uint32_t dim = 0; product && dim < grid->dim_count; dim++) {
            int64_t touched = chunks_touched(starts[dim], counts[dim], steps[dim], grid->chunk_shape[dim]);
            if (touched < 0 || __builtin_mul_overflow(product, touched, &product))
                return -EOVERFLOW;
        }
        if (__builtin_add_overflow(pair_count, product, &pair_count))
            return -EOVERFLOW;
    }
    return pair_count;
}

static uint64_t id_part(const struct ringio_grid *grid, uint32_t dim, int64_t coordinate)
{
    uint64_t id = 0;
    for (uint32_t level = 0; level < grid->level_count; level++) {
        int64_t factor = grid->level_factors[level * RINGIO_MAX_DIMS + dim];
        id += (uint64_t)(coordinate / factor) * grid->id_strides[level * RINGIO_MAX_DIMS + dim];
        coordinate %= factor;
    }
    return id;
}

/* Walks along the chunks of one dimension: the id of the next one is mostly that of the last and a constant, and
   divisions are what takes long here. */
struct id_walk {
    int64_t coordinate;
    int64_t left; /* chunks up to the border of the next larger one */
    uint64_t id;
};

static void id_walk_to(const struct ringio_grid *grid, uint32_t dim, int64_t coordinate, struct id_walk *walk)
{
    uint32_t last = (grid->level_count - 1) * RINGIO_MAX_DIMS + dim;
    if (coordinate == walk->coordinate + 1 && walk->left > 1) {
        walk->id += grid->id_strides[last];
        walk->left--;
    } else {
        int64_t larger = grid->level_count > 1 ? grid->level_factors[last - RINGIO_MAX_DIMS] : INT64_MAX;
        walk->id = id_part(grid, dim, coordinate);
        walk->left = grid->level_factors[last] == 1 ? larger - coordinate % larger : 0;
    }
    walk->coordinate = coordinate;
}

/* Writes the parts of one dimension of one box, one for each chunk coordinate touched; their ids only where that is
   what the pass is about. */
static void split_dimension(const struct ringio_grid *grid, uint32_t dim, int64_t start, int64_t count, int64_t step,
                            int64_t target_stride, int with_ids, struct part *parts)
{
    int64_t chunk = grid->chunk_shape[dim], coordinate = start / chunk, inside = start - coordinate * chunk;
    struct id_walk walk = {.coordinate = -2};
    for (int64_t done = 0; done < count; parts++) {
        int64_t fit = step == 1 ? chunk - inside : (chunk - inside - 1) / step + 1; /* no sum: both may be huge */
        if (with_ids)
            id_walk_to(grid, dim, coordinate, &walk);
        parts->id = walk.id;
        parts->source_offset = inside * grid->chunk_strides[dim];
        parts->target_offset = done * target_stride;
        parts->count = fit < count - done ? fit : count - done;
        done += parts->count;
        if (done == count)
            break; /* what comes behind may not be a number any more */
        if (step == 1) {
            coordinate++;
            inside = 0;
        } else {
            int64_t position = start + done * step;
            coordinate = position / chunk;
            inside = position - coordinate * chunk;
        }
    }
}

/* Where the pairs of a whole batch go.  They are made twice: first their ids, which sorted say where each pair belongs,
   then the rest, straight to its place. */
struct pairs {
    struct ringio_projection *projections; /* NULL in the first pass */
    int64_t *counts;
    uint64_t *ids;
    const uint64_t *places; /* of the pairs in the order in which they are made; NULL: they are sorted as they come */
    uint64_t count;
    int sorted;
};

/* One dimension's parts of the current box, and the one that the odometer stands at. */
struct wheel {
    const struct part *parts;
    int64_t part_count;
    int64_t position;
};

static void emit_pair(const struct wheel *wheels, uint32_t dim_count, uint64_t layout, int64_t target_offset,
                      struct pairs *pairs)
{
    uint64_t pair = pairs->places ? pairs->places[pairs->count] : pairs->count;
    int64_t source = 0, target = target_offset;
    int64_t *counts = pairs->counts + pair * dim_count;
    for (uint32_t dim = 0; dim < dim_count; dim++) {
        const struct part *part = &wheels[dim].parts[wheels[dim].position];
        source += part->source_offset;
        target += part->target_offset;
        counts[dim] = part->count;
    }
    pairs->projections[pair] = (struct ringio_projection){source, target, layout};
}

static void emit_id(const struct wheel *wheels, uint32_t dim_count, struct pairs *pairs)
{
    uint64_t id = 0;
    for (uint32_t dim = 0; dim < dim_count; dim++)
        id += wheels[dim].parts[wheels[dim].position].id;
    pairs->ids[pairs->count] = id;
    pairs->sorted &= pairs->count == 0 || id >= pairs->ids[pairs->count - 1];
}

static void emit_box(struct wheel *wheels, uint32_t dim_count, uint64_t layout, int64_t target_offset,
                     struct pairs *pairs)
{
    for (;;) {
        if (pairs->projections)
            emit_pair(wheels, dim_count, layout, target_offset, pairs);
        else
            emit_id(wheels, dim_count, pairs);
        pairs->count++;
        uint32_t dim = dim_count;
        for (;;) {
            if (dim == 0)
                return;
            struct wheel *wheel = &wheels[--dim];
            if (++wheel->position < wheel->part_count)
                break;
            wheel->position = 0;
        }
    }
}

/* Splits every box and emits its pairs.  Returns 0 or -ENOMEM. */
static int emit_all(const struct ringio_grid *grid, const struct ringio_boxes *boxes,
                    const struct ringio_layout *layouts, struct pairs *pairs)
{
    struct part *buffer = NULL;
    int64_t capacity = 0;
    pairs->count = 0;
    for (uint64_t box = 0; box < boxes->box_count; box++) {
        const int64_t *starts = box_row(boxes->starts, box, grid->dim_count);
        const int64_t *counts = box_row(boxes->counts, box, boxes->counts_row_stride);
        const int64_t *steps = box_row(boxes->steps, box, boxes->steps_row_stride);
        uint64_t layout = boxes->layouts ? boxes->layouts[box] : 0;
        struct wheel wheels[RINGIO_MAX_DIMS];
        int64_t needed = 0;
        int empty = 0;
        for (uint32_t dim = 0; dim < grid->dim_count; dim++) {
            wheels[dim].part_count = chunks_touched(starts[dim], counts[dim], steps[dim], grid->chunk_shape[dim]);
            wheels[dim].position = 0;
            empty |= counts[dim] == 0;
        }
        if (empty)
            continue;
        for (uint32_t dim = 0; dim < grid->dim_count; dim++)
            needed += wheels[dim].part_count; /* each is at most the number of pairs, which fits */
        if (needed > capacity) {
            free(buffer);
            capacity = needed * 2;
            buffer = malloc((size_t)capacity * sizeof(struct part));
            if (!buffer)
                return -ENOMEM;
        }
        struct part *next = buffer;
        for (uint32_t dim = 0; dim < grid->dim_count; dim++) {
            wheels[dim].parts = next;
            split_dimension(grid, dim, starts[dim], counts[dim], steps[dim], layouts[layout].target_strides[dim],
                            !pairs->projections, next);
            next += wheels[dim].part_count;
        }
        emit_box(wheels, grid->dim_count, layout, target_offset_of(boxes, box), pairs);
    }
    free(buffer);
    return 0;
}

/* Sorts the ids; boxes keep their order within a chunk.  Returns where each pair belongs, for free(), or NULL. */
static uint64_t *order_pairs(struct pairs *pairs)
{
    size_t count = pairs->count;
    struct sort_entry *entries = sort_alloc(count);
    uint64_t *places = malloc((count ? count : 1) * sizeof *places);
    if (entries && places) {
        for (size_t i = 0; i < count; i++)
            entries[i] = (struct sort_entry){pairs->ids[i], i};
        const struct sort_entry *sorted = sort_by_key(entries, count);
        for (size_t i = 0; i < count; i++) {
            pairs->ids[i] = sorted[i].key;
            places[sorted[i].index] = i;
        }
    } else {
        free(places);
        places = NULL;
    }
    free(entries);
    return places;
}

/* Keeps the first of equal ids, and notes where it was.  Returns how many are left. */
static int64_t distinct_ids(uint64_t *ids, uint64_t count, uint64_t *firsts)
{
    int64_t distinct_count = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (i && ids[i] == ids[distinct_count - 1])
            continue;
        ids[distinct_count] = ids[i];
        firsts[distinct_count++] = i;
    }
    return distinct_count;
}

int64_t ringio_plan_intersect(const struct ringio_grid *grid, const struct ringio_boxes *boxes,
                              const struct ringio_layout *layouts, uint64_t pair_count,
                              struct ringio_projection *projections, int64_t *counts, uint64_t *chunk_ids,
                              uint64_t *first_pairs)
{
    struct pairs pairs = {.ids = chunk_ids, .counts = counts, .sorted = 1};
    int status = emit_all(grid, boxes, layouts, &pairs);
    if (status == 0 && pairs.count != pair_count)
        status = -EINVAL;
    uint64_t *places = status || pairs.sorted ? NULL : order_pairs(&pairs);
    if (status == 0 && !pairs.sorted && !places)
        status = -ENOMEM;
    if (status == 0) {
        pairs.projections = projections;
        pairs.places = places;
        status = emit_all(grid, boxes, layouts, &pairs);
    }
    free(places);
    return status ? status : distinct_ids(chunk_ids, pair_count, first_pairs);
}

uint64_t ringio_plan_segments(const uint64_t *ids, uint64_t count, uint64_t ids_per_segment, uint64_t *segments,
                              uint64_t *firsts)
{
    uint64_t segment_count = 0, next_id = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (i && ids[i] < next_id)
            continue;
        uint64_t segment = ids[i] / ids_per_segment;
        if (__builtin_mul_overflow(segment + 1, ids_per_segment, &next_id))
            next_id = UINT64_MAX;
        segments[segment_count] = segment;
        firsts[segment_count++] = i;
    }
    firsts[segment_count] = count;
    return segment_count;
}

uint64_t ringio_plan_locate(const uint64_t *ids, uint64_t segment_count, const uint64_t *firsts,
                            uint64_t ids_per_segment, uint64_t ids_per_entry, const uint64_t *indexes,
                            const uint64_t *bases, const uint64_t *sizes, const uint64_t *index_starts,
                            const uint64_t *index_ends, uint64_t *offsets, uint64_t *nbytes)
{
    uint64_t bad_count = 0;
    for (uint64_t s = 0; s < segment_count; s++) {
        const uint64_t *index = (const uint64_t *)(uintptr_t)indexes[s];
        for (uint64_t i = firsts[s]; i < firsts[s + 1]; i++) {
            offsets[i] = RINGIO_MISSING;
            nbytes[i] = 0;
            if (!index)
                continue;
            const uint64_t *entry = index + ids[i] % ids_per_segment / ids_per_entry * 2;
            uint64_t offset = entry[0], count = entry[1];
            if (offset == RINGIO_MISSING && count == RINGIO_MISSING)
                continue;
            int inside = offset <= sizes[s] && count <= sizes[s] - offset;
            int in_index = inside && count && offset < index_ends[s] && index_starts[s] < offset + count;
            offsets[i] = inside && !in_index ? bases[s] + offset : offset;
            nbytes[i] = inside && !in_index ? count : RINGIO_MISSING;
            bad_count += !inside || in_index;
        }
    }
    return bad_count;
}

/* A fill request carries this many tasks: enough to be worth a claim, few enough to share out. */
#define FILL_TASKS_PER_REQUEST 16

static struct ringio_task make_task(const struct ringio_pieces *pieces, uint64_t piece, uint64_t source_offset)
{
    uint64_t first = pieces->first_projections[piece];
    return (struct ringio_task){
        .source_offset = source_offset,
        .source_nbytes = pieces->nbytes[piece],
        .first_projection = first,
        .projection_count = (uint32_t)(pieces->first_projections[piece + 1] - first),
        .chain = pieces->chains ? pieces->chains[piece] : 0,
    };
}

/* True when 'piece' can be read by the same request, which is then grown to hold it. */
static int request_takes(struct ringio_request *request, const struct ringio_pieces *pieces, uint64_t piece)
{
    uint64_t offset = pieces->offsets[piece], nbytes = pieces->nbytes[piece], end, request_end, reach;
    if (request->file != pieces->files[piece] || nbytes == RINGIO_TO_END || request->nbytes == RINGIO_TO_END ||
        __builtin_add_overflow(offset, nbytes, &end) ||
        __builtin_add_overflow(request->offset, request->nbytes, &request_end) ||
        __builtin_add_overflow(request_end, pieces->max_gap_bytes, &reach))
        return 0;
    if (end <= request_end)
        return 1;
    if (offset > reach || end - request->offset > pieces->max_request_bytes)
        return 0;
    request->nbytes = end - request->offset;
    return 1;
}

/* How many bits it takes to write 'number'. */
static unsigned bits_of(uint64_t number)
{
    return number ? 64 - (unsigned)__builtin_clzll(number) : 0;
}

/* The pieces that are not missing, by file and offset; '*entries' is what the caller frees. */
static const struct sort_entry *order_pieces(const struct ringio_pieces *pieces, uint64_t *present_count,
                                             struct sort_entry **entries)
{
    uint64_t count = 0, last_offset = 0, all_offsets = 0, all_files = 0;
    uint32_t last_file = 0;
    int sorted = 1;
    *entries = sort_alloc(pieces->count);
    if (!*entries)
        return NULL;
    for (uint64_t i = 0; i < pieces->count; i++) {
        uint64_t offset = pieces->offsets[i];
        uint32_t file = pieces->files[i];
        if (offset == RINGIO_MISSING)
            continue;
        sorted &= !count || file > last_file || (file == last_file && offset >= last_offset);
        all_offsets |= offset;
        all_files |= file;
        last_file = file;
        last_offset = offset;
        (*entries)[count++] = (struct sort_entry){offset, i};
    }
    *present_count = count;
    if (sorted)
        return *entries;
    unsigned offset_bits = bits_of(all_offsets);
    if (offset_bits + bits_of(all_files) <= 64 && offset_bits < 64) { /* both at once */
        for (uint64_t i = 0; i < count; i++)
            (*entries)[i].key |= (uint64_t)pieces->files[(*entries)[i].index] << offset_bits;
        return sort_by_key_from(*entries, pieces->count, *entries, count);
    }
    struct sort_entry *by_offset = sort_by_key_from(*entries, pieces->count, *entries, count);
    for (uint64_t i = 0; i < count; i++)
        by_offset[i].key = pieces->files[by_offset[i].index];
    return sort_by_key_from(*entries, pieces->count, by_offset, count);
}

int64_t ringio_plan_coalesce(const struct ringio_pieces *pieces, struct ringio_request *requests,
                             struct ringio_task *tasks, uint64_t *task_pieces)
{
    if (pieces->count > UINT32_MAX)
        return -EOVERFLOW;
    uint64_t present_count;
    struct sort_entry *entries;
    const struct sort_entry *order = order_pieces(pieces, &present_count, &entries);
    if (!order)
        return -ENOMEM;
    uint32_t task = 0;
    int64_t request_count = 0;
    for (; task < present_count; task++) {
        uint64_t piece = order[task].index;
        struct ringio_request *request = requests + request_count - 1;
        if (task == 0 || !request_takes(request, pieces, piece)) {
            *++request = (struct ringio_request){pieces->offsets[piece], pieces->nbytes[piece], pieces->files[piece],
                                                 task,                   0,                     pieces->request_flags};
            request_count++;
        }
        request->task_count++;
        tasks[task] = make_task(pieces, piece, pieces->offsets[piece] - request->offset);
        task_pieces[task] = piece;
    }
    free(entries);
    for (uint64_t piece = 0; task < pieces->count; piece++) {
        if (pieces->offsets[piece] != RINGIO_MISSING)
            continue;
        struct ringio_request *request = requests + request_count - 1;
        if (task == present_count || request->task_count == FILL_TASKS_PER_REQUEST) {
            *++request = (struct ringio_request){0, 0, RINGIO_NO_FILE, task, 0, 0};
            request_count++;
        }
        request->task_count++;
        tasks[task] = make_task(pieces, piece, 0);
        task_pieces[task++] = piece;
    }
    return request_count;
}
