#define _GNU_SOURCE
#include "backend_aio.h"

#include "backend_private.h"

#ifdef __linux__

#include <assert.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct aio {
    aio_context_t context;
    uint32_t depth, in_flight;
    struct slot_queue queued;
    struct slot_queue refused; /* completed without having been started */
    struct iocb *requests;     /* by the index of the slot */
    struct iocb **batch;
};

#define EVENTS_MAX 64 /* taken by one system call */

static long reap_events(struct aio *aio, long least, long most, struct io_event *events)
{
    long count;
    do
        count = syscall(SYS_io_getevents, aio->context, least, most, events, NULL);
    while (count < 0 && errno == EINTR);
    return count;
}

static void release_memory(struct aio *aio)
{
    free(aio->requests);
    free(aio->batch);
    free(aio);
}

struct aio *aio_new(uint32_t depth)
{
    struct io_event events[1];
    struct aio *aio = calloc(1, sizeof *aio);
    if (!aio)
        return NULL;
    aio->depth = depth;
    aio->requests = calloc(depth, sizeof *aio->requests);
    aio->batch = calloc(depth, sizeof(struct iocb *));
    if (aio->requests && aio->batch && syscall(SYS_io_setup, depth, &aio->context) == 0) {
        /* A sandbox may allow the one call and not the others. */
        if (syscall(SYS_io_submit, aio->context, 0L, aio->batch) == 0 && reap_events(aio, 0, 1, events) == 0)
            return aio;
        syscall(SYS_io_destroy, aio->context);
    }
    release_memory(aio);
    return NULL;
}

void aio_free(struct aio *aio)
{
    assert(!aio->in_flight && !aio->queued.count && !aio->refused.count);
    syscall(SYS_io_destroy, aio->context);
    release_memory(aio);
}

void aio_abandon(struct aio *aio)
{
    release_memory(aio); /* the context is the parent's; children have none of it */
}

void aio_submit(struct aio *aio, struct slot *slot)
{
    assert(slot->index < aio->depth && slot->block_nbytes);
    slot_queue_push(&aio->queued, slot);
}

static void prepare(struct iocb *request, struct slot *slot)
{
    *request = (struct iocb){
        .aio_data = (uintptr_t)slot,
        .aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = (uint32_t)slot->direct_fd,
        .aio_buf = (uintptr_t)(slot->data + slot->got_nbytes),
        .aio_nbytes = slot_piece_nbytes(slot),
        .aio_offset = (int64_t)(slot->offset + slot->got_nbytes),
    };
}

/* Gives the kernel what is queued.  What it refuses completes with the reason. */
static void start(struct aio *aio)
{
    while (aio->queued.count) {
        long count = 0;
        for (struct slot *slot = aio->queued.first; slot; slot = slot->next) {
            struct iocb *request = &aio->requests[slot->index];
            prepare(request, slot);
            aio->batch[count++] = request;
        }
        long taken = syscall(SYS_io_submit, aio->context, count, aio->batch);
        if (taken <= 0) {
            struct slot *slot = slot_queue_pop(&aio->queued);
            slot->result = taken < 0 ? -errno : -EAGAIN;
            slot_queue_push(&aio->refused, slot);
            continue;
        }
        for (long i = 0; i < taken; i++)
            slot_queue_pop(&aio->queued);
        aio->in_flight += (uint32_t)taken;
    }
}

uint32_t aio_reap(struct aio *aio, struct slot **completed, uint32_t capacity, int wait)
{
    struct io_event events[EVENTS_MAX];
    start(aio);
    uint32_t count = slot_queue_drain(&aio->refused, completed, capacity);
    if (!aio->in_flight || count == capacity)
        return count;
    uint32_t room = capacity - count < EVENTS_MAX ? capacity - count : EVENTS_MAX;
    long reaped = reap_events(aio, wait && count == 0, room, events);
    assert(reaped >= 0); /* aio_new() has tried it */
    for (long i = 0; i < reaped; i++) {
        struct slot *slot = (struct slot *)(uintptr_t)events[i].data;
        slot->result = (int32_t)events[i].res;
        completed[count++] = slot;
    }
    aio->in_flight -= (uint32_t)reaped;
    return count;
}

void aio_cancel(struct aio *aio)
{
    for (struct slot *slot; (slot = slot_queue_pop(&aio->queued));) {
        slot->result = -ECANCELED;
        slot_queue_push(&aio->refused, slot);
    }
}

#else /* a system without io_submit(2) */

struct aio *aio_new(uint32_t depth)
{
    (void)depth;
    return NULL;
}

void aio_free(struct aio *aio)
{
    (void)aio;
}

void aio_abandon(struct aio *aio)
{
    (void)aio;
}

void aio_submit(struct aio *aio, struct slot *slot)
{
    (void)aio, (void)slot;
}

void aio_cancel(struct aio *aio)
{
    (void)aio;
}

uint32_t aio_reap(struct aio *aio, struct slot **completed, uint32_t capacity, int wait)
{
    (void)aio, (void)completed, (void)capacity, (void)wait;
    return 0;
}

#endif
