#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend_private.h"

/* Edits the completions of another backend, for tests: what kernels, disks and networks do rarely happens often here.
   The n-th decision depends on the seed and on n alone. */
struct faulty {
    struct backend backend;
    struct backend *inner;
    struct ringio_faults faults;
    uint64_t decision_count;
    uint32_t inner_count;      /* slots that 'inner' has */
    struct slot_queue refused; /* to be submitted at the next reap */
    struct slot **held;        /* completed, and held back */
    uint32_t held_count;
    uint32_t queue_depth;
    uint8_t *was_zeroed; /* by index: edited to "no bytes", and has not had any since: a retry succeeds */
};

#define POISON 0xa5

/* splitmix64 (Steele, Lea, Flood 2014): a random number for each number. */
static uint64_t decide(struct faulty *self)
{
    uint64_t z = self->faults.seed + ++self->decision_count * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* True once in 'rate' times; never when it is 0. */
static int strikes(struct faulty *self, uint32_t rate)
{
    return rate && decide(self) % rate == 0;
}

static void poison_vectors(const struct vectors *vectors, uint64_t valid_nbytes)
{
    for (uint32_t i = vectors->first; i < vectors->count; i++) {
        const struct iovec *item = &vectors->items[i];
        size_t valid = valid_nbytes < item->iov_len ? valid_nbytes : item->iov_len;
        memset((uint8_t *)item->iov_base + valid, POISON, item->iov_len - valid);
        valid_nbytes -= valid;
    }
}

/* Bytes behind the result are undefined: whoever uses them shall be found out. */
static void set_result(struct slot *slot, int32_t result)
{
    slot->result = result;
    uint64_t valid_nbytes = slot->got_nbytes + (uint64_t)(result > 0 ? result : 0);
    if (slot->data)
        memset(slot->data + valid_nbytes, POISON, slot->want_nbytes - valid_nbytes);
    else if (slot->vectors)
        poison_vectors(slot->vectors, (uint64_t)(result > 0 ? result : 0));
}

static void edit(struct faulty *self, struct slot *slot)
{
    const struct ringio_faults *faults = &self->faults;
    uint8_t *was_zeroed = &self->was_zeroed[slot->index];
    if (slot->result < 0)
        return;
    if (strikes(self, faults->eio_rate)) {
        set_result(slot, -EIO);
    } else if (strikes(self, faults->eintr_rate)) {
        set_result(slot, -EINTR);
    } else if (strikes(self, faults->eagain_rate)) {
        set_result(slot, -EAGAIN);
    } else if (!*was_zeroed && strikes(self, faults->zero_rate)) {
        set_result(slot, 0);
        *was_zeroed = 1;
    } else if (slot->result > 1 && strikes(self, faults->short_rate)) {
        set_result(slot, 1 + (int32_t)(decide(self) % (uint64_t)(slot->result - 1)));
    }
    if (slot->result > 0)
        *was_zeroed = 0;
}

static void forward(struct faulty *self, struct slot *slot)
{
    self->inner->ops->submit(self->inner, slot);
    self->inner_count++;
}

static void faulty_submit(struct backend *backend, struct slot *slot)
{
    struct faulty *self = (struct faulty *)backend;
    assert(slot->index < self->queue_depth);
    slot->bytes = slot->data;
    if (strikes(self, self->faults.submit_rate))
        slot_queue_push(&self->refused, slot); /* as after -EBUSY: reap, then submit again */
    else
        forward(self, slot);
}

static struct slot *release_any(struct faulty *self)
{
    uint32_t i = (uint32_t)(decide(self) % self->held_count);
    struct slot *slot = self->held[i];
    self->held[i] = self->held[--self->held_count];
    return slot;
}

static uint32_t faulty_reap(struct backend *backend, struct slot **completed, uint32_t capacity, int wait)
{
    struct faulty *self = (struct faulty *)backend;
    uint32_t count = 0;
    for (struct slot *slot; (slot = slot_queue_pop(&self->refused));)
        forward(self, slot);
    while (count < capacity && self->held_count && strikes(self, 2))
        completed[count++] = release_any(self);
    while (count == 0 && self->inner_count && capacity) {
        uint32_t reaped_count = self->inner->ops->reap(self->inner, completed, capacity, wait);
        self->inner_count -= reaped_count;
        for (uint32_t i = 0; i < reaped_count; i++) {
            edit(self, completed[i]);
            if (strikes(self, self->faults.late_rate))
                self->held[self->held_count++] = completed[i];
            else
                completed[count++] = completed[i];
        }
        if (!wait)
            break;
    }
    if (count == 0 && wait && capacity && self->held_count)
        completed[count++] = release_any(self);
    self->backend.lost = self->inner->lost;
    self->backend.window_count = self->inner->window_count;
    self->backend.window_nbytes = self->inner->window_nbytes;
    return count;
}

static void release_memory(struct faulty *self)
{
    free(self->held);
    free(self->was_zeroed);
    free(self);
}

static void faulty_free(struct backend *backend)
{
    struct faulty *self = (struct faulty *)backend;
    assert(!self->inner_count && !self->held_count && !self->refused.count);
    self->inner->ops->free(self->inner);
    release_memory(self);
}

static void faulty_abandon(struct backend *backend)
{
    struct faulty *self = (struct faulty *)backend;
    self->inner->ops->abandon(self->inner);
    release_memory(self);
}

static const struct backend_ops faulty_ops = {
    .name = "faulty",
    .submit = faulty_submit,
    .reap = faulty_reap,
    .free = faulty_free,
    .abandon = faulty_abandon,
};

struct backend *backend_faulty_new(struct backend *inner, const struct ringio_faults *faults, uint32_t queue_depth)
{
    struct faulty *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    self->held = calloc(queue_depth, sizeof(struct slot *));
    self->was_zeroed = calloc(queue_depth, 1);
    if (!self->held || !self->was_zeroed) {
        release_memory(self);
        return NULL;
    }
    self->inner = inner;
    self->faults = *faults;
    self->queue_depth = queue_depth;
    self->backend = *inner;
    self->backend.ops = &faulty_ops;
    self->backend.inner = inner;
    return &self->backend;
}
