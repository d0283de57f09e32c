/* Any inference_config, any request laid over it, any text, any output: the input is four parts
 * between zero bytes; the last one is the floats, over and over. */
#include <stdlib.h>

#include "engine.h"
#include "nlp.h"
#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VOCABULARY                                                                                 \
    "{\"vocabulary\":[\"[PAD]\",\"[UNK]\",\"[CLS]\",\"[SEP]\",\"[MASK]\",\"a\",\"##a\",\"u.s\","   \
    "\"\xc3\xa9\"]}"
#define MAX_WIDTH 16

/* As the task has it, but for the shapes that some of the bytes ask for. */
static struct output output_of(const struct nlp_config *c, struct arena *a,
                               const struct tokens *row, struct str bytes)
{
    struct output o = {{1, row->n, 9}, NULL, NULL};
    if (c->task == NLP_QUESTION_ANSWERING) {
        o.dim[0] = 2;
        o.dim[1] = 1;
        o.dim[2] = row->n;
    }
    if (bytes.n && (uint8_t)bytes.p[0] % 4 == 0)
        o.dim[(uint8_t)bytes.p[0] / 4 % 3] = (uint8_t)bytes.p[bytes.n - 1] % MAX_WIDTH;
    size_t n = (size_t)(o.dim[0] * o.dim[1] * o.dim[2]);
    float *values = arena_array(a, n, sizeof(*values));
    char *p = (char *)values;
    for (size_t i = 0; bytes.n && i < n * sizeof(*values); i++)
        p[i] = bytes.p[i % bytes.n];
    o.data = values;
    return o;
}

static void decode(const struct nlp_config *c, const struct tokenizer *t, struct arena *a,
                   const struct nlp_request *request, struct str bytes)
{
    struct nlp_result result;
    struct output *outputs = arena_array(a, request->n_rows, sizeof(*outputs));
    for (size_t i = 0; i < request->n_rows; i++)
        outputs[i] = output_of(c, a, &request->rows[i], bytes);
    struct err *err = nlp_decode(c, t, request, outputs, a, &result);
    if (!err) {
        struct buf b;
        struct json_out w;
        const struct json *root;
        buf_init(&b, 1 << 24);
        json_out_init(&w, &b);
        nlp_render(&w, c, &result);
        /* With a field of the caller's own choice a name may be there twice. */
        err = b.full ? NULL : json_parse(a, buf_str(&b), &root);
        if (err && !c->results_field.p)
            abort();
        buf_deinit(&b);
    }
    err_free(err);
}

static void infer(const struct nlp_config *c, struct arena *a, struct str text, struct str bytes)
{
    struct tokenizer *t;
    struct nlp_request request;
    const struct json *vocabulary;
    struct tokenization bert;
    err_free(json_parse(a, STR(VOCABULARY), &vocabulary));
    err_free(tokenization_parse(NULL, &bert));
    bert.do_lower_case = c->tokenization.do_lower_case;
    bert.with_special_tokens = c->tokenization.with_special_tokens;
    if (tokenization_open(&bert, vocabulary, &t))
        abort();
    struct err *err = nlp_encode(c, t, a, text, &request);
    if (!err && request.n_rows < 64)
        decode(c, t, a, &request, bytes);
    err_free(err);
    tokenizer_unref(t);
}

static struct err *read(struct arena *a, struct str config, struct str update,
                        struct nlp_config *out)
{
    const struct json *j;
    struct nlp_config base;
    TRY(json_parse(a, config, &j));
    TRY(nlp_config_parse(a, j, &base));
    TRY(json_parse(a, update, &j));
    return nlp_config_update(a, &base, STR("m"), j, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = {(const char *)data, size}, config, update, text;
    if (!str_split(&rest, '\0', &config) || !str_split(&rest, '\0', &update) ||
        !str_split(&rest, '\0', &text) || !rest.p)
        return 0;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct nlp_config c;
    struct err *err = read(a, config, update, &c);
    if (!err)
        infer(&c, a, text, rest);
    err_free(err);
    arena_free(a);
    return 0;
}
