/* The body of a POST for every task but chat_completion, and the checks Elasticsearch 9.1 makes on
 * it before any service sees it. Texts are those of shared facts, inference.md 7.1 and 7.5. */
#include "input.h"

#include "body.h"

static struct err *read_input(struct body *b, const struct json *v, void *out)
{
    struct input *in = out;
    return body_texts(b, v, &in->texts, &in->n_texts);
}

static struct err *read_query(struct body *b, const struct json *v, void *out)
{
    struct input *in = out;
    in->query = v->text;
    in->has_query = true;
    return NULL;
}

static struct err *read_task_settings(struct body *b, const struct json *v, void *out)
{
    struct input *in = out;
    in->task_settings = v;
    return NULL;
}

/* The internal types of ES are no words of the API. */
static struct err *read_input_type(struct body *b, const struct json *v, void *out)
{
    struct input *in = out;
    if (input_type_parse(v->text, &in->input_type))
        return NULL;
    return err_new(ERR_ARGUMENT, "Unrecognized input_type [%.*s]",
                   STR_ARG(str_sub(v->text, 0, 200)));
}

static struct err *read_top_n(struct body *b, const struct json *v, void *out)
{
    struct input *in = out;
    in->has_top_n = true;
    return body_i64(b, v, INT32_MIN, INT32_MAX, &in->top_n);
}

static struct err *read_return_documents(struct body *b, const struct json *v, void *out)
{
    struct input *in = out;
    in->has_return_documents = true;
    return body_bool(b, v, &in->return_documents);
}

/* Accepted and replaced by the query parameter or its default, as in ES. */
static struct err *read_timeout(struct body *b, const struct json *v, void *out)
{
    int64_t ms;
    if (str_to_ms(v->text, &ms))
        return NULL;
    return err_new(ERR_ARGUMENT,
                   "failed to parse setting [timeout] with value [%.*s] as a time value: unit is "
                   "missing or unrecognized",
                   STR_ARG(str_sub(v->text, 0, 200)));
}

static const struct body_field fields[] = {
    {.name = "input", .kinds = BODY_STR | BODY_ARRAY, .read = read_input},
    {.name = "query", .kinds = BODY_STR, .read = read_query},
    {.name = "task_settings", .kinds = BODY_OBJECT, .read = read_task_settings},
    {.name = "input_type", .kinds = BODY_STR, .read = read_input_type},
    {.name = "top_n", .kinds = BODY_NUM | BODY_STR, .read = read_top_n},
    {.name = "return_documents", .kinds = BODY_BOOL | BODY_STR, .read = read_return_documents},
    {.name = "timeout", .kinds = BODY_STR, .read = read_timeout},
};

static const struct body_parser parser = {"cluster:internal/xpack/inference", fields,
                                          sizeof fields / sizeof fields[0]};

static void misplaced(struct err_list *list, const char *name, enum task task)
{
    err_list_add(list, "Field [%s] cannot be specified for task type [%s]", name, task_name(task));
}

static void check_query(struct err_list *list, const struct input *in, bool url_any)
{
    bool embeds = in->task == TASK_TEXT_EMBEDDING || in->task == TASK_SPARSE_EMBEDDING;
    if (in->task == TASK_RERANK && !in->has_query)
        err_list_add(list, "Field [query] cannot be null for task type [rerank]");
    else if (in->task == TASK_RERANK && in->query.n == 0)
        err_list_add(list, "Field [query] cannot be empty for task type [rerank]");
    else if (embeds && in->has_query && !url_any)
        misplaced(list, "query", in->task);
}

static struct err *check(const struct input *in, bool url_any)
{
    struct err_list list = {0};
    if (!in->texts)
        err_list_add(&list, "Field [input] cannot be null");
    else if (in->n_texts == 0)
        err_list_add(&list, "Field [input] cannot be an empty array");
    check_query(&list, in, url_any);
    if (!url_any && in->task != TASK_RERANK && in->has_return_documents)
        misplaced(&list, "return_documents", in->task);
    if (!url_any && in->task != TASK_RERANK && in->has_top_n)
        misplaced(&list, "top_n", in->task);
    else if (in->has_top_n && in->top_n < 1)
        err_list_add(&list, "Field [top_n] must be greater than or equal to 1");
    if (!url_any && in->task != TASK_TEXT_EMBEDDING && in->input_type != INPUT_UNSPECIFIED)
        misplaced(&list, "input_type", in->task);
    return err_list_end(&list, ERR_REQUEST);
}

struct err *input_parse(struct arena *arena, enum task task, bool url_any, struct str text,
                        const struct json *root, struct input *out)
{
    struct body b = {.arena = arena, .text = text};
    *out = (struct input){.task = task};
    struct err *e = body_parse(&b, &parser, root, out);
    /* A wrong word is answered alone, not as a parse error around it. */
    if (e && e->cause && e->cause->kind == ERR_ARGUMENT &&
        strncmp(e->cause->reason, "Unrecognized input_type", 23) == 0) {
        struct err *cause = e->cause;
        e->cause = NULL;
        err_free(e);
        return cause;
    }
    if (e)
        return e;
    return check(out, url_any);
}
