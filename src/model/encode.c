/* From a call's texts to the rows its model reads.
 *
 * A snapshot brings its own way of cutting and framing texts (tokenizer.json, prompts by input
 * type), so its texts take one row by its own tokenizer; every other model follows the tokenization
 * of its inference config. */
#include "model_private.h"

static struct err *snapshot_row(const struct parts *p, const struct nlp_config *config,
                                struct arena *arena, struct str text, struct nlp_request *out)
{
    uint32_t budget = p->info.token_budget, longest = p->info.max_seq_length;
    struct window window = {.max_tokens = longest < budget ? longest : budget};
    struct str first = text, second = {NULL, 0};
    if (config->task == NLP_TEXT_SIMILARITY) {
        if (!config->text.p)
            return err_new(ERR_ARGUMENT, "please provide configuration update for text_similarity "
                                         "task including the desired [text]");
        first = config->text;
        second = text;
    }
    struct tokens *row = arena_array(arena, 1, sizeof(*row));
    TRY(tokenizer_encode(p->tokenizer, arena, first, second, &window, row));
    *out = (struct nlp_request){
        .text = text, .n_rows = 1, .rows = row, .is_truncated = row->truncated};
    return NULL;
}

static struct err *encode(const struct parts *p, const struct nlp_config *config,
                          struct arena *arena, struct str text, struct nlp_request *out)
{
    if (!text.p)
        text = STR("");
    if (p->snapshot)
        TRY(snapshot_row(p, config, arena, text, out));
    else
        TRY(nlp_encode(config, p->tokenizer, arena, text, out));
    return NULL;
}

static struct str behind_prompt(struct arena *arena, struct str prompt, struct str text)
{
    return prompt.n ? arena_printf(arena, "%.*s%.*s", STR_ARG(prompt), STR_ARG(text)) : text;
}

void encode_config(const struct parts *p, struct arena *arena, const struct input *in,
                   struct nlp_config *out)
{
    *out = p->nlp;
    if (!in->has_query)
        return;
    struct str query = in->query.p ? in->query : STR("");
    out->text = p->snapshot ? query : behind_prompt(arena, p->prompts[in->input_type], query);
}

struct err *encode_input(const struct parts *p, const struct nlp_config *config,
                         struct arena *arena, const struct input *in, size_t i,
                         struct nlp_request *out)
{
    struct str text = in->texts[i];
    if (!in->has_query)
        text = behind_prompt(arena, p->prompts[in->input_type], text);
    return encode(p, config, arena, text, out);
}

/* A member by its name, or else by the parts of a dotted one. */
static const struct json *field_of(const struct json *document, struct str path)
{
    const struct json *found = json_get_str(document, path);
    for (size_t i = 0; !found && i < path.n; i++) {
        if (path.p[i] != '.')
            continue;
        const struct json *inner = json_get_str(document, str_n(path.p, i));
        if (json_is(inner, JSON_OBJECT))
            return field_of(inner, str_sub(path, i + 1, path.n));
    }
    return found;
}

struct err *encode_document(const struct parts *p, const struct nlp_config *config,
                            struct arena *arena, const struct json *document,
                            struct nlp_request *out)
{
    struct str text, field = p->input_field;
    const struct json *value = field_of(document, field);
    if (json_is_null(value))
        return err_new(ERR_ARGUMENT, "Input field [%.*s] does not exist in the source document",
                       STR_ARG(field));
    if (!json_str(value, &text)) {
        struct str raw = json_raw(value);
        return err_new(ERR_ARGUMENT, "Input value [%.*s] for field [%.*s] must be a string",
                       (int)(raw.n < 200 ? raw.n : 200), raw.p, STR_ARG(field));
    }
    return encode(p, config, arena, text, out);
}
