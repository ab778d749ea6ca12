/* vectors.h: where the bytes of one read go when they go to several places: readv(2) puts the rows of raw chunks, or
   neighbouring ranges, straight into the targets, and no byte is copied twice. */
#ifndef RINGIO_VECTORS_H
#define RINGIO_VECTORS_H

#include <stdint.h>
#include <sys/uio.h>

#include "ringio.h"

/* UIO_MAXIOV, the most that a system call takes. */
#define VECTORS_MAX 1024

/* Bytes between rows that nobody wants go here: so many at a time. */
#define VECTORS_TRASH_NBYTES 4096

struct vectors {
    struct iovec *items; /* VECTORS_MAX of them, made at first use */
    uint32_t count;
    uint32_t first;        /* those before have their bytes */
    uint64_t start_offset; /* of the first byte that is wanted, from the start of the request */
    uint64_t nbytes;       /* from there up to the last one */
};

/* vectors_make() lists the places of what the tasks of a request want; task_check() must have passed them.  Returns 1,
   or 0 where that cannot be done, or would not pay: tasks that decode, that have several boxes, that want bytes in
   another order than the file's, rows that are too short, or too many of them.  'trash' has VECTORS_TRASH_NBYTES. */
int vectors_make(struct vectors *vectors, const struct ringio_plan *plan, const struct ringio_request *request,
                 uint8_t *trash);

/* vectors_advance() notes that 'nbytes' more have arrived, no more than are left. */
void vectors_advance(struct vectors *vectors, uint64_t nbytes);

void vectors_free(struct vectors *vectors);

#endif
