/* What a model is made of, and program and tokenizer loaded from it. Deployments of the same files
 * share them; the last one that goes frees them, so replaced files are read anew by the next start.
 * Two starts at once load once: the second waits for the first (both are pool threads).
 *
 * The program is there as long as there are allocations: when the last goes, so do the weights, and
 * the first that comes again loads them anew. The tokenizer stays, for the calls that wait then. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"
#include "log.h"
#include "model_private.h"
#include "process.h"

/* A vocabulary's upload is bounded by http.max_content_length, which is at most 2 GiB. */
#define MAX_VOCABULARY_BYTES ((off_t)1 << 31)

/* --- the source --- */

static struct err *find_folder(struct models *m, struct str model_id, struct arena *a,
                               struct source *out)
{
    char *folder = snapshot_folder(m, model_id);
    if (!folder)
        return snapshot_unknown(model_id);
    out->snapshot = true;
    out->folder = arena_cstr(a, str_c(folder));
    out->model_id = arena_dup(a, model_id);
    free(folder);
    return NULL;
}

static struct err *several(struct str id, struct trained_model *const *list, size_t n)
{
    struct buf names;
    buf_init(&names, 1024); /* enough to see what went wrong */
    for (size_t i = 0; i < n; i++)
        buf_printf(&names, "%s%.*s", i ? ", " : "", STR_ARG(list[i]->model_id));
    struct err *err = err_status(400,
                                 "cannot deploy more than one model at the same time; [%.*s] "
                                 "matches models [%.*s]",
                                 STR_ARG(id), STR_ARG(buf_str(&names)));
    buf_deinit(&names);
    return err;
}

/* An id, an alias, or a pattern that means one model. */
static struct err *find_one(struct models *m, struct str id, struct arena *a,
                            struct trained_model **out)
{
    struct trained_model **list;
    size_t n;
    if (str_find_char(id, '*') == SIZE_MAX && str_find_char(id, ',') == SIZE_MAX)
        return registry_get(m->registry, id, out);
    TRY(registry_find(m->registry, id, true, a, &list, &n));
    struct err *err = NULL;
    if (n == 0)
        err = snapshot_unknown(id);
    else if (n > 1)
        err = several(id, list, n);
    else
        *out = trained_model_ref(list[0]);
    for (size_t i = 0; i < n; i++)
        trained_model_unref(list[i]);
    return err;
}

static struct err *not_deployable(const struct trained_model *model)
{
    return err_status(400,
                      "model [%.*s] of type [%s] cannot be deployed. Only PyTorch models can be "
                      "deployed",
                      STR_ARG(model->model_id), model->model_type);
}

struct err *source_find(struct models *m, struct str id, struct arena *a, struct source *out)
{
    struct model_files files;
    *out = (struct source){0};
    if (!m->registry)
        return find_folder(m, id, a, out);
    TRY(find_one(m, id, a, &out->model));
    out->model_id = out->model->model_id;
    struct err *err = out->model->tree ? not_deployable(out->model) : NULL;
    if (!err)
        err = registry_files(m->registry, out->model, a, &files);
    if (err) {
        source_deinit(out);
        return err;
    }
    out->snapshot = files.snapshot != NULL;
    out->folder = files.snapshot;
    out->definition = files.definition;
    out->vocabulary = files.vocabulary;
    return NULL;
}

void source_deinit(struct source *s)
{
    trained_model_unref(s->model);
    s->model = NULL;
}

int64_t source_bytes(const struct source *s)
{
    struct stat st;
    char path[4096];
    if (s->model && s->model->definition_bytes > 0)
        return s->model->definition_bytes;
    if (!s->snapshot)
        return stat(s->definition, &st) == 0 ? (int64_t)st.st_size : 0;
    snprintf(path, sizeof(path), "%s/model.safetensors", s->folder);
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

static struct err *find_snapshot(struct models *m, struct str id, struct arena *a,
                                 struct model_info *out)
{
    char *path = snapshot_folder(m, id);
    struct err *err = path ? snapshot_look(path, id, a, out) : snapshot_unknown(id);
    free(path);
    return err;
}

struct err *models_find(struct models *m, struct str id, struct arena *a, struct model_info *out)
{
    struct trained_model *model;
    if (!m->registry)
        return find_snapshot(m, id, a, out);
    TRY(registry_get(m->registry, id, &model));
    struct err *err = NULL;
    if (model->tree)
        *out = (struct model_info){.model_id = arena_dup(a, model->model_id)};
    else if (model->kind == MODEL_SNAPSHOT)
        err = find_snapshot(m, model->model_id, a, out);
    else
        *out = (struct model_info){
            .model_id = arena_dup(a, model->model_id),
            .tasks = head_task_bit(model->nlp.task),
            .dimensions = model->nlp.task == NLP_TEXT_EMBEDDING ? model->nlp.embedding_size : 0,
            .similarity = "cosine",
            .element_type = "float",
            .max_tokens = model->nlp.tokenization.max_sequence_length,
        };
    if (!err) {
        out->type = model->kind == MODEL_SNAPSHOT ? NULL : trained_model_task(model);
        out->package = model->kind == MODEL_PACKAGE;
    }
    trained_model_unref(model);
    return err;
}

/* --- loading --- */

/* The longest text must fit into one run. */
static struct err *token_budget(struct models *m, const struct source *s, uint32_t *out)
{
    struct model_info info;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct err *err = snapshot_look(s->folder, s->model_id, a, &info);
    if (!err)
        *out = info.max_tokens > BATCH_TOKENS ? info.max_tokens : BATCH_TOKENS;
    arena_free(a);
    return err;
}

/* A folder says by its output what its task is, where the registry does not. */
static enum nlp_task task_of(enum program_output output)
{
    switch (output) {
    case OUTPUT_VOCABULARY:
        return NLP_TEXT_EXPANSION;
    case OUTPUT_LABELS:
        return NLP_TEXT_SIMILARITY;
    case OUTPUT_TENSOR:
        return NLP_PASS_THROUGH;
    case OUTPUT_EMBEDDING:
        break;
    }
    return NLP_TEXT_EMBEDDING;
}

static struct err *load_program(const struct parts *p, struct program **out)
{
    uint32_t longest = p->nlp.tokenization.max_sequence_length;
    struct engine_limits limits = {.token_budget = p->token_budget};
    struct script_options options = {.max_tokens = longest, .limits = limits};
    return p->snapshot ? program_load_snapshot(p->place, &limits, out)
                       : program_load_script(p->place, &options, out);
}

/* What is known of a program outlives it. */
static void keep_info(struct parts *p)
{
    p->info = *program_info(p->program);
    const char **texts[] = {&p->info.architecture, &p->info.pooling, &p->info.why};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (*texts[i])
            *texts[i] = arena_cstr(p->arena, str_c(*texts[i]));
    }
}

static struct err *load_snapshot(struct models *m, const struct source *s, struct parts *p)
{
    TRY(token_budget(m, s, &p->token_budget));
    TRY(load_program(p, &p->program));
    keep_info(p);
    TRY(tokenizer_open_snapshot(s->folder, &p->tokenizer));
    if (tokenizer_vocab_size(p->tokenizer) > p->info.vocab_size)
        return err_new(ERR_ARGUMENT,
                       "the tokenizer has [%u] tokens but the model's [config.json] says "
                       "vocab_size [%u]",
                       tokenizer_vocab_size(p->tokenizer), p->info.vocab_size);
    p->nlp.task = task_of(p->info.output);
    return snapshot_prompts(s->folder, s->model_id, p->arena, p->prompts);
}

static struct err *read_vocabulary(const char *path, struct arena *a, const struct json **out)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size > MAX_VOCABULARY_BYTES) {
        if (fd >= 0)
            close(fd);
        return err_new(ERR_IO, "cannot read the vocabulary: %s", strerror(errno));
    }
    size_t n = 0, size = (size_t)st.st_size;
    char *text = arena_alloc(a, size + 1);
    for (ssize_t got; n < size && (got = read(fd, text + n, size - n)) > 0;)
        n += (size_t)got;
    close(fd);
    return json_parse(a, str_n(text, n), out);
}

static struct err *load_tokenizer(const struct source *s, struct parts *p)
{
    const struct json *vocabulary;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct err *err = read_vocabulary(s->vocabulary, a, &vocabulary);
    if (!err)
        err = tokenization_open(&p->nlp.tokenization, vocabulary, &p->tokenizer);
    arena_free(a);
    return err;
}

static struct err *load_script(const struct source *s, struct parts *p)
{
    uint32_t longest = p->nlp.tokenization.max_sequence_length;
    p->token_budget = longest > BATCH_TOKENS ? longest : BATCH_TOKENS;
    TRY(load_program(p, &p->program));
    keep_info(p);
    return load_tokenizer(s, p);
}

static struct err *load_all(struct models *m, const struct source *s, struct parts *p)
{
    p->snapshot = s->snapshot;
    p->place = arena_cstr(p->arena, str_c(s->snapshot ? s->folder : s->definition));
    p->input_field = STR("text_field");
    if (s->model) {
        p->model = trained_model_ref(s->model);
        p->nlp = p->model->nlp;
        if (p->model->input_field.n)
            p->input_field = p->model->input_field;
        p->prompts[INPUT_INGEST] = p->model->prefix_ingest;
        p->prompts[INPUT_SEARCH] = p->model->prefix_search;
    }
    return s->snapshot ? load_snapshot(m, s, p) : load_script(s, p);
}

/* --- sharing --- */

static struct parts *find(struct models *m, const char *key)
{
    struct parts *p = m->parts;
    while (p && strcmp(p->key, key) != 0)
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
    trained_model_unref(p->model);
    err_free(p->err);
    arena_free(p->arena);
    free(p->key);
    free(p);
}

static struct parts *add_loading(struct models *m, const char *key)
{
    struct parts *p = mem_new(sizeof(*p));
    p->key = mem_strdup(key);
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
static struct err *load_and_tell(struct models *m, const struct source *s, struct parts *p)
{
    struct err *err = load_all(m, s, p);
    pthread_mutex_lock(&m->lock);
    p->err = err;
    p->state = err ? PARTS_BROKEN : PARTS_READY;
    if (err)
        unlink_parts(m, p);
    pthread_cond_broadcast(&m->idle);
    pthread_mutex_unlock(&m->lock);
    return err ? err_copy(err) : NULL;
}

/* The files' place, and which model it was when they were put there. */
static const char *key_of(const struct source *s, struct arena *a)
{
    const char *place = s->snapshot ? s->folder : s->definition;
    unsigned long long rev = s->model ? s->model->rev : 0;
    return arena_printf(a, "%s#%llu", place, rev).p;
}

struct err *parts_load(struct models *m, const struct source *s, struct parts **out)
{
    struct err *err = NULL;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const char *key = key_of(s, a);
    pthread_mutex_lock(&m->lock);
    struct parts *p = find(m, key);
    bool load = !p;
    if (load)
        p = add_loading(m, key);
    else
        p->refs++;
    while (!load && p->state == PARTS_LOADING)
        pthread_cond_wait(&m->idle, &m->lock);
    if (!load && p->err)
        err = err_copy(p->err);
    pthread_mutex_unlock(&m->lock);
    if (load)
        err = load_and_tell(m, s, p);
    if (err)
        parts_unref(m, p);
    else
        *out = p;
    arena_free(a);
    return err;
}

/* --- the program, for as long as there are allocations --- */

static struct err *load_again(const struct parts *p, struct program **out)
{
    TRY(load_program(p, out));
    const struct program_info *now = program_info(*out);
    if (now->output == p->info.output && now->dimensions == p->info.dimensions &&
        now->vocab_size == p->info.vocab_size && now->max_tokens == p->info.max_tokens)
        return NULL;
    program_unref(*out);
    *out = NULL;
    return err_new(ERR_IO, "the model's files have changed since it was started; stop the "
                           "deployment and start it again");
}

struct err *parts_program(struct models *m, struct parts *p, struct program **out)
{
    struct err *err = NULL;
    pthread_mutex_lock(&m->lock);
    while (p->loading_again)
        pthread_cond_wait(&m->idle, &m->lock);
    p->n_users++;
    bool load = !p->program;
    p->loading_again = load;
    if (!load)
        *out = program_ref(p->program);
    pthread_mutex_unlock(&m->lock);
    if (!load)
        return NULL;
    err = load_again(p, out);
    pthread_mutex_lock(&m->lock);
    p->loading_again = false;
    if (err)
        p->n_users--;
    else
        p->program = program_ref(*out);
    pthread_cond_broadcast(&m->idle);
    pthread_mutex_unlock(&m->lock);
    return err;
}

/* The program, if nobody uses it any more. With m->lock held. */
static struct program *take_unused(struct parts *p)
{
    struct program *unused = p->n_users ? NULL : p->program;
    if (unused)
        p->program = NULL;
    return unused;
}

static void free_unused(struct program *unused)
{
    if (!unused)
        return;
    program_unref(unused);
    process_trim(); /* weights were many large blocks: back to the system with them */
}

void parts_program_done(struct models *m, struct parts *p, struct program *program)
{
    program_unref(program);
    pthread_mutex_lock(&m->lock);
    p->n_users--;
    struct program *unused = take_unused(p);
    pthread_mutex_unlock(&m->lock);
    free_unused(unused);
}

void parts_rest(struct models *m, struct parts *p)
{
    pthread_mutex_lock(&m->lock);
    struct program *unused = take_unused(p);
    pthread_mutex_unlock(&m->lock);
    free_unused(unused);
}
