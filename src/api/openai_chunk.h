/* openai_chunk: the chunks of any service's chat as OpenAI's clients read them.
 *
 * On Elasticsearch's door a chunk says what the service says: Anthropic's and Bedrock's choices are
 * numbered by content block, each call of a tool is number 0 of its block, reasons to finish and
 * roles are the maker's words, ids are missing after the first chunk, numbers of tokens come in
 * parts; some servers in OpenAI's own shape number all calls 0, and only their ids differ. OpenAI's
 * clients put an answer together by index: here there is one choice, 0; calls are counted over the
 * whole answer; `id`, `object` and `model` are always there; `role` comes once;
 * reasons are OpenAI's; usage is gathered and told at the end.
 *
 * Thread: the call's. */
#ifndef INFERD_API_OPENAI_CHUNK_H
#define INFERD_API_OPENAI_CHUNK_H

#include "arena.h"
#include "result.h"

#define OPENAI_MAX_CALLS 128 /* further ones are dropped */

struct openai_chunks {
    struct str model;      /* as the caller named it */
    int64_t created_s;     /* seconds since 1970 */
    struct arena *arena;   /* of the call: for the id */
    struct arena *scratch; /* NULL until it is needed; reset with each chunk */
    struct str id;
    bool has_role;
    struct openai_call {
        int64_t choice, call; /* as the service numbers them */
        uint64_t id;          /* a digest; 0: not said yet */
        bool told_id, told_name;
    } calls[OPENAI_MAX_CALLS]; /* the place is our index */
    size_t n_calls;
    bool has_usage;
    struct chat_chunk usage; /* its numbers of tokens only */
};

void openai_chunks_init(struct openai_chunks *, struct arena *, struct str model,
                        int64_t created_s);
void openai_chunks_deinit(struct openai_chunks *);

/* False: nothing is left to tell. Else *out is valid until the next, and borrows from `from`. */
bool openai_chunk(struct openai_chunks *, const struct chat_chunk *from, struct chat_chunk *out);
/* One with this choice, for services that do not chat; adds the role if it is the first. */
void openai_chunk_of(struct openai_chunks *, struct chat_choice *, struct chat_chunk *out);
/* The last one: no choices, all tokens. False: none were counted. */
bool openai_chunk_usage(struct openai_chunks *, struct chat_chunk *out);

#endif
