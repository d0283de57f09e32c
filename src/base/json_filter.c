/* filter_path. A pattern is a row of segments, and the state of the match at some depth is the set
 * of segments that may match the next name: one bit each, for all patterns at once. A name moves
 * the set one level down; `**` also stays where it is. Arrays use up no segment.
 *
 * Inclusions are applied first and exclusions to what is left. A value that matches a whole pattern
 * is taken (or left out) with all it holds. Containers out of which everything was filtered are
 * left out; containers that were empty before stay if nothing but exclusions passed over them. */
#include "json_view.h"

#include "json_private.h"

#define SEGMENTS_MAX 256
#define WORDS        (SEGMENTS_MAX / 64)

struct segment {
    struct str name; /* with backslashes before literal dots */
    bool last, any_depth;
};

struct set {
    uint64_t bits[WORDS];
};

struct filter {
    struct segment segments[SEGMENTS_MAX];
    uint16_t n;
    bool includes, excludes;
    struct set include, exclude; /* at the root */
    struct buf *out;
};

/* What a name does to one of the two sets. */
enum outcome { NO_MATCH, PARTLY, WHOLE };

static void set_add(struct set *s, unsigned i)
{
    s->bits[i / 64] |= UINT64_C(1) << (i % 64);
}

static bool set_has(const struct set *s, unsigned i)
{
    return s->bits[i / 64] >> (i % 64) & 1;
}

/* The next character of a segment, past the backslash of an escaped dot. */
static size_t literal(struct str pattern, size_t i)
{
    bool escaped = pattern.p[i] == '\\' && i + 1 < pattern.n && pattern.p[i + 1] == '.';
    return escaped ? i + 1 : i;
}

/* `*` is any run of bytes. On a mismatch only the last star need be widened, so the cost is at most
 * the product of the lengths. */
static bool glob_match(struct str pattern, struct str name)
{
    size_t p = 0, n = 0, star = SIZE_MAX, resume = 0;
    while (n < name.n) {
        size_t at = p < pattern.n ? literal(pattern, p) : p;
        if (p < pattern.n && pattern.p[p] == '*') {
            star = ++p;
            resume = n;
        } else if (p < pattern.n && pattern.p[at] == name.p[n]) {
            p = at + 1;
            n++;
        } else if (star != SIZE_MAX) {
            p = star;
            n = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

static enum outcome step(const struct filter *f, const struct set *from, struct str name,
                         struct set *to)
{
    *to = (struct set){0};
    enum outcome outcome = NO_MATCH;
    for (unsigned i = 0; i < f->n; i++) {
        if (!set_has(from, i) || !glob_match(f->segments[i].name, name))
            continue;
        if (f->segments[i].last)
            return WHOLE;
        set_add(to, i + 1);
        if (f->segments[i].any_depth)
            set_add(to, i);
        outcome = PARTLY;
    }
    return outcome;
}

static struct err *pattern_add(struct filter *f, struct str pattern, struct set *root)
{
    if (f->n < SEGMENTS_MAX)
        set_add(root, f->n);
    for (size_t begin = 0, i = 0; i <= pattern.n; i++) {
        bool dot = i < pattern.n && pattern.p[i] == '.' && (i == 0 || pattern.p[i - 1] != '\\');
        if (i < pattern.n && !dot)
            continue;
        if (f->n == SEGMENTS_MAX)
            return err_new(ERR_ARGUMENT, "[filter_path] has more than [%d] names", SEGMENTS_MAX);
        struct segment *s = &f->segments[f->n++];
        s->name = str_n(pattern.p + begin, i - begin);
        s->last = i == pattern.n;
        s->any_depth = str_eq(s->name, STR("**"));
        if (s->name.n == 0)
            return err_new(ERR_ARGUMENT, "[filter_path] has an empty name in [%.*s]",
                           (int)(pattern.n < 200 ? pattern.n : 200), pattern.p);
        begin = i + 1;
    }
    return NULL;
}

static struct err *filter_init(struct filter *f, struct str filter_path)
{
    struct str part;
    f->n = 0;
    f->includes = f->excludes = false;
    f->include = f->exclude = (struct set){0};
    if (!str_utf8_ok(filter_path))
        return err_new(ERR_ARGUMENT, "[filter_path] is not valid UTF-8");
    while (str_split(&filter_path, ',', &part)) {
        part = str_trim(part);
        bool exclude = part.n > 0 && part.p[0] == '-';
        if (exclude)
            part = str_trim(str_n(part.p + 1, part.n - 1));
        if (part.n == 0)
            continue;
        TRY(pattern_add(f, part, exclude ? &f->exclude : &f->include));
        f->includes |= !exclude;
        f->excludes |= exclude;
    }
    return NULL;
}

static void put_whole(struct filter *f, const struct json *j)
{
    struct json_out w;
    json_out_init(&w, f->out);
    json_put_node(&w, j);
}

static bool put_filtered(struct filter *, const struct json *, const struct set *,
                         const struct set *);

/* One member of an object. */
static bool put_member(struct filter *f, const struct json *v, const struct set *include,
                       const struct set *exclude)
{
    struct set in, ex;
    if (include) {
        enum outcome o = step(f, include, v->key, &in);
        if (o == NO_MATCH)
            return false;
        include = o == WHOLE ? NULL : &in;
    }
    if (exclude) {
        enum outcome o = step(f, exclude, v->key, &ex);
        if (o == WHOLE)
            return false;
        exclude = o == NO_MATCH ? NULL : &ex;
    }
    json_quote(f->out, v->key);
    buf_char(f->out, ':');
    return put_filtered(f, v, include, exclude);
}

static bool put_container(struct filter *f, const struct json *j, const struct set *include,
                          const struct set *exclude)
{
    bool array = j->type == JSON_ARRAY, any = false;
    buf_char(f->out, array ? '[' : '{');
    struct json_iter it = json_iter(j);
    for (const struct json *v; (v = json_next(&it));) {
        size_t mark = f->out->n;
        if (any)
            buf_char(f->out, ',');
        if (array ? put_filtered(f, v, include, exclude) : put_member(f, v, include, exclude))
            any = true;
        else
            f->out->n = mark;
    }
    buf_char(f->out, array ? ']' : '}');
    return any;
}

/* `include` NULL: all of it is wanted. `exclude` NULL: none of it is unwanted. False: nothing of it
 * is left, and the caller takes back what was written. */
static bool put_filtered(struct filter *f, const struct json *j, const struct set *include,
                         const struct set *exclude)
{
    bool container = (j->type == JSON_ARRAY || j->type == JSON_OBJECT) && j->n > 0;
    bool plain = !container || j->flat;
    if (include && plain)
        return false;
    if (plain || (!include && !exclude)) {
        put_whole(f, j);
        return true;
    }
    return put_container(f, j, include, exclude);
}

struct err *json_filter(const struct json *j, struct str filter_path, struct buf *out)
{
    struct filter f;
    TRY(filter_init(&f, filter_path));
    f.out = out;
    size_t mark = out->n;
    if (put_filtered(&f, j, f.includes ? &f.include : NULL, f.excludes ? &f.exclude : NULL))
        return NULL;
    out->n = mark;
    buf_put(out, STR("{}"));
    return NULL;
}
