/* Looking into a finished tree. Everything here is a walk over an array; nothing allocates. */
#include "json.h"

#include "json_private.h"

const struct json *json_get_str(const struct json *object, struct str key)
{
    if (!json_is(object, JSON_OBJECT))
        return NULL;
    const struct json *m = object + 1;
    for (uint32_t i = 0; i < object->n; i++, m += m->skip)
        if (str_eq(m->key, key))
            return m;
    return NULL;
}

const struct json *json_get(const struct json *object, const char *key)
{
    return json_get_str(object, str_n(key, strlen(key)));
}

/* A flat array answers NULL rather than being a bug: a caller who expects objects asks this of
 * whatever came from outside. */
const struct json *json_at(const struct json *array, size_t i)
{
    if (!json_is(array, JSON_ARRAY) || array->flat || i >= array->n)
        return NULL;
    const struct json *e = array + 1;
    while (i-- > 0)
        e += e->skip;
    return e;
}

const struct json *json_path(const struct json *j, ...)
{
    va_list ap;
    va_start(ap, j);
    for (const char *key; j && (key = va_arg(ap, const char *));)
        j = json_get(j, key);
    va_end(ap);
    return j;
}

bool json_is(const struct json *j, enum json_type type)
{
    return j && j->type == type;
}

bool json_is_null(const struct json *j)
{
    return !j || j->type == JSON_NULL;
}

bool json_str(const struct json *j, struct str *out)
{
    if (!json_is(j, JSON_STRING))
        return false;
    *out = j->text;
    return true;
}

bool json_bool(const struct json *j, bool *out)
{
    if (!j || (j->type != JSON_TRUE && j->type != JSON_FALSE))
        return false;
    *out = j->type == JSON_TRUE;
    return true;
}

bool json_i64(const struct json *j, int64_t *out)
{
    if (!json_is(j, JSON_NUMBER))
        return false;
    bool negative = j->text.p[0] == '-';
    uint64_t value = 0, limit = (uint64_t)INT64_MAX + negative;
    for (size_t i = negative; i < j->text.n; i++) {
        unsigned digit = (unsigned)(unsigned char)j->text.p[i] - '0';
        if (digit > 9 || value > (limit - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = (int64_t)(negative ? -value : value);
    return true;
}

struct str json_raw(const struct json *j)
{
    return j ? str_n(j->raw, j->raw_n) : (struct str){0};
}

struct json_iter json_iter(const struct json *j)
{
    struct json_iter it = {0};
    if (!j || (j->type != JSON_ARRAY && j->type != JSON_OBJECT))
        return it;
    it.left = j->n;
    if (j->flat) {
        it.p = j->raw + 1;
        it.end = j->raw + j->raw_n - 1;
    } else {
        it.node = j + 1;
    }
    return it;
}

static const struct json *next_flat(struct json_iter *it)
{
    const char *begin = it->p;
    while (json_space(*begin) || *begin == ',')
        begin++;
    const char *p = begin;
    while (p < it->end && *p != ',' && !json_space(*p))
        p++;
    it->p = p;
    struct str text = str_n(begin, (size_t)(p - begin));
    it->tmp = (struct json){
        .type = JSON_NUMBER,
        .skip = 1,
        .raw_n = (uint32_t)text.n,
        .raw = begin,
        .text = text,
    };
    return &it->tmp;
}

const struct json *json_next(struct json_iter *it)
{
    if (it->left == 0)
        return NULL;
    it->left--;
    if (it->p)
        return next_flat(it);
    const struct json *j = it->node;
    it->node += j->skip;
    return j;
}
