/* Any bytes as the source text of a model, with a few constants: what loads is shown as text, and
 * every value that a node reads was written before it. */
#include "archive_testing.h"
#include "bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* For each value: written at all, and to be seen from here (not within a block that is over). */
struct seen {
    bool *written, *visible;
};

static void check_reads(const struct script *s, const struct seen *v, const uint32_t *in,
                        uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        BUG_ON(!s->constants[in[i]] && !v->visible[in[i]]);
}

static void check_writes(const struct script *s, struct seen *v, const uint32_t *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        BUG_ON(s->constants[out[i]] || v->written[out[i]]);
        v->written[out[i]] = v->visible[out[i]] = true;
    }
}

static void hide(struct seen *v, const uint32_t *values, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        v->visible[values[i]] = false;
}

static void check_block(const struct script *s, const struct script_block *b, struct seen *v)
{
    check_writes(s, v, b->params, b->n_params);
    for (uint32_t i = 0; i < b->n_nodes; i++) {
        const struct script_node *node = &b->nodes[i];
        check_reads(s, v, node->in, node->n_in);
        for (int j = 0; j < 2 && node->body[j]; j++) {
            uint32_t carried = node->op == SCRIPT_OP_prim_Loop;
            BUG_ON(node->body[j]->n_results != node->n_out + carried);
            check_block(s, node->body[j], v);
        }
        check_writes(s, v, node->out, node->n_out);
    }
    check_reads(s, v, b->results, b->n_results);
    hide(v, b->params, b->n_params);
    for (uint32_t i = 0; i < b->n_nodes; i++)
        hide(v, b->nodes[i].out, b->nodes[i].n_out);
}

static void check(const struct script *s)
{
    struct seen v = {mem_array(s->n_values, sizeof(bool)), mem_array(s->n_values, sizeof(bool))};
    struct buf text;
    for (uint32_t i = 0; i < s->n_args; i++)
        check_writes(s, &v, &i, 1);
    check_block(s, s->forward, &v);
    free(v.written);
    free(v.visible);
    buf_init(&text, 1 << 16);
    script_dump(s, &text);
    buf_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct maker m;
    struct script *s = NULL;
    char pickle[256];
    maker_init(&m);
    maker_add(&m, "x/version", STR("10"));
    maker_add(&m, "x/data.pkl", maker_module_pickle("__torch__", "M", pickle));
    maker_add(&m, "x/constants.pkl",
              STR("\x80\x02K\x05](K\x01K\x02"
                  "eK\x07\x86\x87."));
    maker_add(&m, "x/code/__torch__.py", str_n((const char *)data, n));
    struct err *err = script_load(maker_file(&m), NULL, &s);
    if (!err)
        check(s);
    BUG_ON(err && err->kind != ERR_ARGUMENT);
    err_free(err);
    script_free(s);
    maker_deinit(&m);
    return 0;
}
