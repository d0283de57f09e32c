/* What is the same for every driver: which one, the folder's lock, the seal on secrets, what a
 * revision is checked against, and the grouping of writers.
 *
 * Writers queue. The first one to find nobody at work leads: it takes everything queued, runs it
 * as one transaction with one fsync, and wakes the others. Those who arrive meanwhile wait for the
 * next round. So a lone writer pays one fsync, and n of them at once pay about two. */
#include "store.h"

#include <pthread.h>
#include <stdlib.h>

#include "bug.h"
#include "folder.h"
#include "log.h"
#include "secret.h"
#include "store_driver.h"
#include "vault.h"

#define ID_LIMIT   1024             /* longest id; Elasticsearch's own names end at 512 bytes */
#define BODY_LIMIT (256u * 1048576) /* SQLite's limit is 1e9; vocabularies take tens of MiB */

static const struct store_driver *const drivers[] = {&store_sqlite, &store_memory};

struct write {
    const struct change *v;
    size_t n;
    uint64_t rev; /* out: shared by all of its changes */
    struct err *err;
    bool done;
    struct write *next;
};

struct store {
    const struct store_driver *driver;
    void *db;
    char *path_data; /* NULL: not on disk */
    struct folder folder;
    struct vault *vault;
    pthread_mutex_t lock; /* guards the rest, and each queued write's `done` */
    pthread_cond_t round_over;
    struct write *first, **last;
    bool led;
    /* The leader's. Of secrets that were replaced or dropped: by this round; still in the files. */
    bool replaced, stale;
};

struct str store_kind_name(enum store_kind kind)
{
    static const struct str names[N_STORE_KINDS] = {
        [STORE_META] = STR_INIT("meta"),
        [STORE_ENDPOINT] = STR_INIT("endpoint"),
        [STORE_SECRET] = STR_INIT("secret"),
        [STORE_USER] = STR_INIT("user"),
        [STORE_ROLE] = STR_INIT("role"),
        [STORE_API_KEY] = STR_INIT("api_key"),
        [STORE_TRAINED_MODEL] = STR_INIT("trained_model"),
        [STORE_MODEL_ALIAS] = STR_INIT("model_alias"),
        [STORE_TOKEN] = STR_INIT("token"),
        [STORE_DEPLOYMENT] = STR_INIT("deployment"),
        [STORE_ROLE_MAPPING] = STR_INIT("role_mapping"),
        [STORE_SERVICE_TOKEN] = STR_INIT("service_token"),
        [STORE_PROFILE] = STR_INIT("profile"),
    };
    BUG_ON(kind >= N_STORE_KINDS);
    return names[kind];
}

/* --- old bytes --- */

bool store_kind_private(enum store_kind kind)
{
    return kind == STORE_SECRET || kind == STORE_USER;
}

/* What is committed stays so, whatever becomes of this; what it could not do it does with the next
 * change. Who reads for hours is waited for, and complained about, only once. */
static void scrub(struct store *s)
{
    bool done = false;
    if (!s->driver->scrub)
        return;
    struct err *e = s->driver->scrub(s->db, !s->stale, &done);
    if ((e || !done) && !s->stale)
        log_warn(e ? "the store's files still hold secrets that were replaced or dropped"
                   : "the store's files still hold secrets that were replaced or dropped: "
                     "something else reads them",
                 LOG_E(e));
    else if (done && s->stale)
        log_info("the store's files hold no secrets any more that were replaced or dropped");
    err_free(e);
    s->stale = !done;
}

/* --- open and close --- */

static bool opens_any(const struct vault *v, const struct docs *secrets)
{
    for (size_t i = 0; i < secrets->n; i++)
        if (vault_sealed_it(v, secrets->v[i].body))
            return true;
    return false;
}

/* A rotation may have ended between its transaction and the exchange of the files. */
static struct err *open_next(struct store *s, const char *path_data, const struct docs *secrets)
{
    struct vault *next = NULL;
    if (s->driver->on_disk)
        TRY(vault_open_next(path_data, &next));
    if (!next || !opens_any(next, secrets)) {
        vault_close(next);
        return vault_wrong_key(s->vault);
    }
    vault_close(s->vault);
    s->vault = next;
    return vault_adopt(next, path_data);
}

/* A key that opens none of the secrets is the wrong one; one that opens some has damaged or
 * foreign records beside it, and each of those answers for itself when it is read. */
static struct err *open_vault(struct store *s, const char *path_data, struct arena *tmp)
{
    struct docs secrets;
    TRY(s->driver->list(s->db, STORE_SECRET, tmp, &secrets));
    TRY(vault_open(s->driver->on_disk ? path_data : NULL, secrets.n == 0, &s->vault));
    if (secrets.n == 0)
        return s->driver->on_disk ? vault_drop_next(path_data) : NULL;
    if (opens_any(s->vault, &secrets))
        return s->driver->on_disk ? vault_drop_next(path_data) : NULL;
    return open_next(s, path_data, &secrets);
}

static struct err *open_parts(struct store *s, const char *path_data)
{
    if (s->driver->on_disk) {
        s->path_data = mem_strdup(path_data);
        TRY(folder_open(path_data, &s->folder));
    }
    TRY(s->driver->open(path_data, &s->db));
    scrub(s); /* what a killed process has left in the log */
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct err *e = open_vault(s, path_data, tmp);
    arena_free(tmp);
    return e;
}

struct err *store_open(const char *driver, const char *path_data, struct store **out)
{
    const struct store_driver *d = NULL;
    for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
        if (strcmp(drivers[i]->name, driver) == 0)
            d = drivers[i];
    if (!d)
        return err_new(ERR_ARGUMENT, "unknown store [%s]", driver);
    struct store *s = mem_new(sizeof *s);
    s->driver = d;
    s->folder.lock_fd = -1;
    s->last = &s->first;
    BUG_ON(pthread_mutex_init(&s->lock, NULL) != 0);
    BUG_ON(pthread_cond_init(&s->round_over, NULL) != 0);
    struct err *e = open_parts(s, path_data);
    if (e) {
        store_close(s);
        return e;
    }
    *out = s;
    return NULL;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    BUG_ON(s->first || s->led);
    if (s->db)
        s->driver->close(s->db);
    vault_close(s->vault);
    folder_close(&s->folder);
    pthread_cond_destroy(&s->round_over);
    pthread_mutex_destroy(&s->lock);
    free(s->path_data);
    free(s);
}

/* --- reading --- */

static struct err *unseal(struct store *s, enum store_kind kind, struct arena *a, struct doc *d)
{
    return kind == STORE_SECRET ? vault_unseal(s->vault, kind, d->id, d->body, a, &d->body) : NULL;
}

static struct err *absent(enum store_kind kind, struct str id)
{
    return err_new(ERR_NOT_FOUND, "no stored %s [%.*s]", store_kind_name(kind).p, STR_ARG(id));
}

struct err *store_get(struct store *s, enum store_kind kind, struct str id, struct arena *a,
                      struct doc *out)
{
    TRY(s->driver->get(s->db, kind, id, a, out));
    if (out->rev == 0)
        return absent(kind, id);
    return unseal(s, kind, a, out);
}

struct err *store_list(struct store *s, enum store_kind kind, struct arena *a, struct docs *out)
{
    TRY(s->driver->list(s->db, kind, a, out));
    for (size_t i = 0; i < out->n; i++)
        TRY(unseal(s, kind, a, &out->v[i]));
    return NULL;
}

/* --- writing: what one write does inside the transaction --- */

static struct err *check_expect(const struct change *c, uint64_t rev)
{
    if (c->expect == STORE_ANY_REV || c->expect == rev)
        return NULL;
    if (rev == 0)
        return absent(c->kind, c->id);
    if (c->expect == 0)
        return err_new(ERR_EXISTS, "a stored %s [%.*s] exists already", store_kind_name(c->kind).p,
                       STR_ARG(c->id));
    return err_new(ERR_CONFLICT,
                   "[%.*s]: version conflict, required revision [%llu], current revision [%llu]",
                   STR_ARG(c->id), (unsigned long long)c->expect, (unsigned long long)rev);
}

/* A refusal (in *refused_out) comes before the first change, so it undoes nothing and the round
 * goes on; the returned error is the database's and ends the round. */
static struct err *run_write(struct store *s, const struct write *w, struct err **refused_out)
{
    for (size_t i = 0; i < w->n; i++) {
        uint64_t rev;
        TRY(s->driver->peek(s->db, w->v[i].kind, w->v[i].id, &rev));
        s->replaced = s->replaced || (rev && store_kind_private(w->v[i].kind));
        *refused_out = check_expect(&w->v[i], rev);
        if (*refused_out)
            return NULL;
    }
    for (size_t i = 0; i < w->n; i++) {
        const struct change *c = &w->v[i];
        if (c->body.p)
            TRY(s->driver->set(s->db, c->kind, c->id, c->body, w->rev));
        else
            TRY(s->driver->drop(s->db, c->kind, c->id));
    }
    return NULL;
}

static struct err *run_in_transaction(struct store *s, struct write *round, uint64_t rev)
{
    s->replaced = false;
    for (struct write *w = round; w; w = w->next) {
        w->rev = rev + 1;
        TRY(run_write(s, w, &w->err));
        if (!w->err)
            rev++;
    }
    return s->driver->commit(s->db, rev, s->replaced);
}

/* Fills each write's rev and err. When the database fails, everybody's answer is its error: a
 * refusal too, for it may rest on a neighbour's change that is now undone. */
static void run_round(struct store *s, struct write *round)
{
    uint64_t rev;
    struct err *e = s->driver->begin(s->db, &rev);
    if (!e) {
        e = run_in_transaction(s, round, rev);
        if (e)
            s->driver->rollback(s->db);
    }
    if (!e && (s->replaced || s->stale))
        scrub(s);
    if (!e)
        return;
    for (struct write *w = round; w; w = w->next) {
        err_free(w->err);
        w->err = err_copy(e);
    }
    err_free(e);
}

/* --- writing: the queue --- */

static void lead(struct store *s)
{
    struct write *round = s->first;
    s->first = NULL;
    s->last = &s->first;
    s->led = true;
    pthread_mutex_unlock(&s->lock);
    run_round(s, round);
    pthread_mutex_lock(&s->lock);
    s->led = false;
    for (struct write *w = round; w; w = w->next)
        w->done = true;
    pthread_cond_broadcast(&s->round_over);
}

static struct err *submit(struct store *s, struct write *w)
{
    pthread_mutex_lock(&s->lock);
    *s->last = w;
    s->last = &w->next;
    while (!w->done && s->led)
        pthread_cond_wait(&s->round_over, &s->lock);
    if (!w->done)
        lead(s);
    pthread_mutex_unlock(&s->lock);
    return w->err;
}

static struct err *check_change(const struct change *v, size_t i)
{
    const struct change *c = &v[i];
    BUG_ON(c->kind >= N_STORE_KINDS);
    if (c->id.n == 0 || c->id.n > ID_LIMIT)
        return err_new(ERR_ARGUMENT, "an id must have 1 to [%d] bytes, but has [%zu]", ID_LIMIT,
                       c->id.n);
    if (c->body.n > BODY_LIMIT)
        return err_new(ERR_TOO_LARGE, "the stored body of [%.*s] has [%zu] bytes, more than [%u]",
                       STR_ARG(c->id), c->body.n, BODY_LIMIT);
    for (size_t j = 0; j < i; j++)
        BUG_ON(v[j].kind == c->kind && str_eq(v[j].id, c->id));
    return NULL;
}

static struct err *apply(struct store *s, const struct change *v, size_t n, struct arena *tmp,
                         uint64_t *rev_out)
{
    struct change *sealed = arena_array(tmp, n, sizeof *sealed);
    for (size_t i = 0; i < n; i++) {
        TRY(check_change(v, i));
        sealed[i] = v[i];
        if (v[i].kind == STORE_SECRET && v[i].body.p)
            sealed[i].body = vault_seal(s->vault, STORE_SECRET, v[i].id, v[i].body, tmp);
    }
    struct write w = {.v = sealed, .n = n};
    TRY(submit(s, &w));
    if (rev_out)
        *rev_out = w.rev;
    return NULL;
}

struct err *store_apply(struct store *s, const struct change *v, size_t n, uint64_t *rev_out)
{
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct err *e = apply(s, v, n, tmp, rev_out);
    arena_free(tmp);
    return e;
}

struct err *store_put(struct store *s, enum store_kind kind, struct str id, struct str body,
                      uint64_t expect, uint64_t *rev_out)
{
    struct change c = {kind, id, body.p ? body : STR(""), expect};
    return store_apply(s, &c, 1, rev_out);
}

struct err *store_drop(struct store *s, enum store_kind kind, struct str id, uint64_t expect)
{
    struct change c = {kind, id, {NULL, 0}, expect};
    return store_apply(s, &c, 1, NULL);
}

/* --- another key --- */

static struct err *reseal(struct store *s, const struct vault *next, struct arena *tmp,
                          size_t *n_out)
{
    struct docs secrets;
    TRY(s->driver->list(s->db, STORE_SECRET, tmp, &secrets));
    struct change *v = arena_array(tmp, secrets.n + 1, sizeof *v);
    for (size_t i = 0; i < secrets.n; i++) {
        struct doc *d = &secrets.v[i];
        struct str plain;
        TRY(vault_unseal(s->vault, STORE_SECRET, d->id, d->body, tmp, &plain));
        v[i] = (struct change){.kind = STORE_SECRET,
                               .id = d->id,
                               .body = vault_seal(next, STORE_SECRET, d->id, plain, tmp),
                               .expect = d->rev};
        secret_wipe((char *)(uintptr_t)plain.p, plain.n);
    }
    *n_out = secrets.n;
    struct write w = {.v = v, .n = secrets.n};
    return secrets.n ? submit(s, &w) : NULL;
}

struct err *store_rotate_key(struct store *s, size_t *n_secrets_out)
{
    struct vault *next;
    *n_secrets_out = 0;
    if (!s->path_data)
        return NULL; /* the key ends with the process, as the secrets do */
    TRY(vault_make_next(s->path_data, &next));
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct err *e = reseal(s, next, tmp, n_secrets_out);
    arena_free(tmp);
    if (e) {
        vault_close(next);
        err_free(vault_drop_next(s->path_data));
        return e;
    }
    vault_close(s->vault);
    s->vault = next;
    return vault_adopt(next, s->path_data);
}
