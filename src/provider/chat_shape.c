#include "chat_shape.h"

/* Of what a caller sent, so much is repeated in an error. */
#define SHOWN_BYTES 200

bool chat_has_text(const struct chat_message *m)
{
    if (m->has_content && !m->content_is_parts)
        return m->content.n > 0;
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].text.n)
            return true;
    }
    return false;
}

struct err *chat_arguments(struct arena *arena, const struct chat_tool_call *c, const char *api,
                           const struct json **out)
{
    struct str text = str_trim(c->arguments);
    struct err *bad = json_parse(arena, text.n ? text : STR("{}"), out);
    bool ok = !bad && json_is(*out, JSON_OBJECT);
    err_free(bad);
    if (ok)
        return NULL;
    return err_status(400, "The [arguments] of the tool call [%.*s] must be a JSON object for %s.",
                      STR_ARG(str_sub(c->id, 0, SHOWN_BYTES)), api);
}

struct str chat_parameters(const struct chat_tool *t)
{
    return t->parameters ? json_raw(t->parameters) : STR("{\"type\":\"object\",\"properties\":{}}");
}

struct err *chat_bad_role(const struct chat_message *m, const char *api)
{
    return err_status(400, "Unsupported role [%.*s] for %s.",
                      STR_ARG(str_sub(m->role, 0, SHOWN_BYTES)), api);
}

struct err *chat_bad_tool_choice(const struct chat *c, const char *api)
{
    return err_status(400, "Unsupported tool_choice value [%.*s] for %s.",
                      STR_ARG(str_sub(c->tool_choice, 0, SHOWN_BYTES)), api);
}

struct err *chat_no_tool_call_id(const char *api)
{
    return err_status(400, "Field [tool_call_id] is required in a tool message for %s.", api);
}

void chat_emit(struct sink *sink, struct chat_chunk *chunk, const struct chat_choice *choice)
{
    chunk->has_choices = true;
    chunk->choices = choice;
    chunk->n_choices = choice != NULL;
    struct delta delta = {.chunk = chunk};
    sink->delta(sink, &delta);
}
