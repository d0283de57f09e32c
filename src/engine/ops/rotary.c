/* rotary: positions told by turning (Su et al. 2021, RoFormer; pairs as GPT-NeoX has them). x
 * [tokens, w] holds per head d = width / heads columns from column[0] on (queries) and from
 * column[1] on (keys); with p the token's place in its sequence and r the turned columns of a head,
 *   y[i]         = x[i] cos(p f_i) - x[i + r / 2] sin(p f_i)
 *   y[i + r / 2] = x[i + r / 2] cos(p f_i) + x[i] sin(p f_i)      0 <= i < r / 2
 * and y = x in all other columns. Input 1 is a constant [max_tokens, r]: a place's r / 2 cosines,
 * then its sines. attr: heads, width, column. */
#include "shape.h"

static struct err *rotary_shape(struct graph *g, const struct node *n)
{
    const struct value *x = node_in(g, n, 0);
    const struct attr *a = &n->attr;
    if (n->n_in != 2 || x->rank != 2 || x->dim[0] != DIM_TOKENS)
        return shape_refuse(n, "something other than tokens");
    if (a->heads == 0 || a->width % a->heads || x->dim[1] < (int64_t)a->column[0] + a->width ||
        x->dim[1] < (int64_t)a->column[1] + a->width)
        return shape_refuse(n, "an input that is too narrow");
    const struct value *table = node_in(g, n, 1);
    if (table->rank != 2 || !table->data || table->dim[1] % 2 ||
        table->dim[1] > a->width / a->heads)
        return shape_refuse(n, "a table that does not fit its heads");
    return shape_out(g, n, DIM_TOKENS, x->dim[1]);
}

static void turn(float *x, const float *cosines, const float *sines, size_t half)
{
    for (size_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cosines[i] - b * sines[i];
        x[i + half] = b * cosines[i] + a * sines[i];
    }
}

static void rotary_run(const struct node *n, struct frame *f, const struct part *part)
{
    struct part p = part_rows(part);
    size_t width = value_width(&f->graph->values[n->out]);
    size_t half = value_width(&f->graph->values[n->in[1]]) / 2;
    size_t d = n->attr.width / n->attr.heads;
    size_t s = p.begin < p.end ? batch_sequence(f->batch, p.begin) : 0;
    for (size_t row = p.begin; row < p.end; row++) {
        while (row >= f->batch->offsets[s + 1])
            s++;
        const float *table = frame_row(f, n->in[1], row - f->batch->offsets[s]);
        float *y = frame_row(f, n->out, row);
        memcpy(y, frame_row(f, n->in[0], row), width * sizeof(*y));
        for (int part_of = 0; part_of < 2; part_of++)
            for (size_t h = 0; h < n->attr.heads; h++)
                turn(y + n->attr.column[part_of] + h * d, table, table + half, half);
    }
}

const struct op op_rotary = {
    .name = "rotary",
    .kind = OP_ROWS,
    .shape = rotary_shape,
    .run = rotary_run,
};
