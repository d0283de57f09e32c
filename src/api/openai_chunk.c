/* Words of the makers: providers.md 3.2, 3.3, 3.6, 3.8; Gemini's and Anthropic's API references of
 * 2025 for the rest. */
#include "openai_chunk.h"

#include "clock.h"

void openai_chunks_init(struct openai_chunks *c, struct arena *arena, struct str model,
                        int64_t created_s)
{
    *c = (struct openai_chunks){.arena = arena, .model = model, .created_s = created_s};
}

void openai_chunks_deinit(struct openai_chunks *c)
{
    arena_free(c->scratch);
    c->scratch = NULL;
}

/* --- words --- */

/* What is not in here passes as it is. */
static struct str finish_reason(const struct openai_chunks *c, struct str reason)
{
    static const struct {
        struct str theirs, ours;
    } words[] = {
        {STR_INIT("end_turn"), STR_INIT("stop")},
        {STR_INIT("stop_sequence"), STR_INIT("stop")},
        {STR_INIT("pause_turn"), STR_INIT("stop")},
        {STR_INIT("STOP"), STR_INIT("stop")},
        {STR_INIT("max_tokens"), STR_INIT("length")},
        {STR_INIT("MAX_TOKENS"), STR_INIT("length")},
        {STR_INIT("model_length"), STR_INIT("length")},
        {STR_INIT("model_context_window_exceeded"), STR_INIT("length")},
        {STR_INIT("tool_use"), STR_INIT("tool_calls")},
        {STR_INIT("refusal"), STR_INIT("content_filter")},
        {STR_INIT("SAFETY"), STR_INIT("content_filter")},
        {STR_INIT("RECITATION"), STR_INIT("content_filter")},
        {STR_INIT("BLOCKLIST"), STR_INIT("content_filter")},
        {STR_INIT("PROHIBITED_CONTENT"), STR_INIT("content_filter")},
        {STR_INIT("SPII"), STR_INIT("content_filter")},
    };
    /* Gemini's word for every good end. */
    if (c->n_calls && str_eq(reason, STR("STOP")))
        return STR("tool_calls");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (str_eq(reason, words[i].theirs))
            return words[i].ours;
    }
    return reason;
}

/* Once, with the first choice: clients wait for it. */
static struct str role_of(struct openai_chunks *c, struct str role)
{
    if (c->has_role)
        return (struct str){0};
    c->has_role = true;
    return !role.n || str_eq(role, STR("model")) ? STR("assistant") : role;
}

/* --- numbers --- */

static bool goes_on(const struct openai_call *begun, const struct openai_call *part)
{
    return begun->choice == part->choice && begun->call == part->call &&
           (!begun->id || !part->id || begun->id == part->id);
}

/* The last call that it goes on with, or a new one; -1: one too many. What begins a call names its
 * function: an id alone may be made up anew with each part (Mistral's "null"). */
static int64_t call_index(struct openai_chunks *c, int64_t choice,
                          const struct chat_delta_tool_call *call)
{
    bool begins = call->id.n && call->name.n;
    const struct openai_call part = {
        .choice = choice, .call = call->index, .id = begins ? str_hash(call->id) : 0};
    size_t i = c->n_calls;
    while (i > 0 && !goes_on(&c->calls[i - 1], &part))
        i--;
    if (i == 0) {
        if (c->n_calls == OPENAI_MAX_CALLS)
            return -1;
        i = ++c->n_calls;
        c->calls[i - 1] = part;
    } else if (part.id) {
        c->calls[i - 1].id = part.id;
    }
    return (int64_t)i - 1;
}

static void keep_tokens(int64_t *kept, int64_t n)
{
    if (n > 0)
        *kept = n;
}

/* What a later chunk does not say is still true: Anthropic counts the prompt at the beginning. */
static void keep_usage(struct openai_chunks *c, const struct chat_chunk *from)
{
    struct chat_chunk *u = &c->usage;
    c->has_usage = true;
    keep_tokens(&u->prompt_tokens, from->prompt_tokens);
    keep_tokens(&u->completion_tokens, from->completion_tokens);
    keep_tokens(&u->total_tokens, from->total_tokens);
    u->has_cached_tokens = u->has_cached_tokens || from->has_cached_tokens;
    u->has_reasoning_tokens = u->has_reasoning_tokens || from->has_reasoning_tokens;
    keep_tokens(&u->cached_tokens, from->cached_tokens);
    keep_tokens(&u->reasoning_tokens, from->reasoning_tokens);
}

/* --- chunks --- */

static struct str id_of(struct openai_chunks *c)
{
    if (!c->id.n)
        c->id = arena_printf(c->arena, "chatcmpl-%llx", (unsigned long long)clock_mono_ns());
    return c->id;
}

static void begin(struct openai_chunks *c, struct chat_chunk *out)
{
    *out = (struct chat_chunk){.id = id_of(c),
                               .created = c->created_s,
                               .no_null_type = true,
                               .model = c->model,
                               .object = STR("chat.completion.chunk"),
                               .has_choices = true};
}

void openai_chunk_of(struct openai_chunks *c, struct chat_choice *choice, struct chat_chunk *out)
{
    begin(c, out);
    choice->role = role_of(c, choice->role);
    out->choices = choice;
    out->n_choices = 1;
}

/* Once: some services repeat them, and clients join all that comes. */
static struct str once(struct str s, bool *told)
{
    if (*told)
        return (struct str){0};
    *told = s.n > 0;
    return s;
}

static void put_calls(struct openai_chunks *c, const struct chat_choice *from,
                      struct chat_choice *out)
{
    struct chat_delta_tool_call *calls = arena_array(c->scratch, from->n_tool_calls, sizeof *calls);
    size_t n = 0;
    for (size_t i = 0; i < from->n_tool_calls; i++) {
        calls[n] = from->tool_calls[i];
        calls[n].index = call_index(c, from->index, &from->tool_calls[i]);
        if (calls[n].index < 0)
            continue;
        if (calls[n].id.n && !calls[n].type.n)
            calls[n].type = STR("function");
        struct openai_call *begun = &c->calls[calls[n].index];
        calls[n].id = once(calls[n].id, &begun->told_id);
        calls[n].name = once(calls[n].name, &begun->told_name);
        n++;
    }
    out->tool_calls = calls;
    out->n_tool_calls = n;
}

bool openai_chunk(struct openai_chunks *c, const struct chat_chunk *from, struct chat_chunk *out)
{
    if (!c->scratch)
        c->scratch = arena_new(ARENA_NO_LIMIT);
    arena_reset(c->scratch);
    if (!c->id.n && from->id.n)
        c->id = arena_dup(c->arena, from->id);
    if (from->has_usage)
        keep_usage(c, from);
    if (!from->n_choices)
        return false;
    struct chat_choice *choices = arena_array(c->scratch, from->n_choices, sizeof *choices);
    begin(c, out);
    out->choices = choices;
    out->n_choices = from->n_choices;
    for (size_t i = 0; i < from->n_choices; i++) {
        choices[i] = from->choices[i];
        put_calls(c, &from->choices[i], &choices[i]);
        choices[i].index = 0;
        choices[i].role = role_of(c, from->choices[i].role);
        if (choices[i].finish_reason.n)
            choices[i].finish_reason = finish_reason(c, choices[i].finish_reason);
    }
    return true;
}

bool openai_chunk_usage(struct openai_chunks *c, struct chat_chunk *out)
{
    if (!c->has_usage)
        return false;
    int64_t sum;
    *out = c->usage;
    out->id = id_of(c);
    out->created = c->created_s;
    out->model = c->model;
    out->object = STR("chat.completion.chunk");
    out->has_choices = true;
    out->has_usage = true;
    if (!__builtin_add_overflow(out->prompt_tokens, out->completion_tokens, &sum) &&
        sum > out->total_tokens)
        out->total_tokens = sum;
    return true;
}
