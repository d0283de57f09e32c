/* Lists of models: which of the stored and of the local ones an expression means. A local one is
 * read only when it is meant. */
#include "registry_private.h"

#include "bug.h"
#include "log.h"

#define MAX_EXPRESSION_PARTS 1000

struct candidate {
    struct str id;
    struct trained_model *model; /* a reference; NULL: local, not read yet */
    const struct str *aliases;
    size_t n_aliases;
    bool wanted, named; /* named: by itself, not by a pattern */
};

struct search {
    struct registry *registry;
    struct arena *arena;
    struct candidate *v;
    size_t n;
    struct buf unmatched; /* "a,b" */
};

/* Any number of '*', each for any bytes; without recursion. */
static bool matches(struct str pattern, struct str text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, resume = 0;
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            resume = t;
        } else if (p < pattern.n && pattern.p[p] == text.p[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

/* --- who there is --- */

static int by_id(const void *a, const void *b)
{
    return str_cmp(((const struct candidate *)a)->id, ((const struct candidate *)b)->id);
}

static void add_stored(struct search *s)
{
    struct registry *r = s->registry;
    struct str id;
    void *v;
    pthread_mutex_lock(&r->lock);
    s->v = arena_array(s->arena, map_count(r->entries), sizeof *s->v);
    for (size_t i = 0; map_next(r->entries, &i, &id, &v);) {
        struct entry *entry = v;
        if (!entry->deleting)
            s->v[s->n++] = (struct candidate){.id = entry->model->model_id,
                                              .model = trained_model_ref(entry->model)};
    }
    pthread_mutex_unlock(&r->lock);
    qsort(s->v, s->n, sizeof *s->v, by_id);
}

static struct err *add_local(struct search *s)
{
    struct str *ids;
    size_t n, n_stored = s->n;
    TRY(local_model_ids(s->registry->path_models, s->arena, &ids, &n));
    struct candidate *all = arena_array(s->arena, n_stored + n, sizeof *all);
    if (n_stored)
        memcpy(all, s->v, n_stored * sizeof *all);
    for (size_t i = 0; i < n; i++) {
        struct candidate c = {.id = ids[i]};
        if (!bsearch(&c, s->v, n_stored, sizeof c, by_id)) /* what was uploaded hides it */
            all[s->n++] = c;
    }
    s->v = all;
    qsort(s->v, s->n, sizeof *s->v, by_id);
    return NULL;
}

static struct err *gather(struct search *s)
{
    add_stored(s);
    TRY(add_local(s));
    for (size_t i = 0; i < s->n; i++)
        TRY(registry_aliases(s->registry, s->v[i].id, s->arena, &s->v[i].aliases,
                             &s->v[i].n_aliases));
    return NULL;
}

/* --- who is meant --- */

static bool is_called(const struct candidate *c, struct str pattern)
{
    if (matches(pattern, c->id))
        return true;
    for (size_t i = 0; i < c->n_aliases; i++) {
        if (matches(pattern, c->aliases[i]))
            return true;
    }
    return false;
}

static void want(struct search *s, struct str part, bool allow_no_match)
{
    bool pattern = str_find_char(part, '*') != SIZE_MAX, found = false;
    for (size_t i = 0; i < s->n; i++) {
        if (!is_called(&s->v[i], part))
            continue;
        found = s->v[i].wanted = true;
        s->v[i].named = s->v[i].named || !pattern;
    }
    if (!found && (!pattern || !allow_no_match))
        buf_printf(&s->unmatched, "%s%.*s", s->unmatched.n ? "," : "", STR_ARG(part));
}

static struct err *choose(struct search *s, struct str expression, bool allow_no_match)
{
    struct str part;
    size_t n = 0;
    if (expression.n == 0 || str_eq(expression, STR("_all")))
        expression = STR("*");
    while (str_split(&expression, ',', &part)) {
        if (++n > MAX_EXPRESSION_PARTS)
            return err_new(ERR_ARGUMENT, "[model_id] names more than [%d] models",
                           MAX_EXPRESSION_PARTS);
        part = str_trim(part);
        if (part.n)
            want(s, str_eq(part, STR("_all")) ? STR("*") : part, allow_no_match);
    }
    return s->unmatched.n ? registry_unknown(buf_str(&s->unmatched)) : NULL;
}

static struct err *take(struct search *s, struct trained_model **out, size_t *n_out)
{
    *n_out = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct candidate *c = &s->v[i];
        if (!c->wanted)
            continue;
        if (!c->model) {
            struct err *e = local_model_get(s->registry->path_models, c->id, &c->model);
            if (e && c->named)
                return e;
            if (e)
                log_debug("a local model is left out of a list", LOG_S("model_id", c->id),
                          LOG_E(e));
            err_free(e);
        }
        if (c->model)
            out[(*n_out)++] = trained_model_ref(c->model);
    }
    return NULL;
}

struct err *registry_find(struct registry *r, struct str expression, bool allow_no_match,
                          struct arena *a, struct trained_model ***out, size_t *n_out)
{
    struct search s = {.registry = r, .arena = a};
    buf_init(&s.unmatched, 4096);
    *out = NULL;
    *n_out = 0;
    struct err *e = gather(&s);
    if (!e)
        e = choose(&s, expression, allow_no_match);
    if (!e) {
        *out = arena_array(a, s.n, sizeof **out);
        e = take(&s, *out, n_out);
    }
    for (size_t i = 0; i < s.n; i++)
        trained_model_unref(s.v[i].model);
    for (size_t i = 0; e && i < *n_out; i++)
        trained_model_unref((*out)[i]);
    if (e)
        *n_out = 0;
    buf_deinit(&s.unmatched);
    return e;
}
