#include "vectors.h"

#include <stdlib.h>

#include "task.h"

/* The kernel takes its time for each row, and for the gap behind it.  Below this all bytes are sooner read to a buffer
   that stays in the cache, and each row copied from there.  Measured: docs/decisions/0006-what-is-left.md. */
#define ROW_NBYTES_MIN 8192

/* Gaps that come to more than this many times what is wanted are better not read at all. */
#define WASTE_FACTOR_MAX 4

static int add(struct vectors *vectors, uint8_t *target, size_t nbytes)
{
    struct iovec *last = vectors->count ? &vectors->items[vectors->count - 1] : NULL;
    if (last && (uint8_t *)last->iov_base + last->iov_len == target) {
        last->iov_len += nbytes;
        return 1;
    }
    if (vectors->count == VECTORS_MAX)
        return 0;
    vectors->items[vectors->count++] = (struct iovec){target, nbytes};
    return 1;
}

static int add_gap(struct vectors *vectors, uint8_t *trash, uint64_t nbytes)
{
    while (nbytes) {
        size_t piece = nbytes < VECTORS_TRASH_NBYTES ? nbytes : VECTORS_TRASH_NBYTES;
        if (vectors->count == VECTORS_MAX)
            return 0;
        vectors->items[vectors->count++] = (struct iovec){trash, piece};
        nbytes -= piece;
    }
    return 1;
}

/* Adds 'nbytes' from byte 'offset' of the request; 0 when they do not lie behind what is there. */
static int add_row(struct vectors *vectors, uint64_t offset, uint8_t *target, size_t nbytes, uint8_t *trash)
{
    uint64_t end = vectors->start_offset + vectors->nbytes;
    if (vectors->count == 0)
        vectors->start_offset = end = offset;
    if (offset < end || !add_gap(vectors, trash, offset - end) || !add(vectors, target, nbytes))
        return 0;
    vectors->nbytes = offset + nbytes - vectors->start_offset;
    return 1;
}

/* Adds the rows of a box, in the order in which they lie in the file, or finds that they do not lie in it. */
static int add_box(struct vectors *vectors, const struct scatter_walk *walk, uint64_t task_offset, uint8_t *target,
                   uint8_t *trash)
{
    int64_t position[RINGIO_MAX_DIMS] = {0};
    int64_t source = walk->source_offset, place = walk->target_offset;
    for (;;) {
        if (!add_row(vectors, task_offset + (uint64_t)source, target + place, walk->row_nbytes, trash))
            return 0;
        uint32_t dim = walk->dim_count;
        for (;;) {
            if (dim == 0)
                return 1;
            dim--;
            source += walk->source_strides[dim];
            place += walk->target_strides[dim];
            if (++position[dim] < walk->counts[dim])
                break;
            source -= walk->source_strides[dim] * walk->counts[dim];
            place -= walk->target_strides[dim] * walk->counts[dim];
            position[dim] = 0;
        }
    }
}

static int add_task(struct vectors *vectors, const struct ringio_plan *plan, const struct ringio_request *request,
                    const struct ringio_task *task, uint8_t *trash, uint64_t *wanted_nbytes)
{
    struct scatter_walk walk;
    if (task->source_offset > request->nbytes || task->source_nbytes > request->nbytes - task->source_offset)
        return 0;
    uint8_t *target = task_walk(plan, task, task->source_nbytes, &walk);
    if (!target || walk.row_nbytes < ROW_NBYTES_MIN)
        return 0;
    uint64_t row_count = 1;
    for (uint32_t dim = 0; dim < walk.dim_count && row_count <= VECTORS_MAX; dim++)
        row_count *= (uint64_t)walk.counts[dim];
    if (row_count > VECTORS_MAX)
        return 0;
    *wanted_nbytes += row_count * walk.row_nbytes;
    return add_box(vectors, &walk, task->source_offset, target, trash);
}

int vectors_make(struct vectors *vectors, const struct ringio_plan *plan, const struct ringio_request *request,
                 uint8_t *trash)
{
    uint64_t wanted_nbytes = 0;
    vectors->count = vectors->first = 0;
    vectors->start_offset = vectors->nbytes = 0;
    if (request->nbytes == RINGIO_TO_END)
        return 0;
    if (!vectors->items && !(vectors->items = malloc(VECTORS_MAX * sizeof *vectors->items)))
        return 0;
    for (uint32_t i = 0; i < request->task_count; i++)
        if (!add_task(vectors, plan, request, &plan->tasks[request->first_task + i], trash, &wanted_nbytes))
            return 0;
    return vectors->count > 0 && vectors->nbytes / WASTE_FACTOR_MAX <= wanted_nbytes;
}

void vectors_advance(struct vectors *vectors, uint64_t nbytes)
{
    while (nbytes) {
        struct iovec *item = &vectors->items[vectors->first];
        size_t piece = nbytes < item->iov_len ? nbytes : item->iov_len;
        item->iov_base = (uint8_t *)item->iov_base + piece;
        item->iov_len -= piece;
        nbytes -= piece;
        vectors->first += item->iov_len == 0;
    }
}

void vectors_free(struct vectors *vectors)
{
    free(vectors->items);
}
