/* embed: y [tokens, h] = word[id] + type[type_id] + position[position_base + place in its
 * sequence]; inputs word [vocab, h], position [positions, h], type [types, h] (optional). The ids
 * are the batch's and were checked against the tables by session_run; of a table with one type
 * that row is everyone's. attr: position_base, pads; placeless: there is no table of positions.
 *
 * With pads (RoBERTa, MPNet) the padding's id is position_base - 1, and a text may spell it out:
 * such a token has that position, and those behind it are counted as if it was not there. */
#include "shape.h"

static struct err *embed_shape(struct graph *g, const struct node *n)
{
    uint32_t fewest = n->attr.placeless ? 1 : 2;
    if (n->n_in < fewest || n->n_in > fewest + 1)
        return shape_refuse(n, "a wrong number of tables");
    int64_t width = node_in(g, n, 0)->dim[1];
    for (uint32_t i = 0; i < n->n_in; i++)
        if (!is_matrix(node_in(g, n, i), width))
            return shape_refuse(n, "tables of different width");
    return shape_out(g, n, DIM_TOKENS, width);
}

/* Tokens that count before `row` in its sequence, which begins at `begin`. */
static size_t place_of(const struct attr *a, const struct token_batch *b, size_t begin, size_t row)
{
    size_t place = row - begin;
    for (size_t i = begin; a->pads && i < row; i++)
        place -= (uint32_t)b->ids[i] == a->position_base - 1;
    return place;
}

/* word + type, if there are types. */
static void embed_token(const struct node *n, struct frame *f, size_t row, float *y)
{
    const struct token_batch *b = f->batch;
    const float *word = frame_row(f, n->in[0], (size_t)b->ids[row]);
    size_t width = value_width(&f->graph->values[n->out]);
    uint32_t types = n->attr.placeless ? 1 : 2;
    if (n->n_in == types) {
        memcpy(y, word, width * sizeof(*y));
        return;
    }
    bool typed = b->type_ids && f->graph->values[n->in[types]].dim[0] > 1;
    size_t type = typed ? (size_t)b->type_ids[row] : 0;
    f->kernels->add(word, frame_row(f, n->in[types], type), width, y);
}

static void embed_run(const struct node *n, struct frame *f, const struct part *part)
{
    const struct token_batch *b = f->batch;
    struct part p = part_rows(part);
    size_t width = value_width(&f->graph->values[n->out]);
    size_t place = 0;
    size_t s = p.begin < p.end ? batch_sequence(b, p.begin) : 0;
    for (size_t row = p.begin; row < p.end; row++) {
        float *y = frame_row(f, n->out, row);
        embed_token(n, f, row, y);
        if (n->attr.placeless)
            continue;
        while (row >= b->offsets[s + 1])
            s++;
        if (row == p.begin || row == b->offsets[s])
            place = place_of(&n->attr, b, b->offsets[s], row);
        bool padding = n->attr.pads && (uint32_t)b->ids[row] == n->attr.position_base - 1;
        size_t position = padding ? n->attr.position_base - 1 : n->attr.position_base + place++;
        f->kernels->add(y, frame_row(f, n->in[1], position), width, y);
    }
}

const struct op op_embed = {
    .name = "embed",
    .kind = OP_ROWS,
    .shape = embed_shape,
    .run = embed_run,
};
