#include "google_shape.h"

const char *google_task_type(const struct input *in)
{
    switch (call_input_type(in)) {
    case INPUT_INGEST:
        return "RETRIEVAL_DOCUMENT";
    case INPUT_SEARCH:
        return "RETRIEVAL_QUERY";
    case INPUT_CLASSIFICATION:
        return "CLASSIFICATION";
    case INPUT_CLUSTERING:
        return "CLUSTERING";
    case INPUT_UNSPECIFIED:
        break;
    }
    return NULL;
}

/* --- answers --- */

static struct str text_of(const struct json *v)
{
    struct str s = {0};
    if (json_is(v, JSON_NUMBER))
        return json_raw(v);
    json_str(v, &s);
    return s;
}

/* Text that is meant for the caller: {NULL, 0} for calls of functions, files and thoughts. */
static struct str part_text(const struct json *part)
{
    bool thought = false;
    struct str text = {0};
    json_bool(json_get(part, "thought"), &thought);
    if (!thought)
        json_str(json_get(part, "text"), &text);
    return text;
}

/* Copied only where there is something to join. */
struct str gemini_text(const struct json *candidate, struct arena *arena)
{
    const struct json *parts = json_path(candidate, "content", "parts", NULL);
    struct str only = {0};
    size_t total = 0;
    struct json_iter it = json_iter(parts);
    for (const struct json *part; (part = json_next(&it));) {
        struct str text = part_text(part);
        total += text.n;
        if (text.n)
            only = text;
    }
    if (only.n == total)
        return only;
    char *all = arena_array(arena, total, 1);
    size_t n = 0;
    it = json_iter(parts);
    for (const struct json *part; (part = json_next(&it));) {
        struct str text = part_text(part);
        if (text.n)
            memcpy(all + n, text.p, text.n);
        n += text.n;
    }
    return str_n(all, n);
}

/* An array of objects, as far as it goes. */
static const struct json *first(const struct json *list)
{
    return json_is(list, JSON_ARRAY) && list->n && !list->flat ? json_at(list, 0) : NULL;
}

static void read_usage(const struct json *root, struct usage *out)
{
    const struct json *usage = json_get(root, "usageMetadata");
    if (json_i64(json_get(usage, "promptTokenCount"), &out->in_tokens))
        out->known = true;
    if (json_i64(json_get(usage, "candidatesTokenCount"), &out->out_tokens))
        out->known = true;
}

struct err *gemini_parse(const struct http_in *answer, const char *request_name, struct result *out)
{
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *candidate = first(json_get(root, "candidates"));
    if (!json_is(candidate, JSON_OBJECT))
        return missing_field("candidates", request_name);
    *out = (struct result){.kind = RESULT_COMPLETION, .n = 1};
    out->texts = arena_array(answer->arena, 1, sizeof *out->texts);
    out->texts[0] = gemini_text(candidate, answer->arena);
    read_usage(root, &out->usage);
    return NULL;
}

/* --- streams --- */

static char *heap_text(struct str s)
{
    return s.p ? strndup(s.p, s.n) : NULL;
}

static struct err *event_error(struct stream *s, const struct json *error)
{
    struct str message = text_of(json_get(error, "message"));
    struct str code = text_of(json_get(error, "code"));
    struct err *e = stream_error(s, message);
    if (!message.n && !code.p)
        code = STR("stream_error");
    e->chat_type = heap_text(text_of(json_get(error, "status")));
    e->chat_code = heap_text(code);
    return e;
}

static bool has_ended(const struct json *candidates)
{
    struct str reason;
    struct json_iter it = json_iter(candidates);
    for (const struct json *c; (c = json_next(&it));) {
        if (json_str(json_get(c, "finishReason"), &reason) && reason.n)
            return true;
    }
    return false;
}

struct err *gemini_event_object(struct stream *s, const struct event *ev, const struct json **out)
{
    struct str data = str_trim(ev->data), blocked;
    *out = NULL;
    if (data.n == 0)
        return NULL;
    const struct json *root;
    struct err *bad = json_parse(s->scratch, data, &root);
    err_free(bad);
    if (bad || !json_is(root, JSON_OBJECT))
        return event_error(s, NULL);
    const struct json *error = json_get(root, "error");
    if (!json_is_null(error) || str_eq(ev->name, STR("error")))
        return event_error(s, json_is_null(error) ? root : error);
    if (json_str(json_path(root, "promptFeedback", "blockReason", NULL), &blocked) && blocked.n)
        return stream_error(
            s, arena_printf(s->scratch, "The prompt was blocked: %.*s", STR_ARG(blocked)));
    read_usage(root, &s->usage);
    if (has_ended(json_get(root, "candidates")))
        s->may_end = true; /* older models say it in every event */
    *out = root;
    return NULL;
}

struct err *gemini_event(struct stream *s, const struct event *ev, struct sink *sink)
{
    const struct json *root;
    TRY(gemini_event_object(s, ev, &root));
    delta_text(sink, gemini_text(first(json_get(root, "candidates")), s->scratch));
    return NULL;
}

/* --- refusals --- */

/* Streams of the older kind put their error into an array, too. */
static const struct json *error_of(const struct http_in *in)
{
    const struct json *root;
    struct err *bad = json_parse(in->arena, in->body, &root);
    err_free(bad);
    if (bad)
        return NULL;
    return json_get(json_is(root, JSON_ARRAY) ? first(root) : root, "error");
}

void google_judge(const struct http_in *in, const char *service, struct str url,
                  struct verdict *out)
{
    const struct json *error = error_of(in);
    verdict_by_status(in->status, out);
    json_str(json_get(error, "message"), &out->message);
    out->chat_type = text_of(json_get(error, "status"));
    out->chat_code = text_of(json_get(error, "code"));
    if (in->status == 500 || in->status == 429) {
        out->action = VERDICT_RETRY;
    } else if (in->status == 503) {
        out->action = VERDICT_RETRY;
        out->prefix = arena_printf(in->arena,
                                   "The %s service may be temporarily overloaded or down", service);
    } else if (in->status == 401) { /* said only of tokens; a bad key is a 400 */
        verdict_set(out, VERDICT_FAIL, "Received an unsuccessful status code");
    } else if (in->status == 403) {
        verdict_set(out, VERDICT_FAIL, "Received a permission denied error status code");
    } else if (in->status == 404) {
        out->prefix = arena_printf(in->arena, "Resource not found at [%.*s]", STR_ARG(url));
    }
}
