/* simulate: what a call would send, told instead of sent. The request is made by the same functions
 * that make the real one: split into parts, shortened, built, addressed, signed. It takes no place
 * in a rate limit and asks for no token: where one would be exchanged, the header shows stars.
 *
 * For a model of our own: how many tokens the inputs are to it, counted on the pool. */
#include <stdlib.h>

#include "clock.h"
#include "mask.h"
#include "private.h"

/* --- outside services --- */

struct sketch {
    struct inference *inf;
    const struct endpoint *ep;
    struct mask mask;
    struct json_out *w;
};

static struct err *sign(const struct endpoint *ep, struct http_out *out)
{
    const struct auth *auth = ep->provider->auth ? ep->provider->auth(ep) : NULL;
    if (!auth)
        return NULL;
    struct token token = {.value = auth->ask ? secret_new(STR("***")) : NULL};
    struct err *e = auth->sign(ep, auth->ask ? &token : NULL, clock_wall_ms() / 1000, out);
    secret_unref(token.value);
    return e;
}

static struct err *sketch_one(struct sketch *s, struct input in)
{
    struct arena *arena = s->mask.arena;
    struct http_out out = {.arena = arena, .method = HTTP_POST};
    struct client_limits limits = {0};
    upstream_cut(s->ep, arena, &in);
    TRY(provider_task(s->ep->provider, s->ep->task)->build(s->ep, &in, &out));
    TRY(upstream_address(s->inf, s->ep, &out, &limits));
    TRY(sign(s->ep, &out));
    mask_request(&s->mask, &out, s->w);
    return NULL;
}

static struct err *sketch_all(struct sketch *s, const struct input *in)
{
    size_t first = 0;
    do { /* a chat has no texts, and is one request */
        struct input part = *in;
        part.n_texts = split_pack(s->ep, in, first);
        if (first)
            part.texts += first;
        TRY(sketch_one(s, part));
        first += part.n_texts;
    } while (first < in->n_texts);
    return NULL;
}

static void head(struct json_out *w, const struct endpoint *ep)
{
    json_obj(w);
    json_key_str(w, "inference_id", ep->id);
    json_key_cstr(w, "task_type", task_name(ep->task));
    json_key_str(w, "service", ep->service);
}

static struct err *simulate_outside(struct inference *inf, const struct simulation *sim)
{
    struct json_out w;
    json_out_init(&w, sim->out);
    head(&w, sim->endpoint);
    struct sketch s = {
        .inf = inf, .ep = sim->endpoint, .mask = mask_new(sim->arena, sim->endpoint), .w = &w};
    const struct egress *egress = extras_of(sim->endpoint)->egress;
    if (egress && egress->client.proxy)
        json_key_cstr(&w, "proxy", egress->client.proxy);
    json_key(&w, "requests");
    json_arr(&w);
    TRY(sketch_all(&s, sim->input));
    json_end(&w);
    json_end(&w);
    return sim->out->full ? err_new(ERR_TOO_LARGE, "the requests are too large to be shown") : NULL;
}

/* --- local models --- */

struct counting {
    struct inference *inf;
    struct simulation sim;
    struct token_count *counts;
    struct err *err;
};

static void count_work(void *job)
{
    struct counting *c = job;
    c->err = deployment_count(c->inf->parts.models, local_deployment(c->sim.endpoint), c->sim.input,
                              c->sim.arena, c->counts);
}

static void count_render(const struct counting *c)
{
    const struct endpoint *ep = c->sim.endpoint;
    const struct value *model = settings_get(&ep->values, "model_id");
    struct json_out w;
    int64_t sum = 0;
    json_out_init(&w, c->sim.out);
    head(&w, ep);
    if (model && model->set)
        json_key_str(&w, "model_id", model->s);
    json_key(&w, "inputs");
    json_arr(&w);
    for (size_t i = 0; i < c->sim.input->n_texts; i++) {
        json_obj(&w);
        json_key_i64(&w, "tokens", c->counts[i].tokens);
        json_key_bool(&w, "is_truncated", c->counts[i].truncated);
        json_end(&w);
        sum += c->counts[i].tokens;
    }
    json_end(&w);
    json_key_i64(&w, "tokens", sum);
    json_end(&w);
}

static void count_done(void *job)
{
    struct counting *c = job;
    struct simulation sim = c->sim;
    struct err *e = c->err;
    if (!e)
        count_render(c);
    sim.done(sim.ctx, e);
}

void inference_simulate(struct inference *inf, const struct simulation *sim)
{
    if (!endpoint_is_local(sim->endpoint)) {
        sim->done(sim->ctx, simulate_outside(inf, sim));
        return;
    }
    struct counting *c = arena_alloc(sim->arena, sizeof *c);
    *c = (struct counting){.inf = inf, .sim = *sim};
    c->counts = arena_array(sim->arena, sim->input->n_texts + 1, sizeof *c->counts);
    pool_run(inf->parts.pool, sim->loop, count_work, count_done, c);
}
