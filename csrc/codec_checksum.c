/* codec_checksum.c: four bytes behind or in front of the data hold its checksum, little-endian.  Nothing is copied. */
#include <libdeflate.h>

#include "codec_private.h"

int codec_checksum_verify(const struct ringio_codec *codec, checksum_fn *checksum, struct span source,
                          struct span *decoded, struct codec_error *error)
{
    if (source.nbytes < CHECKSUM_NBYTES)
        return codec_corrupt(error, RINGIO_REASON_TRUNCATED);
    size_t nbytes = source.nbytes - CHECKSUM_NBYTES;
    int status = codec_check_size(codec, error, nbytes);
    if (status != 0)
        return status;
    int front = (codec->flags & RINGIO_CODEC_FRONT) != 0;
    struct span data = {source.data + (front ? CHECKSUM_NBYTES : 0), nbytes};
    uint32_t stored = read_u32_le(front ? source.data : source.data + nbytes);
    uint32_t computed = checksum(data);
    if (computed != stored) {
        error->got = computed;
        error->expected = stored;
        return -RINGIO_CHECKSUM;
    }
    *decoded = data;
    return 0;
}

static uint32_t crc32(struct span data)
{
    return libdeflate_crc32(0, data.data, data.nbytes);
}

static uint32_t adler32(struct span data)
{
    return libdeflate_adler32(1, data.data, data.nbytes);
}

/* A sum as it is after a carry was added to it: 0xffff stays what it is, though it is 0 modulo 0xffff.  HDF5 stores it
   like that. */
static uint32_t fold(uint32_t sum)
{
    return (sum & 0xffff) + (sum >> 16);
}

#define WORDS_MAX 360 /* so many words cannot overflow the second sum */

static uint32_t fletcher32(struct span data)
{
    uint32_t first = 0, second = 0;
    const uint8_t *bytes = data.data;
    for (size_t left = data.nbytes / 2; left > 0;) {
        size_t count = left < WORDS_MAX ? left : WORDS_MAX;
        left -= count;
        for (; count > 0; count--, bytes += 2) {
            first += (uint32_t)bytes[0] << 8 | bytes[1];
            second += first;
        }
        first = fold(first);
        second = fold(second);
    }
    if (data.nbytes % 2) {
        first = fold(first + ((uint32_t)bytes[0] << 8));
        second = fold(second + first);
    }
    return fold(second) << 16 | fold(first);
}

int codec_checksum_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source,
                          uint8_t *target, size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    (void)decoder;
    (void)target;
    (void)target_nbytes;
    checksum_fn *checksum = codec->kind == RINGIO_CODEC_CRC32     ? crc32
                            : codec->kind == RINGIO_CODEC_ADLER32 ? adler32
                                                                  : fletcher32;
    return codec_checksum_verify(codec, checksum, source, decoded, error);
}
