/* What _start and _update ask. The query wins over the body. */
#include "body.h"
#include "deployments.h"

#define MAX_QUEUE 100000

/* A number in body or query; anything of the right kind, checked afterwards. */
struct number {
    bool set;
    int64_t n;
};

struct bounds {
    bool given, null, has_enabled, enabled;
    bool null_min, null_max;
    struct number min, max;
};

struct asked {
    struct str deployment_id, cache_size, priority, timeout, wait_for;
    struct number allocations, threads, queue_capacity;
    struct bounds adaptive;
};

/* --- reading bodies --- */

static struct err *read_number(struct body *b, const struct json *v, void *out)
{
    struct number *n = out;
    n->set = true;
    return body_i64(b, v, INT32_MIN, INT32_MAX, &n->n);
}

static struct err *read_enabled(struct body *b, const struct json *v, void *out)
{
    struct bounds *a = out;
    a->has_enabled = true;
    return body_bool(b, v, &a->enabled);
}

static struct err *read_adaptive(struct body *b, const struct json *v, void *out)
{
    static const struct body_field fields[] = {
        {"enabled", BODY_BOOL | BODY_STR, false, read_enabled, 0},
        {"min_number_of_allocations", BODY_NUM | BODY_STR, false, read_number,
         offsetof(struct bounds, min)},
        {"max_number_of_allocations", BODY_NUM | BODY_STR, false, read_number,
         offsetof(struct bounds, max)},
    };
    static const struct body_parser parser = {"adaptive_allocations_settings", fields, 3};
    struct bounds *a = out;
    const struct json *min = json_get(v, "min_number_of_allocations");
    const struct json *max = json_get(v, "max_number_of_allocations");
    a->given = true;
    a->null_min = min && json_is_null(min);
    a->null_max = max && json_is_null(max);
    return body_parse(b, &parser, v, a);
}

static const struct body_field fields[] = {
    {"deployment_id", BODY_STR, false, body_str, offsetof(struct asked, deployment_id)},
    {"number_of_allocations", BODY_NUM | BODY_STR, false, read_number,
     offsetof(struct asked, allocations)},
    {"model_threads", BODY_NUM | BODY_STR, false, read_number, offsetof(struct asked, allocations)},
    {"threads_per_allocation", BODY_NUM | BODY_STR, false, read_number,
     offsetof(struct asked, threads)},
    {"inference_threads", BODY_NUM | BODY_STR, false, read_number, offsetof(struct asked, threads)},
    {"queue_capacity", BODY_NUM | BODY_STR, false, read_number,
     offsetof(struct asked, queue_capacity)},
    {"cache_size", BODY_STR | BODY_NUM, false, body_str, offsetof(struct asked, cache_size)},
    {"priority", BODY_STR, false, body_str, offsetof(struct asked, priority)},
    {"timeout", BODY_STR, false, body_str, offsetof(struct asked, timeout)},
    {"wait_for", BODY_STR, false, body_str, offsetof(struct asked, wait_for)},
    {"adaptive_allocations", BODY_OBJECT, false, read_adaptive, offsetof(struct asked, adaptive)},
};

static struct err *read_body(const struct request *r, const char *name, struct asked *out)
{
    struct body_parser parser = {name, fields, sizeof fields / sizeof fields[0]};
    struct body b = {.arena = r->arena, .text = r->http->body};
    const struct json *adaptive = json_get(r->body, "adaptive_allocations");
    *out = (struct asked){0};
    if (!r->body)
        return NULL;
    out->adaptive.null = adaptive && json_is_null(adaptive);
    return body_parse(&b, &parser, r->body, out);
}

/* --- the query --- */

static struct err *query_number(const struct request *r, const char *name, struct number *out)
{
    struct str v;
    if (!request_query(r, name, &v) || v.n == 0)
        return NULL;
    if (!str_to_i64(v, &out->n) || out->n > INT32_MAX || out->n < INT32_MIN)
        return err_new(ERR_ARGUMENT, "Failed to parse int parameter [%s] with value [%.*s]", name,
                       STR_ARG(str_sub(v, 0, 64)));
    out->set = true;
    return NULL;
}

static struct err *read_query(const struct request *r, struct asked *out)
{
    TRY(query_number(r, "model_threads", &out->allocations));
    TRY(query_number(r, "number_of_allocations", &out->allocations));
    TRY(query_number(r, "inference_threads", &out->threads));
    TRY(query_number(r, "threads_per_allocation", &out->threads));
    TRY(query_number(r, "queue_capacity", &out->queue_capacity));
    request_query(r, "deployment_id", &out->deployment_id);
    request_query(r, "cache_size", &out->cache_size);
    request_query(r, "priority", &out->priority);
    request_query(r, "timeout", &out->timeout);
    request_query(r, "wait_for", &out->wait_for);
    return NULL;
}

/* --- words --- */

static struct err *no_word(const char *name, struct str word, const char *allowed)
{
    return err_new(ERR_ARGUMENT, "Invalid value [%.*s] for [%s]; must be one of [%s]",
                   STR_ARG(str_sub(word, 0, 64)), name, allowed);
}

static struct err *read_words(const struct asked *a, struct start_asked *out)
{
    uint64_t bytes;
    out->timeout_ms = 30000;
    if (a->timeout.n && !str_to_ms(a->timeout, &out->timeout_ms))
        return err_new(ERR_ARGUMENT,
                       "failed to parse setting [timeout] with value [%.*s] as a time value: unit "
                       "is missing or unrecognized",
                       STR_ARG(str_sub(a->timeout, 0, 64)));
    if (str_eq_nocase(a->wait_for, STR("starting")))
        out->spec.wait_for = WAIT_STARTING;
    else if (str_eq_nocase(a->wait_for, STR("fully_allocated")))
        out->spec.wait_for = WAIT_FULLY_ALLOCATED;
    else if (a->wait_for.n && !str_eq_nocase(a->wait_for, STR("started")))
        return no_word("wait_for", a->wait_for, "starting, started, fully_allocated");
    if (str_eq_nocase(a->priority, STR("low")))
        out->spec.low_priority = true;
    else if (a->priority.n && !str_eq_nocase(a->priority, STR("normal")))
        return no_word("priority", a->priority, "normal, low");
    out->spec.cache_bytes = DEPLOYMENT_CACHE_OF_MODEL;
    if (a->cache_size.n) {
        if (!str_to_bytes(a->cache_size, &bytes) || bytes > INT64_MAX)
            return err_new(ERR_ARGUMENT,
                           "failed to parse setting [cache_size] with value [%.*s] as a size in "
                           "bytes: unit is missing or unrecognized",
                           STR_ARG(str_sub(a->cache_size, 0, 64)));
        out->spec.cache_bytes = (int64_t)bytes;
    }
    return NULL;
}

/* --- what ES's validation says --- */

static void check_bounds(struct err_list *list, const struct bounds *b)
{
    if (b->min.set && b->min.n < 0)
        err_list_add(list, "[min_number_of_allocations] must be a non-negative integer or null");
    if (b->max.set && b->max.n < 1)
        err_list_add(list, "[max_number_of_allocations] must be a positive integer or null");
    if (b->min.set && b->max.set && b->min.n > b->max.n)
        err_list_add(list, "[min_number_of_allocations] must not be larger than "
                           "[max_number_of_allocations]");
}

static struct err *check_start(const struct asked *a, const struct start_asked *out)
{
    struct err_list list = {0};
    check_bounds(&list, &a->adaptive);
    if (a->allocations.set && a->adaptive.enabled)
        err_list_add(&list, "[number_of_allocations] cannot be set if adaptive allocations is "
                            "enabled");
    if (a->allocations.set && a->allocations.n < 1)
        err_list_add(&list, "[number_of_allocations] must be a positive integer");
    if (a->threads.set && a->threads.n < 1)
        err_list_add(&list, "[threads_per_allocation] must be a positive integer");
    else if (a->threads.set && (a->threads.n > 32 || (a->threads.n & (a->threads.n - 1))))
        err_list_add(&list, "[threads_per_allocation] must be a power of 2 less than or equal to "
                            "32");
    if (a->queue_capacity.set && a->queue_capacity.n < 1)
        err_list_add(&list, "[queue_capacity] must be a positive integer");
    if (a->queue_capacity.set && a->queue_capacity.n > MAX_QUEUE)
        err_list_add(&list, "[queue_capacity] must be less than %d", MAX_QUEUE);
    if (out->timeout_ms < 1)
        err_list_add(&list, "[timeout] must be positive");
    if (out->spec.low_priority && a->allocations.set && a->allocations.n > 1)
        err_list_add(&list, "[number_of_allocations] must be 1 when [priority] is low");
    if (out->spec.low_priority && a->threads.set && a->threads.n > 1)
        err_list_add(&list, "[threads_per_allocation] must be 1 when [priority] is low");
    return err_list_end(&list, ERR_REQUEST);
}

static void fill(const struct asked *a, struct deployment_spec *s)
{
    const struct bounds *b = &a->adaptive;
    s->by_api = true;
    s->has_adaptive = b->given;
    s->adaptive = (struct adaptive){.enabled = b->enabled,
                                    .has_min = b->min.set,
                                    .has_max = b->max.set,
                                    .min = b->min.n,
                                    .max = b->max.n};
    s->num_allocations = a->allocations.set ? (int)a->allocations.n : 1;
    if (b->enabled && b->min.set && b->min.n > 0)
        s->num_allocations = (int)b->min.n;
    s->num_threads = a->threads.set ? (int)a->threads.n : 1;
    s->queue_capacity = a->queue_capacity.set ? a->queue_capacity.n : 10000;
}

struct err *start_read(const struct request *r, struct start_asked *out)
{
    struct asked a;
    *out = (struct start_asked){0};
    TRY(read_body(r, "cluster:admin/xpack/ml/trained_models/deployment/start/request", &a));
    TRY(read_query(r, &a));
    TRY(read_words(&a, out));
    TRY(check_start(&a, out));
    fill(&a, &out->spec);
    out->spec.model_id = request_param(r, "model_id");
    out->spec.id = a.deployment_id.n ? a.deployment_id : out->spec.model_id;
    return NULL;
}

static struct err *check_update(const struct asked *a)
{
    struct err_list list = {0};
    check_bounds(&list, &a->adaptive);
    if (a->allocations.set && a->allocations.n < 1)
        err_list_add(&list, "[number_of_allocations] must be a positive integer");
    if (a->allocations.set && a->adaptive.enabled)
        err_list_add(&list, "[number_of_allocations] cannot be set if adaptive allocations is "
                            "enabled");
    return err_list_end(&list, ERR_REQUEST);
}

struct err *update_read(const struct request *r, struct deployment_change *out)
{
    struct asked a;
    TRY(read_body(r, "cluster:admin/xpack/ml/trained_models/deployment/update/request", &a));
    TRY(query_number(r, "number_of_allocations", &a.allocations));
    TRY(check_update(&a));
    const struct bounds *b = &a.adaptive;
    *out = (struct deployment_change){.by_api = true,
                                      .has_number = a.allocations.set,
                                      .number = a.allocations.n,
                                      .has_adaptive = b->given,
                                      .null_adaptive = b->null,
                                      .has_enabled = b->has_enabled,
                                      .enabled = b->enabled,
                                      .has_min = b->min.set,
                                      .null_min = b->null_min,
                                      .has_max = b->max.set,
                                      .null_max = b->null_max,
                                      .min = b->min.n,
                                      .max = b->max.n};
    return NULL;
}

/* --- small things --- */

struct str time_text(struct arena *a, int64_t ms)
{
    if (ms % 60000 == 0 && ms)
        return arena_printf(a, "%lldm", (long long)(ms / 60000));
    if (ms % 1000 == 0 && ms)
        return arena_printf(a, "%llds", (long long)(ms / 1000));
    return arena_printf(a, "%lldms", (long long)ms);
}

bool id_is_pattern(struct str s)
{
    return str_find_char(s, '*') != SIZE_MAX || str_eq_c(s, "_all");
}

bool id_matches(struct str p, struct str id)
{
    size_t star = SIZE_MAX, i = 0, k = 0, from = 0;
    if (str_eq_c(p, "_all"))
        return true;
    while (k < id.n) {
        if (i < p.n && p.p[i] == '*') {
            star = i++;
            from = k;
        } else if (i < p.n && p.p[i] == id.p[k]) {
            i++;
            k++;
        } else if (star != SIZE_MAX) {
            i = star + 1;
            k = ++from;
        } else {
            return false;
        }
    }
    while (i < p.n && p.p[i] == '*')
        i++;
    return i == p.n;
}
