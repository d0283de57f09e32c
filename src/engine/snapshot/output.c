/* Which kind of model a folder holds. Its modules decide when it has them: sentence-transformers
 * saves embedding models with whatever head they were trained from. */
#include "snapshot.h"

static bool ends_with(struct str s, const char *end)
{
    struct str e = str_c(end);
    return s.n >= e.n && str_eq(str_sub(s, s.n - e.n, SIZE_MAX), e);
}

enum program_output program_output_of(const struct json *config, const struct json *modules)
{
    struct str name = {0};
    if (modules) {
        struct json_iter it = json_iter(modules);
        const struct json *first = json_is(modules, JSON_ARRAY) ? json_next(&it) : NULL;
        json_str(json_get(first, "type"), &name);
        return ends_with(name, ".MLMTransformer") ? OUTPUT_VOCABULARY : OUTPUT_EMBEDDING;
    }
    const struct json *list = json_get(config, "architectures");
    struct json_iter it = json_iter(list);
    json_str(json_is(list, JSON_ARRAY) ? json_next(&it) : NULL, &name);
    if (ends_with(name, "ForSequenceClassification"))
        return OUTPUT_LABELS;
    if (ends_with(name, "ForTokenClassification") || ends_with(name, "ForQuestionAnswering"))
        return OUTPUT_TENSOR;
    return ends_with(name, "ForMaskedLM") ? OUTPUT_VOCABULARY : OUTPUT_EMBEDDING;
}

bool snapshot_answers_questions(const struct json *config)
{
    struct str name = {0};
    struct json_iter it = json_iter(json_get(config, "architectures"));
    json_str(json_next(&it), &name);
    return ends_with(name, "ForQuestionAnswering");
}

/* As transformers counts: by the names of the labels, else num_labels, else 2. */
uint32_t program_labels_of(const struct json *config)
{
    int64_t n;
    const struct json *names = json_get(config, "id2label");
    if (json_is(names, JSON_OBJECT) && names->n > 0)
        return names->n < 65536 ? (uint32_t)names->n : 65536;
    if (json_i64(json_get(config, "num_labels"), &n) && n > 0 && n <= 65536)
        return (uint32_t)n;
    return 2;
}
