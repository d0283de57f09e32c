/* template: the special tokens around one text or two, as "post_processor" has them.
 *
 * Reference: huggingface/tokenizers, TemplateProcessing, BertProcessing, RobertaProcessing,
 * ByteLevel, and Sequence of these. Private to text/. */
#ifndef INFERD_TEMPLATE_H
#define INFERD_TEMPLATE_H

#include "json.h"
#include "tokenizer_kind.h"

#define TEMPLATE_MAX_ITEMS 64

struct template_item {
    enum { TEMPLATE_TOKEN, TEMPLATE_A, TEMPLATE_B } what;
    int32_t id;
    int32_t type_id;
};

struct template
{
    struct template_item items[TEMPLATE_MAX_ITEMS];
    uint32_t n, n_special;
    bool trim;       /* white space in a token is not part of its place */
    bool keep_first; /* but the first one at the beginning of a text is: it was put there */
};

/* Absent or null: the texts alone, with type ids 0 and 1. Ids must be below n_ids. Errors name the
 * member. */
struct err *template_read(const struct json *post_processor, uint32_t n_ids,
                          struct template *single, struct template *pair);

#endif
