#include "work_private.h"

#include <errno.h>

#include "aligned.h"

/* Smaller requests are worth their place in the cache; and asking whether they are there would cost too much. */
#define AUTO_NBYTES_MIN ((uint64_t)32 << 10)

/* Scratch above the size that every slab has anyway. */
static uint64_t large_scratch_nbytes(const struct work *work)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < work->request->task_count; i++) {
        const struct ringio_plan *plan = &work->job->plan;
        uint64_t decoded_nbytes = plan->chains[task_of(work, i)->chain].decoded_nbytes;
        if (decoded_nbytes <= SLAB_SMALL_NBYTES || decoded_nbytes == RINGIO_SAME_SIZE || decoded_nbytes <= most)
            continue;
        uint64_t nbytes = task_scratch_nbytes(plan, task_of(work, i));
        most = nbytes > most ? nbytes : most;
    }
    return most;
}

/* Where the bytes of the request land in one piece, or NULL. */
static uint8_t *place_of(const struct work *work)
{
    const struct ringio_request *request = work->request;
    const struct ringio_task *first = task_of(work, 0);
    uint64_t want_nbytes = work->want_nbytes;
    int is_whole = request->task_count == 1 && first->source_offset == 0 &&
                   (request->nbytes == want_nbytes || request->nbytes == RINGIO_TO_END) &&
                   (first->source_nbytes == want_nbytes || first->source_nbytes == RINGIO_TO_END);
    return is_whole ? task_place(&work->job->plan, first, want_nbytes) : NULL;
}

/* Whether each task fits into the buffer that is always there, should the whole read fail. */
static int can_read_alone(const struct work *work)
{
    for (uint32_t i = 0; i < work->request->task_count; i++)
        if (task_of(work, i)->source_nbytes > SLAB_SMALL_NBYTES)
            return 0;
    return work->request->nbytes <= BACKEND_PIECE_NBYTES;
}

/* How the request is read past the page cache; block_nbytes is 0 where it is not. */
static struct direct_mode direct_mode_of(const struct pump *pump, const struct work *work)
{
    struct file *file = work->held->file;
    const struct direct_mode none = {0};
    if (pump->direct == RINGIO_DIRECT_OFF || file->data || work->want_nbytes == 0)
        return none;
    if (pump->direct == RINGIO_DIRECT_AUTO &&
        (work->want_nbytes < AUTO_NBYTES_MIN || direct_is_cached(file->fd, work->request->offset, work->want_nbytes)))
        return none;
    return direct_open(&file->direct, file->path, file->fd);
}

/* Sets what the slot reads by 'mode', and where that goes if it goes straight into the target. */
static void aim(struct pump *pump, struct work *work, const struct direct_mode *mode)
{
    struct slot *slot = &work->slot;
    const struct ringio_request *request = work->request;
    slot->file = work->held->file;
    slot->offset = request->offset;
    slot->want_nbytes = work->want_nbytes;
    slot->got_nbytes = 0;
    slot->block_nbytes = 0;
    work->in_parts = 0;
    slot->vectors = NULL;
    slot->data = place_of(work);
    if (mode->block_nbytes) {
        aligned_begin(slot, mode);
        int fits = slot->offset == request->offset && slot->want_nbytes == work->want_nbytes &&
                   (uintptr_t)slot->data % mode->block_nbytes == 0;
        if (!mode->may_place || !fits)
            slot->data = NULL;
    } else if (!slot->data && request->nbytes == work->want_nbytes && !slot->file->data && can_read_alone(work) &&
               vectors_make(&work->vectors, &work->job->plan, request, pump->trash)) {
        slot->vectors = &work->vectors;
        slot->offset += work->vectors.start_offset;
        slot->want_nbytes = work->vectors.nbytes;
    }
    work->placed = slot->data || slot->vectors;
}

int work_prepare(struct pump *pump, struct work *work)
{
    struct direct_mode mode = direct_mode_of(pump, work);
    uint64_t needed;
    int status;
    do {
        aim(pump, work, &mode);
        work->buffers = (struct slab_buffers){0};
        if (work->placed)
            return 0;
        if (!work->held->file->data)
            work->buffers.source_nbytes = work->slot.want_nbytes;
        work->in_parts = work->slot.block_nbytes == 0 && work_takes_parts(pump, work);
        work->buffers.scratch_nbytes = large_scratch_nbytes(work);
        needed = work->buffers.source_nbytes + work->buffers.scratch_nbytes;
        status = slab_take(pump->slab, &work->buffers);
        mode.block_nbytes = 0; /* no limit is too low just because of whole blocks */
    } while (status == -RINGIO_NO_MEMORY && work->slot.block_nbytes);
    work->slot.data = work->buffers.source;
    if (status == 0 && work->in_parts)
        work_begin_parts(work);
    if (status == -RINGIO_NO_MEMORY)
        work_fail(work, status, needed, slab_limit(slab_memory_limit(pump->slab)));
    else if (status && status != -EAGAIN)
        work_fail(work, status, 0, 0);
    return status;
}
