#include "scatter.h"

#include <string.h>

/* The lowest byte that a strided box touches, and the one behind the highest.  Returns 0 where they are not numbers
   of a buffer. */
static int box_span(int64_t offset, const int64_t *strides, const int64_t *counts, uint32_t dim_count,
                    uint32_t itemsize, int64_t *low, int64_t *end)
{
    *low = *end = offset;
    for (uint32_t dim = 0; dim < dim_count; dim++) {
        int64_t reach;
        if (__builtin_mul_overflow(counts[dim] - 1, strides[dim], &reach))
            return 0;
        if (__builtin_add_overflow(reach < 0 ? *low : *end, reach, reach < 0 ? low : end))
            return 0;
    }
    return *low >= 0 && !__builtin_add_overflow(*end, (int64_t)itemsize, end);
}

static int box_is_inside(int64_t offset, const int64_t *strides, const int64_t *counts, uint32_t dim_count,
                         uint32_t itemsize, uint64_t nbytes, size_t *first, size_t *behind)
{
    int64_t low, end;
    if (!box_span(offset, strides, counts, dim_count, itemsize, &low, &end) || (uint64_t)end > nbytes)
        return 0;
    *first = (size_t)low;
    *behind = (size_t)end;
    return 1;
}

int scatter_source_span(const struct ringio_projection *projection, const struct ringio_layout *layout,
                        const int64_t *counts, uint32_t dim_count, size_t *first, size_t *end)
{
    int64_t low, behind;
    for (uint32_t dim = 0; dim < dim_count; dim++)
        if (counts[dim] <= 0)
            return 0;
    if (!box_span(projection->source_offset, layout->source_strides, counts, dim_count, layout->itemsize, &low,
                  &behind))
        return 0;
    *first = (size_t)low;
    *end = (size_t)behind;
    return 1;
}

int scatter_prepare(struct scatter_walk *walk, const struct ringio_projection *projection,
                    const struct ringio_layout *layout, const int64_t *counts, uint32_t dim_count, int fill,
                    uint64_t source_nbytes, uint64_t target_nbytes, uint64_t *reason)
{
    walk->source_offset = projection->source_offset;
    walk->target_offset = projection->target_offset;
    walk->itemsize = layout->itemsize;
    walk->dim_count = 0;
    walk->row_nbytes = 0;
    walk->source_first = walk->source_end = 0;
    *reason = RINGIO_PLAN_TARGET_BOX;
    for (uint32_t dim = 0; dim < dim_count; dim++) {
        if (counts[dim] < 0 || (counts[dim] > 1 && layout->target_strides[dim] == 0))
            return -RINGIO_BAD_PLAN; /* many elements for one place */
        if (counts[dim] == 0)
            return 0;
    }
    size_t target_first, target_end;
    if (!box_is_inside(walk->target_offset, layout->target_strides, counts, dim_count, layout->itemsize, target_nbytes,
                       &target_first, &target_end))
        return -RINGIO_BAD_PLAN;
    *reason = RINGIO_PLAN_SOURCE_BOX;
    if (!fill && !box_is_inside(walk->source_offset, layout->source_strides, counts, dim_count, layout->itemsize,
                                source_nbytes, &walk->source_first, &walk->source_end))
        return -RINGIO_BAD_PLAN;

    /* From the innermost dimension outwards: 'row' grows while both sides stay contiguous; after that, a dimension
       that continues the one inside it (stride = its stride x its count, on both sides) is merged into it. */
    uint32_t kept = 0; /* written from the end of the arrays, so that the order stays */
    size_t row_nbytes = layout->itemsize;
    for (uint32_t dim = dim_count; dim-- > 0;) {
        int64_t count = counts[dim];
        int64_t source_stride = fill ? layout->target_strides[dim] : layout->source_strides[dim];
        int64_t target_stride = layout->target_strides[dim];
        if (count == 1)
            continue;
        uint32_t inner = RINGIO_MAX_DIMS - kept;
        if (kept == 0 && source_stride == (int64_t)row_nbytes && target_stride == (int64_t)row_nbytes) {
            row_nbytes *= (size_t)count;
        } else if (kept && source_stride == walk->source_strides[inner] * walk->counts[inner] &&
                   target_stride == walk->target_strides[inner] * walk->counts[inner]) {
            walk->counts[inner] *= count;
        } else {
            kept++;
            walk->counts[inner - 1] = count;
            walk->source_strides[inner - 1] = source_stride;
            walk->target_strides[inner - 1] = target_stride;
        }
    }
    for (uint32_t dim = 0; dim < kept; dim++) {
        uint32_t from = RINGIO_MAX_DIMS - kept + dim;
        walk->counts[dim] = walk->counts[from];
        walk->source_strides[dim] = walk->source_strides[from];
        walk->target_strides[dim] = walk->target_strides[from];
    }
    walk->dim_count = kept;
    walk->row_nbytes = row_nbytes;
    return 0;
}

int scatter_is_whole(const struct scatter_walk *walk, uint64_t source_nbytes)
{
    return walk->dim_count == 0 && walk->source_offset == 0 && walk->row_nbytes == source_nbytes;
}

/* The target is seldom in the cache: it is the result, larger than any, and each row of a box lies elsewhere in it.
   What is missing is waited for all at once when it is asked for early; that halves the time of a copy. */
#define ROWS_AHEAD 2
#define ROW_AHEAD_NBYTES_MAX 4096 /* within longer rows the core itself sees what comes next */

/* Copies 'count' rows that are neither a few cache lines nor many. */
static void copy_long_rows(const uint8_t *source, int64_t source_stride, uint8_t *target, int64_t target_stride,
                           int64_t count, size_t row_nbytes)
{
    for (int64_t row = 0; row < count; row++, source += source_stride, target += target_stride) {
        if (row + ROWS_AHEAD < count)
            scatter_prefetch_row(target + ROWS_AHEAD * target_stride, row_nbytes);
        memcpy(target, source, row_nbytes);
    }
}

/* Copies 'count' rows.  A fixed row size becomes one or two moves instead of a call. */
#define COPY_ROWS_OF(fixed_nbytes)                                                                                     \
    for (int64_t row = 0; row < count; row++, source += source_stride, target += target_stride)                        \
        memcpy(target, source, fixed_nbytes);                                                                          \
    break

static void copy_rows(const uint8_t *source, int64_t source_stride, uint8_t *target, int64_t target_stride,
                      int64_t count, size_t row_nbytes)
{
    switch (row_nbytes) {
    case 1: COPY_ROWS_OF(1);
    case 2: COPY_ROWS_OF(2);
    case 4: COPY_ROWS_OF(4);
    case 8: COPY_ROWS_OF(8);
    case 16: COPY_ROWS_OF(16);
    case 32: COPY_ROWS_OF(32);
    case 64: COPY_ROWS_OF(64);
    case 128: COPY_ROWS_OF(128);
    default:
        if (row_nbytes > 2 * CACHE_LINE_NBYTES && row_nbytes <= ROW_AHEAD_NBYTES_MAX) {
            copy_long_rows(source, source_stride, target, target_stride, count, row_nbytes);
            break;
        }
        COPY_ROWS_OF(row_nbytes);
    }
}

/* Calls 'rows' for every run of the innermost dimension; the outer ones are an odometer.  'source' and 'target' are
   where a run begins, in bytes. */
#define WALK(rows)                                                                                                     \
    int64_t position[RINGIO_MAX_DIMS] = {0};                                                                           \
    int64_t source = walk->source_offset, target = walk->target_offset;                                                \
    for (;;) {                                                                                                         \
        rows;                                                                                                          \
        uint32_t dim = walk->dim_count - 1;                                                                            \
        for (;;) {                                                                                                     \
            if (dim == 0)                                                                                              \
                return;                                                                                                \
            dim--;                                                                                                     \
            source += walk->source_strides[dim];                                                                       \
            target += walk->target_strides[dim];                                                                       \
            if (++position[dim] < walk->counts[dim])                                                                   \
                break;                                                                                                 \
            source -= walk->source_strides[dim] * walk->counts[dim];                                                   \
            target -= walk->target_strides[dim] * walk->counts[dim];                                                   \
            position[dim] = 0;                                                                                         \
        }                                                                                                              \
    }

/* As many cache lines as a core can wait for without holding up what it does next. */
#define PREFETCH_LINES_MAX 48

static void prefetch_rows(const uint8_t *target, int64_t target_stride, int64_t count, size_t row_nbytes)
{
    for (int64_t row = 0; row < count; row++, target += target_stride)
        scatter_prefetch_row(target, row_nbytes);
}

void scatter_prefetch(const struct scatter_walk *walk, const uint8_t *target_start)
{
    uint64_t line_count = walk->row_nbytes / CACHE_LINE_NBYTES + 1;
    for (uint32_t dim = 0; dim < walk->dim_count && line_count <= PREFETCH_LINES_MAX; dim++)
        line_count *= (uint64_t)walk->counts[dim];
    if (walk->row_nbytes == 0 || line_count > PREFETCH_LINES_MAX)
        return;
    if (walk->dim_count == 0) {
        scatter_prefetch_row(target_start + walk->target_offset, walk->row_nbytes);
        return;
    }
    uint32_t last = walk->dim_count - 1;
    WALK((void)source;
         prefetch_rows(target_start + target, walk->target_strides[last], walk->counts[last], walk->row_nbytes))
}

void scatter_copy(const struct scatter_walk *walk, const uint8_t *source_start, uint8_t *target_start)
{
    if (walk->row_nbytes == 0)
        return;
    if (walk->dim_count == 0) {
        memcpy(target_start + walk->target_offset, source_start + walk->source_offset, walk->row_nbytes);
        return;
    }
    uint32_t last = walk->dim_count - 1;
    WALK(copy_rows(source_start + source, walk->source_strides[last], target_start + target, walk->target_strides[last],
                   walk->counts[last], walk->row_nbytes))
}

/* -------------------------------------------------------------------------------------------------- out of planes */

int scatter_takes_planes(const struct scatter_walk *walk)
{
    int64_t itemsize = walk->itemsize;
    if (!planes_can_join(walk->itemsize) || walk->source_offset % itemsize)
        return 0;
    for (uint32_t dim = 0; dim < walk->dim_count; dim++)
        if (walk->source_strides[dim] % itemsize)
            return 0;
    return 1;
}

static void join_rows(const struct planes *planes, int64_t source, int64_t source_stride, uint8_t *target,
                      int64_t target_stride, int64_t count, size_t row_nbytes)
{
    size_t item_count = row_nbytes / planes->count;
    int ahead = row_nbytes > 2 * CACHE_LINE_NBYTES && row_nbytes <= ROW_AHEAD_NBYTES_MAX;
    if (planes->count == 2 && !ahead) {
        for (int64_t row = 0; row < count; row++, source += source_stride, target += target_stride)
            planes_join_two(planes->at[0] + source / 2, planes->at[1] + source / 2, target, item_count);
        return;
    }
    for (int64_t row = 0; row < count; row++, source += source_stride, target += target_stride) {
        if (ahead && row + ROWS_AHEAD < count)
            scatter_prefetch_row(target + ROWS_AHEAD * target_stride, row_nbytes);
        planes_join(planes, (size_t)source / planes->count, item_count, target);
    }
}

void scatter_join(const struct scatter_walk *walk, const struct planes *planes, uint8_t *target_start)
{
    if (walk->row_nbytes == 0)
        return;
    if (walk->dim_count == 0) {
        join_rows(planes, walk->source_offset, 0, target_start + walk->target_offset, 0, 1, walk->row_nbytes);
        return;
    }
    uint32_t last = walk->dim_count - 1;
    WALK(join_rows(planes, source, walk->source_strides[last], target_start + target, walk->target_strides[last],
                   walk->counts[last], walk->row_nbytes))
}

/* ---------------------------------------------------------------------------------------------------------- filling */

static int is_one_byte(const uint8_t *value, uint32_t itemsize)
{
    return itemsize == 1 || memcmp(value, value + 1, itemsize - 1) == 0;
}

static void fill_row(uint8_t *target, size_t row_nbytes, const uint8_t *value, uint32_t itemsize, int one_byte)
{
    if (one_byte) {
        memset(target, value[0], row_nbytes);
        return;
    }
    memcpy(target, value, itemsize);
    for (size_t done = itemsize; done < row_nbytes;) { /* doubles what is there */
        size_t more = done < row_nbytes - done ? done : row_nbytes - done;
        memcpy(target + done, target, more);
        done += more;
    }
}

static void fill_rows(uint8_t *target, int64_t target_stride, int64_t count, size_t row_nbytes, const uint8_t *value,
                      uint32_t itemsize, int one_byte)
{
    for (int64_t row = 0; row < count; row++, target += target_stride)
        fill_row(target, row_nbytes, value, itemsize, one_byte);
}

void scatter_fill(const struct scatter_walk *walk, const uint8_t *value, uint8_t *target_start)
{
    if (walk->row_nbytes == 0)
        return;
    int one_byte = is_one_byte(value, walk->itemsize);
    if (walk->dim_count == 0) {
        fill_row(target_start + walk->target_offset, walk->row_nbytes, value, walk->itemsize, one_byte);
        return;
    }
    uint32_t last = walk->dim_count - 1;
    WALK((void)source; fill_rows(target_start + target, walk->target_strides[last], walk->counts[last],
                                 walk->row_nbytes, value, walk->itemsize, one_byte))
}
