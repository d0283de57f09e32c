/* azureaistudio_chat: chat_completion: OpenAI's shape by the token, messages and parameters in
 * realtime. Source: Azure's Model Inference API (2024-05-01-preview), and providers.md 3.4 for what
 * realtime endpoints take; Elasticsearch does not have it. */
#include "azureaistudio.h"

#include "openai_shape.h"

static struct str number_text(struct arena *arena, double d)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, 64);
    json_out_init(&w, &b);
    json_put_f64(&w, d);
    struct str text = arena_dup(arena, buf_str(&b));
    buf_deinit(&b);
    return text;
}

/* What the call does not say, the endpoint's task settings do. */
static struct chat with_settings(const struct input *in, struct arena *arena)
{
    const struct value *v = in->values.v;
    struct chat c = in->chat ? *in->chat : (struct chat){0};
    if (!c.has_max_completion_tokens && v[S_CHAT_MAX_NEW_TOKENS].set) {
        c.has_max_completion_tokens = true;
        c.max_completion_tokens = v[S_CHAT_MAX_NEW_TOKENS].i;
    }
    if (!c.has_temperature && v[S_TEMPERATURE].set) {
        c.has_temperature = true;
        c.temperature_text = number_text(arena, v[S_TEMPERATURE].d);
    }
    if (!c.has_top_p && v[S_TOP_P].set) {
        c.has_top_p = true;
        c.top_p_text = number_text(arena, v[S_TOP_P].d);
    }
    return c;
}

static void put_chat_parameters(struct json_out *w, const struct chat *c, const struct value *v)
{
    if (!c->has_temperature && !c->has_top_p && !v[S_DO_SAMPLE].set &&
        !c->has_max_completion_tokens)
        return;
    json_key(w, "parameters");
    json_obj(w);
    if (c->has_temperature)
        json_key_raw(w, "temperature", c->temperature_text);
    if (c->has_top_p)
        json_key_raw(w, "top_p", c->top_p_text);
    if (v[S_DO_SAMPLE].set)
        json_key_bool(w, "do_sample", v[S_DO_SAMPLE].b);
    if (c->has_max_completion_tokens)
        json_key_i64(w, "max_new_tokens", c->max_completion_tokens);
    json_end(w);
}

/* What a realtime endpoint would not hear of must not seem to be heard. */
static struct err *check_realtime(const struct chat *c)
{
    const char *what = c->n_tools ? "tools" : c->n_stop ? "stop" : NULL;
    if (!what)
        return NULL;
    return err_status(400,
                      "Field [%s] is not supported by the [realtime] endpoint type of Azure "
                      "AI Studio",
                      what);
}

static void put_realtime(struct json_out *w, const struct input *in, const struct chat *c)
{
    json_key(w, "input_data");
    json_obj(w);
    openai_put_messages(w, "input_string", c);
    put_chat_parameters(w, c, in->values.v);
    json_end(w);
    if (in->stream)
        json_key_bool(w, "stream", true);
}

struct err *azureaistudio_chat_build(const struct endpoint *ep, const struct input *in,
                                     struct http_out *out)
{
    static const struct openai_style openai = {
        .max_field = "max_completion_tokens", .stream_options = true, .omits_model = true};
    static const struct openai_style others = {.max_field = "max_tokens", .omits_n = true};
    struct chat chat = with_settings(in, out->arena);
    struct input with = *in;
    with.chat = &chat;
    if (!azureaistudio_by_token(ep))
        TRY(check_realtime(&chat));
    azureaistudio_request(ep, in, out);
    struct body b;
    body_begin(&b);
    if (azureaistudio_by_token(ep))
        openai_chat_body(&b.w, &with, (struct str){0}, (struct str){0},
                         azureaistudio_is_openai(ep) ? &openai : &others);
    else
        put_realtime(&b.w, in, &chat);
    return body_finish(&b, out);
}
