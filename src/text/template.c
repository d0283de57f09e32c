#include "template.h"

static void add(struct template *t, struct template_item item)
{
    t->items[t->n++] = item;
    t->n_special += item.what == TEMPLATE_TOKEN;
}

static struct err *bad(const char *member, const char *must)
{
    return err_new(ERR_ARGUMENT, "member [post_processor.%s] %s", member, must);
}

static struct err *read_id(const struct json *j, const char *member, int64_t below, int32_t *out)
{
    int64_t v;
    if (!json_i64(j, &v) || v < 0 || v >= below)
        return bad(member, "must have ids that are in the vocabulary");
    *out = (int32_t)v;
    return NULL;
}

/* {"SpecialToken":{"id":"[CLS]","type_id":0}}: the ids behind the name are in special_tokens. */
static struct err *read_special(const struct json *token, const struct json *specials,
                                const char *member, uint32_t n_ids, int32_t type_id,
                                struct template *out)
{
    struct str name;
    if (!json_str(json_get(token, "id"), &name))
        return bad(member, "must have tokens with a string [id]");
    const struct json *ids = json_get(json_get_str(specials, name), "ids");
    if (!json_is(ids, JSON_ARRAY) || ids->n == 0)
        return bad("special_tokens", "must have the [ids] of each token in a template");
    struct json_iter it = json_iter(ids);
    for (const struct json *j; (j = json_next(&it));) {
        struct template_item item = {.what = TEMPLATE_TOKEN, .type_id = type_id};
        TRY(read_id(j, "special_tokens", n_ids, &item.id));
        if (out->n == TEMPLATE_MAX_ITEMS)
            return bad(member, "has too many items");
        add(out, item);
    }
    return NULL;
}

static struct err *read_sequence(const struct json *sequence, const char *member, int32_t type_id,
                                 struct template *out)
{
    struct str name;
    struct template_item item = {.type_id = type_id};
    if (!json_str(json_get(sequence, "id"), &name))
        return bad(member, "must have sequences with the [id] [A] or [B]");
    if (str_eq_c(name, "A"))
        item.what = TEMPLATE_A;
    else if (str_eq_c(name, "B"))
        item.what = TEMPLATE_B;
    else
        return bad(member, "must have sequences with the [id] [A] or [B]");
    for (uint32_t i = 0; i < out->n; i++) {
        if (out->items[i].what == item.what)
            return bad(member, "must have each sequence once");
    }
    add(out, item);
    return NULL;
}

static struct err *read_item(const struct json *item, const struct json *specials,
                             const char *member, uint32_t n_ids, struct template *out)
{
    const struct json *token = json_get(item, "SpecialToken");
    const struct json *sequence = json_get(item, "Sequence");
    int64_t type_id;
    if (!json_i64(json_get(token ? token : sequence, "type_id"), &type_id) || type_id < 0 ||
        type_id > 127)
        return bad(member, "must have items with a [type_id] from 0 to 127");
    if (out->n == TEMPLATE_MAX_ITEMS)
        return bad(member, "has too many items");
    if (token)
        return read_special(token, specials, member, n_ids, (int32_t)type_id, out);
    return read_sequence(sequence, member, (int32_t)type_id, out);
}

static struct err *read_list(const struct json *processor, const char *member, uint32_t n_ids,
                             uint32_t n_sequences, struct template *out)
{
    const struct json *list = json_get(processor, member);
    if (!json_is(list, JSON_ARRAY))
        return bad(member, "must be an array");
    struct json_iter it = json_iter(list);
    for (const struct json *j; (j = json_next(&it));)
        TRY(read_item(j, json_get(processor, "special_tokens"), member, n_ids, out));
    bool has_b = false;
    for (uint32_t i = 0; i < out->n; i++)
        has_b |= out->items[i].what == TEMPLATE_B;
    if (out->n - out->n_special != n_sequences || has_b != (n_sequences == 2))
        return bad(member, n_sequences == 2 ? "must have the sequences A and B"
                                            : "must have the sequence A alone");
    return NULL;
}

/* ["[SEP]",102] */
static struct err *read_named(const struct json *processor, const char *member, uint32_t n_ids,
                              int32_t *out)
{
    const struct json *pair = json_get(processor, member);
    if (!json_is(pair, JSON_ARRAY) || pair->flat || pair->n != 2)
        return bad(member, "must be a name and an id");
    return read_id(json_at(pair, 1), member, n_ids, out);
}

static struct err *read_bert(const struct json *processor, uint32_t n_ids, struct template *single,
                             struct template *pair)
{
    struct template_item cls = {0}, sep = {0};
    TRY(read_named(processor, "cls", n_ids, &cls.id));
    TRY(read_named(processor, "sep", n_ids, &sep.id));
    struct template_item a = {.what = TEMPLATE_A}, b = {.what = TEMPLATE_B, .type_id = 1};
    add(single, cls);
    add(single, a);
    add(single, sep);
    *pair = *single;
    add(pair, b);
    sep.type_id = 1;
    add(pair, sep);
    return NULL;
}

static struct err *read_flag(const struct json *j, const char *name, bool *out)
{
    const struct json *flag = json_get(j, name);
    *out = true;
    return !flag || json_bool(flag, out) ? NULL : bad(name, "must be true or false");
}

static struct err *read_trim(const struct json *j, struct template *single, struct template *pair)
{
    TRY(read_flag(j, "trim_offsets", &single->trim));
    TRY(read_flag(j, "add_prefix_space", &single->keep_first));
    pair->trim = single->trim;
    pair->keep_first = single->keep_first;
    return NULL;
}

/* <s> a </s> and <s> a </s> </s> b </s>, all of type 0. */
static struct err *read_roberta(const struct json *processor, uint32_t n_ids,
                                struct template *single, struct template *pair)
{
    struct template_item cls = {0}, sep = {0};
    TRY(read_named(processor, "cls", n_ids, &cls.id));
    TRY(read_named(processor, "sep", n_ids, &sep.id));
    struct template_item a = {.what = TEMPLATE_A}, b = {.what = TEMPLATE_B};
    add(single, cls);
    add(single, a);
    add(single, sep);
    *pair = *single;
    add(pair, sep);
    add(pair, b);
    add(pair, sep);
    return read_trim(processor, single, pair);
}

static struct err *read_template(const struct json *processor, uint32_t n_ids,
                                 struct template *single, struct template *pair)
{
    TRY(read_list(processor, "single", n_ids, 1, single));
    return read_list(processor, "pair", n_ids, 2, pair);
}

static void texts_alone(struct template *single, struct template *pair)
{
    if (single->n)
        return;
    add(single, (struct template_item){.what = TEMPLATE_A});
    add(pair, (struct template_item){.what = TEMPLATE_A});
    add(pair, (struct template_item){.what = TEMPLATE_B, .type_id = 1});
}

static struct err *read_processor(const struct json *j, uint32_t n_ids, struct template *single,
                                  struct template *pair, bool in_sequence)
{
    struct str type = {NULL, 0};
    json_str(json_get(j, "type"), &type);
    if (str_eq_c(type, "ByteLevel"))
        return single->trim ? NULL : read_trim(j, single, pair);
    if (str_eq_c(type, "Sequence") && !in_sequence) {
        const struct json *list = json_get(j, "processors");
        if (!json_is(list, JSON_ARRAY))
            return bad("processors", "must be an array");
        struct json_iter it = json_iter(list);
        for (const struct json *item; (item = json_next(&it));)
            TRY(read_processor(item, n_ids, single, pair, true));
        return NULL;
    }
    if (single->n)
        return bad("processors", "must have one template");
    if (str_eq_c(type, "BertProcessing"))
        return read_bert(j, n_ids, single, pair);
    if (str_eq_c(type, "RobertaProcessing"))
        return read_roberta(j, n_ids, single, pair);
    if (str_eq_c(type, "TemplateProcessing"))
        return read_template(j, n_ids, single, pair);
    return bad("type", "must be [TemplateProcessing], [BertProcessing], [RobertaProcessing], "
                       "[ByteLevel] or [Sequence]");
}

struct err *template_read(const struct json *j, uint32_t n_ids, struct template *single,
                          struct template *pair)
{
    *single = *pair = (struct template){0};
    if (!json_is_null(j))
        TRY(read_processor(j, n_ids, single, pair, false));
    texts_alone(single, pair);
    return NULL;
}
