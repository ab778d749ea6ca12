/* Goal: what threads note comes out once, of the thread that noted it and in its order, while they go on and after they
   have ended; what finds no room is counted; what is noted while nothing is traced is nowhere.  Exit status 0 is a
   pass. */
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "ringio.h"
#include "thread.h"
#include "trace.h"

#define THREAD_COUNT 4u
#define SPAN_COUNT 200000u
#define TAKE_COUNT 1000u

static void *note_many(void *argument)
{
    uint32_t number = *(uint32_t *)argument;
    for (uint32_t i = 0; i < SPAN_COUNT; i++) {
        uint64_t begin_ns = trace_begin();
        CHECK(begin_ns);
        trace_span(number, begin_ns, begin_ns + 1, i, 1);
    }
    return NULL;
}

struct tally {
    uint64_t taken_count, lost_count;
    int64_t last[THREAD_COUNT];
};

/* Takes what there is now, once; returns whether there was anything. */
static int take(struct tally *tally)
{
    static struct ringio_event events[TAKE_COUNT];
    struct ringio_trace_thread thread;
    uint64_t count = ringio_trace_take(events, TAKE_COUNT, &thread);
    for (uint64_t i = 0; i < count; i++) {
        uint32_t number = events[i].kind;
        CHECK(number < THREAD_COUNT && events[i].end_ns == events[i].begin_ns + 1);
        CHECK((int64_t)events[i].nbytes > tally->last[number]);
        tally->last[number] = (int64_t)events[i].nbytes;
    }
    if (count)
        CHECK(strcmp(thread.name, "ringio-test") == 0 && thread.id);
    tally->taken_count += count;
    tally->lost_count += count ? thread.lost_count : 0;
    return count > 0;
}

static void test_threads(void)
{
    pthread_t threads[THREAD_COUNT];
    uint32_t numbers[THREAD_COUNT];
    struct tally tally = {0};
    ringio_trace_start();
    for (uint32_t i = 0; i < THREAD_COUNT; i++) {
        numbers[i] = i;
        tally.last[i] = -1;
    }
    for (uint32_t i = 0; i < THREAD_COUNT; i++)
        CHECK(thread_start(&threads[i], "ringio-test", 1 << 18, note_many, &numbers[i]) == 0);
    for (int i = 0; i < 1000; i++)
        take(&tally);
    for (uint32_t i = 0; i < THREAD_COUNT; i++)
        pthread_join(threads[i], NULL);
    ringio_trace_stop();
    while (take(&tally))
        ;
    CHECK(tally.taken_count && tally.taken_count + tally.lost_count == (uint64_t)THREAD_COUNT * SPAN_COUNT);
}

static void test_off(void)
{
    struct ringio_event event;
    struct ringio_trace_thread thread;
    CHECK(trace_begin() == 0 && trace_end(RINGIO_EVENT_WAIT, 0, 1, 1) == 0);
    trace_span(RINGIO_EVENT_WAIT, 1, 2, 3, 4); /* it was on a moment ago */
    CHECK(ringio_trace_take(&event, 1, &thread) == 0);
}

static void test_fork(void)
{
    struct ringio_event event;
    struct ringio_trace_thread thread;
    ringio_trace_start();
    trace_span(RINGIO_EVENT_WAIT, 1, 2, 3, 4);
    pid_t child = fork();
    if (child == 0) {
        CHECK(!trace_is_on() && ringio_trace_take(&event, 1, &thread) == 0);
        ringio_trace_start();
        trace_span(RINGIO_EVENT_OPEN, 5, 6, 7, 8);
        CHECK(ringio_trace_take(&event, 1, &thread) == 1 && event.kind == RINGIO_EVENT_OPEN);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    ringio_trace_stop();
    CHECK(ringio_trace_take(&event, 1, &thread) == 1 && event.kind == RINGIO_EVENT_WAIT && event.nbytes == 3);
    CHECK(ringio_trace_take(&event, 1, &thread) == 0);
}

static void test_text(void)
{
    const struct ringio_event events[] = {{1234567, 1234999, 5, RINGIO_EVENT_DECODE, 6},
                                          {UINT64_MAX, 0, UINT64_MAX, UINT32_MAX, UINT32_MAX}};
    char text[3 * RINGIO_EVENT_TEXT_NBYTES];
    uint64_t nbytes = ringio_trace_format(events, 1, 7, 8, text, sizeof text);
    const char *due = "{\"name\":\"decode\",\"ph\":\"X\",\"pid\":7,\"tid\":8,\"ts\":1234.567,\"dur\":0.432,"
                      "\"args\":{\"bytes\":5,\"count\":6}},\n";
    CHECK(nbytes == strlen(due) && memcmp(text, due, nbytes) == 0);
    nbytes = ringio_trace_format(&events[1], 1, UINT64_MAX, UINT64_MAX, text, sizeof text);
    CHECK(nbytes < RINGIO_EVENT_TEXT_NBYTES && text[nbytes - 2] == ',');
    CHECK(ringio_trace_format(events, 2, 7, 8, text, RINGIO_EVENT_TEXT_NBYTES - 1) == 0);
}

int main(void)
{
    test_threads();
    test_off();
    test_fork();
    test_text();
    return 0;
}
