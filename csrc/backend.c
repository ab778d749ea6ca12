#define _GNU_SOURCE
#include "backend.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend_private.h"

/* ------------------------------------------------------------------------------------------------------- the window */

/* 16 MiB keeps a disk of 3 GB/s busy for 5 ms. */
#define WINDOW_COUNT_CACHED 32
#define WINDOW_NBYTES_MAX ((uint64_t)16 << 20)

void window_init(struct window *window, uint32_t count_max)
{
    *window = (struct window){
        .cached_share = (WINDOW_CACHED_SHARE + WINDOW_WAITING_SHARE) / 2, /* nothing is known: either side is near */
        .count = count_max < WINDOW_COUNT_CACHED ? count_max : WINDOW_COUNT_CACHED,
        .count_max = count_max,
        .nbytes = BACKEND_CACHED_NBYTES,
    };
}

/* A moving average, in which a batch of 8 weighs as much as all that was before it. */
void window_adapt(struct window *window, uint32_t cached_count, uint32_t count)
{
    window->cached_share += ((float)cached_count - window->cached_share * (float)count) / (float)(count + 8);
    if (window->cached_share > WINDOW_CACHED_SHARE) {
        window->count = window->count_max < WINDOW_COUNT_CACHED ? window->count_max : WINDOW_COUNT_CACHED;
        window->nbytes = BACKEND_CACHED_NBYTES;
    } else if (window->cached_share < WINDOW_WAITING_SHARE) {
        window->count = window->count_max / 2 < window->count ? window->count_max : window->count * 2;
        window->nbytes = window->nbytes * 2 < WINDOW_NBYTES_MAX ? window->nbytes * 2 : WINDOW_NBYTES_MAX;
    }
}

/* --------------------------------------------------------------------------------------------------------- choosing */

/* What an errno says about io_uring.  strerror() is not thread-safe, and its words depend on the locale. */
static const struct {
    int code;
    const char *name, *hint;
} refusals[] = {
    {EPERM, "EPERM (Operation not permitted)",
     "likely the container's seccomp profile or sysctl kernel.io_uring_disabled"},
    {EACCES, "EACCES (Permission denied)", "likely a security module such as SELinux or AppArmor"},
    {ENOSYS, "ENOSYS (Function not implemented)",
     "the kernel was built without io_uring, or a seccomp profile hides it"},
    {ENOMEM, "ENOMEM (Cannot allocate memory)",
     "likely the limit of locked memory, RLIMIT_MEMLOCK (ulimit -l): rings count towards it"},
    {EMFILE, "EMFILE (Too many open files)", "the limit is RLIMIT_NOFILE (ulimit -n)"},
    {EINVAL, "EINVAL (Invalid argument)", "likely a kernel that is too old: Linux 5.11 or later is needed"},
    {EOPNOTSUPP, "EOPNOTSUPP (Operation not supported)", "Linux 5.11 or later is needed"},
    {ETIME, "ETIME (Timer expired)", "the read never completed"},
};

static void describe_refusal(struct backend_choice *choice, const char *call, int code, const char *ending)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (refusals[i].code == code) {
            snprintf(choice->reason, sizeof choice->reason, "%s returned %s; %s%s", call, refusals[i].name,
                     refusals[i].hint, ending);
            return;
        }
    snprintf(choice->reason, sizeof choice->reason, "%s returned errno %d (%s)%s", call, code, strerror(code), ending);
}

/* Tries io_uring.  'kind' and 'ending' are what remains, and how to say so, when it cannot be had. */
static void choose_uring(const struct ringio_options *options, struct backend_choice *choice, uint32_t kind,
                         const char *ending)
{
    choice->kind = kind;
#ifdef RINGIO_HAVE_URING
    struct uring_probe probe = {.call = "io_uring_setup"};
    int status = options->faults.init_status ? -(int)options->faults.init_status
                                             : backend_uring_probe(options->queue_depth, &probe);
    if (status) {
        describe_refusal(choice, probe.call, -status, ending);
        return;
    }
    choice->kind = RINGIO_BACKEND_URING;
    snprintf(choice->reason, sizeof choice->reason, "ring of %u entries made and tested (%s)",
             (unsigned)probe.entry_count, probe.flags);
#else
    (void)options;
    (void)describe_refusal;
    snprintf(choice->reason, sizeof choice->reason, "built without liburing%s", ending);
#endif
}

void backend_choose(const struct ringio_options *options, struct backend_choice *choice)
{
    switch (options->backend) {
    case RINGIO_BACKEND_AUTO:
        choose_uring(options, choice, RINGIO_BACKEND_THREADS, "; using 'threads'");
        break;
    case RINGIO_BACKEND_URING:
        choose_uring(options, choice, 0, "");
        break;
    case RINGIO_BACKEND_THREADS:
    case RINGIO_BACKEND_MEMORY:
        choice->kind = options->backend;
        snprintf(choice->reason, sizeof choice->reason, "asked for by name");
        break;
    default:
        choice->kind = 0;
        snprintf(choice->reason, sizeof choice->reason, "there is no backend %u", (unsigned)options->backend);
    }
}

/* ----------------------------------------------------------------------------------------------------------- making */

static struct backend *new_inner(uint32_t kind, uint32_t queue_depth, int reads_direct)
{
    if (kind == RINGIO_BACKEND_MEMORY)
        return backend_memory_new(queue_depth);
    struct backend *backend = NULL;
#ifdef RINGIO_HAVE_URING
    if (kind == RINGIO_BACKEND_URING)
        backend = backend_uring_new(queue_depth);
#endif
    return backend ? backend : backend_pread_new(queue_depth, reads_direct);
}

static int edits_completions(const struct ringio_faults *faults)
{
    return faults->short_rate || faults->zero_rate || faults->eio_rate || faults->eintr_rate || faults->eagain_rate ||
           faults->late_rate || faults->submit_rate;
}

struct backend *backend_new(uint32_t kind, const struct ringio_options *options)
{
    uint32_t queue_depth = options->queue_depth ? options->queue_depth : 1;
    struct backend *inner = new_inner(kind, queue_depth, options->direct != RINGIO_DIRECT_OFF);
    if (!inner || !edits_completions(&options->faults))
        return inner;
    struct backend *faulty = backend_faulty_new(inner, &options->faults, queue_depth);
    if (!faulty)
        inner->ops->free(inner);
    return faulty;
}
