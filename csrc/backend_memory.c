#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend_private.h"

/* Bytes that are in memory already: every read is done when it is submitted. */
struct memory {
    struct backend backend;
    struct slot_queue done;
};

static int32_t read_memory(struct slot *slot)
{
    const struct file *file = slot->file;
    if (!file->data)
        return -EINVAL;
    uint64_t end = file->identity.nbytes;
    slot->bytes = slot->data ? slot->data : file->data + (slot->offset < end ? slot->offset : end);
    if (slot->offset >= end || slot->got_nbytes >= end - slot->offset)
        return 0;
    uint64_t nbytes = end - slot->offset - slot->got_nbytes;
    if (nbytes > slot_piece_nbytes(slot))
        nbytes = slot_piece_nbytes(slot);
    if (slot->data)
        memcpy(slot->data + slot->got_nbytes, file->data + slot->offset + slot->got_nbytes, nbytes);
    return (int32_t)nbytes;
}

static void memory_submit(struct backend *backend, struct slot *slot)
{
    slot->result = read_memory(slot);
    slot_queue_push(&((struct memory *)backend)->done, slot);
}

static uint32_t memory_reap(struct backend *backend, struct slot **completed, uint32_t capacity, int wait)
{
    (void)wait;
    return slot_queue_drain(&((struct memory *)backend)->done, completed, capacity);
}

static void memory_free(struct backend *backend)
{
    free(backend);
}

static const struct backend_ops memory_ops = {
    .name = "memory",
    .submit = memory_submit,
    .reap = memory_reap,
    .free = memory_free,
    .abandon = memory_free,
};

struct backend *backend_memory_new(uint32_t queue_depth)
{
    struct memory *memory = calloc(1, sizeof *memory);
    if (!memory)
        return NULL;
    struct window window;
    window_init(&window, queue_depth);
    memory->backend = (struct backend){
        .ops = &memory_ops,
        .window_count = window.count,
        .window_nbytes = window.nbytes,
        .direct_count = 1,
    };
    return &memory->backend;
}
