#define _GNU_SOURCE
#include "bell.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

#if defined(__linux__) && !defined(RINGIO_BELL_PIPE) /* for tests of the other way */
#define USE_EVENTFD
#include <sys/eventfd.h>
#endif

struct ringio_bell {
    int fd;       /* readable while there are tokens; -1: who listens waits for 'rung' */
    int write_fd; /* the same one, or the other end of a pipe */
    pthread_cond_t rung;
    pthread_mutex_t mutex; /* guards all below */
    int is_owned;
    uint64_t expected_count; /* rings to come: each has its place in 'tokens' */
    uint64_t *tokens;        /* the oldest first */
    uint64_t token_count, token_capacity;
};

static int open_fds(struct ringio_bell *bell)
{
#ifdef USE_EVENTFD
    bell->fd = bell->write_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return bell->fd < 0 ? -errno : 0;
#else
    int ends[2];
    if (pipe(ends))
        return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    bell->fd = ends[0];
    bell->write_fd = ends[1];
    return 0;
#endif
}

static struct ringio_bell *new_bell(void)
{
    struct ringio_bell *bell = calloc(1, sizeof *bell);
    if (!bell)
        return NULL;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&bell->rung, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&bell->mutex, NULL);
    bell->fd = bell->write_fd = -1;
    bell->is_owned = 1;
    return bell;
}

struct ringio_bell *ringio_bell_new(int has_fd, int *status)
{
    struct ringio_bell *bell = new_bell();
    *status = !bell ? -ENOMEM : has_fd ? open_fds(bell) : 0;
    if (bell && *status) {
        ringio_bell_free(bell);
        return NULL;
    }
    return bell;
}

int ringio_bell_fd(const struct ringio_bell *bell)
{
    return bell->fd;
}

/* Called with the mutex held, which it gives back; nobody may use the bell then who is not its owner or expected. */
static void leave(struct ringio_bell *bell)
{
    int is_last = !bell->is_owned && bell->expected_count == 0;
    pthread_mutex_unlock(&bell->mutex);
    if (!is_last)
        return;
    if (bell->fd >= 0)
        close(bell->fd);
    if (bell->write_fd != bell->fd)
        close(bell->write_fd);
    pthread_cond_destroy(&bell->rung);
    pthread_mutex_destroy(&bell->mutex);
    free(bell->tokens);
    free(bell);
}

void ringio_bell_free(struct ringio_bell *bell)
{
    pthread_mutex_lock(&bell->mutex);
    assert(bell->is_owned);
    bell->is_owned = 0;
    leave(bell);
}

/* ------------------------------------------------------------------------------------------------------------ rings */

int ringio_bell_expect(struct ringio_bell *bell)
{
    int status = 0;
    pthread_mutex_lock(&bell->mutex);
    uint64_t needed = bell->token_count + bell->expected_count + 1;
    if (needed > bell->token_capacity) {
        uint64_t capacity = needed * 2;
        uint64_t *more = realloc(bell->tokens, capacity * sizeof *more);
        if (more) {
            bell->tokens = more;
            bell->token_capacity = capacity;
        } else {
            status = -ENOMEM;
        }
    }
    if (status == 0)
        bell->expected_count++;
    pthread_mutex_unlock(&bell->mutex);
    return status;
}

/* Makes the descriptor readable.  A full counter, or a full pipe, is readable already. */
static void make_readable(const struct ringio_bell *bell)
{
#ifdef USE_EVENTFD
    const uint64_t one = 1;
#else
    const uint8_t one = 1;
#endif
    while (write(bell->write_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void ringio_bell_ring(struct ringio_bell *bell, uint64_t token)
{
    pthread_mutex_lock(&bell->mutex);
    assert(bell->expected_count > 0 && bell->token_count < bell->token_capacity);
    bell->tokens[bell->token_count++] = token;
    int was_silent = bell->token_count == 1;
    int is_heard = bell->is_owned;
    pthread_mutex_unlock(&bell->mutex);
    /* Once for all tokens until the queue is empty again.  The bell is still there: this ring is expected. */
    if (was_silent && is_heard && bell->fd >= 0)
        make_readable(bell);
    else if (was_silent && is_heard)
        pthread_cond_signal(&bell->rung);
    pthread_mutex_lock(&bell->mutex);
    bell->expected_count--;
    leave(bell);
}

/* ----------------------------------------------------------------------------------------------------- the listener */

uint64_t ringio_bell_tokens(struct ringio_bell *bell, uint64_t *tokens, uint64_t count_max)
{
    pthread_mutex_lock(&bell->mutex);
    uint64_t count = bell->token_count < count_max ? bell->token_count : count_max;
    if (count)
        memcpy(tokens, bell->tokens, count * sizeof *tokens);
    pthread_mutex_unlock(&bell->mutex);
    return count;
}

int ringio_bell_wait(struct ringio_bell *bell, int wait_ms)
{
    assert(bell->fd < 0);
    uint64_t until_ns = now_ns() + (uint64_t)wait_ms * 1000000;
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000)};
    int is_late = 0;
    pthread_mutex_lock(&bell->mutex);
    while (!bell->token_count && !is_late)
        is_late = pthread_cond_timedwait(&bell->rung, &bell->mutex, &until) == ETIMEDOUT;
    int has_rung = bell->token_count > 0;
    pthread_mutex_unlock(&bell->mutex);
    return has_rung;
}

/* The descriptor is made silent with the mutex held: a ring behind that finds an empty queue, and writes again.  A
   write of before that is still on its way wakes the listener once for nothing. */
void ringio_bell_forget(struct ringio_bell *bell, uint64_t count)
{
    uint64_t room[8];
    pthread_mutex_lock(&bell->mutex);
    assert(count <= bell->token_count);
    bell->token_count -= count;
    if (bell->token_count)
        memmove(bell->tokens, bell->tokens + count, bell->token_count * sizeof *bell->tokens);
    else if (bell->fd >= 0)
        while (read(bell->fd, room, sizeof room) == (ssize_t)sizeof room)
            ;
    pthread_mutex_unlock(&bell->mutex);
}
