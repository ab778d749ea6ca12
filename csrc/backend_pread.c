#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backend_aio.h"
#include "backend_private.h"
#include "clock.h"

/* The "threads" backend: plain system calls of the worker's own thread.  It looks ahead in place of having threads of
   its own: when a read is submitted the kernel is told to fetch its pages, and by the time it is reaped they are mostly
   there.  64 reads ahead on one thread reach what 64 threads do.

   Where the kernel can say "not cached" (RWF_NOWAIT), submit() tries at once: a hit is done, and a miss has started the
   disk.  Elsewhere (tmpfs, overlayfs, FUSE, networks) the clock tells whether a read had to wait.

   Past the page cache nothing can be read ahead: those reads go to the kernel's older interface for many of them at a
   time, or one after the other where that cannot be had. */
struct pread_backend {
    struct backend backend;
    struct window window;
    struct slot_queue done;
    struct slot_queue waiting; /* to be read in this order when somebody waits for them */
    struct aio *aio;           /* for direct reads, or NULL */
    uint32_t ahead_count;      /* reads that were looked ahead for since the last that was not */
};

#define LOOK_AHEAD_COUNT_MAX 64

/* What was looked ahead for is there at once, cached or not: one read in so many goes without, to find that out.  When
   it had to wait the last times, as many as can be on their way meanwhile. */
#define SAMPLE_EVERY 8
#define SAMPLE_EVERY_WAITING LOOK_AHEAD_COUNT_MAX

/* The usual read-ahead window of Linux (VM_READAHEAD_PAGES): a miss starts that much by itself. */
#define MISS_READS_AHEAD_NBYTES ((uint32_t)128 << 10)

/* A cached read takes 0.5 us and copies 5 bytes or more a nanosecond; no disk or network answers within 20 us. */
#define CACHED_READ_NS 20000

static int32_t read_waiting(const struct slot *slot)
{
    struct iovec single;
    uint32_t place_count;
    const struct iovec *places = slot_places(slot, &single, &place_count);
    off_t position = (off_t)(slot->offset + slot->got_nbytes);
    ssize_t nbytes;
    do {
        nbytes = place_count == 1 ? pread(slot_fd(slot), places->iov_base, places->iov_len, position)
                                  : preadv(slot_fd(slot), places, (int)place_count, position);
    } while (nbytes < 0 && errno == EINTR);
    return nbytes < 0 ? -errno : (int32_t)nbytes;
}

/* Reads what is cached.  Returns -EAGAIN when the read would wait. */
static int32_t read_cached(const struct slot *slot)
{
#ifdef RWF_NOWAIT
    struct iovec single;
    uint32_t place_count;
    const struct iovec *places = slot_places(slot, &single, &place_count);
    ssize_t nbytes =
        preadv2(slot->file->fd, places, (int)place_count, (off_t)(slot->offset + slot->got_nbytes), RWF_NOWAIT);
    if (nbytes >= 0)
        return (int32_t)nbytes;
    /* The probe was of another file of the same device: this one may know less. */
    return errno == EOPNOTSUPP || errno == EINTR ? -EAGAIN : -errno;
#else
    (void)slot;
    return -EAGAIN;
#endif
}

/* Failure is no matter: then the read itself waits. */
static void look_ahead(const struct slot *slot)
{
#ifdef POSIX_FADV_WILLNEED
    posix_fadvise(slot->file->fd, (off_t)(slot->offset + slot->got_nbytes), slot_piece_nbytes(slot),
                  POSIX_FADV_WILLNEED);
#else
    (void)slot;
#endif
}

/* Whether to look ahead for a read of which only the clock will tell whether it had to wait. */
static int looks_ahead(struct pread_backend *self)
{
    float cached_share = self->window.cached_share;
    uint32_t most = cached_share < WINDOW_WAITING_SHARE ? SAMPLE_EVERY_WAITING : SAMPLE_EVERY;
    if (cached_share > WINDOW_CACHED_SHARE || ++self->ahead_count > most)
        self->ahead_count = 0;
    return self->ahead_count > 0;
}

static void learn(struct pread_backend *self, int was_cached)
{
    window_adapt(&self->window, was_cached ? 1 : 0, 1);
    self->backend.window_count = self->window.count;
    self->backend.window_nbytes = self->window.nbytes;
}

static void pread_submit(struct backend *backend, struct slot *slot)
{
    struct pread_backend *self = (struct pread_backend *)backend;
    slot->bytes = slot->data;
    slot->result = -EAGAIN;
    slot->is_ahead = 0;
    if (slot_is_out_of_reach(slot)) {
        slot->result = 0;
    } else if (slot->block_nbytes) {
        if (self->aio) {
            aio_submit(self->aio, slot);
            return;
        }
    } else if (slot->file->nowait) {
        slot->result = read_cached(slot);
        learn(self, slot->result != -EAGAIN);
        if (slot->result == -EAGAIN && slot_piece_nbytes(slot) > MISS_READS_AHEAD_NBYTES)
            look_ahead(slot);
    } else if (looks_ahead(self)) {
        look_ahead(slot);
        slot->is_ahead = 1;
    }
    slot_queue_push(slot->result == -EAGAIN ? &self->waiting : &self->done, slot);
}

static void read_oldest(struct pread_backend *self)
{
    struct slot *slot = slot_queue_pop(&self->waiting);
    if (slot->file->nowait || slot->block_nbytes) {
        slot->result = read_waiting(slot);
    } else {
        uint64_t start_ns = now_ns();
        slot->result = read_waiting(slot);
        int was_there = now_ns() - start_ns < CACHED_READ_NS + (slot->result > 0 ? (uint32_t)slot->result : 0);
        if (!was_there || !slot->is_ahead)
            learn(self, was_there);
    }
    slot_queue_push(&self->done, slot);
}

static uint32_t pread_reap(struct backend *backend, struct slot **completed, uint32_t capacity, int wait)
{
    struct pread_backend *self = (struct pread_backend *)backend;
    uint32_t count = 0;
    if (self->aio)
        count = aio_reap(self->aio, completed, capacity, wait && !self->done.first && !self->waiting.first);
    if (wait && capacity && count == 0 && !self->done.first && self->waiting.first)
        read_oldest(self);
    return count + slot_queue_drain(&self->done, completed + count, capacity - count);
}

static void pread_cancel(struct backend *backend)
{
    struct pread_backend *self = (struct pread_backend *)backend;
    if (self->aio)
        aio_cancel(self->aio);
    for (struct slot *slot; (slot = slot_queue_pop(&self->waiting));) {
        slot->result = -ECANCELED;
        slot_queue_push(&self->done, slot);
    }
}

static void pread_free(struct backend *backend)
{
    struct pread_backend *self = (struct pread_backend *)backend;
    if (self->aio)
        aio_free(self->aio);
    free(self);
}

static void pread_abandon(struct backend *backend)
{
    struct pread_backend *self = (struct pread_backend *)backend;
    if (self->aio)
        aio_abandon(self->aio);
    free(self);
}

static const struct backend_ops pread_ops = {
    .name = "threads",
    .submit = pread_submit,
    .reap = pread_reap,
    .cancel = pread_cancel,
    .free = pread_free,
    .abandon = pread_abandon,
};

struct backend *backend_pread_new(uint32_t queue_depth, int reads_direct)
{
    struct pread_backend *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    self->aio = reads_direct ? aio_new(queue_depth) : NULL;
    window_init(&self->window, queue_depth < LOOK_AHEAD_COUNT_MAX ? queue_depth : LOOK_AHEAD_COUNT_MAX);
    self->backend = (struct backend){
        .ops = &pread_ops,
        .window_count = self->window.count,
        .window_nbytes = self->window.nbytes,
        .direct_count = !self->aio ? 1 : queue_depth < DIRECT_COUNT_MAX ? queue_depth : DIRECT_COUNT_MAX,
    };
    return &self->backend;
}
