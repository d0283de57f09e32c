#include "fake_models.h"
#include "package.h"

#include <stdio.h>
#include <stdlib.h>

#include "bug.h"

struct post {
    struct loop_msg msg;
    void (*done)(void *ctx, struct err *);
    void *ctx;
    struct err *err;
};

static void posted(struct loop_msg *msg)
{
    struct post p = *(struct post *)msg;
    free(msg);
    p.done(p.ctx, p.err);
}

static void post(struct loop *loop, void (*done)(void *, struct err *), void *ctx, struct err *e)
{
    struct post *p = mem_new(sizeof *p);
    *p = (struct post){.msg = {.run = posted}, .done = done, .ctx = ctx, .err = e};
    loop_post(loop, &p->msg);
}

struct err *models_find(struct models *m, struct str model_id, struct arena *arena,
                        struct model_info *out)
{
    if (m->find_fails)
        return err_new(ERR_NOT_FOUND, "No known trained model with model_id [%.*s]",
                       STR_ARG(model_id));
    *out = (struct model_info){.model_id = arena_dup(arena, model_id),
                               .tasks = m->tasks,
                               .dimensions = m->dimensions,
                               .similarity = "cosine",
                               .element_type = "float"};
    return NULL;
}

void deployment_start(struct models *m, const struct deployment_spec *spec, struct loop *loop,
                      void (*done)(void *ctx, struct err *), void *ctx)
{
    m->starts++;
    snprintf(m->id, sizeof m->id, "%.*s", STR_ARG(spec->id));
    snprintf(m->model_id, sizeof m->model_id, "%.*s", STR_ARG(spec->model_id));
    m->num_allocations = spec->num_allocations;
    m->num_threads = spec->num_threads;
    m->deployed = !m->start_fails;
    if (m->start_held) {
        m->held = done;
        m->held_ctx = ctx;
        return;
    }
    post(loop, done, ctx, m->start_fails ? err_new(ERR_INTERNAL, "no such weights") : NULL);
}

void fake_models_started(struct models *m, struct err *e)
{
    void (*held)(void *, struct err *) = m->held;
    m->held = NULL;
    held(m->held_ctx, e);
}

void deployment_stop(struct models *m, struct str id, bool drain, struct loop *loop,
                     void (*done)(void *ctx, struct err *), void *ctx)
{
    m->stops++;
    if (str_eq_c(id, m->id))
        m->deployed = false;
    post(loop, done, ctx, NULL);
}

void deployment_update(struct models *m, struct str id, const struct deployment_change *change,
                       struct loop *loop, void (*done)(void *ctx, struct err *), void *ctx)
{
    struct err *e = NULL;
    if (!m->deployed || !str_eq_c(id, m->id))
        e = err_new(ERR_NOT_FOUND, "no deployment [%.*s]", STR_ARG(id));
    else if (change->has_number)
        m->num_allocations = (int)change->number;
    post(loop, done, ctx, e);
}

void deployment_state(struct models *m, struct str id, struct deployment_state *out)
{
    bool exists = m && m->deployed && str_eq_c(id, m->id);
    *out = (struct deployment_state){
        .exists = exists, .started = exists, .num_allocations = exists ? m->num_allocations : 0};
}

bool deployment_view(struct models *m, struct str id, struct arena *a, struct deployment_view *out)
{
    *out = (struct deployment_view){.id = arena_dup(a, id),
                                    .model_id = arena_dup(a, str_c(m->model_id)),
                                    .phase = STARTED,
                                    .num_threads = m->num_threads,
                                    .wanted = m->num_allocations};
    return m->deployed && str_eq_c(id, m->id);
}

struct err *deployment_count(struct models *m, struct str id, const struct input *in,
                             struct arena *arena, struct token_count *out)
{
    for (size_t i = 0; i < in->n_texts; i++)
        out[i] = (struct token_count){.tokens = (uint32_t)in->texts[i].n};
    return NULL;
}

void deployment_submit(struct models *m, struct str id, struct call *call)
{
    static const float vector[] = {0.5f, -1.0f};
    struct embedding row = {.n = 2, .f32 = vector};
    struct result result = {.kind = RESULT_FLOATS, .n = 1, .embeddings = &row};
    if (m->deployed && str_eq_c(id, m->id))
        call->sink->done(call->sink, &result);
    else
        call->sink->fail(call->sink, err_new(ERR_NOT_FOUND, "no deployment [%.*s]", STR_ARG(id)));
}

/* No test has packages. */
void packages_ensure(struct packages *p, struct str id, struct loop *loop,
                     void (*done)(void *, struct err *), void *ctx)
{
    (void)p;
    (void)id;
    (void)loop;
    done(ctx, NULL);
}
