#define _GNU_SOURCE
#include "bell.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__linux__) && !defined(RINGIO_BELL_PIPE) /* for tests of the other way */
#define USE_EVENTFD
#include <sys/eventfd.h>
#endif

struct ringio_bell {
    int fd;       /* readable while there are tokens */
    int write_fd; /* the same one, or the other end of a pipe */
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

struct ringio_bell *ringio_bell_new(int *status)
{
    struct ringio_bell *bell = calloc(1, sizeof *bell);
    *status = bell ? open_fds(bell) : -ENOMEM;
    if (*status) {
        free(bell);
        return NULL;
    }
    bell->is_owned = 1;
    pthread_mutex_init(&bell->mutex, NULL);
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
    close(bell->fd);
    if (bell->write_fd != bell->fd)
        close(bell->write_fd);
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
    /* One write for all tokens until the queue is empty again.  The bell is still there: this ring is expected. */
    if (was_silent && is_heard)
        make_readable(bell);
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
    else
        while (read(bell->fd, room, sizeof room) == (ssize_t)sizeof room)
            ;
    pthread_mutex_unlock(&bell->mutex);
}
