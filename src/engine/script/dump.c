/* A script as text: a line for each node, constants where they are used.
 *
 *     forward(%0, %1):
 *       %5 = aten::embedding(tensor<F32 [132, 32]>, %0, 0)
 *       return %5
 */
#include "buf.h"
#include "script.h"
#include "tensor.h"

#define TEXT_MOST 40 /* bytes shown of a string */

static void dump_tensor(const struct script_tensor *t, struct buf *out)
{
    buf_printf(out, "tensor<%s [", dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++)
        buf_printf(out, "%s%lld", i ? ", " : "", (long long)t->dim[i]);
    buf_cstr(out, "]>");
}

static void dump_constant(const struct script_value *v, struct buf *out)
{
    const char *brackets = v->kind == SCRIPT_LIST ? "[]" : v->kind == SCRIPT_TUPLE ? "()" : "{}";
    switch (v->kind) {
    case SCRIPT_NONE:
        buf_cstr(out, "None");
        return;
    case SCRIPT_BOOL:
        buf_cstr(out, v->b ? "True" : "False");
        return;
    case SCRIPT_INT:
        buf_printf(out, "%lld", (long long)v->i);
        return;
    case SCRIPT_FLOAT:
        buf_printf(out, "%.17g%s", v->f, v->f == (double)(int)v->f ? "." : "");
        return;
    case SCRIPT_STR:
    case SCRIPT_DEVICE:
        buf_printf(out, "\"%.*s\"", (int)(v->s.n < TEXT_MOST ? v->s.n : TEXT_MOST), v->s.p);
        return;
    case SCRIPT_TENSOR:
        dump_tensor(&v->tensor, out);
        return;
    case SCRIPT_PACKED:
        buf_cstr(out, "packed ");
        dump_tensor(&v->packed->weight, out);
        return;
    default:
        break;
    }
    buf_char(out, brackets[0]);
    for (size_t i = 0; i < v->list.n && !out->full; i++) {
        buf_cstr(out, i ? ", " : "");
        dump_constant(v->list.items[i], out);
    }
    buf_char(out, brackets[1]);
}

static void dump_values(const struct script *s, const uint32_t *values, uint32_t n,
                        const char **keywords, struct buf *out)
{
    for (uint32_t i = 0; i < n && !out->full; i++) {
        buf_cstr(out, i ? ", " : "");
        if (keywords && keywords[i])
            buf_printf(out, "%s=", keywords[i]);
        if (s->constants[values[i]])
            dump_constant(s->constants[values[i]], out);
        else
            buf_printf(out, "%%%u", values[i]);
    }
}

static void dump_block(const struct script *s, const struct script_block *b, int indent,
                       struct buf *out);

static void dump_node(const struct script *s, const struct script_node *n, int indent,
                      struct buf *out)
{
    buf_printf(out, "%*s", indent, "");
    dump_values(s, n->out, n->n_out, NULL, out);
    buf_printf(out, "%s%s(", n->n_out ? " = " : "", script_op_name(n->op));
    dump_values(s, n->in, n->n_in, n->keywords, out);
    buf_cstr(out, ")\n");
    for (int i = 0; i < 2 && n->body[i]; i++) {
        buf_printf(out, "%*sblock(", indent + 2, "");
        dump_values(s, n->body[i]->params, n->body[i]->n_params, NULL, out);
        buf_cstr(out, "):\n");
        dump_block(s, n->body[i], indent + 4, out);
    }
}

static void dump_block(const struct script *s, const struct script_block *b, int indent,
                       struct buf *out)
{
    for (uint32_t i = 0; i < b->n_nodes && !out->full; i++)
        dump_node(s, &b->nodes[i], indent, out);
    buf_printf(out, "%*sreturn ", indent, "");
    dump_values(s, b->results, b->n_results, NULL, out);
    buf_char(out, '\n');
}

void script_dump(const struct script *s, struct buf *out)
{
    buf_cstr(out, "forward(");
    for (uint32_t i = 0; i < s->n_args; i++)
        buf_printf(out, "%s%%%u", i ? ", " : "", i);
    buf_cstr(out, "):\n");
    dump_block(s, s->forward, 2, out);
}
