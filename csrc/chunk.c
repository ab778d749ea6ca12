/* chunk.c: one box of one chunk, read by the calling thread with as little as possible around it. */
#include <errno.h>
#include <string.h>

#include "reader.h"
#include "task.h"

int64_t ringio_chunk_find(struct ringio_chunk *chunk, const int64_t *starts)
{
    const struct ringio_grid *grid = chunk->grid;
    uint64_t id = 0, inside = 0;
    for (uint32_t dim = 0; dim < grid->dim_count; dim++) {
        int64_t length = grid->chunk_shape[dim], coordinate = starts[dim] / length, last;
        if (__builtin_mul_overflow(chunk->counts[dim] - 1, chunk->steps[dim], &last) ||
            __builtin_add_overflow(starts[dim], last, &last) || last / length != coordinate)
            return -1;
        inside += (uint64_t)(starts[dim] - coordinate * length) * (uint64_t)grid->chunk_strides[dim];
        for (uint32_t level = 0; level < grid->level_count; level++) {
            uint32_t at = level * RINGIO_MAX_DIMS + dim;
            int64_t on_level = coordinate / grid->level_factors[at];
            coordinate -= on_level * grid->level_factors[at];
            id += (uint64_t)on_level * grid->id_strides[at];
            if (level == 0)
                chunk->outer[dim] = on_level;
        }
    }
    chunk->first = (int64_t)inside;
    return (int64_t)id;
}

/* Of a chunk that is stored as it is only what the box wants is read, as narrow.c has it for batches. */
static void narrow(struct ringio_chunk *chunk)
{
    struct ringio_request *request = &chunk->request;
    uint64_t chunk_nbytes = chunk->chain.decoded_nbytes;
    int is_file = request->nbytes == RINGIO_TO_END && request->offset == 0;
    size_t first, end;
    if (chunk->chain.codec_count || chunk_nbytes == RINGIO_SAME_SIZE || request->file == RINGIO_NO_FILE ||
        (!is_file && request->nbytes != chunk_nbytes) ||
        !scatter_source_span(&chunk->projection, &chunk->layout, chunk->counts, (uint32_t)chunk->plan.dim_count, &first,
                             &end) ||
        end > chunk_nbytes)
        return;
    request->offset += first;
    request->nbytes = chunk->task.source_nbytes = end - first;
    request->flags |= is_file ? RINGIO_REQUEST_PART_OF_FILE : 0;
    chunk->projection.source_offset -= (int64_t)first;
    chunk->part_chain = (struct ringio_chain){RINGIO_SAME_SIZE, chunk_nbytes, 0, 0};
    chunk->plan.chains = &chunk->part_chain;
}

static void set_place(struct ringio_chunk *chunk, const char *path, const uint8_t *identity, uint64_t offset,
                      uint64_t nbytes)
{
    chunk->plan.paths = path;
    chunk->plan.paths_nbytes = strlen(path) + 1;
    chunk->file.inode = 0;
    if (identity) {
        struct ringio_identity expected;
        memcpy(&expected, identity, sizeof expected);
        chunk->file.nbytes = expected.nbytes;
        chunk->file.device = expected.device;
        chunk->file.inode = expected.inode;
        chunk->file.mtime_ns = expected.mtime_ns;
    }
    chunk->request.file = offset == RINGIO_MISSING ? RINGIO_NO_FILE : 0;
    chunk->request.offset = offset;
    chunk->request.nbytes = nbytes;
    chunk->request.flags &= ~(uint32_t)RINGIO_REQUEST_PART_OF_FILE;
    chunk->task.source_nbytes = nbytes;
    chunk->projection.source_offset = chunk->first;
    chunk->plan.chains = &chunk->chain;
    narrow(chunk);
}

/* Whether the file is the one that the plan expects, or none is expected. */
static int file_is_there(const struct ringio_chunk *chunk)
{
    struct ringio_identity now, expected = {
        chunk->file.device, chunk->file.inode, chunk->file.nbytes, chunk->file.mtime_ns, 0, 0};
    if (chunk->file.inode == 0)
        return 1;
    identity_of_path(chunk->plan.paths, &now);
    return now.status == 0 && identity_equal(&now, &expected);
}

int ringio_chunk_read(struct ringio_reader *reader, struct ringio_chunk *chunk, const char *path,
                      const uint8_t *identity, uint64_t offset, uint64_t nbytes, uint8_t *target,
                      uint64_t target_nbytes)
{
    set_place(chunk, path, identity, offset, nbytes);
    chunk->target = (struct ringio_target){(uint64_t)(uintptr_t)target, target_nbytes};
    int status = task_check_plan(&chunk->plan);
    if (status)
        return status;
    struct ringio_job job;
    job_init(&job, reader, reader->process, &chunk->plan);
    job.looks_up_late = 1;
    int done = reader_run_here(reader, &job);
    if (job.failure_count || job.failures_lost)
        done = -EIO;
    job_destroy(&job);
    /* Without a read nobody has looked whether what the caller has kept still holds. */
    int unread = done == 0 || (done == 1 && offset == RINGIO_MISSING);
    return unread && !file_is_there(chunk) ? -RINGIO_CHANGED : done;
}
