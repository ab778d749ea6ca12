/* codec_shuffle.c: numcodecs' byte shuffle: first the first bytes of all elements, then all the second bytes, ... */
#include <blosc2.h>
#include <pthread.h>

#include "codec_private.h"

static void first_use(void)
{
    uint8_t source[2] = {0}, target[2];
    blosc2_unshuffle(2, sizeof source, source, target);
}

void codec_shuffle_prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, first_use);
}

static void unshuffle_any(size_t itemsize, const uint8_t *source, uint8_t *target, size_t nbytes)
{
    size_t count = nbytes / itemsize;
    for (size_t i = 0; i < count; i++) {
        for (size_t byte = 0; byte < itemsize; byte++)
            target[i * itemsize + byte] = source[byte * count + i];
    }
    memcpy(target + count * itemsize, source + count * itemsize, nbytes - count * itemsize);
}

void codec_unshuffle(size_t itemsize, const uint8_t *source, uint8_t *target, size_t nbytes)
{
    /* c-blosc2 has this with vector instructions, up to these limits. */
    if (itemsize <= 256 && nbytes <= INT32_MAX)
        blosc2_unshuffle((int32_t)itemsize, (int32_t)nbytes, source, target);
    else
        unshuffle_any(itemsize, source, target, nbytes);
}

int codec_shuffle_decode(struct decoder *decoder, const struct ringio_codec *codec, struct span source,
                         uint8_t *target, size_t target_nbytes, struct span *decoded, struct codec_error *error)
{
    (void)target_nbytes;
    int status = codec_check_size(codec, error, source.nbytes);
    if (status != 0)
        return status;
    if (codec->itemsize == 0 || source.nbytes % codec->itemsize != 0)
        return codec_corrupt(error, RINGIO_REASON_ITEMSIZE);
    *decoded = (struct span){target, source.nbytes};
    if (codec->itemsize == 1) {
        *decoded = source;
    } else if (codec->itemsize == decoder->planes.count && source.nbytes > 0) {
        for (size_t i = 0; i < codec->itemsize; i++)
            decoder->planes.at[i] = source.data + i * (source.nbytes / codec->itemsize);
        decoded->data = NULL;
    } else {
        codec_unshuffle(codec->itemsize, source.data, target, source.nbytes);
    }
    return 0;
}
