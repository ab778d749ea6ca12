/* fork.c: what becomes of readers in a child of fork(2).

   Threads do not come along, and a ring used from two processes breaks both.  So a child forgets the parent's workers,
   rings, buffers and jobs (their memory stays mapped and unused: nothing in it may be touched), keeps its options and
   the open files, and starts workers of its own with its first job. */
#include <pthread.h>
#include <stdlib.h>

#include "reader.h"

/* The one global of the core: fork handlers get no argument. */
static struct {
    pthread_mutex_t mutex;
    pthread_once_t once;
    struct ringio_reader *first;
} readers = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_ONCE_INIT, NULL};

/* Every lock that the child will use is taken, so that none is held by a thread that it does not have. */
static void before_fork(void)
{
    pthread_mutex_lock(&readers.mutex);
    for (struct ringio_reader *reader = readers.first; reader; reader = reader->next) {
        pthread_mutex_lock(&reader->mutex);
        pthread_mutex_lock(&reader->files.mutex);
        pthread_mutex_lock(&reader->limit.mutex);
    }
}

static void after_fork_in_parent(void)
{
    for (struct ringio_reader *reader = readers.first; reader; reader = reader->next) {
        pthread_mutex_unlock(&reader->limit.mutex);
        pthread_mutex_unlock(&reader->files.mutex);
        pthread_mutex_unlock(&reader->mutex);
    }
    pthread_mutex_unlock(&readers.mutex);
}

static void abandon(struct ringio_reader *reader)
{
    for (uint32_t i = 0; i < reader->started_count; i++) {
        struct pump *pump = atomic_load_explicit(&reader->workers[i].pump, memory_order_relaxed);
        if (pump) {
            pump->backend->ops->abandon(pump->backend);
            held_abandon(&pump->held);
        }
        atomic_store_explicit(&reader->workers[i].pump, NULL, memory_order_relaxed);
    }
    reader->started_count = 0;
    reader->inline_count = 0;
    reader->inline_in_use = 0;
    reader->first_job = reader->last_job = NULL;
    reader->listed_count = 0;
    reader->running_count = 0;
    reader->process++;
    file_cache_forget_pins(&reader->files);
    pthread_mutex_init(&reader->mutex, NULL);
    pthread_cond_init(&reader->work, NULL);
    pthread_cond_init(&reader->rest, NULL);
    pthread_mutex_init(&reader->files.mutex, NULL);
    memory_limit_init(&reader->limit, reader->options.memory_limit_bytes, reader->options.worker_count * 2);
}

static void after_fork_in_child(void)
{
    for (struct ringio_reader *reader = readers.first; reader; reader = reader->next)
        abandon(reader);
    pthread_mutex_init(&readers.mutex, NULL);
}

static void install_handlers(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void fork_register(struct ringio_reader *reader)
{
    pthread_once(&readers.once, install_handlers);
    pthread_mutex_lock(&readers.mutex);
    reader->next = readers.first;
    readers.first = reader;
    pthread_mutex_unlock(&readers.mutex);
}

void fork_unregister(struct ringio_reader *reader)
{
    pthread_mutex_lock(&readers.mutex);
    struct ringio_reader **link = &readers.first;
    while (*link && *link != reader)
        link = &(*link)->next;
    if (*link)
        *link = reader->next;
    pthread_mutex_unlock(&readers.mutex);
}
