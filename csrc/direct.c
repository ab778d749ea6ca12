#define _GNU_SOURCE
#include "direct.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ringio.h"

#ifdef __linux__
#include <sys/syscall.h>
#include <sys/vfs.h>
#endif

#if defined(__linux__) && defined(O_DIRECT) && defined(SYS_statx)

/* The state in one word, so that no lock is needed: the descriptor, the block size above it, and flags. */
#define OPENED ((uint64_t)1 << 63)
#define REFUSED ((uint64_t)1 << 62)
#define MAY_PLACE ((uint64_t)1 << 61)
#define BLOCK_SHIFT 32
#define BLOCK_MASK ((uint64_t)0xffff)

static struct direct_mode mode_of(uint64_t state)
{
    if (!(state & OPENED) || (state & REFUSED))
        return (struct direct_mode){.fd = -1};
    return (struct direct_mode){
        .fd = (int)(uint32_t)state,
        .block_nbytes = (uint32_t)(state >> BLOCK_SHIFT & BLOCK_MASK),
        .may_place = (state & MAY_PLACE) != 0,
    };
}

/* ------------------------------------------------------------------------------------------------- what it demands */

/* struct statx of Linux 6.1 and later; the headers of many distributions are older. */
struct statx_dio {
    uint32_t mask;
    uint8_t before[148];
    uint32_t memory_align, offset_align;
    uint8_t after[96];
};
_Static_assert(sizeof(struct statx_dio) == 256, "as the kernel has it");

#define STATX_DIOALIGN_ 0x2000u

#ifdef SYS_cachestat
#define CACHESTAT_NUMBER SYS_cachestat
#else
#define CACHESTAT_NUMBER 451 /* the same on all architectures but Alpha */
#endif

/* Files that are nowhere but in the page cache. */
#define TMPFS_MAGIC_ 0x01021994u
#define RAMFS_MAGIC_ 0x858458f6u
#define HUGETLBFS_MAGIC_ 0x958458f6u

/* Linux 6.18 at least: a direct read of FUSE that comes back short is continued by io_uring from where it began, as
   fuse_direct_IO() does not advance the position: what it gives is as long as it should be, and wrong. */
#define FUSE_MAGIC_ 0x65735546u

/* Why direct reads are out of the question, whatever open(2) said: RINGIO_DIRECT_..., errno, or 0. */
static int unfit_for(int fd)
{
    struct statfs info;
    int status;
    do
        status = fstatfs(fd, &info);
    while (status && errno == EINTR);
    if (status)
        return errno;
    uint32_t type = (uint32_t)info.f_type;
    if (type == TMPFS_MAGIC_ || type == RAMFS_MAGIC_ || type == HUGETLBFS_MAGIC_)
        return RINGIO_DIRECT_IN_MEMORY;
    return type == FUSE_MAGIC_ ? RINGIO_DIRECT_FUSE : 0;
}

/* Before Linux 6.5 a fork() while the disk writes to memory that the child shares could lose what it wrote; since then
   such pages are pinned, which fork() leaves alone.  cachestat(2) is as old.  Our buffers are not shared with
   children. */
static int pins_pages(void)
{
    return syscall(CACHESTAT_NUMBER, -1, NULL, NULL, 0) < 0 && errno == EBADF;
}

/* Sets the block size and MAY_PLACE as in the state; returns 0, or why there are none.  A kernel that says nothing is
   older than 6.1, or its filesystem is: 4096 suits all disks. */
static int demands_of(int fd, uint64_t *demands)
{
    struct statx_dio info = {0};
    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN_, &info) || !(info.mask & STATX_DIOALIGN_)) {
        *demands = (uint64_t)DIRECT_BLOCK_NBYTES_MAX << BLOCK_SHIFT;
        return unfit_for(fd);
    }
    uint64_t block = info.memory_align > info.offset_align ? info.memory_align : info.offset_align;
    *demands = block << BLOCK_SHIFT | (pins_pages() ? MAY_PLACE : 0);
    if (!info.memory_align || !info.offset_align || block > DIRECT_BLOCK_NBYTES_MAX || (block & (block - 1)))
        return RINGIO_DIRECT_BLOCKS;
    return 0;
}

/* --------------------------------------------------------------------------------------------------- open and close */

static int is_same_file(int fd, int other_fd)
{
    struct stat info, other;
    return fstat(fd, &info) == 0 && fstat(other_fd, &other) == 0 && info.st_dev == other.st_dev &&
           info.st_ino == other.st_ino;
}

/* Returns OPENED with all that belongs to it, REFUSED, or 0 when it may be otherwise next time; '*refusal' is 0 or says
   why.  O_NONBLOCK is for a FIFO that may be there by now, and is taken away again as in file_open(). */
static uint64_t try_open(const char *path, int fd, int *refusal)
{
    int direct_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_DIRECT);
    if (direct_fd < 0) {
        *refusal = errno;
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EINTR ? 0 : REFUSED;
    }
    uint64_t demands = 0;
    if (!is_same_file(direct_fd, fd))
        *refusal = RINGIO_CHANGED;
    else if (fcntl(direct_fd, F_SETFL, O_DIRECT))
        *refusal = errno;
    else
        *refusal = demands_of(direct_fd, &demands);
    if (*refusal) {
        close(direct_fd);
        return REFUSED;
    }
    return OPENED | demands | (uint32_t)direct_fd;
}

struct direct_mode direct_open(struct direct_file *direct, const char *path, int fd)
{
    uint64_t state = atomic_load_explicit(&direct->state, memory_order_acquire);
    if (state)
        return mode_of(state);
    int refusal;
    uint64_t opened = try_open(path, fd, &refusal);
    if (!opened || atomic_compare_exchange_strong_explicit(&direct->state, &state, opened, memory_order_acq_rel,
                                                           memory_order_acquire))
        return mode_of(opened);
    if (opened & OPENED)
        close((int)(uint32_t)opened); /* another thread was faster */
    return mode_of(state);
}

int direct_refusal(const char *path, int fd, uint32_t *block_nbytes)
{
    int refusal;
    uint64_t opened = try_open(path, fd, &refusal);
    *block_nbytes = mode_of(opened).block_nbytes;
    if (opened & OPENED)
        close((int)(uint32_t)opened);
    return refusal;
}

void direct_refuse(struct direct_file *direct)
{
    atomic_fetch_or_explicit(&direct->state, REFUSED, memory_order_relaxed); /* others may be reading: it stays open */
}

void direct_close(struct direct_file *direct)
{
    uint64_t state = atomic_load_explicit(&direct->state, memory_order_acquire);
    if (state & OPENED)
        close((int)(uint32_t)state);
}

/* ---------------------------------------------------------------------------------------------------- does it pay? */

#define CACHED_SHARE 8 /* one in so many */

int direct_is_cached(int fd, uint64_t offset, uint64_t nbytes)
{
#ifdef __alpha__
    (void)fd, (void)offset, (void)nbytes;
    return 1;
#else
    struct { uint64_t offset, nbytes; } range = {offset, nbytes};
    struct { uint64_t cached, dirty, writeback, evicted, recently_evicted; } pages = {0};
    if (nbytes == 0 || syscall(CACHESTAT_NUMBER, fd, &range, &pages, 0))
        return 1;
    return pages.cached > nbytes / (uint64_t)sysconf(_SC_PAGESIZE) / CACHED_SHARE;
#endif
}

#else /* a system without O_DIRECT */

struct direct_mode direct_open(struct direct_file *direct, const char *path, int fd)
{
    (void)direct, (void)path, (void)fd;
    return (struct direct_mode){.fd = -1};
}

int direct_refusal(const char *path, int fd, uint32_t *block_nbytes)
{
    (void)path, (void)fd;
    *block_nbytes = 0;
    return ENOTSUP;
}

void direct_refuse(struct direct_file *direct)
{
    (void)direct;
}

void direct_close(struct direct_file *direct)
{
    (void)direct;
}

int direct_is_cached(int fd, uint64_t offset, uint64_t nbytes)
{
    (void)fd, (void)offset, (void)nbytes;
    return 1;
}

#endif
