/* Goal: every codec gives back what was encoded, chains of them too; and whatever the encoded bytes are, cut, changed
   or made up, a decoder ends with a status and stays inside its buffers.  Source and target are mapped so that the byte
   behind each is not there.  Exit status 0 is a pass. */
#define _GNU_SOURCE
#include <errno.h>
#include <libdeflate.h>
#include <lz4.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zstd.h>

#include "check.h"
#include "codec.h"

#define DECODED_NBYTES ((size_t)24000) /* of a chunk: a multiple of all the item sizes here */
#define CAPACITY_NBYTES ((size_t)1 << 20)

/* ------------------------------------------------------------------------------------- buffers that end with a page */

struct guarded {
    uint8_t *end; /* the first byte that is not there */
};

static struct guarded make_guarded(void)
{
    size_t page_nbytes = 65536;
    size_t nbytes = CAPACITY_NBYTES + page_nbytes;
    uint8_t *pages = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    CHECK(mprotect(pages + CAPACITY_NBYTES, page_nbytes, PROT_NONE) == 0);
    return (struct guarded){pages + CAPACITY_NBYTES};
}

static struct guarded source_pages, target_pages, parts_pages;
static struct decoder *decoder;
static struct interval wanted = {0, SIZE_MAX};

/* Decodes again, now to planes of 'itemsize' bytes: the same must come of it. */
static void check_planes(const struct ringio_chain *chain, const struct ringio_codec *codecs, struct span source,
                         uint8_t *target, uint32_t itemsize, int status, struct span decoded)
{
    struct planes planes = {.count = itemsize};
    struct span size;
    struct codec_error error;
    size_t nbytes = chain->decoded_nbytes;
    uint8_t *expected = malloc(nbytes + 1), *joined = malloc(nbytes + 1);
    CHECK(expected && joined);
    if (status == 0 && nbytes > 0)
        memcpy(expected, decoded.data, nbytes);
    CHECK(codec_decode_chain(decoder, chain, codecs, source, NULL, target, nbytes, wanted, &size, &planes, &error) ==
          status);
    if (status == 0 && planes.count) {
        size_t end = (wanted.end < nbytes ? wanted.end : nbytes) / itemsize * itemsize;
        CHECK(planes.count == itemsize && size.nbytes == nbytes && nbytes % itemsize == 0);
        planes_join(&planes, 0, end / itemsize, joined);
        CHECK(wanted.first >= end || memcmp(joined + wanted.first, expected + wanted.first, end - wanted.first) == 0);
    }
    free(expected);
    free(joined);
}

static const uint8_t *whole; /* what read_part() reads from */

static int read_part(struct parts *parts, size_t first, size_t end)
{
    CHECK(first < end && end <= parts->nbytes);
    memcpy(parts_pages.end - parts->nbytes + first, whole + first, end - first);
    return 0;
}

static int stop_reading(struct parts *parts, size_t first, size_t end)
{
    CHECK(first < end && end <= parts->nbytes);
    return -EAGAIN;
}

/* Decodes again, now from a source of which only the head is there, and what was asked for: the same must come of it.
   With nothing but the head it stops, or needs no more. */
static void check_parts(const struct ringio_chain *chain, const struct ringio_codec *codecs, struct span source,
                        int status, struct span decoded)
{
    if (!codec_takes_parts(chain, codecs) || source.nbytes < CODEC_PARTS_HEAD_NBYTES)
        return;
    size_t nbytes = chain->decoded_nbytes, end = wanted.end < nbytes ? wanted.end : nbytes;
    uint8_t *holes = parts_pages.end - source.nbytes, *target = malloc(nbytes + 1);
    CHECK(target);
    whole = source.data;
    for (int goes_on = 0; goes_on <= 1; goes_on++) {
        struct parts parts = {.nbytes = source.nbytes, .read = goes_on ? read_part : stop_reading};
        struct span again = {0};
        struct codec_error error;
        memset(holes, 0x5a, source.nbytes);
        memcpy(holes, source.data, CODEC_PARTS_HEAD_NBYTES);
        parts_add(&parts, 0, CODEC_PARTS_HEAD_NBYTES);
        int result = codec_decode_chain(decoder, chain, codecs, (struct span){holes, source.nbytes}, &parts, target,
                                        nbytes, wanted, &again, NULL, &error);
        CHECK(result == status || (result == -EAGAIN && !goes_on));
        if (result == 0 && wanted.first < end)
            CHECK(memcmp(again.data + wanted.first, decoded.data + wanted.first, end - wanted.first) == 0);
    }
    free(target);
}

/* Decodes a copy of 'encoded' that ends where its page does, into as many bytes as 'chain' says. */
static int decode(const struct ringio_chain *chain, const struct ringio_codec *codecs, struct span encoded,
                  struct span *decoded, struct codec_error *error)
{
    CHECK(encoded.nbytes <= CAPACITY_NBYTES && chain->decoded_nbytes <= CAPACITY_NBYTES);
    uint8_t *source = source_pages.end - encoded.nbytes;
    uint8_t *target = target_pages.end - chain->decoded_nbytes;
    if (encoded.nbytes > 0)
        memcpy(source, encoded.data, encoded.nbytes);
    struct span copy = {source, encoded.nbytes};
    for (uint32_t itemsize = PLANES_MAX; itemsize >= 1; itemsize /= 2) {
        memset(target, 0xa5, chain->decoded_nbytes);
        int status = codec_decode_chain(decoder, chain, codecs, copy, NULL, target, chain->decoded_nbytes, wanted,
                                        decoded, NULL, error);
        if (itemsize == 1) {
            check_parts(chain, codecs, copy, status, *decoded);
            return status;
        }
        check_planes(chain, codecs, copy, target, itemsize, status, *decoded);
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------- encoders, for tests */

static uint8_t plain[DECODED_NBYTES];

static void fill_plain(void)
{
    uint64_t state = 7;
    for (size_t i = 0; i < DECODED_NBYTES / 2; i++) {
        uint16_t value = (uint16_t)(1000 + i / 16 + random_next(&state) % 8);
        memcpy(plain + 2 * i, &value, 2);
    }
}

static void put_u32_le(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

typedef size_t encode_fn(struct span source, uint8_t *target);

static size_t encode_zstd(struct span source, uint8_t *target)
{
    size_t nbytes = ZSTD_compress(target, CAPACITY_NBYTES, source.data, source.nbytes, 1);
    CHECK(!ZSTD_isError(nbytes));
    return nbytes;
}

static size_t encode_lz4(struct span source, uint8_t *target)
{
    put_u32_le(target, (uint32_t)source.nbytes);
    int nbytes = LZ4_compress_default((const char *)source.data, (char *)target + 4, (int)source.nbytes,
                                      (int)CAPACITY_NBYTES - 4);
    CHECK(nbytes > 0);
    return 4 + (size_t)nbytes;
}

static size_t encode_deflate(struct span source, uint8_t *target, int gzip)
{
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(1);
    CHECK(compressor);
    size_t nbytes = gzip ? libdeflate_gzip_compress(compressor, source.data, source.nbytes, target, CAPACITY_NBYTES)
                         : libdeflate_zlib_compress(compressor, source.data, source.nbytes, target, CAPACITY_NBYTES);
    libdeflate_free_compressor(compressor);
    CHECK(nbytes > 0);
    return nbytes;
}

static size_t encode_gzip(struct span source, uint8_t *target)
{
    return encode_deflate(source, target, 1);
}

static size_t encode_zlib(struct span source, uint8_t *target)
{
    return encode_deflate(source, target, 0);
}

static uint32_t crc32c_bitwise(struct span source)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < source.nbytes; i++) {
        crc ^= source.data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static size_t encode_crc32c(struct span source, uint8_t *target)
{
    memmove(target, source.data, source.nbytes);
    put_u32_le(target + source.nbytes, crc32c_bitwise(source));
    return source.nbytes + 4;
}

static size_t encode_shuffle(struct span source, uint8_t *target)
{
    size_t count = source.nbytes / 2;
    for (size_t i = 0; i < count; i++) {
        target[i] = source.data[2 * i];
        target[count + i] = source.data[2 * i + 1];
    }
    return source.nbytes;
}

static size_t encode_swap(struct span source, uint8_t *target)
{
    for (size_t i = 0; i < source.nbytes; i += 2) {
        target[i] = source.data[i + 1];
        target[i + 1] = source.data[i];
    }
    return source.nbytes;
}

/* A blosc1 chunk: shuffled, LZ4 inside, blocks of 8000 bytes, split in two streams. */
static size_t encode_blosc(struct span source, uint8_t *target)
{
    enum { BLOCK_NBYTES = 8000, BLOCK_COUNT = DECODED_NBYTES / BLOCK_NBYTES, HALF_NBYTES = BLOCK_NBYTES / 2 };
    CHECK(source.nbytes == DECODED_NBYTES);
    static const uint8_t header[4] = {2, 1, 0x01 | 1 << 5, 2};
    memcpy(target, header, sizeof header);
    put_u32_le(target + 4, (uint32_t)source.nbytes);
    put_u32_le(target + 8, BLOCK_NBYTES);
    size_t at = 16 + 4 * BLOCK_COUNT;
    for (size_t i = 0; i < BLOCK_COUNT; i++) {
        uint8_t shuffled[BLOCK_NBYTES];
        encode_shuffle((struct span){source.data + i * BLOCK_NBYTES, BLOCK_NBYTES}, shuffled);
        put_u32_le(target + 16 + 4 * i, (uint32_t)at);
        for (size_t half = 0; half < 2; half++) {
            const uint8_t *stream = shuffled + half * HALF_NBYTES;
            int nbytes = LZ4_compress_default((const char *)stream, (char *)target + at + 4, HALF_NBYTES,
                                              HALF_NBYTES - 1);
            if (nbytes <= 0) {
                nbytes = HALF_NBYTES;
                memcpy(target + at + 4, stream, HALF_NBYTES);
            }
            put_u32_le(target + at, (uint32_t)nbytes);
            at += 4 + (size_t)nbytes;
        }
    }
    put_u32_le(target + 12, (uint32_t)at);
    return at;
}

static struct {
    uint32_t kind;
    encode_fn *encode;
} encoders[] = {
    {RINGIO_CODEC_BLOSC, encode_blosc},     {RINGIO_CODEC_ZSTD, encode_zstd},   {RINGIO_CODEC_LZ4, encode_lz4},
    {RINGIO_CODEC_GZIP, encode_gzip},       {RINGIO_CODEC_ZLIB, encode_zlib},   {RINGIO_CODEC_CRC32C, encode_crc32c},
    {RINGIO_CODEC_SHUFFLE, encode_shuffle}, {RINGIO_CODEC_SWAP, encode_swap},
};
#define ENCODER_COUNT (sizeof encoders / sizeof *encoders)

/* A chain of up to 4 codecs and what 'plain' becomes when it is encoded by it. */
struct encoded {
    struct ringio_chain chain;
    struct ringio_codec codecs[4]; /* in decoding order */
    uint8_t *data;
    size_t nbytes;
};

static int is_exact(uint32_t kind)
{
    return kind == RINGIO_CODEC_CRC32C || kind == RINGIO_CODEC_SHUFFLE || kind == RINGIO_CODEC_SWAP;
}

/* 'indexes' of encoders, in encoding order. */
static void encode(struct encoded *encoded, const size_t *indexes, uint32_t count)
{
    uint8_t *next = malloc(CAPACITY_NBYTES);
    encoded->data = malloc(CAPACITY_NBYTES);
    CHECK(next && encoded->data);
    memcpy(encoded->data, plain, DECODED_NBYTES);
    encoded->nbytes = DECODED_NBYTES;
    encoded->chain = (struct ringio_chain){
        .decoded_nbytes = DECODED_NBYTES, .encoded_nbytes_max = CAPACITY_NBYTES, .codec_count = count};
    uint32_t flags = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t kind = encoders[indexes[i]].kind;
        encoded->codecs[count - 1 - i] = (struct ringio_codec){
            .kind = kind, .itemsize = 2, .decoded_nbytes = flags ? CAPACITY_NBYTES : encoded->nbytes, .flags = flags};
        if (!is_exact(kind))
            flags = RINGIO_CODEC_AT_MOST;
        encoded->nbytes = encoders[indexes[i]].encode((struct span){encoded->data, encoded->nbytes}, next);
        uint8_t *swap = encoded->data;
        encoded->data = next;
        next = swap;
    }
    free(next);
}

static int decodes_to_plain(const struct encoded *encoded, struct span source)
{
    struct span decoded = {0};
    struct codec_error error;
    int status = decode(&encoded->chain, encoded->codecs, source, &decoded, &error);
    CHECK(status == 0 || -status >= RINGIO_EOF); /* nothing here runs out of memory */
    if (status != 0)
        return 0;
    CHECK(decoded.nbytes == DECODED_NBYTES);
    return memcmp(decoded.data, plain, DECODED_NBYTES) == 0;
}

/* -------------------------------------------------------------------------------------------------------- the tests */

static void test_round_trips(void)
{
    for (size_t i = 0; i < ENCODER_COUNT; i++) {
        struct encoded one;
        encode(&one, (size_t[]){i}, 1);
        CHECK(decodes_to_plain(&one, (struct span){one.data, one.nbytes}));
        free(one.data);
        for (size_t j = 1; j < ENCODER_COUNT; j++) { /* blosc only first: its encoder here wants the plain size */
            for (size_t k = 1; k < ENCODER_COUNT; k++) {
                /* these need an even number of bytes, which only the exact ones promise */
                if ((!is_exact(encoders[i].kind) && encoders[j].kind > RINGIO_CODEC_CRC32C) ||
                    ((!is_exact(encoders[i].kind) || !is_exact(encoders[j].kind)) &&
                     encoders[k].kind > RINGIO_CODEC_CRC32C))
                    continue;
                struct encoded chain;
                encode(&chain, (size_t[]){i, j, k}, 3);
                CHECK(decodes_to_plain(&chain, (struct span){chain.data, chain.nbytes}));
                free(chain.data);
            }
        }
    }
}

/* A chunk cut anywhere is refused, and so is one with a byte too many. */
/* Bytes that are wanted are right, whichever they are, alone and with a byte order to be swapped behind. */
static void test_wanted(void)
{
    uint64_t state = 3;
    for (uint32_t count = 1; count <= 2; count++) {
        struct encoded chunk;
        encode(&chunk, count == 1 ? (size_t[]){0} : (size_t[]){7, 0}, count); /* blosc; swap, then blosc */
        for (int i = 0; i < 2000; i++) {
            wanted.first = random_below(&state, DECODED_NBYTES) & ~(size_t)1;
            wanted.end = wanted.first + (random_below(&state, DECODED_NBYTES - wanted.first + 1) & ~(size_t)1);
            struct span decoded = {0}, source = {chunk.data, chunk.nbytes};
            struct codec_error error;
            CHECK(decode(&chunk.chain, chunk.codecs, source, &decoded, &error) == 0);
            CHECK(decoded.nbytes == DECODED_NBYTES);
            CHECK(memcmp(decoded.data + wanted.first, plain + wanted.first, wanted.end - wanted.first) == 0);
        }
        free(chunk.data);
    }
    wanted = (struct interval){0, SIZE_MAX};
}

/* A blosc2 chunk of one value, which may be as long as the chunk: of it, too, all is asked for. */
static void test_long_value(void)
{
    enum { VALUE_NBYTES = DECODED_NBYTES / 4, HEADER_NBYTES = 32 };
    static uint8_t chunk[HEADER_NBYTES + VALUE_NBYTES] = {5, 1, 0x05, 2, [31] = 3 << 4};
    put_u32_le(chunk + 4, (uint32_t)DECODED_NBYTES);
    put_u32_le(chunk + 8, (uint32_t)DECODED_NBYTES);
    put_u32_le(chunk + 12, sizeof chunk);
    memcpy(chunk + HEADER_NBYTES, plain, VALUE_NBYTES);
    struct ringio_codec codec = {.kind = RINGIO_CODEC_BLOSC, .decoded_nbytes = DECODED_NBYTES};
    struct ringio_chain chain = {
        .decoded_nbytes = DECODED_NBYTES, .encoded_nbytes_max = CAPACITY_NBYTES, .codec_count = 1};
    struct span decoded = {0};
    struct codec_error error;
    wanted = (struct interval){600, 900};
    CHECK(decode(&chain, &codec, (struct span){chunk, sizeof chunk}, &decoded, &error) == 0);
    CHECK(decoded.nbytes == DECODED_NBYTES && memcmp(decoded.data + 600, plain + 600, 300) == 0);
    wanted = (struct interval){0, SIZE_MAX};
}

static void test_truncation(void)
{
    for (size_t i = 0; i < ENCODER_COUNT; i++) {
        struct encoded one;
        encode(&one, (size_t[]){i}, 1);
        for (size_t nbytes = 0; nbytes < one.nbytes; nbytes += nbytes < 200 || one.nbytes - nbytes < 200 ? 1 : 61)
            CHECK(!decodes_to_plain(&one, (struct span){one.data, nbytes}));
        one.data[one.nbytes] = 0x55;
        CHECK(!decodes_to_plain(&one, (struct span){one.data, one.nbytes + 1}));
        free(one.data);
    }
}

/* Whatever is changed, the decoder comes back: with other bytes, or with a status. */
static void test_damage(void)
{
    uint64_t state = 3;
    for (size_t i = 0; i < ENCODER_COUNT; i++) {
        struct encoded one;
        encode(&one, (size_t[]){i}, 1);
        for (int round = 0; round < 3000; round++) {
            uint64_t random = random_next(&state);
            /* half of the rounds in the header and the tables behind it */
            size_t at = (size_t)(random >> 16) % (round % 2 ? one.nbytes : 64);
            uint8_t before = one.data[at];
            one.data[at] = (uint8_t)(round % 3 ? before ^ (1u << (random & 7)) : (unsigned)random);
            (void)decodes_to_plain(&one, (struct span){one.data, one.nbytes});
            one.data[at] = before;
        }
        free(one.data);
    }
}

/* Headers that claim far more than the chunk holds are refused before anything is allocated for them. */
static void test_absurd_sizes(void)
{
    for (size_t i = 0; i < ENCODER_COUNT; i++) {
        struct encoded one;
        encode(&one, (size_t[]){i}, 1);
        for (size_t at = 0; at + 8 <= 40; at++) {
            uint8_t before[8];
            memcpy(before, one.data + at, 8);
            memset(one.data + at, 0xff, 8);
            one.data[at + 7] = 0x7f;
            (void)decodes_to_plain(&one, (struct span){one.data, one.nbytes});
            memcpy(one.data + at, before, 8);
        }
        CHECK(decoder_scratch_nbytes(decoder) <= 4 * CAPACITY_NBYTES);
        free(one.data);
    }
}

/* blosclz: matches that refer to nothing, or whose length overflows 32 bits, are refused (c-blosc2 issue 801). */
static void test_blosclz_overflow(void)
{
    enum { STREAM_NBYTES = 9 << 20, HEADER_NBYTES = 16 + 4 + 4 };
    uint8_t *chunk = malloc(HEADER_NBYTES + STREAM_NBYTES), *target = malloc(2 * (size_t)STREAM_NBYTES);
    CHECK(chunk && target);
    memcpy(chunk, (uint8_t[]){2, 1, 0x10, 1}, 4);
    put_u32_le(chunk + 4, 2 * STREAM_NBYTES);
    put_u32_le(chunk + 8, 2 * STREAM_NBYTES);
    put_u32_le(chunk + 12, HEADER_NBYTES + STREAM_NBYTES);
    put_u32_le(chunk + 16, 20);
    put_u32_le(chunk + 20, STREAM_NBYTES);
    memset(chunk + HEADER_NBYTES, 0xff, STREAM_NBYTES);
    memcpy(chunk + HEADER_NBYTES, (uint8_t[]){1, 'a', 'b', 0xe0}, 4); /* two literals, then a long match */
    struct ringio_codec codec = {.kind = RINGIO_CODEC_BLOSC, .decoded_nbytes = 2 * (uint64_t)STREAM_NBYTES};
    struct ringio_chain chain = {
        .decoded_nbytes = codec.decoded_nbytes, .encoded_nbytes_max = UINT64_MAX, .codec_count = 1};
    struct span decoded;
    struct codec_error error;
    struct span source = {chunk, HEADER_NBYTES + STREAM_NBYTES};
    int status = codec_decode_chain(decoder, &chain, &codec, source, NULL, target, (size_t)codec.decoded_nbytes, wanted,
                                    &decoded, NULL, &error);
    CHECK(status == -RINGIO_CORRUPT && error.got == RINGIO_REASON_DATA);
    free(chunk);
    free(target);
}

/* What a failure says: step, got and expected. */
static void test_errors(void)
{
    struct encoded chain;
    struct span decoded;
    struct codec_error error;
    encode(&chain, (size_t[]){1, 5}, 2); /* zstd, then crc32c */
    struct span source = {chain.data, chain.nbytes};
    chain.data[chain.nbytes - 1] ^= 1;
    CHECK(decode(&chain.chain, chain.codecs, source, &decoded, &error) == -RINGIO_CHECKSUM);
    CHECK(error.step == 0 && error.got != error.expected);
    chain.data[chain.nbytes - 1] ^= 1;
    chain.codecs[1].decoded_nbytes = chain.chain.decoded_nbytes = DECODED_NBYTES - 2;
    CHECK(decode(&chain.chain, chain.codecs, source, &decoded, &error) == -RINGIO_WRONG_SIZE);
    CHECK(error.step == 1 && error.got == DECODED_NBYTES && error.expected == DECODED_NBYTES - 2);
    chain.chain.encoded_nbytes_max = chain.nbytes - 1;
    CHECK(decode(&chain.chain, chain.codecs, source, &decoded, &error) == -RINGIO_TOO_LARGE);
    CHECK(error.got == chain.nbytes && error.expected == chain.nbytes - 1);
    chain.chain.encoded_nbytes_max = CAPACITY_NBYTES;
    chain.codecs[0].kind = 99;
    CHECK(decode(&chain.chain, chain.codecs, source, &decoded, &error) == -RINGIO_BAD_PLAN);
    free(chain.data);
}

/* Without a codec the bytes are not touched: decoded is where the source is. */
static void test_no_codec(void)
{
    struct ringio_chain chain = {.decoded_nbytes = RINGIO_SAME_SIZE, .encoded_nbytes_max = UINT64_MAX};
    struct span decoded, source = {plain, 100};
    struct codec_error error;
    CHECK(codec_decode_chain(decoder, &chain, NULL, source, NULL, NULL, 0, wanted, &decoded, NULL, &error) == 0);
    CHECK(decoded.data == plain && decoded.nbytes == 100);
    chain.decoded_nbytes = 99;
    CHECK(codec_decode_chain(decoder, &chain, NULL, source, NULL, NULL, 0, wanted, &decoded, NULL, &error) ==
          -RINGIO_WRONG_SIZE);
}

int main(void)
{
    source_pages = make_guarded();
    target_pages = make_guarded();
    parts_pages = make_guarded();
    decoder = decoder_new();
    CHECK(decoder);
    fill_plain();
    test_round_trips();
    test_wanted();
    test_long_value();
    test_truncation();
    test_damage();
    test_absurd_sizes();
    test_blosclz_overflow();
    test_errors();
    test_no_codec();
    decoder_free(decoder);
    return 0;
}
