/* Goal: where io_uring is refused, by a sandbox or by its limits, at the start or in mid-flight, the reads still give
   the right bytes or an error, and the reason says which call was refused.  Exits with 77 where io_uring is missing. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend.h"

#define CHECK(condition)                                                                                      \
    do {                                                                                                      \
        if (!(condition)) {                                                                                   \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                   \
            _exit(1);                                                                                         \
        }                                                                                                     \
    } while (0)

#define SLOT_COUNT 40
#define SLOT_NBYTES 4096

static int backing_fd;

/* From now on the system call 'number' fails with 'code' in this process. */
static void refuse(unsigned number, unsigned code)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | code),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof *program, program};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

static void in_child(const char *name, void (*test)(void))
{
    printf("%s\n", name);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        test();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* ---------------------------------------------------------------------------------------------------- at the start */

static struct backend_choice choose(uint32_t kind, uint32_t init_status)
{
    struct ringio_options options = {.backend = kind, .queue_depth = 128, .faults = {.init_status = init_status}};
    struct backend_choice choice;
    backend_choose(&options, &choice);
    printf("    %u: %s\n", (unsigned)choice.kind, choice.reason);
    fflush(NULL);
    return choice;
}

static void setup_refused(void)
{
    refuse(SYS_io_uring_setup, EPERM);
    struct backend_choice choice = choose(RINGIO_BACKEND_AUTO, 0);
    CHECK(choice.kind == RINGIO_BACKEND_THREADS && strstr(choice.reason, "io_uring_setup returned EPERM"));
    CHECK(strstr(choice.reason, "seccomp") && strstr(choice.reason, "using 'threads'"));
    choice = choose(RINGIO_BACKEND_URING, 0);
    CHECK(choice.kind == 0 && !strstr(choice.reason, "using"));
}

static void enter_refused(void)
{
    refuse(SYS_io_uring_enter, EPERM);
    struct backend_choice choice = choose(RINGIO_BACKEND_AUTO, 0);
    CHECK(choice.kind == RINGIO_BACKEND_THREADS && strstr(choice.reason, "io_uring_enter returned EPERM"));
}

/* Not having the ring's descriptor registered, or its memory kept from children, is no reason to go without. */
static void register_refused(void)
{
    refuse(SYS_io_uring_register, EPERM);
    CHECK(choose(RINGIO_BACKEND_AUTO, 0).kind == RINGIO_BACKEND_URING);
}

static void pretended(void)
{
    CHECK(strstr(choose(RINGIO_BACKEND_AUTO, ENOSYS).reason, "ENOSYS (Function not implemented)"));
    CHECK(strstr(choose(RINGIO_BACKEND_AUTO, ENOMEM).reason, "RLIMIT_MEMLOCK"));
    CHECK(strstr(choose(RINGIO_BACKEND_AUTO, 9999).reason, "errno 9999 ("));
    CHECK(choose(RINGIO_BACKEND_URING, EPERM).kind == 0);
    CHECK(choose(RINGIO_BACKEND_THREADS, EPERM).kind == RINGIO_BACKEND_THREADS);
    CHECK(choose(77, 0).kind == 0);
}

/* A ring that cannot be made any more becomes a threads backend. */
static void made_too_late(void)
{
    struct ringio_options options = {.queue_depth = SLOT_COUNT};
    refuse(SYS_io_uring_setup, ENOMEM);
    struct backend *backend = backend_new(RINGIO_BACKEND_URING, &options);
    CHECK(backend && strcmp(backend->ops->name, "threads") == 0);
    backend->ops->free(backend);
}

/* ---------------------------------------------------------------------------------------------------- in mid-flight */

static uint8_t buffers[SLOT_COUNT][SLOT_NBYTES];
static struct slot slots[SLOT_COUNT];

static void submit_all(struct backend *backend, const struct file *file)
{
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        memset(buffers[i], 0, SLOT_NBYTES);
        slots[i] = (struct slot){.file = file, .data = buffers[i], .offset = i, .want_nbytes = SLOT_NBYTES, .index = i};
        backend->ops->submit(backend, &slots[i]);
    }
}

/* Reaps 'count' slots; returns how many of them have the right bytes.  The others must have ended with -EIO. */
static uint32_t reap_all(struct backend *backend, uint32_t count)
{
    uint32_t right_count = 0;
    struct slot *completed[3];
    while (count) {
        uint32_t reaped_count = backend->ops->reap(backend, completed, 3, 1);
        CHECK(reaped_count > 0 && reaped_count <= count);
        count -= reaped_count;
        for (uint32_t i = 0; i < reaped_count; i++) {
            CHECK(completed[i]->result == SLOT_NBYTES || completed[i]->result == -EIO);
            right_count += completed[i]->result == SLOT_NBYTES;
            for (uint64_t k = 0; completed[i]->result > 0 && k < SLOT_NBYTES; k++)
                CHECK(completed[i]->data[k] == (uint8_t)((completed[i]->offset + k) % 251));
        }
    }
    return right_count;
}

static struct backend *new_ring(void)
{
    struct ringio_options options = {.queue_depth = SLOT_COUNT};
    struct backend *backend = backend_new(RINGIO_BACKEND_URING, &options);
    CHECK(backend && strcmp(backend->ops->name, "io_uring") == 0);
    return backend;
}

static void refused_before_use(unsigned code)
{
    struct file file = {.fd = backing_fd, .nowait = 1};
    struct backend *backend = new_ring();
    refuse(SYS_io_uring_enter, code);
    for (int round = 0; round < 3; round++) {
        submit_all(backend, &file);
        CHECK(reap_all(backend, SLOT_COUNT) == SLOT_COUNT && backend->lost == 0);
    }
    backend->ops->free(backend);
}

static void fails_for_good(void)
{
    refused_before_use(EPERM);
}

static void refuses_again_and_again(void)
{
    refused_before_use(EAGAIN);
}

/* A pipe is read by nobody else and answers late: the ring has it when entering becomes impossible. */
static void fails_in_flight(void)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    struct file pipe_file = {.fd = ends[0], .nowait = 1}, file = {.fd = backing_fd, .nowait = 1};
    struct backend *backend = new_ring();
    struct slot slow[2], *completed;
    for (uint32_t i = 0; i < 2; i++) {
        slow[i] = (struct slot){.file = &pipe_file, .data = buffers[i], .want_nbytes = 1, .index = i};
        backend->ops->submit(backend, &slow[i]);
    }
    CHECK(backend->ops->reap(backend, &completed, 1, 0) == 0);
    refuse(SYS_io_uring_enter, EPERM);
    for (uint32_t i = 0; i < 2; i++) { /* each counts as lost when it is handed out: that is how it is known */
        CHECK(backend->ops->reap(backend, &completed, 1, 1) == 1);
        CHECK(completed == &slow[i] && completed->result == -EIO && backend->lost == i + 1);
    }
    submit_all(backend, &file);
    CHECK(reap_all(backend, SLOT_COUNT) == SLOT_COUNT && backend->lost == 2);
    backend->ops->free(backend);
}

/* Completions that are there already are taken although the ring has failed since. */
static void fails_after_completion(void)
{
    struct file file = {.fd = backing_fd, .nowait = 1};
    struct backend *backend = new_ring();
    struct slot *completed[1];
    submit_all(backend, &file);
    CHECK(backend->ops->reap(backend, completed, 1, 1) == 1);
    refuse(SYS_io_uring_enter, EPERM);
    uint32_t right_count = reap_all(backend, SLOT_COUNT - 1);
    CHECK(right_count + backend->lost == SLOT_COUNT - 1);
    backend->ops->free(backend);
}

int main(void)
{
    struct ringio_options options = {.backend = RINGIO_BACKEND_URING, .queue_depth = 128};
    struct backend_choice choice;
    backend_choose(&options, &choice);
    char path[] = "/tmp/ringio_test_XXXXXX";
    backing_fd = mkstemp(path);
    if (choice.kind != RINGIO_BACKEND_URING || backing_fd < 0)
        return 77;
    unlink(path);
    uint8_t bytes[2 * SLOT_NBYTES];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i % 251);
    CHECK(write(backing_fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes);

    in_child("io_uring_setup refused", setup_refused);
    in_child("io_uring_enter refused", enter_refused);
    in_child("io_uring_register refused", register_refused);
    in_child("refusal pretended", pretended);
    in_child("ring made too late", made_too_late);
    in_child("ring fails for good", fails_for_good);
    in_child("ring refuses again and again", refuses_again_and_again);
    in_child("ring fails in flight", fails_in_flight);
    in_child("ring fails after completion", fails_after_completion);
    return 0;
}
