#define _GNU_SOURCE
#include "trace.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* 1 MiB.  A thread that decodes chunks of 1 us fills it in 16 ms; the logs are to be emptied about that often. */
#define EVENTS_MAX ((uint64_t)1 << 15)

struct trace_log {
    pthread_mutex_t mutex;       /* of one thread and whoever empties it; guards the next four */
    struct ringio_event *events; /* EVENTS_MAX of them, a ring; NULL: none was noted yet */
    uint64_t first, count;
    uint64_t lost_count;
    uint64_t thread_id;
    char thread_name[16];
    int has_ended; /* the thread; guarded by logs.mutex */
    struct trace_log *next;
};

/* Locks are taken in the order logs, log. */
static struct {
    pthread_mutex_t mutex; /* guards the list */
    pthread_once_t once;
    pthread_key_t key; /* of the thread's log, for its destructor */
    struct trace_log *first;
} logs = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_ONCE_INIT, 0, NULL};

struct trace_flag trace_flag;
static _Thread_local struct trace_log *own_log;

/* ------------------------------------------------------------------------------------------------- life of the logs */

static void log_free(struct trace_log *log)
{
    struct trace_log **link = &logs.first;
    while (*link != log)
        link = &(*link)->next;
    *link = log->next;
    pthread_mutex_destroy(&log->mutex);
    free(log->events);
    free(log);
}

static void thread_ends(void *argument)
{
    struct trace_log *log = argument;
    pthread_mutex_lock(&logs.mutex);
    log->has_ended = 1;
    if (!log->count)
        log_free(log);
    pthread_mutex_unlock(&logs.mutex);
    own_log = NULL;
}

static void before_fork(void)
{
    pthread_mutex_lock(&logs.mutex);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&logs.mutex);
}

/* What is traced is the parent.  Its logs stay where they are: threads that the child does not have may hold them. */
static void after_fork_in_child(void)
{
    atomic_store_explicit(&trace_flag.is_on, 0, memory_order_relaxed);
    pthread_mutex_init(&logs.mutex, NULL);
    pthread_setspecific(logs.key, NULL);
    logs.first = own_log = NULL;
}

static void set_up(void)
{
    pthread_key_create(&logs.key, thread_ends);
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* The log of the calling thread, or NULL when out of memory. */
static struct trace_log *log_of_thread(void)
{
    if (own_log)
        return own_log;
    struct trace_log *log = calloc(1, sizeof *log);
    if (!log)
        return NULL;
    pthread_mutex_init(&log->mutex, NULL);
#ifdef __linux__
    log->thread_id = (uint64_t)syscall(SYS_gettid);
    pthread_getname_np(pthread_self(), log->thread_name, sizeof log->thread_name);
#else
    log->thread_id = (uint64_t)(uintptr_t)log;
#endif
    pthread_mutex_lock(&logs.mutex);
    log->next = logs.first;
    logs.first = log;
    pthread_mutex_unlock(&logs.mutex);
    pthread_setspecific(logs.key, log);
    own_log = log;
    return log;
}

/* ------------------------------------------------------------------------------------------------- noting, emptying */

static void log_append(struct trace_log *log, const struct ringio_event *event)
{
    if (!trace_is_on())
        return; /* it was turned off meanwhile, and the log may have been emptied for the last time */
    if (!log->events)
        log->events = malloc(EVENTS_MAX * sizeof *log->events);
    if (log->events && log->count < EVENTS_MAX)
        log->events[(log->first + log->count++) % EVENTS_MAX] = *event;
    else
        log->lost_count++;
}

void trace_span(uint32_t kind, uint64_t begin_ns, uint64_t end_ns, uint64_t nbytes, uint32_t count)
{
    struct trace_log *log = log_of_thread();
    if (!log)
        return;
    const struct ringio_event event = {begin_ns, end_ns, nbytes, kind, count};
    pthread_mutex_lock(&log->mutex);
    log_append(log, &event);
    pthread_mutex_unlock(&log->mutex);
}

void ringio_trace_start(void)
{
    pthread_once(&logs.once, set_up);
    pthread_mutex_lock(&logs.mutex); /* whoever sees the flag takes it next, and so sees the key too */
    atomic_store_explicit(&trace_flag.is_on, 1, memory_order_relaxed);
    pthread_mutex_unlock(&logs.mutex);
}

void ringio_trace_stop(void)
{
    atomic_store_explicit(&trace_flag.is_on, 0, memory_order_relaxed);
}

/* Moves up to 'count_max' of its oldest events. */
static uint64_t log_take(struct trace_log *log, struct ringio_event *events, uint64_t count_max,
                         struct ringio_trace_thread *thread)
{
    pthread_mutex_lock(&log->mutex);
    uint64_t count = log->count < count_max ? log->count : count_max;
    for (uint64_t i = 0; i < count; i++)
        events[i] = log->events[(log->first + i) % EVENTS_MAX];
    log->first = (log->first + count) % EVENTS_MAX;
    log->count -= count;
    *thread = (struct ringio_trace_thread){.id = log->thread_id, .lost_count = log->lost_count};
    memcpy(thread->name, log->thread_name, sizeof thread->name);
    if (count)
        log->lost_count = 0;
    if (!trace_is_on() && !log->count) {
        free(log->events);
        log->events = NULL;
    }
    pthread_mutex_unlock(&log->mutex);
    return count;
}

/* A log that was emptied comes last the next time, so that one busy thread does not keep the others waiting. */
static void move_to_end(struct trace_log *log)
{
    struct trace_log **link = &logs.first;
    while (*link != log)
        link = &(*link)->next;
    *link = log->next;
    while (*link)
        link = &(*link)->next;
    *link = log;
    log->next = NULL;
}

uint64_t ringio_trace_take(struct ringio_event *events, uint64_t count_max, struct ringio_trace_thread *thread)
{
    uint64_t count = 0;
    pthread_mutex_lock(&logs.mutex);
    for (struct trace_log *log = logs.first, *next; log && !count; log = next) {
        next = log->next;
        count = log_take(log, events, count_max, thread);
        if (log->has_ended && !log->count)
            log_free(log);
        else if (count)
            move_to_end(log);
    }
    pthread_mutex_unlock(&logs.mutex);
    return count;
}

/* ---------------------------------------------------------------------------------------------------------- as text */

static const char *name_of(uint32_t kind)
{
    static const char *const names[] = {"?",    "submit", "wait",    "complete", "open",
                                        "read", "decode", "scatter", "fill",     "inline"};
    return names[kind < sizeof names / sizeof *names ? kind : 0];
}

uint64_t ringio_trace_format(const struct ringio_event *events, uint64_t count, uint64_t process, uint64_t thread,
                             char *text, uint64_t text_nbytes)
{
    uint64_t used = 0;
    for (uint64_t i = 0; i < count && text_nbytes - used >= RINGIO_EVENT_TEXT_NBYTES; i++) {
        const struct ringio_event *event = &events[i];
        uint64_t duration_ns = event->end_ns > event->begin_ns ? event->end_ns - event->begin_ns : 0;
        used += (uint64_t)snprintf(
            text + used, RINGIO_EVENT_TEXT_NBYTES,
            "{\"name\":\"%s\",\"ph\":\"X\",\"pid\":%" PRIu64 ",\"tid\":%" PRIu64 ",\"ts\":%" PRIu64 ".%03" PRIu64
            ",\"dur\":%" PRIu64 ".%03" PRIu64 ",\"args\":{\"bytes\":%" PRIu64 ",\"count\":%" PRIu32 "}},\n",
            name_of(event->kind), process, thread, event->begin_ns / 1000, event->begin_ns % 1000, duration_ns / 1000,
            duration_ns % 1000, event->nbytes, event->count);
    }
    return used;
}
