/* provider: a pure translator to one outside API. No sockets, clocks, threads, retries, logging.
 *
 * One file per service, ending in `const struct provider provider_acme = {...}`, and one line in
 * table.def. Everything allocated comes from out->arena (build), in->arena (parse) or
 * stream->arena. See docs/adding-a-provider.md. */
#ifndef INFERD_PROVIDER_H
#define INFERD_PROVIDER_H

#include "call.h"
#include "http.h"

/* What to do with an answer that is not a success. */
enum verdict_action {
    VERDICT_FAIL,
    VERDICT_RETRY,
    VERDICT_SHORTEN /* halve the inputs and try again */
};

struct verdict {
    enum verdict_action action;
    struct str prefix;  /* "Received a rate limit status code": ES's words, providers.md 1.3 */
    struct str message; /* what the provider's body says; {NULL, 0}: nothing */
    int status;         /* what the client gets; 0: by the rule of providers.md 1.4 */
    bool whole;         /* prefix is all that is said: neither endpoint nor status */
    struct str chat_type, chat_code, chat_param; /* for the chat envelope; {NULL, 0}: derived */
};

/* State of one stream; made by upstream, zeroed. */
struct stream {
    const struct endpoint *endpoint;
    const struct input *input;
    struct arena *arena;   /* of the call */
    struct arena *scratch; /* reset after each event */
    bool finished;         /* the provider said that it is complete ([DONE], message-end) */
    bool may_end;          /* nothing says so but the end of the body, which is a good one from here
                              on; events may still come (Gemini after a finishReason) */
    struct usage usage;
    void *state; /* the provider's own, in arena */
};

struct provider_task {
    enum task task;
    const char *request_name;  /* "OpenAI embeddings": for "Failed to send X request" */
    const char *one_input;     /* "OpenAI chat completions": more than one input is
                                  "<this> only accepts 1 input"; NULL: any number */
    int64_t default_rpm;       /* requests per minute */
    enum framing_kind framing; /* of its streams; FRAMING_NONE: does not stream */
    /* Where it differs between the versions of an API; NULL: as said. */
    enum framing_kind (*framing_of)(const struct endpoint *);
    size_t batch;        /* most embedding inputs in one request; 0: any number. A call with
                            more is sent as several requests */
    size_t batch_tokens; /* most tokens in one such request, by estimate; 0: any */
    /* Where an endpoint's settings or its model say less or more than `batch`; NULL: as said. */
    size_t (*batch_of)(const struct endpoint *);
    struct err *(*build)(const struct endpoint *, const struct input *, struct http_out *out);
    /* A whole 2xx answer. Errors: "Failed to find required field [data] in X response". */
    struct err *(*parse)(const struct endpoint *, const struct input *, const struct http_in *,
                         struct result *out);
    /* One event of a 2xx stream: calls sink->delta, sets finished or may_end; an err ends the
     * stream. */
    struct err *(*on_event)(struct stream *, const struct event *, struct sink *);
};

struct auth;        /* auth/auth.h: token exchanges and signatures */
struct openai_copy; /* openai_shape.h */

struct provider {
    const char *name;  /* "openai" */
    const char *label; /* "OpenAI": GET _services */
    const struct settings_table *settings;
    const struct provider_task *tasks;
    size_t n_tasks;
    const char *const *group_by; /* settings whose values make a rate limit group; NULL-term. */
    const char *similarity;      /* of embeddings when the caller names none; NULL: no default */
    bool cuts_input;             /* max_input_tokens is applied before sending (x 3 chars) */
    bool local;                  /* answered by model/, not over HTTP: tasks have no build */
    bool unlisted;               /* not in GET _services */
    const struct openai_copy *openai; /* where it differs from OpenAI; NULL: not a copy of it */
    /* How this endpoint's requests are signed; NULL, or NULL for it: build has done all. */
    const struct auth *(*auth)(const struct endpoint *);
    /* Beyond the rows: checks across settings after parsing, may change values. NULL: none. */
    struct err *(*check)(struct endpoint *);
    /* An answer that is not 2xx. */
    void (*judge)(const struct endpoint *, const struct http_in *, struct verdict *out);
};

extern const struct provider *const providers[]; /* sorted by name; n_providers of them */
extern const size_t n_providers;

const struct provider *provider_find(struct str name);                         /* NULL: unknown */
const struct provider_task *provider_task(const struct provider *, enum task); /* NULL: none */
unsigned provider_tasks(const struct provider *);                              /* TASK bits */

/* The provider's own rows, then those every service has (common.h). Its own indices hold. */
const struct settings_table *provider_settings(const struct provider *);

/* GET _services: the array, all or those that support one task (TASK_ANY: all). `details`, beyond
 * Elasticsearch: also `settings`, every setting by its place with choices and default, and the
 * default `requests_per_minute` of each task. */
void providers_render(struct json_out *, enum task, bool details);

#endif
