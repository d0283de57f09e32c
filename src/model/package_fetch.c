/* A built-in model, one thing after the other: metadata -> registered -> vocabulary -> definition
 * -> checked -> named. What is there from an earlier run is not fetched again. */
#include "package_private.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "definition.h"
#include "model_private.h"
#include "trained_model_config.h"

#define MAX_METADATA_BYTES   (1 << 20)
#define MAX_VOCABULARY_BYTES (100 << 20)
#define MAX_DEFINITION_BYTES (INT64_C(50) << 30)

static const char *name_of(const struct job *j)
{
    return j->id + 1; /* without its dot */
}

static struct str url_of(struct job *j, const char *file)
{
    return arena_printf(j->arena, "%s/%s", j->base, file);
}

static const char *path_of(struct job *j, const char *name)
{
    return arena_printf(j->arena, "%s/%s", j->folder, name).p;
}

static bool is_there(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* --- metadata --- */

static bool is_sha256(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!strchr("0123456789abcdefABCDEF", s.p[i]))
            return false;
    }
    return s.n == 64;
}

static struct err *check_metadata(const struct job *j, const struct json *m)
{
    struct str text;
    int64_t size;
    if (!json_is(m, JSON_OBJECT))
        return err_new(ERR_ARGUMENT, "the metadata of package [%s] is no object", name_of(j));
    if (!json_i64(json_get(m, "size"), &size) || size <= 0 || size > MAX_DEFINITION_BYTES)
        return err_new(ERR_ARGUMENT, "the metadata of package [%s] has no usable [size]",
                       name_of(j));
    if (!json_str(json_get(m, "sha256"), &text) || !is_sha256(text))
        return err_new(ERR_ARGUMENT, "the metadata of package [%s] has no usable [sha256]",
                       name_of(j));
    if (!json_is_null(json_get(m, "vocabulary_file")) &&
        (!json_str(json_get(m, "vocabulary_file"), &text) || !snapshot_id_ok(text)))
        return err_new(ERR_ARGUMENT,
                       "the metadata of package [%s] must have a plain name as [vocabulary_file]",
                       name_of(j));
    return NULL;
}

/* The package as GET shows it: with where it came from. */
static struct err *with_repository(struct job *j, const struct json *m, const struct json **out)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, 2 * MAX_METADATA_BYTES);
    json_out_init(&w, &b);
    json_obj(&w);
    struct json_iter it = json_iter(m);
    for (const struct json *v; (v = json_next(&it));) {
        if (str_eq(v->key, STR("model_repository")))
            continue;
        json_key_s(&w, v->key);
        json_put_node(&w, v);
    }
    json_key_cstr(&w, "model_repository", j->packages->repository);
    json_end(&w);
    struct err *e = json_parse_copy(j->arena, buf_str(&b), out);
    buf_deinit(&b);
    return e;
}

static struct err *register_package(struct job *j, struct str bytes)
{
    const struct json *metadata;
    struct trained_model *m = NULL;
    TRY(json_parse_copy(j->arena, bytes, &metadata));
    TRY(check_metadata(j, metadata));
    TRY(with_repository(j, metadata, &j->package));
    TRY(registry_put(j->packages->registry, str_c(j->id), j->body, j->package, &m));
    pthread_mutex_lock(&j->packages->lock);
    j->model = m;
    pthread_mutex_unlock(&j->packages->lock);
    return NULL;
}

static void got_metadata(void *ctx, struct err *e, struct str bytes)
{
    struct job *j = ctx;
    j->fetch = NULL;
    if (!e)
        e = register_package(j, bytes);
    if (e) {
        job_end(j, e);
        return;
    }
    job_registered(j);
    package_go_on(j);
}

/* An operator without a way out puts the package's files into path.models. */
static void choose_base(struct job *j)
{
    struct packages *p = j->packages;
    struct str local = arena_printf(j->arena, "%s/%s.metadata.json", p->path_models, name_of(j));
    j->base = p->repository;
    if (!is_there(local.p))
        return;
    char *whole = realpath(p->path_models, NULL);
    if (whole)
        j->base = arena_printf(j->arena, "file://%.*s",
                               STR_ARG(http_escape(j->arena, str_c(whole), true)))
                      .p;
    free(whole);
}

void package_begin(struct job *j)
{
    choose_base(j);
    char file[256];
    snprintf(file, sizeof file, "%s.metadata.json", name_of(j));
    if (!trained_model_package_id_ok(str_c(j->id)) || strlen(j->id) > MODEL_ID_LIMIT) {
        job_end(j, err_new(ERR_REQUEST,
                           "Validation Failed: 1: Invalid model_id; '%.256s' can contain lowercase "
                           "alphanumeric (a-z and 0-9), hyphens or underscores; must start and end "
                           "with alphanumeric;",
                           j->id));
        return;
    }
    struct fetch_order o = {.url = url_of(j, file), .limit = MAX_METADATA_BYTES, .size = -1};
    job_fetch(j, &o, got_metadata);
}

/* --- definition --- */

static int64_t size_of(const struct job *j)
{
    int64_t n = 0;
    json_i64(json_get(j->package, "size"), &n);
    return n;
}

static struct err *name_definition(struct job *j)
{
    if (rename(path_of(j, "model.pt.partial"), path_of(j, "model.pt")) != 0)
        return err_new(ERR_IO, "cannot name the definition of model [%s]: %s", j->id,
                       strerror(errno));
    TRY(definition_sync(j->folder));
    return registry_package_done(j->packages->registry, str_c(j->id), size_of(j));
}

static void checked(struct job *j, struct err *e, const char *got)
{
    struct str want = {0};
    json_str(json_get(j->package, "sha256"), &want);
    if (!e && !str_eq_nocase(want, str_c(got))) {
        e = err_new(ERR_INTERNAL,
                    "Model sha256 checksums do not match, expected [%.*s] but got [%s]",
                    STR_ARG(want), got);
        unlink(path_of(j, "model.pt.partial")); /* the next try begins anew */
    }
    job_end(j, e ? e : name_definition(j));
}

static void got_definition(void *ctx, struct err *e, struct str bytes)
{
    struct job *j = ctx;
    (void)bytes;
    atomic_store(&j->have, fetch_have(j->fetch));
    j->fetch = NULL;
    job_progress(j);
    if (e)
        job_end(j, e);
    else
        job_check(j, path_of(j, "model.pt.partial"), checked);
}

static void fetch_definition(struct job *j)
{
    char file[256];
    snprintf(file, sizeof file, "%s.pt", name_of(j));
    struct fetch_order o = {.url = url_of(j, file),
                            .path = path_of(j, "model.pt.partial"),
                            .limit = size_of(j),
                            .size = size_of(j),
                            .have = &j->have};
    job_fetch(j, &o, got_definition);
}

/* --- vocabulary --- */

static struct err *keep_vocabulary(struct job *j, struct str bytes)
{
    const struct json *words;
    struct arena *a = arena_new((size_t)1 << 30);
    struct err *e = json_parse(a, bytes, &words);
    if (!e)
        e = vocabulary_check(&j->model->nlp.tokenization, str_c(j->id), words);
    if (!e)
        e = definition_write_vocabulary(j->folder, bytes);
    arena_free(a);
    return e;
}

static void got_vocabulary(void *ctx, struct err *e, struct str bytes)
{
    struct job *j = ctx;
    j->fetch = NULL;
    if (!e)
        e = keep_vocabulary(j, bytes);
    if (e)
        job_end(j, e);
    else
        fetch_definition(j);
}

static void fetch_vocabulary(struct job *j)
{
    struct str name = arena_printf(j->arena, "%s.vocab.json", name_of(j));
    json_str(json_get(j->package, "vocabulary_file"), &name);
    struct fetch_order o = {
        .url = url_of(j, arena_cstr(j->arena, name)), .limit = MAX_VOCABULARY_BYTES, .size = -1};
    job_fetch(j, &o, got_vocabulary);
}

void package_go_on(struct job *j)
{
    choose_base(j);
    j->package = j->model->package;
    atomic_store(&j->total, size_of(j));
    struct err *e =
        registry_package_folder(j->packages->registry, str_c(j->id), j->arena, &j->folder);
    if (e)
        job_end(j, e);
    else if (is_there(path_of(j, "vocabulary.json")))
        fetch_definition(j);
    else
        fetch_vocabulary(j);
}
