/* How many tokens texts are to a deployed model, by its own tokenizer and its longest sequence. */
#include "model_private.h"

static struct err *count_one(const struct parts *parts, const struct nlp_config *config,
                             struct arena *arena, const struct input *in, size_t i,
                             struct token_count *out)
{
    struct nlp_request r;
    TRY(encode_input(parts, config, arena, in, i, &r));
    *out = (struct token_count){.truncated = r.is_truncated};
    for (size_t row = 0; row < r.n_rows; row++)
        out->tokens += r.rows[row].n;
    return NULL;
}

static struct err *is_not_started(struct deployment *d)
{
    pthread_mutex_lock(&d->lock);
    enum deployment_phase phase = d->phase;
    struct err *e = phase == FAILED ? deployment_is_failed(d) : NULL;
    pthread_mutex_unlock(&d->lock);
    if (!e && phase != STARTED)
        e = err_status(409, "Trained model [%.*s] is [%s]", STR_ARG(d->id),
                       phase == STARTING ? "starting" : "stopping");
    return e;
}

struct err *deployment_count(struct models *m, struct str id, const struct input *in,
                             struct arena *arena, struct token_count *out)
{
    struct deployment *d = deployment_find(m, id);
    if (!d)
        return err_new(ERR_NOT_FOUND, "No deployment [%.*s]", STR_ARG(id));
    struct err *e = is_not_started(d);
    struct nlp_config config;
    if (!e)
        encode_config(d->parts, arena, in, &config);
    for (size_t i = 0; !e && i < in->n_texts; i++)
        e = count_one(d->parts, &config, arena, in, i, &out[i]);
    deployment_unref(d);
    return e;
}
