/* Goal: checksums, packed bools, swapped fields and codecs that compute with items give what they should; and whatever a
   chain asks for and its bytes are, they end with a status and stay inside their buffers.  Exit status 0 is a pass. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "codec.h"
#include "sums.h"

#define PAGE_NBYTES ((size_t)65536)

static struct decoder *decoder;
static uint8_t *source_end, *target_end; /* the first bytes that are not there */

static uint8_t *make_guarded(void)
{
    uint8_t *pages = mmap(NULL, 2 * PAGE_NBYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    CHECK(mprotect(pages + PAGE_NBYTES, PAGE_NBYTES, PROT_NONE) == 0);
    return pages + PAGE_NBYTES;
}

/* Decodes a copy of 'source' that ends where its page does. */
static int decode_steps(const struct ringio_codec *codecs, uint32_t step_count, struct span source,
                        struct span *decoded)
{
    size_t nbytes = (size_t)codecs[step_count - 1].decoded_nbytes;
    CHECK(source.nbytes <= PAGE_NBYTES && nbytes <= PAGE_NBYTES);
    struct ringio_chain chain = {
        .decoded_nbytes = nbytes, .encoded_nbytes_max = PAGE_NBYTES, .codec_count = step_count};
    uint8_t *copy = source_end - source.nbytes;
    if (source.nbytes > 0)
        memcpy(copy, source.data, source.nbytes);
    memset(target_end - nbytes, 0xa5, nbytes);
    struct codec_error error;
    return codec_decode_chain(decoder, &chain, codecs, (struct span){copy, source.nbytes}, NULL, target_end - nbytes,
                              nbytes, (struct interval){0, SIZE_MAX}, decoded, NULL, &error);
}

static int decode(const struct ringio_codec *codec, struct span source, struct span *decoded)
{
    return decode_steps(codec, 1, source, decoded);
}

static void check_gives(struct ringio_codec codec, struct span source, const void *expected, size_t nbytes)
{
    struct span decoded = {0};
    codec.decoded_nbytes = nbytes;
    CHECK(decode(&codec, source, &decoded) == 0);
    CHECK(decoded.nbytes == nbytes && memcmp(decoded.data, expected, nbytes) == 0);
    codec.decoded_nbytes = nbytes + 1;
    CHECK(decode(&codec, source, &decoded) == -RINGIO_WRONG_SIZE);
    codec.flags |= RINGIO_CODEC_AT_MOST;
    CHECK(decode(&codec, source, &decoded) == 0 && decoded.nbytes == nbytes);
}

#define SPAN(...) ((struct span){(const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})})
#define BYTES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static uint32_t types(uint32_t from, uint32_t to)
{
    return from | to << 16;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void test_checksums(void)
{
    struct ringio_codec crc32 = {.kind = RINGIO_CODEC_CRC32}, adler32 = {.kind = RINGIO_CODEC_ADLER32};
    struct ringio_codec fletcher32 = {.kind = RINGIO_CODEC_FLETCHER32};
    check_gives(crc32, SPAN('a', 'b', 'c', 0xc2, 0x41, 0x24, 0x35), BYTES('a', 'b', 'c'));
    check_gives(adler32, SPAN('a', 'b', 'c', 0x27, 0x01, 0x4d, 0x02), BYTES('a', 'b', 'c'));
    check_gives(fletcher32, SPAN(0xc8, 0xc9, 0xca, 0xca, 0x92, 0x94, 0x5b), BYTES(0xc8, 0xc9, 0xca));
    crc32.flags = adler32.flags = RINGIO_CODEC_FRONT;
    check_gives(crc32, SPAN(0xc2, 0x41, 0x24, 0x35, 'a', 'b', 'c'), BYTES('a', 'b', 'c'));
    check_gives(adler32, SPAN(0x27, 0x01, 0x4d, 0x02, 'a', 'b', 'c'), BYTES('a', 'b', 'c'));
    struct span decoded;
    crc32.decoded_nbytes = 3;
    CHECK(decode(&crc32, SPAN(0xc2, 0x41, 0x24, 0x35, 'a', 'b', 'd'), &decoded) == -RINGIO_CHECKSUM);
    CHECK(decode(&crc32, SPAN(0xc2, 0x41, 0x24), &decoded) == -RINGIO_CORRUPT);
}

static void test_packbits(void)
{
    struct ringio_codec codec = {.kind = RINGIO_CODEC_PACKBITS};
    check_gives(codec, SPAN(5, 0xb2, 0x60), BYTES(1, 0, 1, 1, 0, 0, 1, 0, 0, 1, 1));
    check_gives(codec, SPAN(0), "", 0);
    struct span decoded;
    CHECK(decode(&codec, SPAN(9, 0xff), &decoded) == -RINGIO_CORRUPT);
    CHECK(decode(&codec, (struct span){NULL, 0}, &decoded) == -RINGIO_CORRUPT);
}

static void test_swapped_fields(void)
{
    struct ringio_codec codec = {.kind = RINGIO_CODEC_SWAP_FIELD, .itemsize = 6, .scale = 1, .offset = 2 | 2ull << 32};
    check_gives(codec, SPAN(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), BYTES(0, 2, 1, 4, 3, 5, 6, 8, 7, 10, 9, 11));
    struct span decoded;
    codec.decoded_nbytes = 6;
    codec.scale = 3; /* reaches behind the element */
    CHECK(decode(&codec, SPAN(0, 1, 2, 3, 4, 5), &decoded) == -RINGIO_CORRUPT);
}

/* Sums of any count, from any place on, in place too, are those of a plain loop; nothing behind them is written. */
static void test_sums(void)
{
    enum { COUNT_MAX = 70 };
    uint8_t source[8 * COUNT_MAX + 1], target[8 * COUNT_MAX + 1], expected[8 * COUNT_MAX];
    for (size_t i = 0; i < sizeof source; i++)
        source[i] = (uint8_t)(i * i * 37 + 200);
    for (size_t itemsize = 1; itemsize <= 8; itemsize *= 2) {
        for (size_t count = 0; count <= COUNT_MAX; count++) {
            uint64_t sum = 0xfedcba9876543210u, mask = UINT64_MAX >> (64 - 8 * itemsize), item = 0;
            for (size_t i = 0; i < count; i++) {
                memcpy(&item, source + 1 + i * itemsize, itemsize);
                sum += item;
                memcpy(expected + i * itemsize, &sum, itemsize);
            }
            target[count * itemsize] = 0xa5;
            uint64_t half = sums_run(itemsize, source + 1, target, count / 2, 0xfedcba9876543210u);
            memcpy(target + count / 2 * itemsize, source + 1 + count / 2 * itemsize, (count + 1) / 2 * itemsize);
            uint64_t last = sums_run(itemsize, target + count / 2 * itemsize, target + count / 2 * itemsize,
                                     (count + 1) / 2, half);
            CHECK(memcmp(target, expected, count * itemsize) == 0 && target[count * itemsize] == 0xa5);
            CHECK(((last ^ sum) & mask) == 0);
        }
    }
}

/* A shuffle leaves the planes to the sums behind it, which give what they give one after the other. */
static void test_sums_of_planes(void)
{
    enum { NBYTES_MAX = 5 * 4096 };
    static uint8_t source[NBYTES_MAX], apart[NBYTES_MAX];
    for (size_t i = 0; i < sizeof source; i++)
        source[i] = (uint8_t)(i * i * 37 + (i >> 8) + 200);
    const uint32_t codes[] = {RINGIO_TYPE_I16, RINGIO_TYPE_U32, RINGIO_TYPE_I64};
    const size_t counts[] = {0, 1, 15, 511, 512, 513, 2047, 2048, 2049, NBYTES_MAX / 8};
    for (size_t which = 0; which < 3; which++) {
        size_t itemsize = (size_t)2 << which;
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            uint64_t nbytes = counts[i] * itemsize;
            struct ringio_codec steps[] = {
                {.kind = RINGIO_CODEC_SHUFFLE, .itemsize = (uint32_t)itemsize, .decoded_nbytes = nbytes},
                {.kind = RINGIO_CODEC_SUM, .types = types(codes[which], codes[which]), .decoded_nbytes = nbytes},
            };
            struct span decoded;
            CHECK(decode_steps(steps, 1, (struct span){source, nbytes}, &decoded) == 0);
            sums_run(itemsize, decoded.data, apart, counts[i], 0);
            CHECK(decode_steps(steps, 2, (struct span){source, nbytes}, &decoded) == 0);
            CHECK(decoded.nbytes == nbytes && memcmp(decoded.data, apart, nbytes) == 0);
        }
    }
}

static void test_items(void)
{
    struct ringio_codec sum = {.kind = RINGIO_CODEC_SUM, .types = types(RINGIO_TYPE_I8, RINGIO_TYPE_I8)};
    check_gives(sum, SPAN(100, 100, 0xff), BYTES(100, 200, 199));
    sum.types = types(RINGIO_TYPE_I8, RINGIO_TYPE_I16 | RINGIO_TYPE_BIG);
    check_gives(sum, SPAN(100, 100, 0xff), BYTES(0, 100, 0, 200, 0, 199));
    struct ringio_codec cast = {.kind = RINGIO_CODEC_CAST};
    cast.types = types(RINGIO_TYPE_I16 | RINGIO_TYPE_BIG, RINGIO_TYPE_F32);
    check_gives(cast, SPAN(0xff, 0xfe), &(float){-2}, 4);
    cast.types = types(RINGIO_TYPE_U64, RINGIO_TYPE_F64);
    check_gives(cast, SPAN(0, 0, 0, 0, 0, 0, 0, 0x80), &(double){0x1p63}, 8);
    cast.types = types(RINGIO_TYPE_F64, RINGIO_TYPE_BOOL);
    check_gives(cast, (struct span){(const uint8_t *)(double[]){0.0, -0.0, 0.5}, 24}, BYTES(0, 0, 1));
    struct ringio_codec scale = {.kind = RINGIO_CODEC_SCALE, .scale = bits_of(10), .offset = bits_of(1)};
    scale.types = types(RINGIO_TYPE_U8, RINGIO_TYPE_F64);
    check_gives(scale, SPAN(3), &(double){1.3}, 8);
    struct ringio_codec rescale = {.kind = RINGIO_CODEC_RESCALE, .scale = 2, .offset = (uint64_t)-3};
    rescale.types = types(RINGIO_TYPE_I8, RINGIO_TYPE_I8);
    check_gives(rescale, SPAN(4, 0xfe), BYTES(0xff, 0xfc));
    struct span decoded;
    rescale.decoded_nbytes = 1;
    CHECK(decode(&rescale, SPAN(3), &decoded) == -RINGIO_CORRUPT);
    rescale.offset = (uint64_t)-128;
    CHECK(decode(&rescale, SPAN(0xfe), &decoded) == -RINGIO_CORRUPT);
}

/* Whatever is asked for, of whatever bytes. */
static void test_anything(void)
{
    uint64_t state = 11;
    uint8_t bytes[2000];
    for (int round = 0; round < 100000; round++) {
        size_t nbytes = random_below(&state, round % 10 ? 64 : sizeof bytes);
        for (size_t i = 0; i < nbytes; i++)
            bytes[i] = (uint8_t)random_next(&state);
        struct ringio_codec codec = {
            .kind = (uint32_t)(RINGIO_CODEC_SWAP_FIELD + random_below(&state, 9)),
            .itemsize = (uint32_t)random_below(&state, 20),
            .flags = (uint32_t)random_below(&state, 4),
            .types = types((uint32_t)random_below(&state, 14) | (random_below(&state, 2) ? RINGIO_TYPE_BIG : 0),
                           (uint32_t)random_below(&state, 14) | (random_below(&state, 2) ? RINGIO_TYPE_BIG : 0)),
            .scale = random_below(&state, 3) ? random_below(&state, 5) : random_next(&state),
            .offset = random_below(&state, 2) ? random_below(&state, 9) | random_below(&state, 3) << 32
                                              : random_next(&state),
        };
        static const size_t factors[] = {8, 4, 2, 1};
        size_t factor = factors[random_below(&state, 4)];
        codec.decoded_nbytes = random_below(&state, 2) ? nbytes * factor : nbytes / factor;
        struct span decoded;
        int status = decode(&codec, (struct span){bytes, nbytes}, &decoded);
        CHECK(status == 0 || -status >= RINGIO_EOF);
        CHECK(status != 0 || decoded.nbytes <= codec.decoded_nbytes);
    }
}

#define STEP_COUNT_MAX 4

/* A codec that can follow one that gives 'nbytes'; its decoded_nbytes are set. */
static struct ringio_codec draw_codec(uint64_t *state, size_t nbytes)
{
    static const uint32_t all[] = {RINGIO_TYPE_I8,  RINGIO_TYPE_U16, RINGIO_TYPE_I32, RINGIO_TYPE_I32 | RINGIO_TYPE_BIG,
                                   RINGIO_TYPE_I16, RINGIO_TYPE_F32, RINGIO_TYPE_F64, RINGIO_TYPE_U64};
    static const size_t sizes[] = {1, 2, 4, 4, 2, 4, 8, 8};
    static const uint32_t kinds[] = {RINGIO_CODEC_SHUFFLE, RINGIO_CODEC_SWAP,  RINGIO_CODEC_SUM,
                                     RINGIO_CODEC_CAST,    RINGIO_CODEC_SCALE, RINGIO_CODEC_RESCALE};
    uint64_t from = random_below(state, 8), to = random_below(state, 8);
    struct ringio_codec codec = {.kind = kinds[random_below(state, 6)],
                                 .itemsize = (uint32_t)(1u << random_below(state, 4)),
                                 .decoded_nbytes = nbytes};
    if (codec.kind < RINGIO_CODEC_SUM)
        return codec;
    to = random_below(state, 3) || codec.kind == RINGIO_CODEC_RESCALE ? from : to;
    codec.types = types(all[from], all[to]);
    codec.scale = codec.kind == RINGIO_CODEC_RESCALE ? 1 : bits_of(3);
    codec.offset = codec.kind == RINGIO_CODEC_RESCALE ? 0 : bits_of(0.5);
    codec.decoded_nbytes = nbytes / sizes[from] * sizes[to];
    return codec;
}

/* A chain gives what its codecs give one after the other, where that is wanted; some of them work in place. */
static void test_chains(void)
{
    uint64_t state = 13;
    uint8_t bytes[512], expected[PAGE_NBYTES];
    for (int round = 0; round < 100000; round++) {
        struct ringio_codec codecs[STEP_COUNT_MAX];
        size_t first_nbytes = 8 * random_below(&state, sizeof bytes / 8 + 1), nbytes = first_nbytes;
        uint32_t count = (uint32_t)(1 + random_below(&state, STEP_COUNT_MAX));
        int status = 0;
        for (size_t i = 0; i < nbytes; i++)
            expected[i] = bytes[i] = (uint8_t)random_below(&state, 5);
        for (uint32_t i = 0; i < count && status == 0; i++) {
            struct span decoded;
            codecs[i] = draw_codec(&state, nbytes);
            if (codecs[i].decoded_nbytes % 8 != 0 || codecs[i].decoded_nbytes > PAGE_NBYTES)
                status = -1;
            else
                status = decode(&codecs[i], (struct span){expected, nbytes}, &decoded);
            if (status == 0)
                memmove(expected, decoded.data, nbytes = decoded.nbytes);
        }
        if (status != 0)
            continue;
        struct ringio_chain chain = {
            .decoded_nbytes = nbytes, .encoded_nbytes_max = PAGE_NBYTES, .codec_count = count};
        struct interval wanted = {random_below(&state, nbytes + 1), random_below(&state, 2) ? SIZE_MAX : 0};
        if (wanted.end == 0)
            wanted.end = wanted.first + random_below(&state, nbytes - wanted.first + 1);
        size_t end = wanted.end < nbytes ? wanted.end : nbytes;
        uint8_t *source = source_end - first_nbytes, *target = target_end - nbytes;
        memcpy(source, bytes, first_nbytes);
        memset(target, 0xa5, nbytes);
        struct span decoded;
        struct codec_error error;
        CHECK(codec_decode_chain(decoder, &chain, codecs, (struct span){source, first_nbytes}, NULL, target, nbytes,
                                 wanted, &decoded, NULL, &error) == 0);
        CHECK(decoded.nbytes == nbytes);
        CHECK(memcmp(decoded.data + wanted.first, expected + wanted.first, end - wanted.first) == 0);
    }
}

int main(void)
{
    source_end = make_guarded();
    target_end = make_guarded();
    decoder = decoder_new();
    CHECK(decoder);
    test_checksums();
    test_sums();
    test_sums_of_planes();
    test_packbits();
    test_swapped_fields();
    test_items();
    test_anything();
    test_chains();
    decoder_free(decoder);
    return 0;
}
