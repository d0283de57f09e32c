/* embed: y [tokens, h] = word[id] + type[type_id] + position[position_base + place in its
 * sequence]; inputs word [vocab, h], position [positions, h], type [types, h] (optional). The ids
 * are the batch's and were checked against the tables by session_run. attr: position_base. */
#include "shape.h"

static struct err *embed_shape(struct graph *g, const struct node *n)
{
    if (n->n_in < 2 || n->n_in > 3)
        return shape_refuse(n, "neither two nor three tables");
    int64_t width = node_in(g, n, 0)->dim[1];
    for (uint32_t i = 0; i < n->n_in; i++)
        if (!is_matrix(node_in(g, n, i), width))
            return shape_refuse(n, "tables of different width");
    return shape_out(g, n, DIM_TOKENS, width);
}

/* The sequence that holds token `row`. */
static size_t sequence_of(const struct token_batch *b, size_t row)
{
    size_t low = 0, high = b->n_sequences;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (b->offsets[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void embed_run(const struct node *n, struct frame *f, const struct part *part)
{
    const struct token_batch *b = f->batch;
    struct part p = part_rows(part);
    size_t width = value_width(&f->graph->values[n->out]);
    size_t s = p.begin < p.end ? sequence_of(b, p.begin) : 0;
    for (size_t row = p.begin; row < p.end; row++) {
        while (row >= b->offsets[s + 1])
            s++;
        size_t position = row - b->offsets[s] + n->attr.position_base;
        size_t type = b->type_ids ? (size_t)b->type_ids[row] : 0;
        float *y = frame_row(f, n->out, row);
        const float *word = frame_row(f, n->in[0], (size_t)b->ids[row]);
        if (n->n_in == 3)
            f->kernels->add(word, frame_row(f, n->in[2], type), width, y);
        f->kernels->add(n->n_in == 3 ? y : word, frame_row(f, n->in[1], position), width, y);
    }
}

const struct op op_embed = {
    .name = "embed",
    .kind = OP_ROWS,
    .shape = embed_shape,
    .run = embed_run,
};
