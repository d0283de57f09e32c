/* Source: shared facts, providers.md 5. As in Elasticsearch, "$${x}" is no way to write "${x}". */
#include "custom_template.h"

enum filling { FILL_JSON, FILL_TEXT, FILL_URL };

struct filler {
    struct buf *out;
    const char *field;
    const struct template_names *names;
    enum filling how;
};

static const struct json *find_value(const struct template_names *names, struct str name)
{
    for (size_t i = 0; i < sizeof names->maps / sizeof names->maps[0]; i++) {
        const struct json *v = json_get_str(names->maps[i], name);
        if (!json_is_null(v))
            return v;
    }
    return NULL;
}

static bool find_builtin(const struct template_names *names, struct str name, struct str *out)
{
    for (size_t i = 0; i < names->n_builtins; i++) {
        if (str_eq_c(name, names->builtins[i].name)) {
            *out = names->builtins[i].json;
            return true;
        }
    }
    return false;
}

static struct err *unknown(const struct filler *f, struct str name)
{
    return err_new(ERR_ARGUMENT,
                   "Found placeholder [${%.*s}] in field [%s] after replacement call, please check "
                   "that all templates have a corresponding field definition.",
                   STR_ARG(str_sub(name, 0, 200)), f->field);
}

/* Still within "https://host"? A URL that a value begins is that value's own business. */
static bool in_host(struct str url)
{
    size_t scheme = str_find(url, STR("://"));
    if (scheme == SIZE_MAX)
        return false;
    struct str rest = str_sub(url, scheme + 3, url.n);
    return str_find_char(rest, '/') == SIZE_MAX && str_find_char(rest, '?') == SIZE_MAX &&
           str_find_char(rest, '#') == SIZE_MAX;
}

static bool stays_in_host(struct str value)
{
    static const char ends[] = "/?#\\@";
    for (size_t i = 0; i < value.n; i++) {
        if (memchr(ends, value.p[i], sizeof ends - 1))
            return false;
    }
    return true;
}

static struct err *put_name(const struct filler *f, struct str name)
{
    struct str text;
    if (f->how == FILL_JSON && find_builtin(f->names, name, &text)) {
        buf_put(f->out, text);
        return NULL;
    }
    const struct json *v = find_value(f->names, name);
    if (!v || (f->how != FILL_JSON && !json_str(v, &text)))
        return unknown(f, name);
    if (f->how == FILL_JSON)
        text = json_raw(v);
    if (f->how == FILL_URL && in_host(buf_str(f->out)) && !stays_in_host(text))
        return err_new(ERR_ARGUMENT, "The value of [${%.*s}] in field [%s] must not end the host",
                       STR_ARG(str_sub(name, 0, 200)), f->field);
    buf_put(f->out, text);
    return NULL;
}

/* The name at "${" in text.p[i], and where it ends. A line break ends the search, as it does in
 * Elasticsearch: what follows is then text. */
static bool name_at(struct str text, size_t i, struct str *name_out)
{
    struct str rest = str_sub(text, i + 2, text.n);
    size_t end = str_find_char(rest, '}');
    if (end == SIZE_MAX)
        return false;
    *name_out = str_sub(rest, 0, end);
    return str_find_char(*name_out, '\n') == SIZE_MAX;
}

static struct err *fill(const struct filler *f, struct str text)
{
    struct str rest = text, name;
    for (size_t at; (at = str_find(rest, STR("${"))) != SIZE_MAX;) {
        if (!name_at(rest, at, &name)) {
            buf_put(f->out, str_sub(rest, 0, at + 2));
            rest = str_sub(rest, at + 2, rest.n);
            continue;
        }
        if (at > 0 && rest.p[at - 1] == '$')
            return unknown(f, name);
        buf_put(f->out, str_sub(rest, 0, at));
        TRY(put_name(f, name));
        rest = str_sub(rest, at + name.n + 3, rest.n);
        if (f->out->full)
            return err_new(ERR_TOO_LARGE, "field [%s] is too large after replacement", f->field);
    }
    buf_put(f->out, rest);
    if (f->out->full)
        return err_new(ERR_TOO_LARGE, "field [%s] is too large after replacement", f->field);
    return NULL;
}

struct err *template_fill_json(struct buf *out, struct str text, const char *field,
                               const struct template_names *names)
{
    return fill(&(struct filler){out, field, names, FILL_JSON}, text);
}

struct err *template_fill_text(struct buf *out, struct str text, const char *field,
                               const struct template_names *names)
{
    return fill(&(struct filler){out, field, names, FILL_TEXT}, text);
}

struct err *template_fill_url(struct buf *out, struct str text, const struct template_names *names)
{
    return fill(&(struct filler){out, "url", names, FILL_URL}, text);
}
