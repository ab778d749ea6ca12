/* thread.h: the threads of the core are all started here. */
#ifndef RINGIO_THREAD_H
#define RINGIO_THREAD_H

#include <pthread.h>
#include <stddef.h>

/* thread_start() starts a thread that runs main(argument).  Signals are left to the threads of the program: Python's
   handlers want its main thread.  Only those of a fault of the thread itself are not blocked in it: nobody else can
   have them, and blocked they would kill the process without a word of faulthandler.  'name', of which 15 bytes are
   kept, is what ps(1), gdb and a trace show.  Returns 0 or -errno. */
int thread_start(pthread_t *thread, const char *name, size_t stack_nbytes, void *(*main)(void *), void *argument);

#endif
