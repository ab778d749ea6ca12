/* codec_crc32c.c: the checksum CRC-32C (Castagnoli). */
#include <pthread.h>

#include "codec_private.h"

#define POLYNOMIAL 0x82f63b78u /* reflected */

/* tables[k][byte]: what 'byte' does to the checksum k bytes later. */
static uint32_t tables[8][256];

static uint32_t crc32c_portable(uint32_t crc, const uint8_t *bytes, size_t nbytes)
{
    for (; nbytes >= 8; bytes += 8, nbytes -= 8) {
        uint32_t low = crc ^ read_u32_le(bytes), high = read_u32_le(bytes + 4);
        crc = tables[7][low & 255] ^ tables[6][low >> 8 & 255] ^ tables[5][low >> 16 & 255] ^ tables[4][low >> 24] ^
              tables[3][high & 255] ^ tables[2][high >> 8 & 255] ^ tables[1][high >> 16 & 255] ^ tables[0][high >> 24];
    }
    for (; nbytes > 0; bytes++, nbytes--)
        crc = crc >> 8 ^ tables[0][(crc ^ *bytes) & 255];
    return crc;
}

static void fill_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        tables[0][byte] = crc;
    }
    for (int k = 1; k < 8; k++) {
        for (uint32_t byte = 0; byte < 256; byte++)
            tables[k][byte] = tables[k - 1][byte] >> 8 ^ tables[0][tables[k - 1][byte] & 255];
    }
}

static uint32_t (*crc32c)(uint32_t crc, const uint8_t *bytes, size_t nbytes) = crc32c_portable;

#if defined(__x86_64__)
#include <nmmintrin.h>

/* The instruction takes 8 bytes, has a latency of three cycles, and one can start every cycle: so three lanes of
   LANE_NBYTES run side by side and are joined.  Joining shifts a checksum over the LANE_NBYTES that follow it, which is
   linear: lane_shift[k][byte] is the shift of 'byte' in the k-th place.  After Mark Adler's crc32c.c. */
#define LANE_NBYTES 1024
static uint32_t lane_shift[4][256];

static void fill_lane_shift(void)
{
    static const uint8_t zeros[LANE_NBYTES];
    for (int k = 0; k < 4; k++) {
        for (uint32_t byte = 0; byte < 256; byte++)
            lane_shift[k][byte] = crc32c_portable(byte << 8 * k, zeros, sizeof zeros);
    }
}

static uint32_t shift_lane(uint32_t crc)
{
    return lane_shift[0][crc & 255] ^ lane_shift[1][crc >> 8 & 255] ^ lane_shift[2][crc >> 16 & 255] ^
           lane_shift[3][crc >> 24];
}

static uint64_t read_u64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *bytes, size_t nbytes)
{
    for (; nbytes >= 3 * LANE_NBYTES; bytes += 3 * LANE_NBYTES, nbytes -= 3 * LANE_NBYTES) {
        uint64_t first = crc, second = 0, third = 0;
        for (size_t i = 0; i < LANE_NBYTES; i += 8) {
            first = _mm_crc32_u64(first, read_u64(bytes + i));
            second = _mm_crc32_u64(second, read_u64(bytes + LANE_NBYTES + i));
            third = _mm_crc32_u64(third, read_u64(bytes + 2 * LANE_NBYTES + i));
        }
        crc = shift_lane(shift_lane((uint32_t)first) ^ (uint32_t)second) ^ (uint32_t)third;
    }
    for (; nbytes >= 8; bytes += 8, nbytes -= 8)
        crc = (uint32_t)_mm_crc32_u64(crc, read_u64(bytes));
    for (; nbytes > 0; bytes++, nbytes--)
        crc = _mm_crc32_u8(crc, *bytes);
    return crc;
}
#endif

static void choose_crc32c(void)
{
    fill_tables();
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        fill_lane_shift();
        crc32c = crc32c_sse42;
    }
#endif
}

static uint32_t checksum(struct span data)
{
    return ~crc32c(UINT32_MAX, data.data, data.nbytes);
}

int codec_crc32c_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source, uint8_t *target,
                        size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    (void)decoder;
    (void)target;
    (void)target_nbytes;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose_crc32c);
    return codec_checksum_verify(codec, checksum, source, decoded, error);
}
