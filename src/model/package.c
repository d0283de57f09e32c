/* The thread behind packages: orders come as messages, jobs are their doing, one per model. Whoever
 * asks for a model that is being fetched waits for the same job. */
#include "package_private.h"
#include "trained_model_config.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

#include "bug.h"
#include "log.h"

#define CHECK_BYTES ((size_t)4 << 20)

enum order_kind { ORDER_PUT, ORDER_ENSURE, ORDER_CANCEL };

/* One question on its way there, waiting, and on its way back. */
struct order {
    struct loop_msg msg;
    struct order *next;
    struct packages *packages;
    enum order_kind kind;
    struct arena *arena;
    struct str id, body;
    bool wait;
    struct loop *loop;
    void (*put)(void *, struct err *, struct trained_model *);
    void (*ensured)(void *, struct err *);
    void (*cancelled)(void *);
    void *ctx;
    struct err *err;
    struct trained_model *model;
};

/* --- the way back --- */

static void deliver(struct loop_msg *msg)
{
    struct order *o = (struct order *)((char *)msg - offsetof(struct order, msg));
    struct order copy = *o;
    arena_free(o->arena); /* o lives in it */
    if (copy.kind == ORDER_PUT)
        copy.put(copy.ctx, copy.err, copy.model);
    else if (copy.kind == ORDER_ENSURE)
        copy.ensured(copy.ctx, copy.err);
    else
        copy.cancelled(copy.ctx);
}

/* Takes the err; a PUT gets a reference to the model. At the end of everything no loop runs that
 * could hear. */
static void answer(struct order *o, struct err *e, struct trained_model *m)
{
    if (o->packages->closing) {
        err_free(e);
        arena_free(o->arena);
        return;
    }
    o->err = e;
    o->model = m && !e && o->kind == ORDER_PUT ? trained_model_ref(m) : NULL;
    o->msg.run = deliver;
    loop_post(o->loop, &o->msg);
}

/* --- jobs --- */

static struct job *find_job(struct packages *p, struct str id)
{
    struct job *j = p->jobs;
    while (j && !str_eq_c(id, j->id))
        j = j->next;
    return j;
}

static struct job *job_new(struct packages *p, struct str id)
{
    struct job *j = mem_new(sizeof *j);
    j->packages = p;
    j->arena = arena_new(ARENA_NO_LIMIT);
    j->id = strndup(id.p, id.n);
    j->check_fd = -1;
    pthread_mutex_lock(&p->lock);
    j->next = p->jobs;
    p->jobs = j;
    pthread_mutex_unlock(&p->lock);
    return j;
}

static void job_free(struct job *j)
{
    if (j->check_fd >= 0)
        close(j->check_fd);
    trained_model_unref(j->model);
    arena_free(j->arena);
    free(j->id);
    free(j);
}

static void job_unlist(struct job *j)
{
    struct packages *p = j->packages;
    pthread_mutex_lock(&p->lock);
    struct job **at = &p->jobs;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    pthread_mutex_unlock(&p->lock);
}

void job_end(struct job *j, struct err *e)
{
    struct packages *p = j->packages;
    job_unlist(j);
    if (e && p->closing)
        log_info("fetching a model goes on with the next start", LOG_C("model_id", j->id));
    else if (e)
        log_error("a model could not be fetched", LOG_C("model_id", j->id), LOG_E(e));
    else
        log_info("a model has been fetched", LOG_C("model_id", j->id));
    for (struct order *o = j->waiting, *next; o; o = next) {
        next = o->next;
        answer(o, e ? err_copy(e) : NULL, j->model);
    }
    err_free(e);
    j->ended = true;
    if (!j->stepping)
        job_free(j);
}

static void job_abort(struct job *j, const char *why)
{
    if (j->fetch)
        fetch_cancel(j->fetch);
    j->fetch = NULL;
    job_end(j, err_status(409, "fetching model [%s] was ended: %s", j->id, why));
}

void job_registered(struct job *j)
{
    struct order **at = &j->waiting;
    while (*at) {
        struct order *o = *at;
        if (o->kind != ORDER_PUT || o->wait) {
            at = &o->next;
            continue;
        }
        *at = o->next;
        answer(o, NULL, j->model);
    }
}

static void run_step(struct loop_msg *msg)
{
    struct job *j = (struct job *)((char *)msg - offsetof(struct job, step));
    j->stepping = false;
    if (j->ended)
        job_free(j);
    else
        j->work(j);
}

void job_later(struct job *j, void (*work)(struct job *))
{
    BUG_ON(j->stepping);
    j->work = work;
    j->stepping = true;
    j->step.run = run_step;
    loop_post(j->packages->loop, &j->step);
}

void job_fetch(struct job *j, const struct fetch_order *o, fetch_done *done)
{
    j->fetch = fetch_start(j->packages->fetcher, o, done, j);
}

void job_progress(struct job *j)
{
    int64_t have = atomic_load(&j->have), total = atomic_load(&j->total);
    int tenths = total > 0 ? (int)(have * 10 / total) : 0;
    if (tenths <= j->shown_tenths)
        return;
    j->shown_tenths = tenths;
    log_info("fetching a model", LOG_C("model_id", j->id), LOG_I("bytes", have),
             LOG_I("of", total));
}

/* --- checking a file --- */

static void check_end(struct job *j, struct err *e)
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    char hex[2 * crypto_hash_sha256_BYTES + 1] = "";
    close(j->check_fd);
    j->check_fd = -1;
    if (!e) {
        crypto_hash_sha256_final(j->check_state, hash);
        sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    }
    j->checked(j, e, hex);
}

static void check_piece(struct job *j)
{
    unsigned char *piece = mem_new(CHECK_BYTES);
    ssize_t n = pread(j->check_fd, piece, CHECK_BYTES, j->check_at);
    int code = errno;
    if (n > 0)
        crypto_hash_sha256_update(j->check_state, piece, (size_t)n);
    free(piece);
    if (n > 0) {
        j->check_at += n;
        job_later(j, check_piece);
    } else {
        check_end(j, n < 0 ? err_new(ERR_IO, "cannot read a file of model [%s]: %s", j->id,
                                     strerror(code))
                           : NULL);
    }
}

void job_check(struct job *j, const char *path,
               void (*checked)(struct job *, struct err *, const char *))
{
    j->checked = checked;
    j->check_at = 0;
    j->check_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (j->check_fd < 0) {
        checked(j, err_new(ERR_IO, "cannot read [%s]: %s", path, strerror(errno)), "");
        return;
    }
    crypto_hash_sha256_state *state = arena_alloc(j->arena, sizeof *state);
    crypto_hash_sha256_init(state);
    j->check_state = state;
    job_later(j, check_piece);
}

/* --- orders --- */

static void wait_for(struct job *j, struct order *o)
{
    o->next = j->waiting;
    j->waiting = o;
}

/* The model under just this id; NULL: not registered. */
static struct trained_model *registered(struct packages *p, struct str id)
{
    struct trained_model *m = NULL;
    err_free(registry_get(p->registry, id, &m));
    if (m && !str_eq(m->model_id, id)) { /* an alias */
        trained_model_unref(m);
        m = NULL;
    }
    return m;
}

static const struct json *read_body(struct arena *a, struct str text, struct err **err_out)
{
    const struct json *body = NULL;
    *err_out = json_parse_copy(a, text, &body);
    if (!*err_out && !json_is(body, JSON_OBJECT))
        *err_out = err_new(ERR_X_CONTENT, "[1:1] Expected START_OBJECT but got [%.*s]",
                           STR_ARG(str_sub(text, 0, 32)));
    return body;
}

static void begin_package(struct packages *p, struct order *o)
{
    struct err *e;
    struct job *j = job_new(p, o->id);
    wait_for(j, o);
    j->body = read_body(j->arena, o->body, &e);
    if (e)
        job_end(j, e);
    else
        package_begin(j);
}

static void resume_package(struct packages *p, struct trained_model *m, struct order *o)
{
    struct job *j = job_new(p, m->model_id);
    if (o)
        wait_for(j, o);
    j->model = trained_model_ref(m);
    job_registered(j);
    package_go_on(j);
}

static void built_in(struct packages *p, struct order *o)
{
    struct trained_model *m = registered(p, o->id);
    if (!m)
        begin_package(p, o);
    else if (!m->fully_defined && m->kind == MODEL_PACKAGE)
        resume_package(p, m, o);
    else if (o->kind == ORDER_PUT)
        answer(o,
               err_new(ERR_EXISTS, "Trained machine learning model [%.*s] already exists",
                       STR_ARG(o->id)),
               NULL);
    else
        answer(o, NULL, m);
    trained_model_unref(m);
}

static void from_hub(struct packages *p, struct order *o)
{
    char name[256];
    hub_folder_name(o->id, name);
    struct trained_model *m = registered(p, str_c(name));
    if (m) {
        answer(o, NULL, m);
        trained_model_unref(m);
        return;
    }
    struct job *j = job_new(p, o->id);
    wait_for(j, o);
    hub_begin(j);
}

static void obey(struct loop_msg *msg)
{
    struct order *o = (struct order *)((char *)msg - offsetof(struct order, msg));
    struct packages *p = o->packages;
    struct job *j = find_job(p, o->id);
    if (o->kind == ORDER_CANCEL) {
        if (j)
            job_abort(j, "the model is being deleted");
        answer(o, NULL, NULL);
    } else if (j) {
        wait_for(j, o);
        if (j->model)
            job_registered(j);
    } else if (o->kind == ORDER_PUT || trained_model_package_id_ok(o->id)) {
        built_in(p, o);
    } else if (o->kind == ORDER_ENSURE && p->hub[0] && is_hub_id(o->id)) {
        from_hub(p, o);
    } else {
        answer(o, NULL, NULL);
    }
}

static struct order *order_new(struct packages *p, enum order_kind kind, struct str id,
                               struct loop *loop, void *ctx)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct order *o = arena_alloc(a, sizeof *o);
    *o = (struct order){.arena = a, .packages = p, .kind = kind, .loop = loop, .ctx = ctx};
    o->id = arena_dup(a, id);
    o->msg.run = obey;
    return o;
}

void packages_put(struct packages *p, const struct package_order *given)
{
    struct order *o = order_new(p, ORDER_PUT, given->model_id, given->loop, given->ctx);
    o->body = arena_dup(o->arena, given->body);
    o->wait = given->wait;
    o->put = given->done;
    loop_post(p->loop, &o->msg);
}

void packages_ensure(struct packages *p, struct str id, struct loop *loop,
                     void (*done)(void *, struct err *), void *ctx)
{
    struct order *o = order_new(p, ORDER_ENSURE, id, loop, ctx);
    o->body = STR("{\"input\":{\"field_names\":[\"text_field\"]}}");
    o->wait = true;
    o->ensured = done;
    loop_post(p->loop, &o->msg);
}

void packages_cancel(struct packages *p, struct str id, struct loop *loop, void (*done)(void *),
                     void *ctx)
{
    struct order *o = order_new(p, ORDER_CANCEL, id, loop, ctx);
    o->cancelled = done;
    loop_post(p->loop, &o->msg);
}

bool packages_progress(struct packages *p, struct str id, int64_t *have, int64_t *total)
{
    pthread_mutex_lock(&p->lock);
    struct job *j = find_job(p, id);
    if (j) {
        *have = atomic_load(&j->have);
        *total = atomic_load(&j->total);
    }
    pthread_mutex_unlock(&p->lock);
    return j != NULL;
}

/* --- opening and closing --- */

static char *without_slash(const char *url)
{
    size_t n = strlen(url);
    while (n && url[n - 1] == '/')
        n--;
    return strndup(url, n);
}

/* What an earlier run had begun. */
static void resume_all(struct packages *p)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct trained_model **list;
    size_t n;
    struct err *e = registry_find(p->registry, STR(".*"), true, a, &list, &n);
    for (size_t i = 0; !e && i < n; i++) {
        if (list[i]->kind == MODEL_PACKAGE && !list[i]->local && !list[i]->fully_defined)
            resume_package(p, list[i], NULL);
        trained_model_unref(list[i]);
    }
    err_free(e);
    arena_free(a);
}

static void *run(void *arg)
{
    struct packages *p = arg;
    resume_all(p);
    loop_run(p->loop);
    p->closing = true;
    while (p->jobs)
        job_abort(p->jobs, "the server stops");
    loop_stop(p->loop); /* once round: steps on their way free their jobs */
    loop_run(p->loop);
    return NULL;
}

struct err *packages_open(const struct packages_options *o, struct packages **out)
{
    TRY(fetch_check_base("xpack.ml.model_repository", str_c(o->repository)));
    if (o->hub[0])
        TRY(fetch_check_base("inference.hub.url", str_c(o->hub)));
    struct packages *p = mem_new(sizeof *p);
    struct client_options client = {.connect_timeout_ms = o->connect_timeout_ms,
                                    .max_total_connections = 8,
                                    .max_route_connections = 8,
                                    .max_idle_ms = 10000,
                                    /* A large file comes faster without a window of its own. */
                                    .http2 = CLIENT_HTTP2_NEVER,
                                    .ca_file = o->ca_file};
    p->registry = o->registry;
    p->repository = without_slash(o->repository);
    p->hub = without_slash(o->hub);
    p->path_models = mem_strdup(o->path_models);
    p->loop = loop_new(0);
    p->fetcher = fetcher_new(p->loop, &client);
    BUG_ON(pthread_mutex_init(&p->lock, NULL) != 0);
    BUG_ON(pthread_create(&p->thread, NULL, run, p) != 0);
    *out = p;
    return NULL;
}

void packages_close(struct packages *p)
{
    if (!p)
        return;
    loop_stop(p->loop);
    pthread_join(p->thread, NULL);
    fetcher_free(p->fetcher);
    loop_free(p->loop);
    pthread_mutex_destroy(&p->lock);
    free(p->repository);
    free(p->hub);
    free(p->path_models);
    free(p);
}
