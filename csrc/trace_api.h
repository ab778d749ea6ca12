/* trace_api.h: what each thread did, for Python to write to a file.  Read by cffi together with ringio_api.h; C code
   includes "ringio.h". */

/* What a thread did from 'begin_ns' to 'end_ns' of CLOCK_MONOTONIC. */
struct ringio_event {
    uint64_t begin_ns;
    uint64_t end_ns;
    uint64_t nbytes;
    uint32_t kind; /* RINGIO_EVENT_... */
    uint32_t count;
};

/* Of a worker, one after the other; for SUBMIT and WAIT 'nbytes' and 'count' are what is in flight then, for COMPLETE
   'nbytes' is what is still in flight at its end, and 'count' the reads that came back. */
#define RINGIO_EVENT_SUBMIT 1   /* takes requests, opens files, gives reads to the kernel; reads what is cached */
#define RINGIO_EVENT_WAIT 2     /* for reads */
#define RINGIO_EVENT_COMPLETE 3 /* what came back is decoded and put in its place */

/* Within these, or within INLINE. */
#define RINGIO_EVENT_OPEN 4    /* looks a file up, or opens it */
#define RINGIO_EVENT_READ 5    /* what is in the page cache; count: 1 */
#define RINGIO_EVENT_DECODE 6  /* nbytes: decoded */
#define RINGIO_EVENT_SCATTER 7 /* nbytes: of the decoded chunk; count: boxes */
#define RINGIO_EVENT_FILL 8    /* a missing chunk; count: boxes */
#define RINGIO_EVENT_INLINE 9  /* a small plan, on the calling thread; count: its requests */

struct ringio_trace_thread {
    uint64_t id;         /* gettid(2) */
    uint64_t lost_count; /* events that found its log full since it was last asked */
    char name[16];
};

/* ringio_trace_start() has all threads note what they do, each in a log that holds 32,768 events, until
   ringio_trace_stop().  A child after fork() is not traced. */
void ringio_trace_start(void);
void ringio_trace_stop(void);

/* ringio_trace_take() moves up to 'count_max' events of one thread to 'events', in the order in which they ended, and
   says of which thread they are.  Returns how many; 0 when no thread has any.  Behind ringio_trace_stop() a 0 also says
   that the memory of the logs has been given back. */
uint64_t ringio_trace_take(struct ringio_event *events, uint64_t count_max, struct ringio_trace_thread *thread);

/* ringio_trace_format() writes events as lines of Chrome's JSON trace format, a comma at the end of each.  'text' must
   have room for RINGIO_EVENT_TEXT_NBYTES an event.  Returns how many bytes it wrote. */
#define RINGIO_EVENT_TEXT_NBYTES 256
uint64_t ringio_trace_format(const struct ringio_event *events, uint64_t count, uint64_t process, uint64_t thread,
                             char *text, uint64_t text_nbytes);
