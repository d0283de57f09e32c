/* Program and tokenizer of a model. Deployments of the same folder share them; the last one that
 * goes frees them, so a replaced folder is read anew by the next start. Two starts at once load
 * once: the second waits for the first (both are pool threads). */
#include <stdlib.h>

#include "bug.h"
#include "model_private.h"

/* The longest text must fit into one run. */
static struct err *token_budget(struct models *m, struct str model_id, uint32_t *out)
{
    struct model_info info;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct err *err = models_find(m, model_id, a, &info);
    if (!err)
        *out = info.max_tokens > BATCH_TOKENS ? info.max_tokens : BATCH_TOKENS;
    arena_free(a);
    return err;
}

static struct err *load_both(struct models *m, struct str model_id, struct parts *p)
{
    struct engine_limits limits = {0};
    TRY(token_budget(m, model_id, &limits.token_budget));
    TRY(program_load_snapshot(p->folder, &limits, &p->program));
    p->info = program_info(p->program);
    TRY(tokenizer_open_snapshot(p->folder, &p->tokenizer));
    if (tokenizer_vocab_size(p->tokenizer) > p->info->vocab_size)
        return err_new(ERR_ARGUMENT,
                       "the tokenizer has [%u] tokens but the model's [config.json] says "
                       "vocab_size [%u]",
                       tokenizer_vocab_size(p->tokenizer), p->info->vocab_size);
    return snapshot_prompts(p->folder, model_id, p->arena, p->prompts);
}

static struct parts *find(struct models *m, const char *folder)
{
    struct parts *p = m->parts;
    while (p && strcmp(p->folder, folder) != 0)
        p = p->next;
    return p;
}

static void unlink_parts(struct models *m, struct parts *p)
{
    struct parts **at = &m->parts;
    while (*at && *at != p)
        at = &(*at)->next;
    if (*at)
        *at = p->next;
}

static void parts_free(struct parts *p)
{
    program_unref(p->program);
    tokenizer_unref(p->tokenizer);
    err_free(p->err);
    arena_free(p->arena);
    free(p->folder);
    free(p);
}

static struct parts *add_loading(struct models *m, const char *folder)
{
    struct parts *p = mem_new(sizeof(*p));
    p->folder = mem_strdup(folder);
    p->arena = arena_new(ARENA_NO_LIMIT);
    p->refs = 1;
    p->next = m->parts;
    m->parts = p;
    return p;
}

void parts_unref(struct models *m, struct parts *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&m->lock);
    bool last = --p->refs == 0;
    if (last)
        unlink_parts(m, p);
    pthread_mutex_unlock(&m->lock);
    if (last)
        parts_free(p);
}

/* A broken one leaves the list at once: the next start tries again. */
static struct err *load_and_tell(struct models *m, struct str model_id, struct parts *p)
{
    struct err *err = load_both(m, model_id, p);
    pthread_mutex_lock(&m->lock);
    p->err = err;
    p->state = err ? PARTS_BROKEN : PARTS_READY;
    if (err)
        unlink_parts(m, p);
    pthread_cond_broadcast(&m->idle);
    pthread_mutex_unlock(&m->lock);
    return err ? err_copy(err) : NULL;
}

static struct err *load_folder(struct models *m, struct str model_id, const char *folder,
                               struct parts **out)
{
    struct err *err = NULL;
    pthread_mutex_lock(&m->lock);
    struct parts *p = find(m, folder);
    bool load = !p;
    if (load)
        p = add_loading(m, folder);
    else
        p->refs++;
    while (!load && p->state == PARTS_LOADING)
        pthread_cond_wait(&m->idle, &m->lock);
    if (!load && p->err)
        err = err_copy(p->err);
    pthread_mutex_unlock(&m->lock);
    if (load)
        err = load_and_tell(m, model_id, p);
    if (err)
        parts_unref(m, p);
    else
        *out = p;
    return err;
}

struct err *parts_load(struct models *m, struct str model_id, struct parts **out)
{
    char *folder = snapshot_folder(m, model_id);
    if (!folder)
        return snapshot_unknown(model_id);
    struct err *err = load_folder(m, model_id, folder, out);
    free(folder);
    return err;
}
