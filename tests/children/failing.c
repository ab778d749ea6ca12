/* failing.c: an LD_PRELOAD library in which one call for memory or a thread fails, if our extension made it.

   failing_arm(n) makes the n-th such call from now on fail (and all after it, with 'forever'), failing_disarm() says how many
   there were.  Calls of other libraries, Python's among them, always succeed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static _Atomic long armed, counted;
static _Atomic int forever;

void failing_arm(long n, int fail_all_after)
{
    forever = fail_all_after;
    counted = 0;
    armed = n;
}

long failing_disarm(void)
{
    armed = 0;
    return counted;
}

static int fails(void *caller)
{
    Dl_info info;
    if (!armed || !dladdr(caller, &info) || !strstr(info.dli_fname, "/_core."))
        return 0;
    long count = ++counted;
    if (count != armed && !(forever && count > armed))
        return 0;
    errno = ENOMEM;
    return 1;
}

#define FAILS fails(__builtin_return_address(0))

void *malloc(size_t nbytes)
{
    return FAILS ? NULL : __libc_malloc(nbytes);
}

void *calloc(size_t count, size_t nbytes)
{
    return FAILS ? NULL : __libc_calloc(count, nbytes);
}

void *realloc(void *old, size_t nbytes)
{
    return FAILS ? NULL : __libc_realloc(old, nbytes);
}

void *aligned_alloc(size_t alignment, size_t nbytes)
{
    return FAILS ? NULL : __libc_memalign(alignment, nbytes);
}

int posix_memalign(void **memory, size_t alignment, size_t nbytes)
{
    *memory = FAILS ? NULL : __libc_memalign(alignment, nbytes);
    return *memory ? 0 : ENOMEM;
}

void *mmap64(void *address, size_t nbytes, int protection, int flags, int fd, off64_t offset)
{
    if (FAILS)
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, nbytes, protection, flags, fd, offset);
}

void *mmap(void *address, size_t nbytes, int protection, int flags, int fd, off_t offset)
{
    if (FAILS)
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, nbytes, protection, flags, fd, offset);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *), void *argument)
{
    if (FAILS)
        return EAGAIN;
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
    return next(thread, attributes, main, argument);
}
