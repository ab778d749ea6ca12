#define _GNU_SOURCE
#include "thread.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct beginning {
    void *(*main)(void *);
    void *argument;
    char name[16];
};

/* The thread names itself, as it may be traced from its first step on. */
static void *begin(void *argument)
{
    struct beginning beginning = *(struct beginning *)argument;
    free(argument);
#ifdef __linux__
    pthread_setname_np(pthread_self(), beginning.name);
#endif
    return beginning.main(beginning.argument);
}

int thread_start(pthread_t *thread, const char *name, size_t stack_nbytes, void *(*main)(void *), void *argument)
{
    struct beginning *beginning = malloc(sizeof *beginning);
    if (!beginning)
        return -ENOMEM;
    *beginning = (struct beginning){.main = main, .argument = argument};
    snprintf(beginning->name, sizeof beginning->name, "%s", name);
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_nbytes);
    sigfillset(&all);
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(thread, &attributes, begin, beginning);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error)
        free(beginning);
    return -error;
}
