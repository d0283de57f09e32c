/* google_shape: what Google's two services share: Gemini's answers and Google's errors. Source:
 * shared facts, providers.md 1.3, 3.7 and 3.8 (APIs as of January 2025). */
#ifndef INFERD_PROVIDER_GOOGLE_SHAPE_H
#define INFERD_PROVIDER_GOOGLE_SHAPE_H

#include "shape.h"

/* Google's word for what an embedding is for; NULL: nobody said. */
const char *google_task_type(const struct input *);

/* candidates[0]: its texts joined. One that was stopped before it said anything has none. */
struct err *gemini_parse(const struct http_in *, const char *request_name, struct result *out);
/* One event of a completion's stream: a whole answer object with a piece of the text. */
struct err *gemini_event(struct stream *, const struct event *, struct sink *);

/* Parts of it. The object of an event (NULL: it says nothing), or the error that it is. Sets the
 * stream's usage, and may_end with a finishReason. */
struct err *gemini_event_object(struct stream *, const struct event *, const struct json **out);
/* The texts of a candidate's parts joined, without the model's thoughts; in `arena`. */
struct str gemini_text(const struct json *candidate, struct arena *);

/* Body {"error": {"code": N, "message": S, "status": S}}. `service`: "Google Vertex AI". `url`:
 * what was called, without a key. */
void google_judge(const struct http_in *, const char *service, struct str url, struct verdict *out);

#endif
