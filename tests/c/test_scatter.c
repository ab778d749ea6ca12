/* Goal: scatter_copy() and scatter_fill() do what one loop over all elements does, for any strides and steps, and
   scatter_prepare() refuses exactly the boxes that reach outside. */
#include <string.h>

#include "check.h"
#include "scatter.h"

struct example {
    uint32_t dim_count, itemsize;
    int64_t counts[RINGIO_MAX_DIMS];
    struct ringio_projection projection;
    struct ringio_layout layout;
    uint64_t source_nbytes, target_nbytes;
};

/* Strides of a random order of dimensions, so that elements never overlap; some negative.  Sets the offset of the first
   element; returns how many bytes there are. */
static uint64_t random_strides(struct example *example, int64_t *strides, int64_t *offset, uint64_t *state)
{
    uint32_t order[RINGIO_MAX_DIMS];
    for (uint32_t i = 0; i < example->dim_count; i++) {
        uint32_t j = (uint32_t)random_below(state, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    int64_t stride = example->itemsize;
    *offset = (int64_t)random_below(state, 9);
    int64_t reach = *offset + stride;
    for (uint32_t i = 0; i < example->dim_count; i++) {
        uint32_t dim = order[i];
        if (random_below(state, 3) == 0)
            stride += (int64_t)(example->itemsize * random_below(state, 3)); /* a gap or a step */
        int64_t span = (example->counts[dim] - 1) * stride;
        strides[dim] = stride;
        if (random_below(state, 4) == 0) {
            strides[dim] = -stride;
            *offset += span;
        }
        reach += span;
        stride *= example->counts[dim];
    }
    return (uint64_t)reach;
}

static struct example random_example(uint64_t *state)
{
    const uint32_t itemsizes[] = {1, 2, 3, 4, 8, 16, 40};
    struct example example = {.dim_count = (uint32_t)random_below(state, 6),
                              .itemsize = itemsizes[random_below(state, 7)]};
    for (uint32_t dim = 0; dim < example.dim_count; dim++)
        example.counts[dim] = 1 + (int64_t)random_below(state, 5);
    example.layout.itemsize = example.itemsize;
    struct ringio_layout *layout = &example.layout;
    struct ringio_projection *projection = &example.projection;
    example.source_nbytes = random_strides(&example, layout->source_strides, &projection->source_offset, state);
    example.target_nbytes = random_strides(&example, layout->target_strides, &projection->target_offset, state);
    return example;
}

static void naive_copy(const struct example *example, const uint8_t *source, uint8_t *target, int fill)
{
    int64_t position[RINGIO_MAX_DIMS] = {0};
    for (;;) {
        int64_t from = example->projection.source_offset, to = example->projection.target_offset;
        for (uint32_t dim = 0; dim < example->dim_count; dim++) {
            from += position[dim] * example->layout.source_strides[dim];
            to += position[dim] * example->layout.target_strides[dim];
        }
        memcpy(target + to, fill ? source : source + from, example->itemsize);
        uint32_t dim = example->dim_count;
        while (dim > 0 && ++position[dim - 1] == example->counts[dim - 1])
            position[--dim] = 0;
        if (dim == 0)
            return;
    }
}

static int prepare(const struct example *example, struct scatter_walk *walk, int fill)
{
    uint64_t reason;
    return scatter_prepare(walk, &example->projection, &example->layout, example->counts, example->dim_count, fill,
                           example->source_nbytes, example->target_nbytes, &reason);
}

static void test_example(struct example example, uint64_t *state)
{
    uint8_t *source = make_array(example.source_nbytes, 1);
    uint8_t *target = make_array(example.target_nbytes, 1), *expected = make_array(example.target_nbytes, 1);
    for (uint64_t i = 0; i < example.source_nbytes; i++)
        source[i] = (uint8_t)(1 + random_below(state, 255));
    for (int fill = 0; fill < 2; fill++) {
        struct scatter_walk walk;
        CHECK(prepare(&example, &walk, fill) == 0);
        memset(target, 0, example.target_nbytes);
        memset(expected, 0, example.target_nbytes);
        if (fill)
            scatter_fill(&walk, source, target);
        else
            scatter_copy(&walk, source, target);
        naive_copy(&example, source, expected, fill);
        CHECK(memcmp(target, expected, example.target_nbytes) == 0);
        if (!fill && scatter_is_whole(&walk, example.source_nbytes))
            CHECK(memcmp(target + walk.target_offset, source, example.source_nbytes) == 0);
    }
    struct scatter_walk walk;
    struct example small = example; /* the boxes reach to the last byte of both */
    small.target_nbytes--;
    CHECK(prepare(&small, &walk, 0) == -RINGIO_BAD_PLAN && prepare(&small, &walk, 1) == -RINGIO_BAD_PLAN);
    small = example;
    small.source_nbytes--;
    CHECK(prepare(&small, &walk, 0) == -RINGIO_BAD_PLAN && prepare(&small, &walk, 1) == 0);
    small = example;
    small.projection.target_offset = -1;
    CHECK(prepare(&small, &walk, 0) == -RINGIO_BAD_PLAN);
    free(source);
    free(target);
    free(expected);
}

int main(void)
{
    uint64_t state = 1;
    for (int i = 0; i < 20000; i++)
        test_example(random_example(&state), &state);
    struct scatter_walk walk;
    struct example huge = {.dim_count = 2, .itemsize = 8, .counts = {INT64_MAX, INT64_MAX}};
    huge.layout.itemsize = 8;
    huge.layout.target_strides[0] = huge.layout.target_strides[1] = INT64_MAX;
    huge.source_nbytes = huge.target_nbytes = UINT64_MAX;
    CHECK(prepare(&huge, &walk, 0) == -RINGIO_BAD_PLAN);
    return 0;
}
