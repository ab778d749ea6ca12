/* files.h: the open files of a reader, the least recently used closed first.

   A file is looked up by path and checked by identity (device, inode, size, modification time): bytes of a replaced or
   rewritten file are never served as those of the old one.  A file in use is pinned, so its descriptor outlives every
   read that was submitted with it. */
#ifndef RINGIO_FILES_H
#define RINGIO_FILES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "direct.h"
#include "ringio.h"

struct file {
    int fd;
    int nowait;          /* reads of cached data answer at once (FMODE_NOWAIT): worth a ring */
    const uint8_t *data; /* the bytes themselves, for the memory backend; else NULL */
    struct ringio_identity identity;
    struct direct_file direct;
    /* the cache's own: */
    int is_kept; /* in the cache, or once was; else its one user closes it */
    uint64_t hash;
    uint64_t pins;
    struct file *chain_next; /* same hash bucket */
    struct file *newer, *older;
    char *path; /* behind this struct, in the same block */
};

#define FILE_BUCKETS 1024
#define FILE_DEVICES 32

struct file_cache {
    pthread_mutex_t mutex;
    struct file *buckets[FILE_BUCKETS];
    struct file *newest, *oldest;
    uint32_t count, count_max;
    _Atomic uint32_t once_count;    /* open files that are not kept: they count, too */
    _Atomic uint32_t room_for_once; /* for so many of them files were closed, and none was kept since */
    int load; /* memory backend: read the whole file when it is opened */
    _Atomic uint32_t device_count; /* these never change, so they are looked at without the mutex */
    struct { uint64_t device; int nowait; } devices[FILE_DEVICES]; /* probed once each */
    _Atomic uint64_t opens;
    _Atomic uint64_t stat_calls;
};

void file_cache_init(struct file_cache *cache, uint32_t count_max, int load);
void file_cache_destroy(struct file_cache *cache);

/* file_cache_forget_pins() is for a child after fork(): nobody there uses what its parent had pinned. */
void file_cache_forget_pins(struct file_cache *cache);

/* file_get() opens 'path', or finds it open, and pins it in '*file'.  The path is looked up again, so that a replaced
   file is opened anew.  'expected' (may be NULL) is the identity that it must have.  Returns 0, -errno,
   -RINGIO_NOT_REGULAR, or -RINGIO_CHANGED.  Thread-safe. */
int file_get(struct file_cache *cache, const char *path, const struct ringio_identity *expected, struct file **file);

/* file_get_known() does the same, but takes an open file as it finds it: nobody looks whether 'path' still leads there,
   and file_is_elsewhere() has to be asked behind the read.  That is as safe, and a system call less. */
int file_get_known(struct file_cache *cache, const char *path, const struct ringio_identity *expected,
                   struct file **file);

/* file_is_open() says whether 'path' is open, so that file_get() most likely has no file to open. */
int file_is_open(struct file_cache *cache, const char *path);

/* file_is_elsewhere() says whether the path of a file leads to another one by now, or to the same one after it was
   written to.  Where it does not, all bytes that were read before the call are those of the identity. */
int file_is_elsewhere(struct file_cache *cache, const struct file *file);

/* file_get_once() opens 'path' for one read: it is neither looked for in the cache nor put there, and file_put() closes
   it.  For plans of more files than are kept open, which would push each other out.  Returns as file_get(). */
int file_get_once(struct file_cache *cache, const char *path, const struct ringio_identity *expected,
                  struct file **file);

/* file_has_changed() says whether the open file was written to since: asked after a read, it says whether the bytes are
   those of the identity.  Every write(2) and truncation sets the modification time before it changes a byte, but clocks
   are coarse: before Linux 6.13 two writes within one tick (1 to 10 ms) look like one. */
int file_has_changed(const struct file *file);

/* file_put() gives up a pin. */
void file_put(struct file_cache *cache, struct file *file);

int identity_equal(const struct ringio_identity *a, const struct ringio_identity *b);

/* identity_of_path() looks up what 'path' names; identity->status says what went wrong. */
void identity_of_path(const char *path, struct ringio_identity *identity);

#endif
