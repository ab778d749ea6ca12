/* Goal: files are looked up ahead only when opening them has to wait, by one thread's helpers a job, and stopping them
   leaves nothing behind, wherever they are.  Exit status 0 is a pass. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ahead.h"
#include "check.h"

#define FILE_COUNT 20000
#define SLOW_NS 1000000
#define FAST_NS 1000

static char blob[] = "/proc/self/exe\0/there/is/no/such/file";
static struct ringio_file files[FILE_COUNT];
static struct ringio_request requests[FILE_COUNT];

static struct ringio_job *make_job(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        files[i] = (struct ringio_file){.path_offset = i % 2 ? 15 : 0};
        requests[i] = (struct ringio_request){0, 1, (uint32_t)i, 0, 0, 0};
    }
    requests[count / 2].file = RINGIO_NO_FILE;
    struct ringio_plan plan = {.paths = blob, .paths_nbytes = sizeof blob, .files = files, .file_count = count,
                               .requests = requests, .request_count = count};
    struct ringio_job *job = job_new(NULL, 0, &plan);
    CHECK(job);
    return job;
}

static void pause_us(long microseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = microseconds * 1000}, NULL);
}

/* The workers stand still, come along, or are at the end already. */
static void test_stop(void)
{
    for (int round = 0; round < 40; round++) {
        struct ringio_job *job = make_job(round % 2 ? FILE_COUNT : 100);
        struct ahead ahead = {0};
        ahead_start(&ahead, job, 1 + (uint32_t)round % 20);
        CHECK(ahead.looks);
        uint64_t first;
        for (int i = 0; i < round * 50; i++)
            job_claim(job, 16, &first);
        if (round % 3)
            pause_us(round * 100);
        ahead_stop(&ahead);
        ahead_stop(&ahead);
        CHECK(!ahead.looks);
        job_free(job);
    }
}

static void test_note(void)
{
    struct ringio_job *job = make_job(FILE_COUNT);
    struct ahead ahead = {0}, other = {0};
    for (int i = 0; i < 5000; i++) /* a thread that loses its core now and then */
        ahead_note(&ahead, job, i % 200 ? FAST_NS : SLOW_NS);
    CHECK(!ahead.looks && !ahead.was_slow);
    for (int i = 0; i < 5000 && !ahead.looks; i++) /* cold: a block of inodes holds 16 */
        ahead_note(&ahead, job, i % 16 ? FAST_NS : SLOW_NS);
    CHECK(ahead.looks);
    for (int i = 0; i < 10; i++)
        ahead_note(&other, job, SLOW_NS);
    CHECK(!other.looks); /* one is enough for a job */
    ahead_stop(&ahead);
    for (int i = 0; i < 10; i++)
        ahead_note(&other, job, SLOW_NS);
    CHECK(other.looks && other.was_slow);
    ahead_stop(&other);
    job_free(job);
    job = make_job(20); /* too few to be worth a thread */
    for (int i = 0; i < 10; i++)
        ahead_note(&ahead, job, SLOW_NS);
    CHECK(!ahead.looks);
    job_free(job);
}

int main(void)
{
    test_stop();
    test_note();
    return 0;
}
