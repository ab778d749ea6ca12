/* backend.h: what moves bytes.  A backend belongs to one thread; a worker submits slots to it and reaps them again.

   One read is one slot.  submit() never fails: what cannot be read completes with the reason.  A completion may be
   short; the worker adds it to 'got_nbytes' and submits the slot again for the rest. */
#ifndef RINGIO_BACKEND_H
#define RINGIO_BACKEND_H

#include <stdatomic.h>
#include <stdint.h>

#include "files.h"
#include "ringio.h"
#include "vectors.h"

/* One system call reads at most this much: results are int32, and 16 MiB already amortises everything. */
#define BACKEND_PIECE_NBYTES ((uint64_t)16 << 20)

/* One read in flight, and all that belongs to it.  The worker sets the first group and leaves it alone until the slot
   is reaped; the backend sets the second. */
struct slot {
    const struct file *file;
    uint8_t *data;       /* 'want_nbytes' from 'offset' of the file go here; NULL: the memory backend lends its own */
    struct vectors *vectors; /* not NULL: they go to these places instead, as many as are left; 'data' is NULL */
    uint64_t offset;
    uint64_t want_nbytes; /* above 0 */
    uint64_t got_nbytes;  /* are there already: the read goes on behind them */
    uint32_t block_nbytes; /* above 0: it is read past the page cache, in whole blocks of so many bytes */
    int direct_fd;         /* with 'block_nbytes': where from */

    int32_t result;       /* bytes read now, 0 at the end of the file, or -errno */
    const uint8_t *bytes; /* where byte 'offset' lies: 'data', or the memory backend's own */

    uint32_t index;      /* among the slots of its worker: fixed, below the queue depth */
    uint32_t generation; /* the backend's: tells a completion from that of an earlier use of the slot */
    int is_ahead;        /* the backend's: the kernel was told to fetch the bytes */
    struct slot *next;   /* the backend's, while the slot is submitted */
};

/* Where the slot is read from. */
static inline int slot_fd(const struct slot *slot)
{
    return slot->block_nbytes ? slot->direct_fd : slot->file->fd;
}

struct backend;

struct backend_ops {
    const char *name;

    /* submit() starts (or queues) a read of 'slot' from offset + got_nbytes.  The number submitted and not yet reaped
       never exceeds the queue depth that the backend was made with. */
    void (*submit)(struct backend *backend, struct slot *slot);

    /* reap() writes up to 'capacity' completed slots and returns how many.  With 'wait' and slots in flight it waits
       for at least one.  Slots come in any order.  With a 'capacity' of 0 queued reads
       begin, and no more. */
    uint32_t (*reap)(struct backend *backend, struct slot **completed, uint32_t capacity, int wait);

    /* cancel() is its part of backend_cancel(); NULL: it begins all reads soon. */
    void (*cancel)(struct backend *backend);

    /* free() may only be called with nothing in flight, by the thread that made the backend. */
    void (*free)(struct backend *backend);

    /* abandon() is free() in a child after fork(), where the kernel's part still belongs to the parent: it closes what
       the child inherited and touches nothing shared.  Memory may leak. */
    void (*abandon)(struct backend *backend);
};

/* The window while reads complete at once: half of a usual L2, so that what was read is still there when it is
   decoded. */
#define BACKEND_CACHED_NBYTES ((uint64_t)512 << 10)

struct backend {
    const struct backend_ops *ops;
    struct backend *inner; /* another one, which has some of its slots; NULL: none */
    _Atomic uint32_t has_ring; /* 1: an io_uring that works.  Other threads may look. */
    uint64_t lost;         /* counts slots reaped with -EIO whose buffers the kernel may still write to, at any time */
    uint32_t window_count; /* how many slots are worth having in flight now: adapts to what is cached */
    uint64_t window_nbytes;
    uint32_t direct_count; /* how many slots are worth having in flight of those that are read past the page cache */
};

/* backend_cancel() has all reads complete with -ECANCELED that were submitted, but not begun yet.  Nothing waits. */
static inline void backend_cancel(struct backend *backend)
{
    for (; backend; backend = backend->inner)
        if (backend->ops->cancel)
            backend->ops->cancel(backend);
}

/* What backend_choose() found. */
struct backend_choice {
    uint32_t kind;    /* RINGIO_BACKEND_URING, _THREADS or _MEMORY; 0: what was asked for by name cannot be had */
    char reason[320]; /* why, in words for the user */
};

/* backend_choose() tries what 'options' ask for, by doing it: a ring is made and reads a byte through it. */
void backend_choose(const struct ringio_options *options, struct backend_choice *choice);

/* backend_new() makes a backend of 'kind' (never AUTO) for the calling thread, which must be the one that uses it.  A
   ring that cannot be made any more (memory lock limit) becomes a threads backend.  Returns NULL when out of memory.
   With options->faults set its completions are edited on the way. */
struct backend *backend_new(uint32_t kind, const struct ringio_options *options);

/* One file each; 'queue_depth' is the most slots in flight; 'reads_direct': there will be slots with block_nbytes, so
   that it pays to get ready for them.  NULL: cannot be made, errno says why.  The faulty one owns 'inner' once it is
   made. */
struct backend *backend_pread_new(uint32_t queue_depth, int reads_direct);
struct backend *backend_memory_new(uint32_t queue_depth);
struct backend *backend_faulty_new(struct backend *inner, const struct ringio_faults *faults, uint32_t queue_depth);
#ifdef RINGIO_HAVE_URING
struct backend *backend_uring_new(uint32_t queue_depth);

/* What a ring turned out to be. */
struct uring_probe {
    const char *call;  /* what was tried last, so what failed if something did */
    const char *flags; /* those that the kernel took, in words */
    uint32_t entry_count;
};

/* backend_uring_probe() makes a ring, reads a byte through it, and closes it.  Returns 0 or -errno of probe->call. */
int backend_uring_probe(uint32_t queue_depth, struct uring_probe *probe);
#endif

#endif
