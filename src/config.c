/* config: a table of rows, and three places that values come from. Each value remembers where it
 * stood, so that a mistake can be shown there. */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <yaml.h>

#include "bug.h"

enum type { STR, BOOL, INT, BYTES, MS, DOUBLE, WORD };

static const char *const type_names[] = {"text", "boolean", "integer", "size",
                                         "time", "number",  "word"};

struct row {
    const char *name;
    enum type type;
    const char *preset;
    double least, most;
    bool reloadable;
    const char *help;
    size_t offset;
};

static const struct row rows[] = {
#define X(field, name, type, preset, least, most, reloadable, help)                                \
    {name, type, preset, least, most, reloadable, help, offsetof(struct config, field)},
#include "config.def"
#undef X
};

#define N_ROWS (sizeof rows / sizeof rows[0])

/* The text chosen for a row so far, and where it came from. */
struct choice {
    char *text;
    char where[512];
    int rank; /* 0 default, 1 file, 2 environment, 3 command line */
};

struct reader {
    struct choice choices[N_ROWS];
    struct config *config;
    FILE *complaints;
    bool bad;
};

static void complain(struct reader *r, const char *where, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void complain(struct reader *r, const char *where, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(r->complaints, "%s: ", where);
    vfprintf(r->complaints, fmt, ap);
    fputc('\n', r->complaints);
    va_end(ap);
    r->bad = true;
}

/* --- inference.upstream.<service>.base_url --- */

static const struct str base_prefix = STR_INIT("inference.upstream.");
static const struct str base_suffix = STR_INIT(".base_url");

static bool is_base(struct str name)
{
    return str_starts(name, base_prefix) && str_ends(name, base_suffix) &&
           name.n > base_prefix.n + base_suffix.n;
}

static bool base_url_ok(struct str url)
{
    struct str rest = url;
    if (str_starts(url, STR("https://")))
        rest = str_sub(url, 8, url.n);
    else if (str_starts(url, STR("http://")))
        rest = str_sub(url, 7, url.n);
    else
        return false;
    if (rest.n == 0 || rest.p[0] == '/')
        return false;
    for (size_t i = 0; i < rest.n; i++) {
        if ((unsigned char)rest.p[i] <= ' ' || strchr("?#@\"<>\\^`{|}", rest.p[i]))
            return false;
    }
    return true;
}

static void base_set(struct reader *r, struct str name, struct str value, const char *where)
{
    struct str service = str_sub(name, base_prefix.n, name.n - base_prefix.n - base_suffix.n);
    if (!base_url_ok(value)) {
        complain(r, where, "[%.*s] must be an http or https address, was [%.*s]", STR_ARG(name),
                 STR_ARG(value));
        return;
    }
    while (value.n && value.p[value.n - 1] == '/')
        value.n--;
    struct config *c = r->config;
    struct upstream_base *base = NULL;
    for (size_t i = 0; i < c->n_bases; i++) {
        if (str_eq(c->bases[i].service, service))
            base = &c->bases[i];
    }
    if (!base) {
        c->bases = mem_grow(c->bases, (c->n_bases + 1) * sizeof *c->bases);
        base = &c->bases[c->n_bases++];
        char *copy = strndup(service.p, service.n);
        base->service = str_c(copy);
    } else {
        free((char *)(uintptr_t)base->base_url.p);
    }
    base->base_url = str_c(strndup(value.p, value.n));
}

/* --- choosing --- */

static size_t find_row(struct str name)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        if (str_eq_c(name, rows[i].name))
            return i;
    }
    return SIZE_MAX;
}

static void choose(struct reader *r, struct str name, struct str value, int rank, const char *where)
{
    if (is_base(name)) {
        base_set(r, name, value, where);
        return;
    }
    size_t i = find_row(name);
    if (i == SIZE_MAX) {
        complain(r, where, "unknown setting [%.*s]; --help-settings lists them", STR_ARG(name));
        return;
    }
    struct choice *c = &r->choices[i];
    if (c->text && c->rank == rank && rank == 1)
        complain(r, where, "[%s] is set twice", rows[i].name);
    free(c->text);
    c->text = strndup(value.p, value.n);
    c->rank = rank;
    snprintf(c->where, sizeof c->where, "%s", where);
}

/* --- the file: keys dotted or nested; every leaf is a text --- */

struct yaml_place {
    char key[8][128];
    int depth;
};

static void yaml_join(const struct yaml_place *p, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < p->depth; i++)
        n += (size_t)snprintf(out + n, n < size ? size - n : 0, "%s%s", i ? "." : "", p->key[i]);
}

static void yaml_leaf(struct reader *r, const char *file, const yaml_event_t *ev,
                      const struct yaml_place *place)
{
    char where[512], name[1100];
    snprintf(where, sizeof where, "%s:%zu", file, ev->start_mark.line + 1);
    yaml_join(place, name, sizeof name);
    const char *text = (const char *)ev->data.scalar.value;
    choose(r, str_c(name), str_n(text, ev->data.scalar.length), 1, where);
}

/* Walks the events; `want_key` alternates within a mapping. */
static void yaml_walk(struct reader *r, const char *file, yaml_parser_t *parser)
{
    struct yaml_place place = {.depth = 0};
    bool want_key = false, lost = false; /* lost: what follows would be misread */
    for (bool more = true; more && !lost;) {
        yaml_event_t ev;
        char where[512];
        if (!yaml_parser_parse(parser, &ev)) {
            snprintf(where, sizeof where, "%s:%zu", file, parser->problem_mark.line + 1);
            complain(r, where, "%s", parser->problem ? parser->problem : "not readable as YAML");
            return;
        }
        snprintf(where, sizeof where, "%s:%zu", file, ev.start_mark.line + 1);
        if (ev.type == YAML_MAPPING_START_EVENT) {
            want_key = true;
        } else if (ev.type == YAML_MAPPING_END_EVENT) {
            if (place.depth)
                place.depth--;
            want_key = true;
        } else if (ev.type == YAML_SCALAR_EVENT && want_key) {
            lost = place.depth == 8 || ev.data.scalar.length >= sizeof place.key[0];
            if (lost)
                complain(r, where, "nested too deep, or a key too long");
            else
                snprintf(place.key[place.depth++], sizeof place.key[0], "%s",
                         (const char *)ev.data.scalar.value);
            want_key = false;
        } else if (ev.type == YAML_SCALAR_EVENT) {
            if (place.depth)
                yaml_leaf(r, file, &ev, &place);
            else if (ev.data.scalar.length)
                complain(r, where, "expected settings, one `name: value` a line");
            place.depth -= place.depth ? 1 : 0;
            want_key = true;
        } else if (ev.type == YAML_SEQUENCE_START_EVENT || ev.type == YAML_ALIAS_EVENT) {
            complain(r, where, "lists and aliases are not used by any setting");
            lost = true;
        }
        more = ev.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&ev);
    }
}

static void read_file(struct reader *r, const char *file)
{
    bool asked = file != NULL;
    file = asked ? file : "inferd.yml";
    FILE *f = fopen(file, "r");
    if (!f) {
        if (asked)
            complain(r, file, "cannot be opened: %s", strerror(errno));
        return;
    }
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        abort();
    yaml_parser_set_input_file(&parser, f);
    yaml_walk(r, file, &parser);
    yaml_parser_delete(&parser);
    fclose(f);
}

/* --- environment and command line --- */

/* "http.port" -> "INFERD_HTTP_PORT" */
static void shout(const char *name, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "INFERD_");
    for (; *name && n + 1 < size; name++)
        out[n++] = isalnum((unsigned char)*name) ? (char)toupper((unsigned char)*name) : '_';
    out[n] = '\0';
}

static void read_environment(struct reader *r)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        char name[128], where[192];
        shout(rows[i].name, name, sizeof name);
        const char *value = getenv(rows[i].name);
        /* A setting without a dot would take any variable of that name for its own. */
        if (!strchr(rows[i].name, '.'))
            value = NULL;
        snprintf(where, sizeof where, "environment %s", value ? rows[i].name : name);
        if (!value)
            value = getenv(name);
        if (value)
            choose(r, str_c(rows[i].name), str_c(value), 2, where);
    }
    for (char **e = environ; *e; e++) {
        const char *eq = strchr(*e, '=');
        struct str name = eq ? str_n(*e, (size_t)(eq - *e)) : (struct str){0};
        if (is_base(name))
            base_set(r, name, str_c(eq + 1), "environment");
    }
}

static void read_overrides(struct reader *r, const char *const *overrides, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char where[300];
        snprintf(where, sizeof where, "-E %s", overrides[i]);
        const char *eq = strchr(overrides[i], '=');
        if (!eq)
            complain(r, where, "expected name=value");
        else
            choose(r, str_n(overrides[i], (size_t)(eq - overrides[i])), str_c(eq + 1), 3, where);
    }
}

/* --- texts to values --- */

/* "[a, b, c] ..." at the start of the help */
static bool word_allowed(const char *help, struct str word)
{
    struct str list = str_n(help + 1, (size_t)(strchr(help, ']') - help - 1)), part;
    while (str_split(&list, ',', &part)) {
        if (str_eq(str_trim(part), word))
            return true;
    }
    return false;
}

static bool parse_double(struct str s, double *out)
{
    char text[64];
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    char *end;
    *out = strtod(text, &end);
    return *end == '\0';
}

static bool parse_number(const struct row *row, struct str s, double *out)
{
    int64_t i;
    uint64_t u;
    switch (row->type) {
    case INT:
        if (!str_to_i64(s, &i))
            return false;
        *out = (double)i;
        return true;
    case BYTES:
        if (!str_to_bytes(s, &u))
            return false;
        *out = (double)u;
        return true;
    case MS:
        if (!str_to_ms(s, &i))
            return false;
        *out = (double)i;
        return true;
    default:
        return parse_double(s, out);
    }
}

static void put_number(struct reader *r, const struct row *row, void *at, struct str s,
                       const char *where)
{
    double v;
    if (!parse_number(row, s, &v)) {
        complain(r, where, "[%s] must be a %s, was [%.*s]", row->name, type_names[row->type],
                 STR_ARG(s));
        return;
    }
    if ((row->least != 0 || row->most != 0) && (v < row->least || v > row->most)) {
        complain(r, where, "[%s] must be between [%.15g] and [%.15g]%s, was [%.*s]", row->name,
                 row->least, row->most, row->type == MS ? " milliseconds" : "", STR_ARG(s));
        return;
    }
    if (row->type == INT)
        *(int *)at = (int)v;
    else if (row->type == DOUBLE)
        *(double *)at = v;
    else
        *(int64_t *)at = (int64_t)v;
}

static void put(struct reader *r, const struct row *row, const char *text, const char *where)
{
    void *at = (char *)r->config + row->offset;
    struct str s = str_c(text);
    switch (row->type) {
    case STR:
    case WORD:
        if (row->type == WORD && !word_allowed(row->help, s))
            complain(r, where, "[%s] must be one of %.*s], was [%s]", row->name,
                     (int)(strchr(row->help, ']') - row->help), row->help, text);
        *(char **)at = mem_strdup(text);
        break;
    case BOOL:
        if (str_eq_c(s, "true") || str_eq_c(s, "false"))
            *(bool *)at = str_eq_c(s, "true");
        else
            complain(r, where, "[%s] must be true or false, was [%s]", row->name, text);
        break;
    default:
        put_number(r, row, at, s, where);
    }
}

bool config_read(struct config *out, const char *file, const char *const *overrides,
                 size_t n_overrides, FILE *complaints)
{
    *out = (struct config){0};
    struct reader *r = mem_new(sizeof *r);
    r->config = out;
    r->complaints = complaints;
    read_file(r, file);
    read_environment(r);
    read_overrides(r, overrides, n_overrides);
    for (size_t i = 0; i < N_ROWS; i++) {
        const struct choice *c = &r->choices[i];
        put(r, &rows[i], c->text ? c->text : rows[i].preset, c->text ? c->where : "default");
        free(c->text);
    }
    bool ok = !r->bad;
    free(r);
    return ok;
}

void config_deinit(struct config *c)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        if (rows[i].type == STR || rows[i].type == WORD)
            free(*(char **)((char *)c + rows[i].offset));
    }
    for (size_t i = 0; i < c->n_bases; i++) {
        free((char *)(uintptr_t)c->bases[i].service.p);
        free((char *)(uintptr_t)c->bases[i].base_url.p);
    }
    free(c->bases);
    *c = (struct config){0};
}

void config_help(FILE *out)
{
    for (size_t i = 0; i < N_ROWS; i++)
        fprintf(out, "%s (%s%s, default %s)\n    %s\n", rows[i].name, type_names[rows[i].type],
                rows[i].reloadable ? ", reloadable" : "",
                rows[i].preset[0] ? rows[i].preset : "empty", rows[i].help);
    fprintf(out,
            "inference.upstream.<service>.base_url (text, default the provider's)\n"
            "    replaces scheme, host and port of every address that service is reached at\n");
}

static void span_text(int64_t ms, char *out, size_t room)
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = {{3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;
    while (ms % units[i].ms)
        i++;
    snprintf(out, room, "%lld%s", (long long)(ms / units[i].ms), ms ? units[i].name : "ms");
}

static void text_of(const struct row *row, const void *field, char *out, size_t room)
{
    switch (row->type) {
    case STR:
    case WORD:
        snprintf(out, room, "%s", *(char *const *)field);
        break;
    case BOOL:
        snprintf(out, room, "%s", *(const bool *)field ? "true" : "false");
        break;
    case INT:
        snprintf(out, room, "%d", *(const int *)field);
        break;
    case BYTES:
        snprintf(out, room, "%lldb", (long long)*(const int64_t *)field);
        break;
    case MS:
        span_text(*(const int64_t *)field, out, room);
        break;
    case DOUBLE:
        snprintf(out, room, "%g", *(const double *)field);
        break;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct api_setting *)a)->name, ((const struct api_setting *)b)->name);
}

struct api_setting *config_list(const struct config *c, size_t *n_out)
{
    struct api_setting *list = mem_new(N_ROWS * sizeof *list);
    char text[4096];
    size_t n = 0;
    for (size_t i = 0; i < N_ROWS; i++) {
        if (strstr(rows[i].name, "passphrase"))
            continue;
        text_of(&rows[i], (const char *)c + rows[i].offset, text, sizeof text);
        list[n++] = (struct api_setting){rows[i].name, mem_strdup(text)};
    }
    qsort(list, n, sizeof *list, by_name);
    *n_out = n;
    return list;
}

void config_list_free(struct api_setting *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)list[i].value);
    free(list);
}
