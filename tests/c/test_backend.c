/* Goal: whatever the backend, the file system and the faults, a read gives exactly the file's bytes or an error, and
   touches nothing behind its buffer.  Exits with 77 where no file can be made. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend.h"

#define FILE_NBYTES ((uint64_t)40 << 20)
#define QUEUE_DEPTH 100
#define SLOT_NBYTES_MAX ((uint64_t)20 << 20)
#define GUARD_NBYTES 64
#define GUARD 0x5a

#define CHECK(condition)                                                                                      \
    do {                                                                                                      \
        if (!(condition)) {                                                                                   \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                   \
            exit(1);                                                                                          \
        }                                                                                                     \
    } while (0)

static uint64_t random_state = 1;

static uint64_t random_below(uint64_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % bound;
}

/* The byte at 'offset' of every test file. */
static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)((offset * 0x9e3779b97f4a7c15u) >> 56);
}

static int bytes_are_right(const uint8_t *bytes, uint64_t offset, uint64_t nbytes)
{
    for (uint64_t i = 0; i < nbytes; i++)
        if (bytes[i] != byte_at(offset + i))
            return 0;
    return 1;
}

/* Makes a file of FILE_NBYTES in 'folder'; returns 0 when that cannot be. */
static int make_file(const char *folder, char *path, size_t path_nbytes)
{
    snprintf(path, path_nbytes, "%s/ringio_test_XXXXXX", folder);
    int fd = mkstemp(path);
    uint8_t *bytes = malloc(FILE_NBYTES);
    CHECK(bytes);
    for (uint64_t i = 0; i < FILE_NBYTES; i++)
        bytes[i] = byte_at(i);
    ssize_t written = fd < 0 ? -1 : write(fd, bytes, FILE_NBYTES);
    free(bytes);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    if (fd >= 0 && written != (ssize_t)FILE_NBYTES)
        unlink(path);
    return written == (ssize_t)FILE_NBYTES;
}

/* ------------------------------------------------------------------------------------------------- a small worker */

struct reads {
    uint32_t total;      /* how many to do */
    uint64_t nbytes_max; /* each is of 1 to so many bytes */
    int lends;           /* the memory backend lends its bytes */
    uint32_t eio_count;  /* how many ended so */
};

static void start(struct backend *backend, struct slot *slot, const struct file *file, const struct reads *reads)
{
    slot->file = file;
    slot->want_nbytes = 1 + random_below(reads->nbytes_max);
    slot->offset = random_below(FILE_NBYTES + reads->nbytes_max / 4); /* some reach or lie behind the end */
    if (random_below(50) == 0)
        slot->offset = UINT64_MAX - random_below(3);
    slot->got_nbytes = 0;
    slot->bytes = NULL;
    if (slot->data)
        memset(slot->data + slot->want_nbytes, GUARD, GUARD_NBYTES);
    backend->ops->submit(backend, slot);
}

static void check_finished(const struct slot *slot)
{
    uint64_t there = slot->offset < FILE_NBYTES ? FILE_NBYTES - slot->offset : 0;
    CHECK(slot->got_nbytes == (slot->want_nbytes < there ? slot->want_nbytes : there));
    CHECK(!slot->data || slot->bytes == slot->data);
    CHECK(bytes_are_right(slot->bytes, slot->offset, slot->got_nbytes));
    for (uint64_t i = 0; slot->data && i < GUARD_NBYTES; i++)
        CHECK(slot->data[slot->want_nbytes + i] == GUARD);
}

/* Takes in a completion.  Returns 1 when the read goes on. */
static int goes_on(struct slot *slot, struct reads *reads, uint8_t *zero_count)
{
    if (slot->result == -EINTR || slot->result == -EAGAIN)
        return 1;
    if (slot->result < 0) {
        CHECK(slot->result == -EIO);
        reads->eio_count++;
        return 0;
    }
    slot->got_nbytes += (uint64_t)slot->result;
    CHECK(slot->got_nbytes <= slot->want_nbytes);
    *zero_count = slot->result == 0 ? (uint8_t)(*zero_count + 1) : 0;
    if (slot->got_nbytes < slot->want_nbytes && *zero_count < 2)
        return 1;
    check_finished(slot);
    return 0;
}

static void run(struct backend *backend, const struct file *file, struct reads *reads)
{
    struct slot *slots = calloc(QUEUE_DEPTH, sizeof *slots), *completed[7];
    uint8_t zero_counts[QUEUE_DEPTH] = {0};
    uint32_t started = 0, in_flight = 0;
    CHECK(slots);
    for (uint32_t i = 0; i < QUEUE_DEPTH && i < reads->total; i++) {
        slots[i].index = i;
        slots[i].data = reads->lends ? NULL : malloc(reads->nbytes_max + GUARD_NBYTES);
        CHECK(reads->lends || slots[i].data);
        start(backend, &slots[i], file, reads);
        started++, in_flight++;
    }
    while (in_flight) {
        int wait = random_below(4) > 0;
        uint32_t capacity = (uint32_t)random_below(8);
        uint32_t count = backend->ops->reap(backend, completed, capacity, wait);
        CHECK(count <= capacity && (count > 0 || !wait || !capacity));
        CHECK(backend->window_count >= 1 && backend->window_count <= QUEUE_DEPTH);
        CHECK(backend->window_nbytes >= (uint64_t)256 << 10);
        for (uint32_t i = 0; i < count; i++) {
            struct slot *slot = completed[i];
            in_flight--;
            if (goes_on(slot, reads, &zero_counts[slot->index])) {
                backend->ops->submit(backend, slot);
                in_flight++;
            } else if (started < reads->total) {
                zero_counts[slot->index] = 0;
                start(backend, slot, file, reads);
                started++, in_flight++;
            }
        }
    }
    CHECK(backend->ops->reap(backend, completed, 7, 1) == 0);
    for (uint32_t i = 0; i < QUEUE_DEPTH; i++)
        free(slots[i].data);
    free(slots);
}

/* ------------------------------------------------------------------------------------------------------------ tests */

static struct ringio_options options_for(uint32_t kind)
{
    return (struct ringio_options){.backend = kind, .queue_depth = QUEUE_DEPTH};
}

/* Small, middling and more than one piece long; cached and not. */
static void test_sizes(uint32_t kind, const struct file *file)
{
    struct ringio_options options = options_for(kind);
    struct backend *backend = backend_new(kind, &options);
    CHECK(backend);
    struct reads sizes[] = {{.total = 2000, .nbytes_max = 5000}, {.total = 300, .nbytes_max = 200000},
                            {.total = 6, .nbytes_max = SLOT_NBYTES_MAX}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int lends = 0; lends <= (kind == RINGIO_BACKEND_MEMORY); lends++) {
            if (kind != RINGIO_BACKEND_MEMORY)
                posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
            sizes[i].lends = lends;
            run(backend, file, &sizes[i]);
            CHECK(sizes[i].eio_count == 0 && backend->lost == 0);
        }
    backend->ops->free(backend);
}

/* Every fault is got over by trying again, but -EIO, which is reported. */
static void test_faults(uint32_t kind, const struct file *file)
{
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct ringio_options options = options_for(kind);
        options.faults = (struct ringio_faults){.seed = seed, .short_rate = 2, .zero_rate = 5, .eintr_rate = 4,
                                                .eagain_rate = 4, .late_rate = 3, .submit_rate = 3,
                                                .eio_rate = seed % 2 ? 20 : 0};
        struct backend *backend = backend_new(kind, &options);
        struct reads reads = {.total = 500, .nbytes_max = 50000, .lends = kind == RINGIO_BACKEND_MEMORY && seed > 2};
        CHECK(backend);
        run(backend, file, &reads);
        CHECK((reads.eio_count > 0) == (seed % 2 == 1));
        backend->ops->free(backend);
    }
}

static uint32_t window_after(struct backend *backend, const struct file *file, uint32_t count)
{
    struct reads reads = {.total = count, .nbytes_max = 4096};
    run(backend, file, &reads);
    return backend->window_count;
}

/* Brings a file into the page cache. */
static void load(const struct file *file)
{
    uint8_t *bytes = malloc(1 << 20);
    CHECK(bytes);
    for (uint64_t offset = 0; offset < FILE_NBYTES; offset += 1 << 20)
        CHECK(pread(file->fd, bytes, 1 << 20, (off_t)offset) == 1 << 20);
    free(bytes);
}

/* The window is 32 for what is cached, and larger for what is not. */
static void test_window(uint32_t kind, const struct file *file)
{
    struct ringio_options options = options_for(kind);
    struct backend *backend = backend_new(kind, &options);
    CHECK(backend);
    struct reads all = {.total = 20, .nbytes_max = 1 << 20};
    uint32_t window = 0;
    for (int i = 0; i < 20 && window != 32; i++) { /* somebody may drop the page cache meanwhile */
        struct reads some = all;
        load(file);
        run(backend, file, &some);
        window = window_after(backend, file, 1000);
    }
    CHECK(window == 32);
    if (file->nowait && kind != RINGIO_BACKEND_MEMORY) {
        /* Random reads, so that read-ahead does not fetch it all.  Not checked: DONTNEED is a hint. */
        posix_fadvise(file->fd, 0, 0, POSIX_FADV_RANDOM);
        posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
        printf("    window after cold reads: %u\n", window_after(backend, file, 200));
        posix_fadvise(file->fd, 0, 0, POSIX_FADV_NORMAL);
    }
    backend->ops->free(backend);
}

/* A child lets go of its parent's backend and makes its own; the parent goes on. */
static void test_fork(uint32_t kind, const struct file *file)
{
    struct ringio_options options = options_for(kind);
    struct backend *backend = backend_new(kind, &options);
    struct reads reads = {.total = 300, .nbytes_max = 5000};
    CHECK(backend);
    run(backend, file, &reads);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        backend->ops->abandon(backend);
        backend = backend_new(kind, &options);
        CHECK(backend);
        run(backend, file, &reads);
        backend->ops->free(backend);
        _exit(0);
    }
    int status;
    run(backend, file, &reads);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    run(backend, file, &reads);
    backend->ops->free(backend);
}

/* What was not begun when it is cancelled completes without a read. */
static void test_cancel(const struct file *file)
{
    struct ringio_options options = options_for(RINGIO_BACKEND_THREADS);
    struct backend *backend = backend_new(RINGIO_BACKEND_THREADS, &options);
    struct file blocking = *file;
    struct slot slots[QUEUE_DEPTH] = {{0}}, *completed[QUEUE_DEPTH];
    static uint8_t bytes[QUEUE_DEPTH][64];
    CHECK(backend && backend->ops->cancel);
    blocking.nowait = 0; /* as on file systems that cannot say what is cached: nothing is read before it is reaped */
    for (uint32_t i = 0; i < QUEUE_DEPTH; i++) {
        slots[i] = (struct slot){.file = &blocking, .data = bytes[i], .want_nbytes = 64, .index = i};
        backend->ops->submit(backend, &slots[i]);
    }
    uint32_t count = backend->ops->reap(backend, completed, QUEUE_DEPTH, 1);
    CHECK(count >= 1 && count < QUEUE_DEPTH && completed[0]->result == 64);
    backend->ops->cancel(backend);
    while (count < QUEUE_DEPTH) {
        uint32_t more = backend->ops->reap(backend, completed, QUEUE_DEPTH, 1);
        CHECK(more);
        for (uint32_t i = 0; i < more; i++)
            CHECK(completed[i]->result == -ECANCELED);
        count += more;
    }
    backend->ops->free(backend);
}

static void test_folder(const char *folder, const uint32_t *kinds, size_t kind_count)
{
    char path[256];
    if (!make_file(folder, path, sizeof path)) {
        printf("%s: skipped\n", folder);
        return;
    }
    for (size_t i = 0; i < kind_count; i++) {
        static struct file_cache cache;
        struct file *file;
        file_cache_init(&cache, 10, kinds[i] == RINGIO_BACKEND_MEMORY);
        CHECK(file_get(&cache, path, NULL, &file) == 0);
        printf("%s: backend %" PRIu32 ", nowait %d\n", folder, kinds[i], file->nowait);
        test_sizes(kinds[i], file);
        test_faults(kinds[i], file);
        test_window(kinds[i], file);
        test_fork(kinds[i], file);
        /* A wrong guess about the file system costs time, not bytes. */
        file->nowait = !file->nowait;
        test_sizes(kinds[i], file);
        if (kinds[i] == RINGIO_BACKEND_THREADS)
            test_cancel(file);
        file_put(&cache, file);
        file_cache_destroy(&cache);
    }
    unlink(path);
}

/* A file without bytes in memory is an error of that read. */
static void test_memory_without_data(void)
{
    struct ringio_options options = options_for(RINGIO_BACKEND_MEMORY);
    struct backend *backend = backend_new(RINGIO_BACKEND_MEMORY, &options);
    struct file file = {.fd = -1};
    struct slot slot = {.file = &file, .want_nbytes = 1}, *completed;
    CHECK(backend);
    backend->ops->submit(backend, &slot);
    CHECK(backend->ops->reap(backend, &completed, 1, 1) == 1 && completed == &slot && slot.result == -EINVAL);
    backend->ops->free(backend);
}

int main(void)
{
    struct ringio_options options = options_for(RINGIO_BACKEND_AUTO);
    struct backend_choice choice;
    backend_choose(&options, &choice);
    printf("auto: %" PRIu32 ", %s\n", choice.kind, choice.reason);
    CHECK(choice.kind == RINGIO_BACKEND_URING || choice.kind == RINGIO_BACKEND_THREADS);
    uint32_t kinds[] = {RINGIO_BACKEND_THREADS, RINGIO_BACKEND_MEMORY, RINGIO_BACKEND_URING};
    size_t kind_count = choice.kind == RINGIO_BACKEND_URING ? 3 : 2;

    test_memory_without_data();
    char path[256];
    const char *folder = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    if (!make_file(folder, path, sizeof path))
        return 77;
    unlink(path);
    test_folder(folder, kinds, kind_count);
    test_folder("/dev/shm", kinds, kind_count);
    return 0;
}
