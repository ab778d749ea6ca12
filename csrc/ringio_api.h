/* ringio_api.h: every struct, constant and function that both C and Python see, but for those of planning, which are in
   planning_api.h.

   cffi reads this file as it stands, so it has no include guard and no #include: C code includes "ringio.h".
   All sizes and offsets are in bytes unless the name says otherwise.  Structs are plain arrays of records on the
   Python side (numpy structured dtypes), so every field is placed by hand without padding. */

#define RINGIO_MAX_DIMS 32
#define RINGIO_NO_FILE 0xffffffff
#define RINGIO_NO_FILL 0xffffffffffffffff
#define RINGIO_MISSING 0xffffffffffffffff
#define RINGIO_TO_END 0xffffffffffffffff
#define RINGIO_SAME_SIZE 0xffffffffffffffff

/* --------------------------------------------------------------- a plan: pure data, what to fetch and where it goes */

/* One object that bytes are read from: a path, or bytes that are in memory already. */
struct ringio_file {
    uint64_t path_offset; /* where its NUL-terminated path starts in plan.paths */
    uint64_t data;        /* address of its bytes when they are in memory already, else 0 */
    uint64_t nbytes;      /* with 'data': how many; with 'inode': the size it must have */
    uint64_t device;      /* with 'inode': st_dev that it must have */
    uint64_t inode;       /* st_ino that it must have; 0: whatever is there */
    int64_t mtime_ns;     /* with 'inode': modification time that it must have, ns since the epoch */
};

/* One read given to a backend: after coalescing, the source of one or more tasks. */
struct ringio_request {
    uint64_t offset;
    uint64_t nbytes;     /* RINGIO_TO_END: as many as the file holds beyond 'offset' */
    uint32_t file;       /* index of a file; RINGIO_NO_FILE: nothing is read, the tasks write their fill value */
    uint32_t first_task; /* its tasks are the 'task_count' from here */
    uint32_t task_count;
    uint32_t flags; /* RINGIO_REQUEST_... */
};

#define RINGIO_REQUEST_MISSING_FILLS 1 /* a file that does not exist is a missing chunk: write the fill value */
#define RINGIO_REQUEST_PART_OF_FILE 2  /* the file must have as many bytes as the chain's 'encoded_nbytes_max' */

/* Decode and scatter one chunk. */
struct ringio_task {
    uint64_t source_offset;    /* from the start of its request */
    uint64_t source_nbytes;    /* encoded bytes; RINGIO_TO_END: the rest of the request */
    uint64_t first_projection; /* its projections are the 'projection_count' from here */
    uint32_t projection_count;
    uint32_t chain; /* how it is decoded */
};

/* A box of the decoded chunk and its place in a target.  How many elements it has along each dimension stands in
   plan.counts[projection * plan.dim_count ...]. */
struct ringio_projection {
    int64_t source_offset; /* of its first element in the decoded chunk */
    int64_t target_offset; /* of its first element in the target */
    uint64_t layout;       /* the strides it is walked with */
};

/* Strides shared by many projections. */
struct ringio_layout {
    uint32_t target;      /* index of a target */
    uint32_t itemsize;    /* bytes an element */
    uint64_t fill_offset; /* of the fill value's 'itemsize' bytes in plan.fill_values; RINGIO_NO_FILL: none */
    int64_t source_strides[32];
    int64_t target_strides[32];
};

struct ringio_target {
    uint64_t data; /* address */
    uint64_t nbytes;
};

/* One step of a codec chain, in decoding order. */
struct ringio_codec {
    uint32_t kind;           /* RINGIO_CODEC_... */
    uint32_t itemsize;       /* shuffle, swap: bytes an element */
    uint64_t decoded_nbytes; /* what the step gives: exactly this, or with RINGIO_CODEC_AT_MOST no more than this */
    uint32_t flags;          /* RINGIO_CODEC_AT_MOST, RINGIO_CODEC_FRONT */
    uint32_t types;          /* of its items: RINGIO_TYPE_... of the encoded ones, and << 16 of the decoded ones */
    uint64_t scale;          /* bits of a double, for rescale an integer; swap of a field: where it begins */
    uint64_t offset;         /* the same; swap of a field: how many bytes to reverse at a time, and << 32 how often */
};

#define RINGIO_CODEC_BLOSC 1   /* a blosc1 or blosc2 chunk */
#define RINGIO_CODEC_ZSTD 2    /* one or more zstd frames */
#define RINGIO_CODEC_LZ4 3     /* numcodecs framing: int32 LE decoded size, then an LZ4 block */
#define RINGIO_CODEC_GZIP 4    /* one or more gzip members; a zlib stream is taken too */
#define RINGIO_CODEC_ZLIB 5    /* a zlib stream; gzip members are taken too */
#define RINGIO_CODEC_CRC32C 6  /* 4 bytes LE behind the data */
#define RINGIO_CODEC_SHUFFLE 7 /* numcodecs byte shuffle over elements of 'itemsize' */
#define RINGIO_CODEC_SWAP 8    /* reverse the bytes of each element of 'itemsize' */
#define RINGIO_CODEC_SWAP_FIELD 9  /* the same for parts of each element */
enum { RINGIO_CODEC_CRC32 = 10, RINGIO_CODEC_ADLER32, RINGIO_CODEC_FLETCHER32 }; /* as CRC32C; the last one of HDF5 */
#define RINGIO_CODEC_PACKBITS 13   /* how many bits are padding, then bits, the first is the highest, to bytes 0 or 1 */
#define RINGIO_CODEC_SUM 14        /* the sum of all items so far, in the decoded type; integers wrap around */
#define RINGIO_CODEC_CAST 15       /* items of another type, as C converts them */
enum { RINGIO_CODEC_SCALE = 16, RINGIO_CODEC_RESCALE }; /* item / scale + offset; as floats, exactly as integers */

#define RINGIO_CODEC_AT_MOST 1
#define RINGIO_CODEC_FRONT 2 /* the checksum is in front of the data */

enum { RINGIO_TYPE_BOOL = 1, RINGIO_TYPE_I8, RINGIO_TYPE_I16, RINGIO_TYPE_I32, RINGIO_TYPE_I64, RINGIO_TYPE_U8,
       RINGIO_TYPE_U16, RINGIO_TYPE_U32, RINGIO_TYPE_U64, RINGIO_TYPE_F32, RINGIO_TYPE_F64 }; /* of items */
#define RINGIO_TYPE_BIG 256 /* with one of these: the highest byte comes first */

struct ringio_chain {
    uint64_t decoded_nbytes;     /* of the decoded chunk; RINGIO_SAME_SIZE: as its source, where there is no codec */
    uint64_t encoded_nbytes_max; /* more than this is refused before anything is allocated for it */
    uint32_t first_codec;
    uint32_t codec_count;
};

struct ringio_plan {
    const char *paths;
    uint64_t paths_nbytes;
    const struct ringio_file *files;
    uint64_t file_count;
    const struct ringio_request *requests;
    uint64_t request_count;
    const struct ringio_task *tasks;
    uint64_t task_count;
    const struct ringio_projection *projections;
    uint64_t projection_count;
    const int64_t *counts; /* projection_count x dim_count */
    uint64_t dim_count;
    const struct ringio_chain *chains;
    uint64_t chain_count;
    const struct ringio_codec *codecs;
    uint64_t codec_count;
    const struct ringio_layout *layouts;
    uint64_t layout_count;
    const uint8_t *fill_values;
    uint64_t fill_values_nbytes;
    const struct ringio_target *targets;
    uint64_t target_count;
};

/* ------------------------------------------------------------------------------------------------- what went wrong */

/* Status of a task: 0, -errno, or one of these negated. */
#define RINGIO_EOF 10001         /* the bytes lie past the end; got: the file's size, expected: the end asked for */
#define RINGIO_CORRUPT 10002     /* the codec refused the encoded bytes; got: a reason, RINGIO_REASON_... */
#define RINGIO_WRONG_SIZE 10003  /* decodes to 'got' bytes (or says so), 'expected' were due */
#define RINGIO_CHECKSUM 10004    /* got: the checksum of the bytes, expected: the one stored with them */
#define RINGIO_CHANGED 10005     /* the file is not the one the plan was made for, or was written to meanwhile */
#define RINGIO_NOT_REGULAR 10006 /* FIFO, device, socket */
#define RINGIO_BAD_PLAN 10007    /* an index or an extent of the plan lies outside; got: RINGIO_PLAN_... */
#define RINGIO_UNSUPPORTED 10009 /* a feature of the encoded bytes that this build cannot decode; got: a reason */
#define RINGIO_TOO_LARGE 10010   /* 'got' encoded bytes, at most 'expected' make sense for such a chunk */
#define RINGIO_NO_MEMORY 10011   /* needs 'got' bytes at once, the reader's limit is 'expected' */

#define RINGIO_REASON_NONE 0
#define RINGIO_REASON_HEADER 1      /* too short for a header, or a header that contradicts itself */
#define RINGIO_REASON_TRUNCATED 2   /* ends before it is complete */
#define RINGIO_REASON_DATA 3        /* the compressed data is damaged */
#define RINGIO_REASON_TRAILING 4    /* bytes left over behind the encoded data */
#define RINGIO_REASON_DICTIONARY 5  /* needs a dictionary */
#define RINGIO_REASON_WINDOW 6      /* asks for a window larger than the chunk justifies */
#define RINGIO_REASON_INNER_CODEC 7 /* blosc with an inner codec that c-blosc2 lacks (snappy) */
#define RINGIO_REASON_ITEMSIZE 8    /* not a multiple of the element size */
#define RINGIO_REASON_VALUE 9       /* an item that is out of range, or leaves a remainder */

#define RINGIO_PLAN_FILE 1
#define RINGIO_PLAN_TASK 2
#define RINGIO_PLAN_PROJECTION 3
#define RINGIO_PLAN_CHAIN 4
#define RINGIO_PLAN_LAYOUT 5
#define RINGIO_PLAN_SOURCE_BOX 6 /* a projection reaches outside the decoded chunk */
#define RINGIO_PLAN_TARGET_BOX 7 /* a projection reaches outside the target */
#define RINGIO_PLAN_FILL 8       /* a missing chunk and no fill value */
#define RINGIO_PLAN_SOURCE 9     /* a task's bytes lie outside its request */

struct ringio_failure {
    uint64_t task;
    uint64_t request;
    int32_t status;
    uint32_t step; /* which codec of the chain, counted in decoding order; meaningless unless a codec failed */
    uint64_t got;
    uint64_t expected;
};

/* -------------------------------------------------------------------------------------------------------- a reader */

#define RINGIO_BACKEND_AUTO 0
#define RINGIO_BACKEND_URING 1
#define RINGIO_BACKEND_THREADS 2
#define RINGIO_BACKEND_MEMORY 3

/* Reads past the page cache. */
#define RINGIO_DIRECT_OFF 0
#define RINGIO_DIRECT_ON 1   /* wherever the file can be read so */
#define RINGIO_DIRECT_AUTO 2 /* large requests whose pages are not in the cache */

/* Completions edited on purpose, for tests: each rate is "one in so many", 0 never. */
struct ringio_faults {
    uint64_t seed;
    uint32_t short_rate;   /* fewer bytes than asked, the tail of the buffer poisoned */
    uint32_t zero_rate;    /* no bytes, as at the end of file, once */
    uint32_t eio_rate;     /* -EIO */
    uint32_t eintr_rate;   /* -EINTR */
    uint32_t eagain_rate;  /* -EAGAIN */
    uint32_t late_rate;    /* held back, so that completions come reordered */
    uint32_t submit_rate;  /* the submission is refused with -EBUSY, once */
    uint32_t init_status;  /* the backend cannot be made: this errno */
};

struct ringio_options {
    uint32_t backend; /* RINGIO_BACKEND_... */
    uint32_t worker_count;
    uint32_t queue_depth;  /* most requests in flight in one worker */
    uint32_t open_files;   /* most files kept open */
    /* Most bytes of buffers at one time, all workers together.  Not counted is what a worker keeps besides: up to 16
       KiB for each place of its queue (vectors.h), and its decoder's scratch between two codecs of a chain, or two
       filters of a blosc block, of which 16 MiB at most stay when a chunk is decoded. */
    uint64_t memory_limit_bytes;
    uint32_t direct; /* RINGIO_DIRECT_... */
    uint32_t reserved;
    struct ringio_faults faults;
};

struct ringio_statistics {
    uint64_t requests;
    uint64_t tasks;
    uint64_t projections;
    uint64_t bytes_read;
    uint64_t bytes_asked;  /* encoded bytes of all tasks */
    uint64_t bytes_decoded;
    uint64_t coalesced_requests; /* requests that served more than one task */
    uint64_t direct_requests; /* requests read past the page cache, wholly or in part */
    uint64_t retries;      /* reads submitted again: short, -EAGAIN, -EINTR */
    uint64_t opens;
    uint64_t stats_calls;  /* stat(2) calls that validated an open file */
    uint64_t inline_jobs;  /* plans run by the calling thread */
    uint64_t wait_ns;
    uint64_t decode_ns;    /* decode and scatter */
    uint64_t peak_in_flight; /* requests, in one worker */
    uint64_t peak_buffer_bytes; /* slots and scratch of all workers */
};

struct ringio_reader;
struct ringio_job;
struct ringio_bell;

/* ringio_reader_new() makes a reader; its threads start with the first job.  Returns NULL only when out of memory.
   The backend is probed here: ringio_reader_backend() says which it is, or 0 when the one asked for by name cannot be
   had; ringio_reader_reason() says why, in words, and lives as long as the reader.  ringio_reader_ringless() counts the
   workers of the backend io_uring that read by pread: no ring could be made for them any more, or theirs broke. */
struct ringio_reader *ringio_reader_new(const struct ringio_options *options);
uint32_t ringio_reader_backend(const struct ringio_reader *reader);
const char *ringio_reader_reason(const struct ringio_reader *reader);
uint32_t ringio_reader_ringless(struct ringio_reader *reader);
void ringio_reader_statistics(struct ringio_reader *reader, struct ringio_statistics *statistics);

/* ringio_reader_free() cancels what runs, waits for it, stops the threads and closes all files.  No other call may be
   in progress on the reader or its jobs, and none may follow: jobs that are not freed by then never are.  In a child of
   the process that used the reader it only lets go of what the child inherited. */
void ringio_reader_free(struct ringio_reader *reader);

/* ringio_execute() starts every request and task of 'plan' and waits for at most 'wait_ms'.  '*job' is set to the job,
   which the caller frees with ringio_job_free().  The plan, all it points to, and the targets must stay alive and
   unmoved until ringio_job_wait() has returned 1.  Returns 1 when the job is done, 0 when it is still running, -errno
   when it could not be started ('*job' is NULL then).  Failures of tasks are no failure of the call: they are listed
   by ringio_job_failures().  Thread-safe. */
int ringio_execute(struct ringio_reader *reader, const struct ringio_plan *plan, int wait_ms, struct ringio_job **job);

/* ringio_start() is ringio_execute() for an event loop, which must not be kept waiting: 'bell' rings with 'token' when
   the job is done, also when that is because it was cancelled.  Where all files are open already and all bytes are in
   the page cache, a small plan is run at once by the calling thread: then 1 is returned, and no bell rings.  Else
   returns 0, or -errno when the job could not be started ('*job' is NULL then).  Thread-safe. */
int ringio_start(struct ringio_reader *reader, const struct ringio_plan *plan, struct ringio_bell *bell,
                 uint64_t token, struct ringio_job **job);

/* ringio_job_wait() waits for at most 'wait_ms' (-1: without limit).  Returns 1 when the job is done, else 0; -ECHILD
   in a child after fork(): its parent's jobs are not done there. */
int ringio_job_wait(struct ringio_job *job, int wait_ms);

/* ringio_job_cancel() makes workers claim no more of the job; what is in flight is still waited for by
   ringio_job_wait().  Tasks that did not run are not listed as failures. */
void ringio_job_cancel(struct ringio_job *job);

/* ringio_job_progress() gives how many requests are done. */
uint64_t ringio_job_progress(const struct ringio_job *job);

/* ringio_job_failures() gives the failed tasks of a job that is done, ordered by task; '*count' is set to how many.
   NULL with a '*count' above 0: there was no memory to list them all, so nothing is known of any task. */
const struct ringio_failure *ringio_job_failures(struct ringio_job *job, uint64_t *count);

/* ringio_job_free() frees a job that is done. */
void ringio_job_free(struct ringio_job *job);

/* ------------------------------------------------------------------------------- who waits for many things at once */

/* ringio_bell_new() makes a bell: a queue of tokens, and, with 'has_fd', a file descriptor that poll(2) finds readable
   while there are any.  The descriptor (an eventfd, elsewhere than on Linux a pipe) is the bell's: it is closed with
   it, and read by nobody else.  Returns NULL and sets '*status' to -errno when no memory or descriptor is left. */
struct ringio_bell *ringio_bell_new(int has_fd, int *status);
int ringio_bell_fd(const struct ringio_bell *bell);

/* ringio_bell_wait() waits at most 'wait_ms' for a token, and returns whether there is one; of a bell without a
   descriptor, so that thousands of threads may listen where few files may be open. */
int ringio_bell_wait(struct ringio_bell *bell, int wait_ms);

/* ringio_bell_free() is the owner's last word.  Jobs that have not rung yet may do so: the descriptor is closed when
   the last of them has, and not before.  A child after fork() must not use a bell of its parent in any way, this
   included; it may close the descriptor. */
void ringio_bell_free(struct ringio_bell *bell);

/* ringio_bell_tokens() copies the oldest tokens, at most 'count_max', and returns how many; ringio_bell_forget() drops
   that many when they have been dealt with.  So a listener that is interrupted in between loses none.  Neither waits.
   One thread at a time may listen. */
uint64_t ringio_bell_tokens(struct ringio_bell *bell, uint64_t *tokens, uint64_t count_max);
void ringio_bell_forget(struct ringio_bell *bell, uint64_t count);

/* For work that is no job of the core: each ringio_bell_expect() makes room for one ringio_bell_ring(), which must
   follow, from any thread.  Returns 0 or -ENOMEM. */
int ringio_bell_expect(struct ringio_bell *bell);
void ringio_bell_ring(struct ringio_bell *bell, uint64_t token);

/* ------------------------------------------------------------------------------------------------ files, and limits */

struct ringio_identity {
    uint64_t device;
    uint64_t inode;
    uint64_t nbytes;
    int64_t mtime_ns;
    int32_t status; /* 0, -errno, or -RINGIO_NOT_REGULAR (-EISDIR for a directory) */
    uint32_t reserved;
};

/* ringio_stat() looks up 'count' paths: the i-th starts at paths + path_offsets[i] and ends with NUL.  Many are looked
   up by several threads, as a cold disk answers many questions in the time of one. */
void ringio_stat(const char *paths, const uint64_t *path_offsets, uint64_t count, struct ringio_identity *identities);

/* Why files that open(2) opens with O_DIRECT are read through the page cache. */
#define RINGIO_DIRECT_IN_MEMORY 10101 /* that is where they are, and nowhere else */
#define RINGIO_DIRECT_FUSE 10102      /* io_uring goes on at the wrong place after a read that was short */
#define RINGIO_DIRECT_BLOCKS 10103    /* they demand blocks that our buffers do not have */

/* What was found out about a file by trying. */
struct ringio_abilities {
    uint32_t nowait;         /* reads of cached data answer at once: worth a ring; else it is read by pread */
    int32_t direct_refusal;  /* why it is not read past the page cache: errno or RINGIO_DIRECT_...; 0: it can be */
    uint32_t block_nbytes;   /* in such blocks */
};

/* ringio_try_file() finds out what a reader would.  Returns 0, -errno or -RINGIO_NOT_REGULAR. */
int ringio_try_file(const char *path, struct ringio_abilities *abilities);

/* --------------------------------------------------------------------------------------------- for tests and codecs */

/* ringio_decode() runs a codec chain once on the calling thread: 'target' must hold the chain's decoded_nbytes, or less
   where the last codec has RINGIO_CODEC_AT_MOST, as in no plan.  Returns 0 or -status; 'failure' (may be NULL) gets
   step, got and expected; on success how many bytes it 'got'. */
int ringio_decode(const struct ringio_chain *chain, const struct ringio_codec *codecs, const uint8_t *source,
                  uint64_t source_nbytes, uint8_t *target, uint64_t target_nbytes, struct ringio_failure *failure);

/* ---------------------------------------------------------------------------------------------- items of any length */

/* How NumPy keeps strings: the addresses of NpyString_acquire_allocator(), _release_allocator() and NpyString_pack() of
   its C API; and what it makes of texts.  Those of less than 16 bytes lie in the 16 bytes of the item itself: the text,
   zeros, and at the end a byte of 'last_bytes' that goes by the length.  Others lie in memory that belongs to the
   dtype, with the length in front: in one byte up to 'medium_max', in 8 bytes above.  The item says where, counted from
   the start of that memory, and again the length: 8 bytes each, the last of them 'medium_last_byte' or
   'long_last_byte'.  Python looks all this up: once. */
struct ringio_string_api {
    uint64_t acquire;
    uint64_t release;
    uint64_t pack;
    uint8_t last_bytes[16];
    uint8_t medium_max; /* 255; or 0: all this is not known, and NumPy packs each text */
    uint8_t medium_last_byte;
    uint8_t long_last_byte;
};

/* ringio_unpack_strings() makes items of a StringDType array out of texts that each have their length in front, a
   little-endian u32.  Of 'count' texts it takes 'wanted' from 'first' on, into 'items' (16 bytes each) of an array of
   'dtype' (a PyArray_Descr); the lengths of the others are checked.  Returns 0, -EPROTO where 'source' ends too early,
   -EILSEQ where a text is not UTF-8, -ENOMEM; 'done_ret' says how many texts are good.
   Needs no GIL.  Threads may fill different items of one array; nobody else may use them meanwhile. */
int64_t ringio_unpack_strings(const uint8_t *source, uint64_t source_nbytes, uint64_t count, uint64_t first,
                              uint64_t wanted, uint8_t *items, const void *dtype, const struct ringio_string_api *api,
                              uint64_t *done_ret);

/* The addresses of PyBytes_FromStringAndSize() or PyUnicode_FromStringAndSize(), and of Py_DecRef(). */
struct ringio_object_api {
    uint64_t make;
    uint64_t release;
};

/* ringio_make_objects() makes Python objects of such items: 'wanted' of them from 'first' on, in place of the 'objects'
   that are there, which may be NULL.  Returns 0, -EPROTO where 'source' ends too early, -ECANCELED where 'make' has
   raised an exception; 'done_ret' says how many items are good.
   Needs the GIL, which cffi lets go: to be called by way of ctypes. */
int64_t ringio_make_objects(const uint8_t *source, uint64_t source_nbytes, uint64_t count, uint64_t first,
                            uint64_t wanted, void **objects, const struct ringio_object_api *api, uint64_t *done_ret);
