/* backend_aio.h: many direct reads at a time without io_uring, by io_submit(2).

   It only ever waits for disks well, so it is for reads past the page cache alone.  Containers that forbid io_uring
   mostly allow it. */
#ifndef RINGIO_BACKEND_AIO_H
#define RINGIO_BACKEND_AIO_H

#include <stdint.h>

#include "backend.h"

struct aio;

/* aio_new() gives room for 'depth' slots at a time, with indices below it.  NULL: it cannot be had here. */
struct aio *aio_new(uint32_t depth);

/* aio_free() may only be called with nothing in flight; aio_abandon() in a child after fork(). */
void aio_free(struct aio *aio);
void aio_abandon(struct aio *aio);

/* aio_submit() queues a read of 'slot', which has block_nbytes. */
void aio_submit(struct aio *aio, struct slot *slot);

/* aio_reap() starts what is queued, and writes up to 'capacity' completed slots; returns how many.  With 'wait' and
   slots submitted it waits for at least one. */
uint32_t aio_reap(struct aio *aio, struct slot **completed, uint32_t capacity, int wait);

/* aio_cancel() has what is queued complete with -ECANCELED. */
void aio_cancel(struct aio *aio);

#endif
