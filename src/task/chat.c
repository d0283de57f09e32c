/* The body of chat_completion: OpenAI's chat request as Elasticsearch 9.1 takes it. One table per
 * kind of object; the parsers' names are those that its errors show. */
#include <limits.h>

#include "body.h"
#include "input.h"

#define COUNT(a) (a), sizeof(a) / sizeof((a)[0])

#define FIELD_STR(type, member, is_required)                                                       \
    {                                                                                              \
        .name = #member, .kinds = BODY_STR, .required = (is_required), .read = body_str,           \
        .offset = offsetof(type, member)                                                           \
    }

/* --- parts of a message --- */

static const struct body_field part_fields[] = {
    FIELD_STR(struct chat_part, text, true),
    FIELD_STR(struct chat_part, type, true),
};
static const struct body_parser part_parser = {"ContentObject", COUNT(part_fields)};

static const struct body_field call_function_fields[] = {
    FIELD_STR(struct chat_tool_call, arguments, true),
    FIELD_STR(struct chat_tool_call, name, true),
};
static const struct body_parser call_function_parser = {"tool_call_function_field",
                                                        COUNT(call_function_fields)};

static struct err *read_call_function(struct body *b, const struct json *v, void *out)
{
    return body_parse(b, &call_function_parser, v, out);
}

static const struct body_field call_fields[] = {
    FIELD_STR(struct chat_tool_call, id, true),
    {.name = "function", .kinds = BODY_OBJECT, .required = true, .read = read_call_function},
    FIELD_STR(struct chat_tool_call, type, true),
};
static const struct body_parser call_parser = {"ToolCall", COUNT(call_fields)};

/* --- messages --- */

static struct err *read_content(struct body *b, const struct json *v, void *out)
{
    struct chat_message *m = out;
    void *parts;
    m->has_content = true;
    if (json_str(v, &m->content))
        return NULL;
    m->content_is_parts = true;
    TRY(body_list(b, &part_parser, v, sizeof(struct chat_part), &parts, &m->n_parts));
    m->parts = parts;
    return NULL;
}

static struct err *read_tool_calls(struct body *b, const struct json *v, void *out)
{
    struct chat_message *m = out;
    void *calls;
    TRY(body_list(b, &call_parser, v, sizeof(struct chat_tool_call), &calls, &m->n_tool_calls));
    m->tool_calls = calls;
    return NULL;
}

static const struct body_field message_fields[] = {
    {.name = "content", .kinds = BODY_STR | BODY_ARRAY, .read = read_content},
    FIELD_STR(struct chat_message, role, true),
    FIELD_STR(struct chat_message, tool_call_id, false),
    {.name = "tool_calls", .kinds = BODY_ARRAY | BODY_OBJECT, .read = read_tool_calls},
};
static const struct body_parser message_parser = {"Message", COUNT(message_fields)};

static struct err *read_messages(struct body *b, const struct json *v, void *out)
{
    struct chat *chat = out;
    void *messages;
    TRY(body_list(b, &message_parser, v, sizeof(struct chat_message), &messages,
                  &chat->n_messages));
    chat->messages = messages;
    return NULL;
}

/* --- tools --- */

static struct err *read_parameters(struct body *b, const struct json *v, void *out)
{
    struct chat_tool *tool = out;
    tool->parameters = v;
    return NULL;
}

static struct err *read_strict(struct body *b, const struct json *v, void *out)
{
    struct chat_tool *tool = out;
    tool->has_strict = true;
    return body_bool(b, v, &tool->strict);
}

static const struct body_field tool_function_fields[] = {
    FIELD_STR(struct chat_tool, description, false),
    FIELD_STR(struct chat_tool, name, true),
    {.name = "parameters", .kinds = BODY_OBJECT, .read = read_parameters},
    {.name = "strict", .kinds = BODY_BOOL | BODY_STR, .read = read_strict},
};
static const struct body_parser tool_function_parser = {"tool_function_field",
                                                        COUNT(tool_function_fields)};

static struct err *read_tool_function(struct body *b, const struct json *v, void *out)
{
    return body_parse(b, &tool_function_parser, v, out);
}

static const struct body_field tool_fields[] = {
    FIELD_STR(struct chat_tool, type, true),
    {.name = "function", .kinds = BODY_OBJECT, .required = true, .read = read_tool_function},
};
static const struct body_parser tool_parser = {"Tool", COUNT(tool_fields)};

static struct err *read_tools(struct body *b, const struct json *v, void *out)
{
    struct chat *chat = out;
    void *tools;
    TRY(body_list(b, &tool_parser, v, sizeof(struct chat_tool), &tools, &chat->n_tools));
    chat->tools = tools;
    return NULL;
}

static const struct body_field choice_function_fields[] = {
    {.name = "name",
     .kinds = BODY_STR,
     .required = true,
     .read = body_str,
     .offset = offsetof(struct chat, tool_choice_name)},
};
static const struct body_parser choice_function_parser = {"tool_choice_function_field",
                                                          COUNT(choice_function_fields)};

static struct err *read_choice_function(struct body *b, const struct json *v, void *out)
{
    return body_parse(b, &choice_function_parser, v, out);
}

static const struct body_field choice_fields[] = {
    {.name = "type",
     .kinds = BODY_STR,
     .required = true,
     .read = body_str,
     .offset = offsetof(struct chat, tool_choice)},
    {.name = "function", .kinds = BODY_OBJECT, .required = true, .read = read_choice_function},
};
static const struct body_parser choice_parser = {"ToolChoiceObject", COUNT(choice_fields)};

static struct err *read_tool_choice(struct body *b, const struct json *v, void *out)
{
    struct chat *chat = out;
    chat->has_tool_choice = true;
    if (json_str(v, &chat->tool_choice))
        return NULL;
    return body_parse(b, &choice_parser, v, chat);
}

/* --- the request --- */

static struct err *read_max_tokens(struct body *b, const struct json *v, void *out)
{
    struct chat *chat = out;
    chat->has_max_completion_tokens = true;
    return body_i64(b, v, INT64_MIN, INT64_MAX, &chat->max_completion_tokens);
}

static struct err *read_stop(struct body *b, const struct json *v, void *out)
{
    struct chat *chat = out;
    struct str *stop;
    TRY(body_texts(b, v, &stop, &chat->n_stop));
    chat->stop = stop;
    return NULL;
}

static struct err *read_temperature(struct body *b, const struct json *v, void *out)
{
    struct chat *chat = out;
    chat->has_temperature = true;
    return body_f64(b, v, &chat->temperature, &chat->temperature_text);
}

static struct err *read_top_p(struct body *b, const struct json *v, void *out)
{
    struct chat *chat = out;
    chat->has_top_p = true;
    return body_f64(b, v, &chat->top_p, &chat->top_p_text);
}

static const struct body_field chat_fields[] = {
    {.name = "messages",
     .kinds = BODY_ARRAY | BODY_OBJECT,
     .required = true,
     .read = read_messages},
    FIELD_STR(struct chat, model, false),
    {.name = "max_completion_tokens", .kinds = BODY_NUM | BODY_STR, .read = read_max_tokens},
    {.name = "stop", .kinds = BODY_STR | BODY_ARRAY, .read = read_stop},
    {.name = "temperature", .kinds = BODY_NUM | BODY_STR, .read = read_temperature},
    {.name = "tool_choice", .kinds = BODY_STR | BODY_OBJECT, .read = read_tool_choice},
    {.name = "tools", .kinds = BODY_ARRAY | BODY_OBJECT, .read = read_tools},
    {.name = "top_p", .kinds = BODY_NUM | BODY_STR, .read = read_top_p},
};
static const struct body_parser chat_parser = {"UnifiedCompletionRequest", COUNT(chat_fields)};

static struct err *bad_messages(const char *what)
{
    struct err_list list = {0};
    err_list_add(&list, "Field [messages] cannot be %s", what);
    return err_list_end(&list, ERR_REQUEST);
}

struct err *chat_parse(struct arena *arena, struct str text, const struct json *root,
                       struct chat *out)
{
    struct body b = {.arena = arena, .text = text};
    *out = (struct chat){0};
    const struct json *messages = json_get(root, "messages");
    if (json_is(messages, JSON_NULL))
        return bad_messages("null");
    TRY(body_parse(&b, &chat_parser, root, out));
    return out->n_messages == 0 ? bad_messages("an empty array") : NULL;
}
