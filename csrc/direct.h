/* direct.h: reads past the page cache (O_DIRECT) of one file: whether it can be read so, and in what blocks; and
   whether that would pay. */
#ifndef RINGIO_DIRECT_H
#define RINGIO_DIRECT_H

#include <stdatomic.h>
#include <stdint.h>

/* What buffers are aligned to, so the largest block that will do. */
#define DIRECT_BLOCK_NBYTES_MAX 4096u

/* What is known of a file; all zeros: nothing.  Changes once or twice, from any thread. */
struct direct_file {
    _Atomic uint64_t state;
};

/* How a file is read past the page cache. */
struct direct_mode {
    int fd;
    uint32_t block_nbytes; /* offset, size and address are multiples of it; a power of two; 0: it cannot be read so */
    int may_place;         /* the disk may write to any memory of the process, not to our buffers alone */
};

/* direct_open() says how the file at 'path' that is open as 'fd' is read past the page cache.  The first call opens it
   once more, with O_DIRECT.  A filesystem that refuses that, a path where another file is by now, and a process that
   has too many files open are no errors: block_nbytes is 0.  Thread-safe. */
struct direct_mode direct_open(struct direct_file *direct, const char *path, int fd);

/* direct_refusal() tries the same anew, closes the file again, and returns why it cannot be read so: errno,
   RINGIO_DIRECT_..., RINGIO_CHANGED where another file is at the path; 0 where it can, in such blocks. */
int direct_refusal(const char *path, int fd, uint32_t *block_nbytes);

/* direct_refuse() notes that a read was refused for being direct: the file is not read so any more.  Thread-safe. */
void direct_refuse(struct direct_file *direct);

/* direct_close() closes what direct_open() opened. */
void direct_close(struct direct_file *direct);

/* direct_is_cached() says whether the page cache has more than an eighth of these bytes, so that it is the shorter way
   to them.  Also true where the kernel does not tell: before Linux 6.5, and for a file that the process neither owns
   nor may write to. */
int direct_is_cached(int fd, uint64_t offset, uint64_t nbytes);

#endif
