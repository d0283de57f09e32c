/* suggest: profiles for what somebody types, best first. Source: Elasticsearch 9.1, "Suggest a user
 * profile". */
#include <stdlib.h>

#include "clock.h"
#include "private.h"
#include "profile.h"

#define MAX_SIZE 10000 /* as Elasticsearch's index.max_result_window */
#define MAX_NAME 1024  /* bytes of what somebody types: its words times the profiles is the work */

struct suggest {
    struct str name, data;
    int64_t size;
    const struct json *uids; /* hints; NULL: none */
    struct str label;        /* p NULL: none */
    const struct json *label_values;
};

/* --- reading --- */

static struct err *read_hint(const struct json *hint, struct suggest *s)
{
    static const char *const members[] = {"uids", "labels", NULL};
    if (json_is_null(hint))
        return NULL;
    if (!json_is(hint, JSON_OBJECT))
        return err_new(ERR_X_CONTENT, "[suggest_profile_request_hint] is not an object");
    TRY(only_members(hint, "suggest_profile_request_hint", members));
    s->uids = json_get(hint, "uids");
    const struct json *labels = json_get(hint, "labels");
    if (!s->uids && !labels)
        return invalid("[hint] parameter cannot be empty");
    if (s->uids && (!json_is(s->uids, JSON_ARRAY) || !s->uids->n))
        return invalid("[uids] hint cannot be empty");
    if (!labels)
        return NULL;
    if (!json_is(labels, JSON_OBJECT) || labels->n != 1)
        return invalid("[labels] hint supports a single key");
    struct json_iter it = json_iter(labels);
    s->label_values = json_next(&it);
    s->label = s->label_values->key;
    if (str_find_char(s->label, '*') != SIZE_MAX)
        return invalid("[labels] hint key cannot contain wildcard");
    if (!json_is(s->label_values, JSON_STRING) && !json_is(s->label_values, JSON_ARRAY))
        return err_new(ERR_PARSE,
                       "[labels] hint supports either string or list of strings as its value");
    if (json_is(s->label_values, JSON_ARRAY) && !s->label_values->n)
        return invalid("[labels] hint value cannot be empty");
    return NULL;
}

static struct err *read_data(struct security_call *c, struct suggest *s)
{
    const struct json *v = json_get(c->body, "data");
    s->data = c->data;
    if (json_is_null(v))
        return NULL;
    if (c->data.p)
        return err_new(ERR_ARGUMENT,
                       "specify [data] parameter as either query parameter or field in the request "
                       "body, but not both");
    if (json_str(v, &s->data))
        return NULL;
    struct buf keys;
    struct str key;
    buf_init(&keys, (size_t)1 << 20);
    struct json_iter it = json_iter(v);
    bool texts = json_is(v, JSON_ARRAY);
    for (const struct json *e; (e = json_next(&it));) {
        texts = texts && json_str(e, &key);
        if (texts)
            buf_printf(&keys, "%s%.*s", keys.n ? "," : "", STR_ARG(key));
    }
    s->data = arena_dup(c->arena, buf_str(&keys));
    buf_deinit(&keys);
    return texts ? NULL : err_new(ERR_PARSE, "expected field [data] to be an array of strings");
}

static struct err *read_suggest(struct security_call *c, struct suggest *s)
{
    static const char *const members[] = {"name", "size", "data", "hint", NULL};
    *s = (struct suggest){.size = 10};
    TRY(only_members(c->body, "suggest_profile_request", members));
    TRY(text_member(c->body, "name", &s->name));
    if (s->name.n > MAX_NAME)
        return invalid("[name] parameter cannot be longer than [%d] bytes", MAX_NAME);
    const struct json *size = json_get(c->body, "size");
    if (!json_is_null(size) && !json_i64(size, &s->size))
        return err_new(ERR_PARSE, "expected field [size] to be an integer");
    if (s->size < 0)
        return invalid("[size] parameter cannot be negative but was [%lld]", (long long)s->size);
    if (s->size > MAX_SIZE)
        return err_new(ERR_ARGUMENT,
                       "Result window is too large, from + size must be less than or equal to: "
                       "[%d] but was [%lld]",
                       MAX_SIZE, (long long)s->size);
    TRY(read_data(c, s));
    return read_hint(json_get(c->body, "hint"), s);
}

/* --- finding --- */

static bool is_one_of(const struct json *list, struct str text)
{
    struct str s;
    if (json_str(list, &s))
        return str_eq(s, text);
    struct json_iter it = json_iter(list);
    for (const struct json *v; (v = json_next(&it));)
        if (json_str(v, &s) && str_eq(s, text))
            return true;
    return false;
}

/* "kibana.space" reaches into objects. */
static bool label_fits(const struct suggest *s, const struct profile *p)
{
    const struct json *at = p->labels;
    struct str rest = s->label, part, value;
    while (at && str_split(&rest, '.', &part))
        at = json_get_str(at, part);
    if (json_str(at, &value))
        return is_one_of(s->label_values, value);
    struct json_iter it = json_iter(json_is(at, JSON_ARRAY) ? at : NULL);
    for (const struct json *v; (v = json_next(&it));)
        if (json_str(v, &value) && is_one_of(s->label_values, value))
            return true;
    return false;
}

struct hit {
    struct profile profile;
    int score;
};

static int best_first(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    if (x->profile.synchronized_ms != y->profile.synchronized_ms)
        return x->profile.synchronized_ms < y->profile.synchronized_ms ? 1 : -1;
    return str_cmp(x->profile.uid, y->profile.uid);
}

/* Who fits no word is left out; hints only order those who do. */
static struct err *find(struct security *s, struct security_call *c, const struct suggest *q,
                        struct hit **hits_out, size_t *n_out)
{
    struct docs docs;
    struct profile_words words;
    TRY(store_list(s->store, STORE_PROFILE, c->arena, &docs));
    struct hit *hits = arena_array(c->arena, docs.n + 1, sizeof *hits);
    size_t n = 0;
    profile_words_init(&words, c->arena, q->name);
    for (size_t i = 0; i < docs.n; i++) {
        struct hit *h = &hits[n];
        TRY(profile_read(c->arena, &docs.v[i], &h->profile));
        h->score = words.text.n > 1 ? profile_words_score(&words, &h->profile) : 0;
        if (!h->profile.enabled || (words.text.n > 1 && !h->score))
            continue;
        h->score += q->uids && is_one_of(q->uids, h->profile.uid);
        h->score += q->label.p && label_fits(q, &h->profile);
        n++;
    }
    qsort(hits, n, sizeof *hits, best_first);
    *hits_out = hits;
    *n_out = n;
    return NULL;
}

struct err *profiles_suggest(struct security *s, struct security_call *c)
{
    struct suggest q;
    struct hit *hits = NULL;
    size_t n = 0;
    int64_t began = clock_mono_ms();
    TRY(read_suggest(c, &q));
    TRY(find(s, c, &q, &hits, &n));
    json_obj(c->out);
    json_key_i64(c->out, "took", clock_mono_ms() - began);
    json_key(c->out, "total");
    json_obj(c->out);
    json_key_i64(c->out, "value", (int64_t)n);
    json_key_cstr(c->out, "relation", "eq");
    json_end(c->out);
    json_key(c->out, "profiles");
    json_arr(c->out);
    for (size_t i = 0; i < n && (int64_t)i < q.size; i++)
        TRY(profile_render(&hits[i].profile, q.data, false, c->out));
    json_end(c->out);
    json_end(c->out);
    return NULL;
}
