/* A tree of segments. Each node knows its literal children and one child for a {name}; a search
 * goes down depth first, literals before names, and comes back when a branch ends without a row
 * for the method. Since it is a tree, no node is entered twice. What a {name} is called belongs to
 * the row, not to the node: patterns that share a place may name it differently. */
#include "router.h"

#include "bug.h"

#define MAX_SEGMENTS 16 /* of a path that can match; the deepest pattern is far below it */

struct leaf {
    const void *row;
    struct str names[ROUTER_MAX_PARAMS];
    size_t n_names;
};

struct node {
    struct str literal; /* of the edge that leads here; heap */
    struct node *children;
    size_t n_children;
    struct node *any;
    struct leaf *leaves[N_HTTP_METHODS];
    unsigned allowed;
};

struct router {
    struct node root;
};

struct router *router_new(void)
{
    return mem_new(sizeof(struct router));
}

static void node_deinit(struct node *n)
{
    for (size_t i = 0; i < n->n_children; i++) {
        free((char *)(uintptr_t)n->children[i].literal.p);
        node_deinit(&n->children[i]);
    }
    free(n->children);
    if (n->any)
        node_deinit(n->any);
    free(n->any);
    for (size_t i = 0; i < N_HTTP_METHODS; i++)
        free(n->leaves[i]);
}

void router_free(struct router *r)
{
    if (!r)
        return;
    node_deinit(&r->root);
    free(r);
}

static struct node *child_find(const struct node *n, struct str segment)
{
    for (size_t i = 0; i < n->n_children; i++)
        if (str_eq(n->children[i].literal, segment))
            return &n->children[i];
    return NULL;
}

static struct node *child_add(struct node *n, struct str segment)
{
    n->children = mem_grow(n->children, (n->n_children + 1) * sizeof(struct node));
    struct node *child = &n->children[n->n_children++];
    char *copy = mem_new(segment.n + 1);
    memcpy(copy, segment.p, segment.n);
    *child = (struct node){.literal = {copy, segment.n}};
    return child;
}

static bool is_name(struct str segment)
{
    return segment.n > 2 && segment.p[0] == '{' && segment.p[segment.n - 1] == '}';
}

/* The part of a path that is matched: between its first slash and its trailing ones. False when
 * it does not begin with a slash. */
static bool path_inner(struct str path, struct str *out)
{
    if (path.n == 0 || path.p[0] != '/')
        return false;
    size_t n = path.n;
    while (n > 1 && path.p[n - 1] == '/')
        n--;
    /* "/" has no segments at all. */
    *out = n == 1 ? str_n(NULL, 0) : str_n(path.p + 1, n - 1);
    return true;
}

void router_add(struct router *r, enum method method, const char *pattern, const void *row)
{
    struct str rest, segment;
    BUG_ON(!row || !path_inner(str_c(pattern), &rest));
    struct leaf *leaf = mem_new(sizeof *leaf);
    leaf->row = row;
    struct node *n = &r->root;
    size_t depth = 0;
    while (str_split(&rest, '/', &segment)) {
        BUG_ON(segment.n == 0 || ++depth > MAX_SEGMENTS);
        if (is_name(segment)) {
            BUG_ON(leaf->n_names == ROUTER_MAX_PARAMS);
            leaf->names[leaf->n_names++] = str_n(segment.p + 1, segment.n - 2);
            if (!n->any)
                n->any = mem_new(sizeof *n->any);
            n = n->any;
            continue;
        }
        struct node *child = child_find(n, segment);
        n = child ? child : child_add(n, segment);
    }
    BUG_ON(n->leaves[method]); /* two rows for one method and path */
    n->leaves[method] = leaf;
    n->allowed |= 1U << method;
}

struct search {
    struct str segments[MAX_SEGMENTS];
    size_t n_segments;
    struct str values[ROUTER_MAX_PARAMS];
    enum method method;
    struct arena *arena;
    struct route_match *out;
};

/* Cuts and decodes. False: no pattern can match this path. */
static bool segments_cut(struct search *s, struct str path)
{
    struct str rest, segment;
    if (!path_inner(path, &rest))
        return false;
    while (str_split(&rest, '/', &segment)) {
        if (segment.n == 0 || s->n_segments == MAX_SEGMENTS)
            return false;
        bool plain = !memchr(segment.p, '%', segment.n) && !memchr(segment.p, '\0', segment.n);
        if (!plain && !http_unescape(s->arena, segment, &segment))
            return false;
        s->segments[s->n_segments++] = segment;
    }
    return true;
}

static void match_take(struct search *s, const struct leaf *leaf)
{
    struct route_match *m = s->out;
    m->row = leaf->row;
    m->n_params = leaf->n_names;
    for (size_t i = 0; i < leaf->n_names; i++) {
        m->params[i].name = leaf->names[i];
        m->params[i].value = arena_dup(s->arena, s->values[i]);
    }
}

/* Goes on after the first row is found, so that `allowed` is whole. */
static void walk(struct search *s, const struct node *n, size_t depth, size_t n_values)
{
    if (depth == s->n_segments) {
        const struct leaf *leaf = n->leaves[s->method];
        if (!leaf && s->method == HTTP_HEAD)
            leaf = n->leaves[HTTP_GET];
        if (leaf && !s->out->row)
            match_take(s, leaf);
        s->out->allowed |= n->allowed;
        return;
    }
    const struct node *child = child_find(n, s->segments[depth]);
    if (child)
        walk(s, child, depth + 1, n_values);
    if (n->any && n_values < ROUTER_MAX_PARAMS) {
        s->values[n_values] = s->segments[depth];
        walk(s, n->any, depth + 1, n_values + 1);
    }
}

void router_find(const struct router *r, struct arena *arena, enum method method, struct str path,
                 struct route_match *out)
{
    out->row = NULL;
    out->allowed = 0;
    out->n_params = 0;
    struct search s;
    s.n_segments = 0;
    s.method = method;
    s.arena = arena;
    s.out = out;
    if (segments_cut(&s, path))
        walk(&s, &r->root, 0, 0);
    if (out->allowed & (1U << HTTP_GET))
        out->allowed |= 1U << HTTP_HEAD;
}

struct str route_param(const struct route_match *m, const char *name)
{
    for (size_t i = 0; i < m->n_params; i++)
        if (str_eq_c(m->params[i].name, name))
            return m->params[i].value;
    return str_n(NULL, 0);
}
