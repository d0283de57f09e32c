/* chat_shape: what services share whose chat is not a copy of OpenAI's, and into whose words an
 * OpenAI-like chat is put. Private to provider/. */
#ifndef INFERD_PROVIDER_CHAT_SHAPE_H
#define INFERD_PROVIDER_CHAT_SHAPE_H

#include "shape.h"

/* Whether a message holds a text that is not empty. */
bool chat_has_text(const struct chat_message *);
/* The arguments of a tool call, a text, as the object that it holds; nothing is {}. `api` is for
 * the error: "the Anthropic chat completion API". */
struct err *chat_arguments(struct arena *, const struct chat_tool_call *, const char *api,
                           const struct json **out);
/* The JSON Schema of a tool without parameters. */
struct str chat_parameters(const struct chat_tool *);
/* "Unsupported role [x] for <api>." and so on, status 400. */
struct err *chat_bad_role(const struct chat_message *, const char *api);
struct err *chat_bad_tool_choice(const struct chat *, const char *api);
struct err *chat_no_tool_call_id(const char *api);

/* A chunk with this one choice; NULL: with none. */
void chat_emit(struct sink *, struct chat_chunk *, const struct chat_choice *);

#endif
