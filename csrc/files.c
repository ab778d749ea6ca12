#define _GNU_SOURCE
#include "files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------------- identities */

static void identity_set(struct ringio_identity *identity, const struct stat *info)
{
    *identity = (struct ringio_identity){
        .device = info->st_dev,
        .inode = info->st_ino,
        .nbytes = (uint64_t)info->st_size,
        /* Unsigned: a filesystem may store seconds whose nanoseconds wrap, and an identity is only ever compared. */
        .mtime_ns = (int64_t)((uint64_t)info->st_mtim.tv_sec * 1000000000 + (uint64_t)info->st_mtim.tv_nsec),
        .status = S_ISREG(info->st_mode) ? 0 : S_ISDIR(info->st_mode) ? -EISDIR : -RINGIO_NOT_REGULAR,
    };
}

int identity_equal(const struct ringio_identity *a, const struct ringio_identity *b)
{
    return a->device == b->device && a->inode == b->inode && a->nbytes == b->nbytes && a->mtime_ns == b->mtime_ns;
}

void identity_of_path(const char *path, struct ringio_identity *identity)
{
    struct stat info;
    if (stat(path, &info) == 0)
        identity_set(identity, &info);
    else
        *identity = (struct ringio_identity){.status = -errno};
}

static void identity_of_open(int fd, struct ringio_identity *identity)
{
    struct stat info;
    if (fstat(fd, &info) == 0)
        identity_set(identity, &info);
    else
        *identity = (struct ringio_identity){.status = -errno};
}

/* ----------------------------------------------------------------------------------------------- one file, uncached */

int file_has_changed(const struct file *file)
{
    struct ringio_identity now;
    if (file->fd < 0 || file->data)
        return 0;
    identity_of_open(file->fd, &now);
    return !identity_equal(&file->identity, &now);
}

/* Reads a whole file into memory.  Returns 0, -errno or -RINGIO_CHANGED. */
static int load_file(struct file *file)
{
    uint64_t nbytes = file->identity.nbytes;
    uint8_t *data = malloc(nbytes ? nbytes : 1);
    if (!data)
        return -ENOMEM;
    for (uint64_t got = 0; got < nbytes;) {
        ssize_t more = pread(file->fd, data + got, nbytes - got, (off_t)got);
        if (more < 0 && errno == EINTR)
            continue;
        if (more <= 0) {
            int status = more < 0 ? -errno : -RINGIO_CHANGED;
            free(data);
            return status;
        }
        got += (uint64_t)more;
    }
    if (file_has_changed(file)) {
        free(data);
        return -RINGIO_CHANGED;
    }
    file->data = data;
    return 0;
}

static void file_close(struct file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    direct_close(&file->direct);
    free((void *)(uintptr_t)file->data);
    free(file);
}

/* Opens without waiting for a writer of a FIFO, refuses what is not a regular file, and then clears O_NONBLOCK:
   io_uring takes it as a promise and answers -EAGAIN for regular files that have it. */
static int file_open(const char *path, uint64_t hash, int load, struct file **opened)
{
    size_t path_nbytes = strlen(path) + 1;
    struct file *file = calloc(1, sizeof *file + path_nbytes);
    if (!file)
        return -ENOMEM;
    file->path = memcpy(file + 1, path, path_nbytes);
    file->hash = hash;
    do {
        file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    } while (file->fd < 0 && errno == EINTR);
    int status = file->fd < 0 ? -errno : 0;
    struct stat info;
    if (status == 0 && fstat(file->fd, &info))
        status = -errno;
    if (status == 0) {
        identity_set(&file->identity, &info);
        status = file->identity.status;
    }
    if (status == 0 && fcntl(file->fd, F_SETFL, 0))
        status = -errno;
    if (status == 0 && load)
        status = load_file(file);
    if (status)
        file_close(file);
    else
        *opened = file;
    return status;
}

/* -------------------------------------------------------------------------------------------------------- the cache */

void file_cache_init(struct file_cache *cache, uint32_t count_max, int load)
{
    memset(cache, 0, sizeof *cache);
    pthread_mutex_init(&cache->mutex, NULL);
    cache->count_max = count_max;
    cache->load = load;
}

/* FNV-1a, 64 bit. */
static uint64_t hash_path(const char *path)
{
    uint64_t hash = 14695981039346656037u;
    for (; *path; path++)
        hash = (hash ^ (uint8_t)*path) * 1099511628211u;
    return hash;
}

static void lru_unlink(struct file_cache *cache, struct file *file)
{
    *(file->newer ? &file->newer->older : &cache->newest) = file->older;
    *(file->older ? &file->older->newer : &cache->oldest) = file->newer;
    file->newer = file->older = NULL;
}

static void lru_push(struct file_cache *cache, struct file *file)
{
    file->older = cache->newest;
    file->newer = NULL;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = file;
    cache->newest = file;
}

/* Takes a file out of the hash and the list: it can be found no more, and is closed with its last pin. */
static void cache_remove(struct file_cache *cache, struct file *file)
{
    struct file **link = &cache->buckets[file->hash % FILE_BUCKETS];
    while (*link != file)
        link = &(*link)->chain_next;
    *link = file->chain_next;
    file->chain_next = file; /* marks it as removed */
    lru_unlink(cache, file);
    cache->count--;
    if (file->pins == 0)
        file_close(file);
}

static int is_removed(const struct file *file)
{
    return file->chain_next == file;
}

static struct file *cache_find(struct file_cache *cache, const char *path, uint64_t hash)
{
    struct file *file = cache->buckets[hash % FILE_BUCKETS];
    while (file && (file->hash != hash || strcmp(file->path, path) != 0))
        file = file->chain_next;
    return file;
}

/* Closes unpinned files, oldest first, until 'count_max' are left. */
static void cache_shrink(struct file_cache *cache, uint32_t count_max)
{
    for (struct file *file = cache->oldest; file && cache->count > count_max;) {
        struct file *newer = file->newer;
        if (file->pins == 0)
            cache_remove(cache, file);
        file = newer;
    }
}

/* Returns -1 for a device that was not probed yet. */
static int known_nowait(struct file_cache *cache, uint64_t device)
{
    uint32_t count = atomic_load_explicit(&cache->device_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++)
        if (cache->devices[i].device == device)
            return cache->devices[i].nowait;
    return -1;
}

/* A read of one byte that must not wait: -EOPNOTSUPP says that this filesystem knows no such thing (tmpfs, overlayfs,
   FUSE); a ring would hand each read there to a kernel thread.  At the end of the file it brings nothing to the
   cache. */
static int probe_nowait(struct file_cache *cache, const struct file *file)
{
    uint64_t device = file->identity.device;
    int nowait = known_nowait(cache, device);
    if (nowait >= 0)
        return nowait;
    nowait = 0;
#ifdef RWF_NOWAIT
    char byte;
    struct iovec iov = {&byte, 1};
    nowait = preadv2(file->fd, &iov, 1, (off_t)file->identity.nbytes, RWF_NOWAIT) >= 0 || errno == EAGAIN;
#endif
    pthread_mutex_lock(&cache->mutex);
    uint32_t count = atomic_load_explicit(&cache->device_count, memory_order_relaxed);
    if (count < FILE_DEVICES && known_nowait(cache, device) < 0) {
        cache->devices[count].device = device;
        cache->devices[count].nowait = nowait;
        atomic_store_explicit(&cache->device_count, count + 1, memory_order_release);
    }
    pthread_mutex_unlock(&cache->mutex);
    return nowait;
}

static void count_up(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Opens 'path', if need be at the cost of files that are kept open. */
static int open_new(struct file_cache *cache, const char *path, uint64_t hash, struct file **opened)
{
    int status = file_open(path, hash, cache->load, opened);
    count_up(&cache->opens);
    if (status == -EMFILE || status == -ENFILE) {
        pthread_mutex_lock(&cache->mutex);
        cache_shrink(cache, 0);
        pthread_mutex_unlock(&cache->mutex);
        status = file_open(path, hash, cache->load, opened);
    }
    if (status == 0)
        (*opened)->nowait = probe_nowait(cache, *opened);
    return status;
}

/* Opens 'path' and puts it into the cache, pinned.  Another thread may have been faster: its file is as good. */
static int open_and_insert(struct file_cache *cache, const char *path, uint64_t hash, struct file **result)
{
    struct file *file;
    int status = open_new(cache, path, hash, &file);
    if (status)
        return status;
    pthread_mutex_lock(&cache->mutex);
    struct file *other = cache_find(cache, path, hash);
    if (other && identity_equal(&other->identity, &file->identity)) {
        file_close(file);
        file = other;
    } else {
        if (other)
            cache_remove(cache, other);
        file->is_kept = 1;
        atomic_store_explicit(&cache->room_for_once, 0, memory_order_relaxed); /* it may take what was made */
        file->chain_next = cache->buckets[hash % FILE_BUCKETS];
        cache->buckets[hash % FILE_BUCKETS] = file;
        lru_push(cache, file);
        cache->count++;
    }
    file->pins++;
    cache_shrink(cache, cache->count_max);
    pthread_mutex_unlock(&cache->mutex);
    *result = file;
    return 0;
}

/* Closes kept files until those that are open once have their part of the limit.  It is done once for each number of
   them that was not there before, so that no open has to take the mutex. */
static void make_room_for_once(struct file_cache *cache, uint32_t once_count)
{
    pthread_mutex_lock(&cache->mutex);
    cache_shrink(cache, once_count < cache->count_max ? cache->count_max - once_count : 0);
    atomic_store_explicit(&cache->room_for_once, once_count, memory_order_relaxed);
    pthread_mutex_unlock(&cache->mutex);
}

int file_get_once(struct file_cache *cache, const char *path, const struct ringio_identity *expected,
                  struct file **result)
{
    int status = open_new(cache, path, 0, result);
    if (status)
        return status;
    if (expected && !identity_equal(&(*result)->identity, expected)) {
        file_close(*result);
        return -RINGIO_CHANGED;
    }
    uint32_t once_count = atomic_fetch_add_explicit(&cache->once_count, 1, memory_order_relaxed) + 1;
    if (atomic_load_explicit(&cache->room_for_once, memory_order_relaxed) < once_count)
        make_room_for_once(cache, once_count);
    return 0;
}

/* The open file of this path, pinned, or NULL. */
static struct file *pin_open(struct file_cache *cache, const char *path, uint64_t hash)
{
    pthread_mutex_lock(&cache->mutex);
    struct file *file = cache_find(cache, path, hash);
    if (file) {
        file->pins++;
        lru_unlink(cache, file);
        lru_push(cache, file);
    }
    pthread_mutex_unlock(&cache->mutex);
    return file;
}

int file_get(struct file_cache *cache, const char *path, const struct ringio_identity *expected, struct file **result)
{
    uint64_t hash = hash_path(path);
    struct file *file = pin_open(cache, path, hash);
    if (file) {
        struct ringio_identity now;
        identity_of_path(path, &now);
        count_up(&cache->stat_calls);
        if (identity_equal(&file->identity, &now) && (!expected || identity_equal(&now, expected))) {
            *result = file;
            return 0;
        }
        file_put(cache, file);
    }
    int status = open_and_insert(cache, path, hash, result);
    if (status == 0 && expected && !identity_equal(&(*result)->identity, expected)) {
        file_put(cache, *result);
        status = -RINGIO_CHANGED;
    }
    return status;
}

int file_get_known(struct file_cache *cache, const char *path, const struct ringio_identity *expected,
                   struct file **result)
{
    struct file *file = pin_open(cache, path, hash_path(path));
    if (file && (!expected || identity_equal(&file->identity, expected))) {
        *result = file;
        return 0;
    }
    if (file)
        file_put(cache, file);
    return file_get(cache, path, expected, result);
}

int file_is_open(struct file_cache *cache, const char *path)
{
    uint64_t hash = hash_path(path);
    pthread_mutex_lock(&cache->mutex);
    int is_open = cache_find(cache, path, hash) != NULL;
    pthread_mutex_unlock(&cache->mutex);
    return is_open;
}

int file_is_elsewhere(struct file_cache *cache, const struct file *file)
{
    struct ringio_identity now;
    identity_of_path(file->path, &now);
    count_up(&cache->stat_calls);
    return now.status || !identity_equal(&file->identity, &now);
}

void file_put(struct file_cache *cache, struct file *file)
{
    if (!file->is_kept) {
        file_close(file);
        atomic_fetch_sub_explicit(&cache->once_count, 1, memory_order_relaxed);
        return;
    }
    pthread_mutex_lock(&cache->mutex);
    assert(file->pins > 0);
    file->pins--;
    if (file->pins == 0 && is_removed(file))
        file_close(file);
    else if (file->pins == 0 && cache->count > cache->count_max)
        cache_shrink(cache, cache->count_max);
    pthread_mutex_unlock(&cache->mutex);
}

void file_cache_forget_pins(struct file_cache *cache)
{
    for (struct file *file = cache->newest; file; file = file->older)
        file->pins = 0;
}

void file_cache_destroy(struct file_cache *cache)
{
    cache_shrink(cache, 0);
    assert(cache->count == 0);
    pthread_mutex_destroy(&cache->mutex);
}

int ringio_try_file(const char *path, struct ringio_abilities *abilities)
{
    struct file_cache cache;
    struct file *file;
    file_cache_init(&cache, 1, 0);
    int status = file_get(&cache, path, NULL, &file);
    if (status == 0) {
        *abilities = (struct ringio_abilities){.nowait = (uint32_t)file->nowait};
        abilities->direct_refusal = direct_refusal(path, file->fd, &abilities->block_nbytes);
        file_put(&cache, file);
    }
    file_cache_destroy(&cache);
    return status;
}
