/* Goal: buffers of a slab never overlap, all slabs together stay below the limit, and threads that want more than there
   is wait for each other without a deadlock. */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "ringio.h"
#include "slab.h"

#define THREAD_COUNT 4
#define HELD_MAX 24
#define LIMIT_NBYTES ((uint64_t)48 << 20)

struct holder {
    struct slab *slab;
    struct slab_buffers held[HELD_MAX];
    uint8_t marks[HELD_MAX];
    uint32_t held_count;
    uint64_t state;
};

static void mark(struct slab_buffers *buffers, uint8_t value)
{
    if (buffers->source)
        memset(buffers->source, value, buffers->source_nbytes);
    if (buffers->scratch)
        memset(buffers->scratch, value, buffers->scratch_nbytes);
}

static int is_marked(const uint8_t *data, uint64_t nbytes, uint8_t value)
{
    return !data || (data[0] == value && data[nbytes / 2] == value && data[nbytes - 1] == value);
}

static void give_one(struct holder *holder, uint32_t i)
{
    struct slab_buffers *buffers = &holder->held[i];
    CHECK(is_marked(buffers->source, buffers->source_nbytes, holder->marks[i]));
    CHECK(is_marked(buffers->scratch, buffers->scratch_nbytes, holder->marks[i]));
    slab_give(holder->slab, buffers);
    holder->held_count--;
    holder->held[i] = holder->held[holder->held_count];
    holder->marks[i] = holder->marks[holder->held_count];
}

static uint64_t random_nbytes(uint64_t *state)
{
    static const uint64_t most[] = {1, 4096, 100000, 1 << 20, 3 << 20, 9 << 20};
    return random_below(state, most[random_below(state, 6)]);
}

static void *hold_and_give(void *argument)
{
    struct holder *holder = argument;
    int round_count = getenv("RINGIO_TEST_TSAN") ? 40 : 400; /* the thread sanitizer makes each mmap slow */
    for (int round = 0; round < round_count; round++) {
        struct slab_buffers buffers = {.source_nbytes = 1 + random_nbytes(&holder->state),
                                       .scratch_nbytes = random_nbytes(&holder->state)};
        struct slab_buffers asked = buffers;
        int status = holder->held_count < HELD_MAX ? slab_take(holder->slab, &buffers) : -EAGAIN;
        CHECK(status == 0 || (status == -EAGAIN && holder->held_count > 0));
        if (status) {
            while (holder->held_count)
                give_one(holder, 0);
            slab_rest(holder->slab);
            continue;
        }
        CHECK(buffers.source && buffers.source_nbytes >= asked.source_nbytes);
        CHECK(!asked.scratch_nbytes || (buffers.scratch && buffers.scratch_nbytes >= asked.scratch_nbytes));
        holder->marks[holder->held_count] = (uint8_t)round;
        mark(&buffers, (uint8_t)round);
        holder->held[holder->held_count++] = buffers;
        if (random_below(&holder->state, 3) == 0)
            give_one(holder, (uint32_t)random_below(&holder->state, holder->held_count));
    }
    while (holder->held_count)
        give_one(holder, 0);
    slab_rest(holder->slab);
    return NULL;
}

/* One slab after the other sizes: what it keeps for the next request must not keep the next request waiting. */
static void spares_do_not_stand_in_the_way(void)
{
    struct memory_limit limit;
    memory_limit_init(&limit, LIMIT_NBYTES, 2);
    struct slab *slab = slab_new(&limit);
    CHECK(slab);
    for (uint64_t nbytes = (uint64_t)2 << 20; nbytes <= slab_limit(&limit); nbytes += (uint64_t)5 << 20)
        for (int with_scratch = 0; with_scratch < 2; with_scratch++) {
            struct slab_buffers buffers = {.source_nbytes = with_scratch ? nbytes / 2 : nbytes,
                                           .scratch_nbytes = with_scratch ? nbytes / 2 : 0};
            CHECK(slab_take(slab, &buffers) == 0);
            slab_give(slab, &buffers);
        }
    slab_free(slab);
    memory_limit_destroy(&limit);
}

int main(void)
{
    spares_do_not_stand_in_the_way();
    struct memory_limit limit;
    memory_limit_init(&limit, LIMIT_NBYTES, THREAD_COUNT);
    static struct holder holders[THREAD_COUNT];
    pthread_t threads[THREAD_COUNT];
    for (uint64_t i = 0; i < THREAD_COUNT; i++) {
        holders[i].slab = slab_new(&limit);
        holders[i].state = i;
        CHECK(holders[i].slab);
        CHECK(pthread_create(&threads[i], NULL, hold_and_give, &holders[i]) == 0);
    }
    for (int i = 0; i < THREAD_COUNT; i++)
        pthread_join(threads[i], NULL);
    struct slab_buffers too_much = {.source_nbytes = slab_limit(&limit) + 1};
    CHECK(slab_take(holders[0].slab, &too_much) == -RINGIO_NO_MEMORY);
    for (int i = 0; i < THREAD_COUNT; i++)
        slab_free(holders[i].slab);
    CHECK(limit.peak_nbytes <= LIMIT_NBYTES && limit.held_nbytes == 0 && limit.large_held_nbytes == 0);
    memory_limit_destroy(&limit);
    return 0;
}
