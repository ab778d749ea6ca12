#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend_private.h"

/* The io_uring backend: one ring for one thread.  submit() only queues; reap() gives the kernel all that is queued in
   one system call.  A cached read completes within that call, so what is not there right after it had to wait: that is
   how the window finds out whether the data is cached.

   Reads that a ring is bad at go to a pread backend inside: files whose cached reads do not answer at once (the kernel
   would hand each to a thread of its own), reads that the ring declined, and everything once the ring has failed.

   Not used: SQPOLL costs a core a ring; IOSQE_ASYNC doubles the cost of cached reads. */
struct uring {
    struct backend backend;
    struct io_uring ring;
    struct window window;
    struct backend *inner;
    uint32_t inner_count;       /* slots that 'inner' has */
    struct slot_queue waiting;  /* without an SQE as yet */
    struct slot_queue prepared; /* with an SQE that the kernel has not taken */
    struct slot_queue lost;     /* their completions never came */
    struct slot **slots;        /* with an SQE, by index */
    uint32_t queue_depth;
    uint32_t in_flight;     /* taken by the kernel and not reaped */
    uint32_t in_flight_max; /* the completion queue holds them all: it never overflows */
    uint32_t sequence;      /* counts SQEs: the next one's generation */
    int has_failed;         /* nothing is submitted any more */
    int has_lost;           /* completions are missing: nothing is waited for any more */
};

/* The kernel refuses (-EAGAIN: out of memory) without anything in flight: so often, then the ring is given up. */
#define REFUSALS_MAX 8

/* ---------------------------------------------------------------------------------------------------- making a ring */

#define ENTRIES_MIN 32 /* two pages of locked memory: 64 KiB is a usual limit for all rings of a user */
#define ENTRIES_MAX 4096

/* The best first.  DEFER_TASKRUN (6.1) completes reads when we ask for them, not by interrupting decoders; COOP_TASKRUN
   (5.19) is the next best.  With TASKRUN_FLAG liburing enters the kernel for completions only when there are any. */
static const struct {
    unsigned flags;
    const char *words;
} setups[] = {
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
     "SINGLE_ISSUER, DEFER_TASKRUN"},
    {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL, "COOP_TASKRUN"},
    {0, "no flags"},
};
#define SETUP_COUNT (sizeof setups / sizeof *setups)

static uint32_t entries_for(uint32_t queue_depth)
{
    uint32_t entry_count = ENTRIES_MIN;
    while (entry_count < queue_depth && entry_count < ENTRIES_MAX)
        entry_count *= 2;
    return entry_count;
}

/* Makes a ring as large and as good as can be had.  Returns 0 or -errno of probe->call. */
static int ring_open(struct io_uring *ring, uint32_t queue_depth, struct uring_probe *probe)
{
    size_t setup = 0;
    uint32_t entry_count = entries_for(queue_depth);
    struct io_uring_params params;
    probe->call = "io_uring_setup";
    for (;;) {
        params = (struct io_uring_params){.flags = setups[setup].flags | IORING_SETUP_CQSIZE,
                                          .cq_entries = 2 * entry_count};
        int status = io_uring_queue_init_params(entry_count, ring, &params);
        if (status == 0)
            break;
        if (status == -EINVAL && setup + 1 < SETUP_COUNT)
            setup++;
        else if (status == -ENOMEM && entry_count > ENTRIES_MIN)
            entry_count /= 2;
        else
            return status;
    }
    const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_EXT_ARG;
    if ((params.features & needed) != needed) {
        io_uring_queue_exit(ring);
        probe->call = "the check of io_uring's features";
        return -EOPNOTSUPP;
    }
    io_uring_ring_dontfork(ring); /* a child that touches the ring would stop its parent's */
    io_uring_register_ring_fd(ring); /* saves a look-up a call; not having it is no matter */
    probe->flags = setups[setup].words;
    probe->entry_count = entry_count;
    return 0;
}

/* A file that is always there, and has a byte. */
static int open_test_file(void)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    fd = memfd_create("ringio self-test", MFD_CLOEXEC);
    if (fd >= 0 && write(fd, "r", 1) != 1) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Signals interrupt the test, as when a profiler's timer ticks, and say nothing about the ring. */
#define TEST_TRIES_MAX 100

/* Reads a byte through the ring: there are sandboxes that allow its making, but not its use, and kernels without READ.
   Returns 0 or -errno of probe->call. */
static int ring_test(struct io_uring *ring, struct uring_probe *probe)
{
    static uint8_t byte; /* static, as a ring that hangs could write it at any time; its value is of no interest */
    struct __kernel_timespec timeout = {.tv_sec = 10};
    struct io_uring_cqe *cqe;
    probe->call = "open of a file for the io_uring self-test";
    int fd = open_test_file();
    if (fd < 0)
        return -errno;
    io_uring_prep_read(io_uring_get_sqe(ring), fd, &byte, 1, 0);
    probe->call = "io_uring_enter";
    int status, tries = 0;
    do
        status = io_uring_submit(ring);
    while (status == -EINTR && ++tries < TEST_TRIES_MAX);
    if (status >= 0)
        do
            status = io_uring_wait_cqe_timeout(ring, &cqe, &timeout);
        while (status == -EINTR && ++tries < TEST_TRIES_MAX);
    if (status == 0) {
        probe->call = "the io_uring self-test's read";
        status = cqe->res == 1 ? 0 : cqe->res < 0 ? cqe->res : -EIO;
        io_uring_cqe_seen(ring, cqe);
    }
    close(fd);
    return status;
}

int backend_uring_probe(uint32_t queue_depth, struct uring_probe *probe)
{
    struct io_uring ring;
    int status = ring_open(&ring, queue_depth, probe);
    if (status)
        return status;
    status = ring_test(&ring, probe);
    io_uring_queue_exit(&ring);
    return status;
}

/* --------------------------------------------------------------------------------------------------- the one inside */

static void inner_submit(struct uring *self, struct slot *slot)
{
    self->inner->ops->submit(self->inner, slot);
    self->inner_count++;
}

static uint32_t inner_reap(struct uring *self, struct slot **completed, uint32_t capacity, int wait)
{
    if (!self->inner_count)
        return 0;
    uint32_t count = self->inner->ops->reap(self->inner, completed, capacity, wait);
    self->inner_count -= count;
    return count;
}

/* ------------------------------------------------------------------------------------------------------- submission */

static void uring_submit(struct backend *backend, struct slot *slot)
{
    struct uring *self = (struct uring *)backend;
    assert(slot->index < self->queue_depth);
    slot->bytes = slot->data;
    int is_slow = !slot->file->nowait && !slot->block_nbytes; /* a direct read is worth a thread of the kernel */
    if (self->has_failed || is_slow || slot_is_out_of_reach(slot))
        inner_submit(self, slot);
    else
        slot_queue_push(&self->waiting, slot);
}

static void prepare(struct uring *self)
{
    while (self->waiting.first && self->prepared.count + self->in_flight < self->in_flight_max) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
        if (!sqe)
            break;
        struct slot *slot = slot_queue_pop(&self->waiting);
        struct iovec single;
        uint32_t place_count;
        const struct iovec *places = slot_places(slot, &single, &place_count);
        if (places == &single)
            io_uring_prep_read(sqe, slot_fd(slot), single.iov_base, (unsigned)single.iov_len,
                               slot->offset + slot->got_nbytes);
        else
            io_uring_prep_readv(sqe, slot_fd(slot), places, place_count, slot->offset + slot->got_nbytes);
        slot->generation = self->sequence++;
        io_uring_sqe_set_data64(sqe, (uint64_t)slot->generation << 32 | slot->index);
        assert(!self->slots[slot->index]);
        self->slots[slot->index] = slot;
        slot_queue_push(&self->prepared, slot);
    }
}

/* How many of the 'count' reads from generation 'first' have completed, without asking the kernel. */
static uint32_t count_completed(struct uring *self, uint32_t first, uint32_t count)
{
    uint32_t completed_count = 0;
    unsigned head;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&self->ring, head, cqe)
    {
        (void)head;
        completed_count += (uint32_t)(cqe->user_data >> 32) - first < count;
    }
    return completed_count;
}

/* The ring can take no more.  What the kernel did not take is read by 'inner'; what it did take is still waited for.
   The SQEs stay where they are: nothing is submitted to this ring again. */
static void give_up(struct uring *self)
{
    struct slot *slot;
    self->has_failed = 1;
    atomic_store_explicit(&self->backend.has_ring, 0, memory_order_relaxed);
    while ((slot = slot_queue_pop(&self->prepared))) {
        self->slots[slot->index] = NULL;
        inner_submit(self, slot);
    }
    while ((slot = slot_queue_pop(&self->waiting)))
        inner_submit(self, slot);
}

static int is_passing(int status)
{
    return status == -EINTR || status == -EAGAIN || status == -EBUSY;
}

/* Gives the kernel what is queued.  After a refusal that may pass it stays queued, if there are reads to reap first. */
static void ring_submit(struct uring *self)
{
    for (uint32_t refusals = 0;;) {
        prepare(self);
        if (!self->prepared.count)
            return;
        uint32_t first = self->prepared.first->generation;
        int status = io_uring_submit(&self->ring);
        if (status > 0) {
            assert((uint32_t)status <= self->prepared.count);
            uint32_t buffered_count = 0; /* direct reads say nothing about what is cached */
            for (int i = 0; i < status; i++)
                buffered_count += slot_queue_pop(&self->prepared)->block_nbytes == 0;
            self->in_flight += (uint32_t)status;
            if (buffered_count) {
                uint32_t completed_count = count_completed(self, first, (uint32_t)status);
                window_adapt(&self->window, completed_count < buffered_count ? completed_count : buffered_count,
                             buffered_count);
            }
        } else if (status < 0 && !is_passing(status)) {
            self->has_lost |= status == -EBADR;
            give_up(self);
        } else if (self->in_flight) {
            return;
        } else if (++refusals == REFUSALS_MAX) {
            give_up(self);
        }
    }
}

/* ------------------------------------------------------------------------------------------------------- completion */

/* Not the file's fault, and pread knows how to wait. */
static int is_declined(int32_t result)
{
    return result == -EAGAIN || result == -EINTR || result == -ENOMEM || result == -ENOBUFS || result == -EOPNOTSUPP ||
           result == -ECANCELED;
}

static struct slot *slot_of(struct uring *self, uint64_t user_data)
{
    uint32_t index = (uint32_t)user_data;
    assert(index < self->queue_depth);
    struct slot *slot = self->slots[index];
    assert(slot && slot->generation == (uint32_t)(user_data >> 32));
    self->slots[index] = NULL;
    return slot;
}

/* Takes completions that are there, entering the kernel only when it says that it has some to hand over. */
static uint32_t ring_reap(struct uring *self, struct slot **completed, uint32_t capacity)
{
    uint32_t count = 0;
    unsigned head, seen_count = 0;
    struct io_uring_cqe *cqe;
    if (!self->in_flight || !capacity || io_uring_peek_cqe(&self->ring, &cqe))
        return 0;
    io_uring_for_each_cqe(&self->ring, head, cqe)
    {
        (void)head;
        if (count == capacity)
            break;
        struct slot *slot = slot_of(self, cqe->user_data);
        slot->result = cqe->res;
        if (is_declined(cqe->res))
            inner_submit(self, slot);
        else
            completed[count++] = slot;
        seen_count++;
    }
    io_uring_cq_advance(&self->ring, seen_count);
    self->in_flight -= seen_count;
    return count;
}

/* Waits for a completion, if need be. */
static void ring_wait(struct uring *self)
{
    struct io_uring_cqe *cqe;
    int status = io_uring_wait_cqe(&self->ring, &cqe);
    if (status == 0 || is_passing(status))
        return;
    self->has_lost = 1;
    give_up(self);
}

/* All that were in flight end as -EIO.  The kernel may write to their buffers at any later time. */
static void lose_in_flight(struct uring *self)
{
    for (uint32_t i = 0; i < self->queue_depth; i++) {
        struct slot *slot = self->slots[i];
        if (!slot)
            continue;
        self->slots[i] = NULL;
        slot->result = -EIO;
        slot_queue_push(&self->lost, slot);
    }
    self->in_flight = 0;
}

/* The larger of the windows in use. */
static void publish_window(struct uring *self, int uses_inner, int uses_ring)
{
    struct backend *backend = &self->backend;
    if (!uses_inner && !uses_ring)
        return;
    backend->window_count = uses_ring ? self->window.count : 0;
    backend->window_nbytes = uses_ring ? self->window.nbytes : 0;
    if (uses_inner && self->inner->window_count > backend->window_count)
        backend->window_count = self->inner->window_count;
    if (uses_inner && self->inner->window_nbytes > backend->window_nbytes)
        backend->window_nbytes = self->inner->window_nbytes;
}

static uint32_t uring_reap(struct backend *backend, struct slot **completed, uint32_t capacity, int wait)
{
    struct uring *self = (struct uring *)backend;
    ring_submit(self);
    int uses_inner = self->inner_count > 0, uses_ring = self->in_flight > 0;
    uint32_t count = inner_reap(self, completed, capacity, 0);
    for (;;) {
        count += ring_reap(self, completed + count, capacity - count);
        if (self->has_lost && self->in_flight && count == 0)
            lose_in_flight(self);
        uint32_t lost_count = slot_queue_drain(&self->lost, completed + count, capacity - count);
        self->backend.lost += lost_count;
        count += lost_count;
        if (count || !wait || !capacity)
            break;
        /* A read by 'inner' is sure to end; meanwhile those of the ring go on. */
        if (self->inner_count)
            count = inner_reap(self, completed, capacity, 1);
        else if (self->in_flight)
            ring_wait(self);
        else if (self->prepared.count)
            ring_submit(self);
        else
            break;
    }
    publish_window(self, uses_inner, uses_ring);
    return count;
}

/* ------------------------------------------------------------------------------------------------------------- life */

static void uring_free(struct backend *backend)
{
    struct uring *self = (struct uring *)backend;
    assert(!self->in_flight && !self->prepared.count && !self->waiting.count && !self->inner_count);
    io_uring_queue_exit(&self->ring);
    self->inner->ops->free(self->inner);
    free(self->slots);
    free(self);
}

/* The ring's memory is not there in the child; its descriptor is. */
static void uring_abandon(struct backend *backend)
{
    struct uring *self = (struct uring *)backend;
    close(self->ring.ring_fd);
    self->inner->ops->abandon(self->inner);
    free(self->slots);
    free(self);
}

static const struct backend_ops uring_ops = {
    .name = "io_uring",
    .submit = uring_submit,
    .reap = uring_reap,
    .free = uring_free,
    .abandon = uring_abandon,
};

struct backend *backend_uring_new(uint32_t queue_depth)
{
    struct uring_probe probe;
    struct uring *self = calloc(1, sizeof *self);
    struct slot **slots = calloc(queue_depth, sizeof *slots);
    struct backend *inner = backend_pread_new(queue_depth, 0);
    int status = self && slots && inner ? ring_open(&self->ring, queue_depth, &probe) : -ENOMEM;
    if (status) {
        if (inner)
            inner->ops->free(inner);
        free(slots);
        free(self);
        errno = -status;
        return NULL;
    }
    self->slots = slots;
    self->inner = inner;
    self->queue_depth = queue_depth;
    self->in_flight_max = *self->ring.cq.kring_entries;
    window_init(&self->window, queue_depth);
    self->backend = (struct backend){
        .ops = &uring_ops,
        .inner = inner,
        .has_ring = 1,
        .window_count = self->window.count,
        .window_nbytes = self->window.nbytes,
        .direct_count = queue_depth < DIRECT_COUNT_MAX ? queue_depth : DIRECT_COUNT_MAX,
    };
    return &self->backend;
}
