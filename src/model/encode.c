/* From a call's input to the tokens that its model reads: the text behind what the model wants in
 * front of it, or query and document as a pair. */
#include "model_private.h"

struct err *parts_encode(const struct parts *p, struct arena *arena, const struct input *in,
                         size_t i, struct tokens *out)
{
    uint32_t budget = p->info->token_budget, longest = p->info->max_seq_length;
    struct window window = {.max_tokens = longest < budget ? longest : budget};
    struct str text = in->texts[i].p ? in->texts[i] : STR(""), prompt = p->prompts[in->input_type];
    if (in->has_query)
        return tokenizer_encode(p->tokenizer, arena, in->query, text, &window, out);
    if (prompt.n)
        text = arena_printf(arena, "%.*s%.*s", STR_ARG(prompt), STR_ARG(text));
    return tokenizer_encode(p->tokenizer, arena, text, (struct str){NULL, 0}, &window, out);
}
