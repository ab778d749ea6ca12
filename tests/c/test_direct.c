/* Goal: whatever is wanted of a file, and wherever a read stops, a slot in whole blocks reads blocks alone, never goes
   on inside one, and ends as if it had been read through the page cache.  The file is a buffer here, read in pieces of
   random length; a real one is opened with O_DIRECT where the system has a place for it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "aligned.h"
#include "check.h"
#include "direct.h"

#define FILE_NBYTES ((uint64_t)40000)

static uint8_t content[FILE_NBYTES];

/* One read of 'slot' as a kernel does it: at most to the end of the file, and perhaps less. */
static void read_some(struct slot *slot, uint64_t *state)
{
    uint64_t position = slot->offset + slot->got_nbytes, nbytes = slot->want_nbytes - slot->got_nbytes;
    if (slot->block_nbytes)
        CHECK(position % slot->block_nbytes == 0 && nbytes % slot->block_nbytes == 0);
    if (position >= FILE_NBYTES)
        nbytes = 0;
    else if (nbytes > FILE_NBYTES - position)
        nbytes = FILE_NBYTES - position;
    switch (random_below(state, 6)) {
    case 0: nbytes = nbytes ? random_below(state, nbytes) : 0; break; /* anywhere, as the faulty backend does */
    case 1: nbytes = nbytes & ~(uint64_t)4095; break;
    case 2: slot->result = -EINTR; return;
    default: break;
    }
    memcpy(slot->data + slot->got_nbytes, content + position, nbytes);
    slot->result = (int32_t)nbytes;
}

static void test_slots(void)
{
    uint64_t state = 3;
    static uint8_t memory[FILE_NBYTES + 2 * DIRECT_BLOCK_NBYTES_MAX];
    for (uint64_t i = 0; i < FILE_NBYTES; i++)
        content[i] = (uint8_t)random_next(&state);
    for (int round = 0; round < 20000; round++) {
        struct direct_mode mode = {.fd = 7, .block_nbytes = (uint32_t)1 << random_below(&state, 13)};
        uint64_t offset = random_below(&state, FILE_NBYTES), want = 1 + random_below(&state, FILE_NBYTES - offset);
        struct slot slot = {.offset = offset, .want_nbytes = want};
        aligned_begin(&slot, &mode);
        CHECK(slot.offset <= offset && slot.offset + slot.want_nbytes >= offset + want && slot.direct_fd == 7);
        CHECK(slot.want_nbytes < want + 2 * mode.block_nbytes && slot.want_nbytes <= sizeof memory);
        memset(memory, 0xa5, sizeof memory);
        slot.data = memory;
        do
            read_some(&slot, &state);
        while (aligned_advance(&slot, offset + want));
        CHECK(slot.block_nbytes == mode.block_nbytes);
        aligned_end(&slot, offset, want);
        CHECK(slot.block_nbytes == 0 && slot.offset == offset && slot.want_nbytes == want && slot.got_nbytes <= want);
        while (slot.got_nbytes < want) {
            read_some(&slot, &state);
            slot.got_nbytes += slot.result > 0 ? (uint64_t)slot.result : 0;
        }
        CHECK(memcmp(slot.data, content + offset, want) == 0 && slot.bytes == slot.data);
    }
}

/* The largest file there can be: nothing overflows. */
static void test_the_end_of_the_world(void)
{
    struct direct_mode mode = {.fd = 0, .block_nbytes = 4096};
    struct slot slot = {.offset = (uint64_t)INT64_MAX - 10, .want_nbytes = 10};
    aligned_begin(&slot, &mode);
    CHECK(slot.offset == ((uint64_t)INT64_MAX & ~(uint64_t)4095) && slot.want_nbytes == 4096);
}

static void test_open(void)
{
    char path[] = "ringio-direct-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, content, FILE_NBYTES) == (ssize_t)FILE_NBYTES && fsync(fd) == 0);
    struct direct_file direct = {0};
    struct direct_mode mode = direct_open(&direct, path, fd);
    printf("blocks of %u bytes, may place: %d\n", (unsigned)mode.block_nbytes, mode.may_place);
    CHECK(direct_open(&direct, "elsewhere", fd).fd == mode.fd); /* opened once */
    if (mode.block_nbytes) {
        CHECK(mode.block_nbytes <= DIRECT_BLOCK_NBYTES_MAX && !(mode.block_nbytes & (mode.block_nbytes - 1)));
        CHECK(fcntl(mode.fd, F_GETFL) & O_DIRECT && !(fcntl(mode.fd, F_GETFL) & O_NONBLOCK));
        CHECK(fcntl(mode.fd, F_GETFD) & FD_CLOEXEC);
        uint8_t *block = aligned_alloc(4096, 4096);
        CHECK(block && pread(mode.fd, block, 4096, 4096) == 4096 && memcmp(block, content + 4096, 4096) == 0);
        free(block);
    }
    direct_refuse(&direct);
    CHECK(direct_open(&direct, path, fd).block_nbytes == 0);
    direct_close(&direct);
    CHECK(mode.block_nbytes == 0 || fcntl(mode.fd, F_GETFD) < 0);

    struct direct_file other = {0};
    CHECK(direct_open(&other, "/dev/null", fd).block_nbytes == 0); /* not the same file */
    direct_close(&other);
    other = (struct direct_file){0};
    CHECK(direct_open(&other, "no such file", fd).block_nbytes == 0);
    direct_close(&other);
    unlink(path);
    close(fd);
}

int main(void)
{
    test_slots();
    test_the_end_of_the_world();
    test_open();
    return 0;
}
