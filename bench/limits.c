/*
 * The floor under a workload on this machine: bytes that are in memory already, decoded by the bare C library or merely
 * copied, on every core, and nothing else.  No file, no plan, no index, no Python.  Or bytes that are in the page cache,
 * read by pread(2) and nothing else.
 *
 * bench/limits.py compiles this file once for each library, with one of -DLIMITS_COPY, -DLIMITS_READ, -DLIMITS_OPEN,
 * -DLIMITS_BLOSC, -DLIMITS_ZSTD and -DLIMITS_DEFLATE, so that the copies of zstd and LZ4 inside c-blosc2 do not stand in
 * for the system's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One row of an int64 array with this many columns: what is decoded or copied.  Nothing is checked but the result. */
struct piece {
    int64_t source_offset;
    int64_t source_nbytes;
    int64_t target_offset;
    int64_t target_nbytes; /* what decoding must give; of item_count items where those are all that is wanted */
    int64_t first_item; /* of a file that is read: its descriptor */
    int64_t item_count; /* 0: the whole chunk */
};

/* Returns whether the piece gave exactly what it should. */
static bool handle_piece(void *decoder, const uint8_t *source, uint8_t *target, const struct piece *piece);
static void *new_decoder(void);
static void free_decoder(void *decoder);

#if defined LIMITS_COPY

static int no_decoder;

static void *new_decoder(void) {
    return &no_decoder;
}

static void free_decoder(void *decoder) {
    (void)decoder;
}

static bool handle_piece(void *decoder, const uint8_t *source, uint8_t *target, const struct piece *piece) {
    (void)decoder;
    memcpy(target, source, (size_t)piece->target_nbytes);
    return true;
}

#elif defined LIMITS_READ || defined LIMITS_OPEN

static int no_decoder;

static void *new_decoder(void) {
    return &no_decoder;
}

static void free_decoder(void *decoder) {
    (void)decoder;
}

#if defined LIMITS_READ

/* 'source_offset' is one of the file. */
static bool handle_piece(void *decoder, const uint8_t *source, uint8_t *target, const struct piece *piece) {
    (void)decoder;
    (void)source;
    size_t nbytes = (size_t)piece->source_nbytes;
    return pread((int)piece->first_item, target, nbytes, piece->source_offset) == (ssize_t)nbytes;
}

#else

/* 'source' is a path; the whole file is read. */
static bool handle_piece(void *decoder, const uint8_t *source, uint8_t *target, const struct piece *piece) {
    (void)decoder;
    int descriptor = open((const char *)source, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    bool is_there = pread(descriptor, target, (size_t)piece->target_nbytes, 0) == (ssize_t)piece->target_nbytes;
    return close(descriptor) == 0 && is_there;
}

#endif

#elif defined LIMITS_BLOSC
#include <blosc2.h>

static void *new_decoder(void) {
    blosc2_dparams parameters = BLOSC2_DPARAMS_DEFAULTS;
    parameters.nthreads = 1;
    return blosc2_create_dctx(parameters);
}

static void free_decoder(void *decoder) {
    blosc2_free_ctx(decoder);
}

static bool handle_piece(void *decoder, const uint8_t *source, uint8_t *target, const struct piece *piece) {
    int32_t source_nbytes = (int32_t)piece->source_nbytes;
    int32_t target_nbytes = (int32_t)piece->target_nbytes;
    int decoded_nbytes;
    if (piece->item_count > 0) {
        decoded_nbytes = blosc2_getitem_ctx(decoder, source, source_nbytes, (int)piece->first_item,
                                            (int)piece->item_count, target, target_nbytes);
    } else {
        decoded_nbytes = blosc2_decompress_ctx(decoder, source, source_nbytes, target, target_nbytes);
    }
    return decoded_nbytes == target_nbytes;
}

#elif defined LIMITS_ZSTD
#include <zstd.h>

static void *new_decoder(void) {
    return ZSTD_createDCtx();
}

static void free_decoder(void *decoder) {
    ZSTD_freeDCtx(decoder);
}

static bool handle_piece(void *decoder, const uint8_t *source, uint8_t *target, const struct piece *piece) {
    size_t target_nbytes = (size_t)piece->target_nbytes;
    return ZSTD_decompressDCtx(decoder, target, target_nbytes, source, (size_t)piece->source_nbytes) == target_nbytes;
}

#elif defined LIMITS_DEFLATE
#include <libdeflate.h>

static void *new_decoder(void) {
    return libdeflate_alloc_decompressor();
}

static void free_decoder(void *decoder) {
    libdeflate_free_decompressor(decoder);
}

static bool handle_piece(void *decoder, const uint8_t *source, uint8_t *target, const struct piece *piece) {
    size_t source_nbytes = (size_t)piece->source_nbytes;
    size_t target_nbytes = (size_t)piece->target_nbytes;
    bool gzip = source_nbytes > 2 && source[0] == 0x1f && source[1] == 0x8b;
    return (gzip ? libdeflate_gzip_decompress(decoder, source, source_nbytes, target, target_nbytes, NULL)
                 : libdeflate_zlib_decompress(decoder, source, source_nbytes, target, target_nbytes, NULL))
           == LIBDEFLATE_SUCCESS;
}

#else
#error "one of LIMITS_COPY, _READ, _OPEN, _BLOSC, _ZSTD and _DEFLATE must be defined"
#endif

/* What the threads share. */
struct job {
    const uint8_t *source;
    const struct piece *pieces;
    int64_t piece_count;
    int64_t claim_count; /* pieces that a thread takes at a time */
    _Atomic int64_t next_piece;
    _Atomic int64_t wrong_piece; /* -1: none so far */
};

struct thread {
    struct job *job;
    uint8_t *target;
    pthread_t id;
};

static void handle_pieces(struct job *job, uint8_t *target, void *decoder) {
    for (;;) {
        int64_t first = atomic_fetch_add_explicit(&job->next_piece, job->claim_count, memory_order_relaxed);
        if (first >= job->piece_count)
            return;
        int64_t left = job->piece_count - first;
        int64_t count = left < job->claim_count ? left : job->claim_count;
        for (int64_t index = first; index < first + count; index++) {
            const struct piece *piece = &job->pieces[index];
            if (!handle_piece(decoder, job->source + piece->source_offset, target + piece->target_offset, piece)) {
                atomic_store(&job->wrong_piece, index);
                return;
            }
        }
    }
}

static void *run_thread(void *argument) {
    struct thread *self = argument;
    void *decoder = new_decoder();
    if (decoder == NULL) {
        atomic_store(&self->job->wrong_piece, 0);
        return NULL;
    }
    handle_pieces(self->job, self->target, decoder);
    free_decoder(decoder);
    return NULL;
}

__attribute__((visibility("default"))) int64_t limits_run(const uint8_t *source, const struct piece *pieces,
                                                          int64_t piece_count, uint8_t *target,
                                                          int64_t target_stride_nbytes, int thread_count);

/*
 * Handles every piece once on thread_count threads; thread i writes at target + i * target_stride_nbytes, so a stride of
 * 0 means one target for all.  Returns -1, or the number of a piece that came out wrong, or -2 without memory or thread.
 */
int64_t limits_run(const uint8_t *source, const struct piece *pieces, int64_t piece_count, uint8_t *target,
                   int64_t target_stride_nbytes, int thread_count) {
    if (thread_count < 1)
        return -2;
    struct thread *threads = calloc((size_t)thread_count, sizeof *threads);
    if (threads == NULL)
        return -2;
    /* Large enough that the shared counter does not matter, small enough that all threads finish together. */
    int64_t share = piece_count / ((int64_t)thread_count * 64);
    struct job job = {.source = source, .pieces = pieces, .piece_count = piece_count};
    job.claim_count = share < 1 ? 1 : share > 16 ? 16 : share;
    atomic_init(&job.next_piece, 0);
    atomic_init(&job.wrong_piece, -1);
    for (int index = 0; index < thread_count; index++)
        threads[index] = (struct thread){.job = &job, .target = target + index * target_stride_nbytes};
    int started = 1; /* the caller is thread 0 */
    while (started < thread_count && pthread_create(&threads[started].id, NULL, run_thread, &threads[started]) == 0)
        started++;
    run_thread(&threads[0]);
    for (int index = 1; index < started; index++)
        pthread_join(threads[index].id, NULL);
    free(threads);
    return started == thread_count ? atomic_load(&job.wrong_piece) : -2;
}
