#define _GNU_SOURCE
#include "task.h"

#include <string.h>

#include "scatter.h"
#include "trace.h"

/* ------------------------------------------------------------------------------------------------- checks of a plan */

static int layouts_fit(const struct ringio_plan *plan)
{
    for (uint64_t i = 0; i < plan->layout_count; i++) {
        const struct ringio_layout *layout = &plan->layouts[i];
        if (layout->target >= plan->target_count || layout->itemsize == 0)
            return 0;
        if (layout->fill_offset != RINGIO_NO_FILL &&
            (layout->fill_offset > plan->fill_values_nbytes ||
             layout->itemsize > plan->fill_values_nbytes - layout->fill_offset))
            return 0;
    }
    return 1;
}

static int chains_fit(const struct ringio_plan *plan)
{
    for (uint64_t i = 0; i < plan->chain_count; i++) {
        const struct ringio_chain *chain = &plan->chains[i];
        if (chain->first_codec > plan->codec_count || chain->codec_count > plan->codec_count - chain->first_codec)
            return 0;
        if (chain->codec_count == 0)
            continue;
        const struct ringio_codec *last = &plan->codecs[chain->first_codec + chain->codec_count - 1];
        if (chain->decoded_nbytes == RINGIO_SAME_SIZE || last->flags & RINGIO_CODEC_AT_MOST)
            return 0; /* the size of the decoded chunk must be known */
    }
    return 1;
}

static int paths_fit(const struct ringio_plan *plan)
{
    if (plan->paths_nbytes && plan->paths[plan->paths_nbytes - 1] != 0)
        return 0;
    for (uint64_t i = 0; i < plan->file_count; i++)
        if (!plan->files[i].data && plan->files[i].path_offset >= plan->paths_nbytes)
            return 0;
    return 1;
}

int task_check_plan(const struct ringio_plan *plan)
{
    int fits = plan->dim_count <= RINGIO_MAX_DIMS && plan->request_count < UINT64_MAX / 2 && layouts_fit(plan) &&
               chains_fit(plan) && paths_fit(plan);
    return fits ? 0 : -RINGIO_BAD_PLAN;
}

static int bad_plan(struct ringio_failure *failure, uint64_t what)
{
    failure->got = what;
    failure->expected = 0;
    return -RINGIO_BAD_PLAN;
}

int task_check(const struct ringio_plan *plan, const struct ringio_task *task, struct ringio_failure *failure)
{
    if (task->chain >= plan->chain_count)
        return bad_plan(failure, RINGIO_PLAN_CHAIN);
    if (task->first_projection > plan->projection_count ||
        task->projection_count > plan->projection_count - task->first_projection)
        return bad_plan(failure, RINGIO_PLAN_PROJECTION);
    for (uint32_t i = 0; i < task->projection_count; i++)
        if (plan->projections[task->first_projection + i].layout >= plan->layout_count)
            return bad_plan(failure, RINGIO_PLAN_LAYOUT);
    return 0;
}

/* --------------------------------------------------------------------------------------------------- one projection */

static const struct ringio_layout *layout_of(const struct ringio_plan *plan, uint64_t projection)
{
    return &plan->layouts[plan->projections[projection].layout];
}

static uint8_t *target_of(const struct ringio_plan *plan, uint64_t projection)
{
    return (uint8_t *)(uintptr_t)plan->targets[layout_of(plan, projection)->target].data;
}

static int prepare(const struct ringio_plan *plan, uint64_t projection, int fill, uint64_t source_nbytes,
                   struct scatter_walk *walk, struct ringio_failure *failure)
{
    const struct ringio_layout *layout = layout_of(plan, projection);
    failure->expected = 0;
    return scatter_prepare(walk, &plan->projections[projection], layout, plan->counts + projection * plan->dim_count,
                           (uint32_t)plan->dim_count, fill, source_nbytes, plan->targets[layout->target].nbytes,
                           &failure->got);
}

/* Where a decoded chunk of 'decoded_nbytes' lands in one piece, or NULL. */
static uint8_t *whole_place(const struct ringio_plan *plan, const struct ringio_task *task, uint64_t decoded_nbytes)
{
    struct scatter_walk walk;
    struct ringio_failure ignored;
    if (task->projection_count != 1 || prepare(plan, task->first_projection, 0, decoded_nbytes, &walk, &ignored) ||
        !scatter_is_whole(&walk, decoded_nbytes))
        return NULL;
    return target_of(plan, task->first_projection) + walk.target_offset;
}

uint8_t *task_walk(const struct ringio_plan *plan, const struct ringio_task *task, uint64_t source_nbytes,
                   struct scatter_walk *walk)
{
    const struct ringio_chain *chain = &plan->chains[task->chain];
    struct ringio_failure ignored;
    if (chain->codec_count || (chain->decoded_nbytes != RINGIO_SAME_SIZE && chain->decoded_nbytes != source_nbytes) ||
        task->projection_count != 1 || prepare(plan, task->first_projection, 0, source_nbytes, walk, &ignored))
        return NULL;
    return target_of(plan, task->first_projection);
}

uint8_t *task_place(const struct ringio_plan *plan, const struct ringio_task *task, uint64_t source_nbytes)
{
    struct scatter_walk walk;
    uint8_t *target = task_walk(plan, task, source_nbytes, &walk);
    return target && scatter_is_whole(&walk, source_nbytes) ? target + walk.target_offset : NULL;
}

uint64_t task_scratch_nbytes(const struct ringio_plan *plan, const struct ringio_task *task)
{
    const struct ringio_chain *chain = &plan->chains[task->chain];
    if (chain->codec_count == 0 || whole_place(plan, task, chain->decoded_nbytes))
        return 0;
    return chain->decoded_nbytes;
}

/* ----------------------------------------------------------------------------------------------------- a whole task */

/* What the projections of a task want of its decoded chunk.  A box that reaches outside is refused later, by
   prepare(). */
static struct interval wanted_bytes(const struct ringio_plan *plan, const struct ringio_task *task)
{
    struct interval wanted = {SIZE_MAX, 0};
    for (uint32_t i = 0; i < task->projection_count; i++) {
        uint64_t projection = task->first_projection + i;
        struct interval part;
        if (!scatter_source_span(&plan->projections[projection], layout_of(plan, projection),
                                 plan->counts + projection * plan->dim_count, (uint32_t)plan->dim_count, &part.first,
                                 &part.end))
            continue;
        wanted.first = part.first < wanted.first ? part.first : wanted.first;
        wanted.end = part.end > wanted.end ? part.end : wanted.end;
    }
    return wanted;
}

uint64_t task_parts_nbytes(const struct ringio_plan *plan, const struct ringio_task *task, uint64_t source_nbytes)
{
    const struct ringio_chain *chain = &plan->chains[task->chain];
    if (!codec_takes_parts(chain, plan->codecs))
        return source_nbytes;
    struct interval wanted = wanted_bytes(plan, task);
    if (wanted.first >= wanted.end || wanted.end - wanted.first >= chain->decoded_nbytes)
        return source_nbytes;
    double share = (double)(wanted.end - wanted.first) / (double)chain->decoded_nbytes;
    uint64_t stream_count = layout_of(plan, task->first_projection)->itemsize; /* if each byte of an element is one */
    uint64_t nbytes = (uint64_t)((double)source_nbytes * share) + stream_count * PARTS_READ_NBYTES_MIN;
    return nbytes < source_nbytes ? nbytes : source_nbytes;
}

/* Decodes 'source' to 'target', or to 'planes', or not at all where it is decoded already. */
static int decode(const struct ringio_plan *plan, const struct ringio_task *task, struct span source,
                  struct parts *parts, uint8_t *target, struct interval wanted, struct decoder *decoder,
                  struct span *decoded, struct planes *planes, struct ringio_failure *failure)
{
    const struct ringio_chain *chain = &plan->chains[task->chain];
    if (chain->codec_count == 0) {
        if (planes)
            planes->count = 0;
        *decoded = source;
        if (chain->decoded_nbytes == RINGIO_SAME_SIZE || chain->decoded_nbytes == source.nbytes)
            return 0;
        failure->got = source.nbytes;
        failure->expected = chain->decoded_nbytes;
        return -RINGIO_WRONG_SIZE;
    }
    struct codec_error error = {0};
    int status = codec_decode_chain(decoder, chain, plan->codecs, source, parts, target,
                                    (size_t)chain->decoded_nbytes, wanted, decoded, planes, &error);
    failure->got = error.got;
    failure->expected = error.expected;
    failure->step = error.step;
    return status;
}

/* Notes the decoding that began at 'begin_ns', if there was any to do; returns when what follows begins. */
static uint64_t trace_decoded(const struct ringio_plan *plan, const struct ringio_task *task, uint64_t begin_ns,
                              uint64_t nbytes)
{
    return plan->chains[task->chain].codec_count ? trace_end(RINGIO_EVENT_DECODE, begin_ns, nbytes, 1) : begin_ns;
}

static void copy(const struct scatter_walk *walk, const uint8_t *decoded, uint8_t *target)
{
    if (walk->row_nbytes && decoded + walk->source_offset != target + walk->target_offset)
        scatter_copy(walk, decoded, target);
}

/* A chunk with one box, as most are: the box is looked at once, before decoding, for the target's cache lines take as
   long to come as a small chunk to decode. */
static int run_one_box(const struct ringio_plan *plan, const struct ringio_task *task, struct span source,
                       struct parts *parts, uint64_t decoded_nbytes, uint8_t *scratch, struct decoder *decoder,
                       struct span *decoded, struct ringio_failure *failure)
{
    struct scatter_walk walk;
    uint8_t *target = target_of(plan, task->first_projection);
    int status = prepare(plan, task->first_projection, 0, decoded_nbytes, &walk, failure);
    if (status)
        return status;
    scatter_prefetch(&walk, target);
    uint8_t *place = scatter_is_whole(&walk, decoded_nbytes) ? target + walk.target_offset : scratch;
    struct interval wanted = {walk.source_first, walk.source_end};
    struct planes planes = {.count = place == scratch && scatter_takes_planes(&walk) ? walk.itemsize : 0};
    uint64_t begin_ns = trace_begin();
    status = decode(plan, task, source, parts, place, wanted, decoder, decoded, &planes, failure);
    if (status)
        return status;
    uint64_t decoded_ns = trace_decoded(plan, task, begin_ns, decoded->nbytes);
    if (planes.count)
        scatter_join(&walk, &planes, target);
    else
        copy(&walk, decoded->data, target);
    trace_end(RINGIO_EVENT_SCATTER, decoded_ns, decoded->nbytes, 1);
    return 0;
}

static int run_boxes(const struct ringio_plan *plan, const struct ringio_task *task, struct span source,
                     struct parts *parts, uint8_t *scratch, struct decoder *decoder, struct span *decoded,
                     struct ringio_failure *failure)
{
    uint64_t begin_ns = trace_begin();
    int status = decode(plan, task, source, parts, scratch, wanted_bytes(plan, task), decoder, decoded, NULL, failure);
    if (status)
        return status;
    uint64_t decoded_ns = trace_decoded(plan, task, begin_ns, decoded->nbytes);
    for (uint32_t i = 0; status == 0 && i < task->projection_count; i++) {
        struct scatter_walk walk;
        status = prepare(plan, task->first_projection + i, 0, decoded->nbytes, &walk, failure);
        if (status == 0)
            copy(&walk, decoded->data, target_of(plan, task->first_projection + i));
    }
    trace_end(RINGIO_EVENT_SCATTER, decoded_ns, decoded->nbytes, task->projection_count);
    return status;
}

int task_run(const struct ringio_plan *plan, const struct ringio_task *task, struct span source, struct parts *parts,
             uint8_t *scratch, struct decoder *decoder, struct counters *counters, struct ringio_failure *failure)
{
    const struct ringio_chain *chain = &plan->chains[task->chain];
    uint64_t decoded_nbytes = chain->decoded_nbytes == RINGIO_SAME_SIZE ? source.nbytes : chain->decoded_nbytes;
    struct span decoded;
    int status = task->projection_count == 1
                     ? run_one_box(plan, task, source, parts, decoded_nbytes, scratch, decoder, &decoded, failure)
                     : run_boxes(plan, task, source, parts, scratch, decoder, &decoded, failure);
    if (status)
        return status;
    counter_add(&counters->tasks, 1);
    counter_add(&counters->projections, task->projection_count);
    counter_add(&counters->bytes_asked, source.nbytes);
    counter_add(&counters->bytes_decoded, decoded.nbytes);
    return 0;
}

int task_fill(const struct ringio_plan *plan, const struct ringio_task *task, struct counters *counters,
              struct ringio_failure *failure)
{
    uint64_t begin_ns = trace_begin();
    for (uint32_t i = 0; i < task->projection_count; i++) {
        uint64_t projection = task->first_projection + i;
        const struct ringio_layout *layout = layout_of(plan, projection);
        if (layout->fill_offset == RINGIO_NO_FILL)
            return bad_plan(failure, RINGIO_PLAN_FILL);
        struct scatter_walk walk;
        int status = prepare(plan, projection, 1, 0, &walk, failure);
        if (status)
            return status;
        if (walk.row_nbytes)
            scatter_fill(&walk, plan->fill_values + layout->fill_offset, target_of(plan, projection));
    }
    trace_end(RINGIO_EVENT_FILL, begin_ns, 0, task->projection_count);
    counter_add(&counters->tasks, 1);
    counter_add(&counters->projections, task->projection_count);
    return 0;
}
