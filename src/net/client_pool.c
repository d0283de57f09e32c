/* client's pool: where calls go, and the connections that wait there for the next one.
 *
 * A route is found by the text of its URL's scheme, host and port; a way on it by comparing all
 * that sets it apart, the PEM texts included: nothing is ever shared because two hashes were the
 * same. The connection used last is used first, so that those too many grow old. */
#include <stdlib.h>

#include "bug.h"
#include "client_private.h"

#define MAX_ROUTES 64 /* beyond these, what nobody uses is forgotten */
/* Hosts move: now and then a name is looked up again, however busy its connections are. */
#define MAX_LIFE_MS (600 * 1000)

/* --- routes --- */

static size_t make_key(const struct url_parts *url, char out[ROUTE_MAX_BYTES])
{
    struct str scheme = url->tls ? STR("https://") : STR("http://");
    struct str host = url->authority;
    if (scheme.n + host.n >= ROUTE_MAX_BYTES)
        return 0;
    memcpy(out, scheme.p, scheme.n);
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];
        out[scheme.n + i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    return scheme.n + host.n;
}

static void route_free(struct route *r)
{
    free((void *)(uintptr_t)r->key.p);
    free((void *)(uintptr_t)r->ace.p);
    free(r);
}

static struct route *route_new(struct client *c, struct str key, bool tls)
{
    struct route *r = mem_new(sizeof *r);
    r->key = str_n(memcpy(mem_new(key.n + 1), key.p, key.n), key.n);
    r->tls = tls;
    list_init(&r->waiting);
    list_init(&r->ways);
    if (!route_read_host(r)) {
        route_free(r);
        return NULL;
    }
    map_put(c->routes, r->key, r);
    return r;
}

static struct route *route_get(struct client *c, const struct url_parts *url)
{
    char bytes[ROUTE_MAX_BYTES];
    struct str key = str_n(bytes, make_key(url, bytes));
    if (key.n == 0)
        return NULL;
    if (c->last_route && str_eq(c->last_route->key, key))
        return c->last_route;
    struct route *r = map_get(c->routes, key);
    if (!r)
        r = route_new(c, key, url->tls);
    if (r)
        c->last_route = r;
    return r;
}

static void route_leave(struct client *c, struct route *r)
{
    if (!list_empty(&r->ways) || map_count(c->routes) <= MAX_ROUTES)
        return;
    if (c->last_route == r)
        c->last_route = NULL;
    map_take(c->routes, r->key);
    route_free(r);
}

/* --- ways --- */

static struct str keep(struct str s)
{
    if (s.n == 0)
        return (struct str){0};
    return str_n(memcpy(mem_new(s.n + 1), s.p, s.n), s.n);
}

static struct way *way_new(struct route *r, bool allow_private, struct str proxy, struct str ca,
                           struct str certificate)
{
    struct way *w = mem_new(sizeof *w);
    w->route = r;
    w->allow_private = allow_private;
    w->proxy = keep(proxy);
    w->ca = keep(ca);
    w->certificate = keep(certificate);
    list_init(&w->idle);
    list_init(&w->shared);
    list_push(&r->ways, &w->link);
    return w;
}

struct way *way_get(struct client *c, const struct url_parts *url,
                    const struct client_limits *limits)
{
    static const struct client_egress plainly = {0};
    const struct client_egress *e = limits->egress ? limits->egress : &plainly;
    struct str proxy = str_c(e->proxy);
    struct route *r = route_get(c, url);
    if (!r)
        return NULL;
    struct way *w = NULL;
    for (struct list_link *l = r->ways.next; l != &r->ways; l = l->next) {
        w = LIST_OWNER(l, struct way, link);
        if (w->allow_private == limits->allow_private && str_eq(w->proxy, proxy) &&
            str_eq(w->ca, e->ca) && str_eq(w->certificate, e->certificate))
            break;
        w = NULL;
    }
    if (!w)
        w = way_new(r, limits->allow_private, proxy, e->ca, e->certificate);
    w->users++;
    return w;
}

void way_leave(struct client *c, struct way *w)
{
    if (--w->users)
        return;
    list_remove(&w->link);
    route_leave(c, w->route);
    free((void *)(uintptr_t)w->proxy.p);
    free((void *)(uintptr_t)w->ca.p);
    free((void *)(uintptr_t)w->certificate.p);
    free(w);
}

/* --- idle connections --- */

static struct connection *idle_longest(const struct client *c)
{
    return LIST_OWNER(c->idle.next, struct connection, aged);
}

void idle_leave(struct connection *k)
{
    list_remove(&k->link);
    list_remove(&k->aged);
    k->client->n_idle--;
    k->way->route->idle--;
}

static void drop(struct connection *k)
{
    idle_leave(k);
    connection_close(k);
}

static void drop_old(struct loop_timer *timer)
{
    struct client *c = LIST_OWNER(timer, struct client, old);
    int64_t now = loop_now_ms(c->loop);
    while (!list_empty(&c->idle)) {
        int64_t until = idle_longest(c)->idle_ms + c->options.max_idle_ms;
        if (until > now) {
            loop_timer_set(c->loop, timer, until, drop_old);
            return;
        }
        drop(idle_longest(c));
    }
}

struct connection *idle_take(struct way *w)
{
    while (!list_empty(&w->idle)) {
        struct connection *k = LIST_OWNER(w->idle.prev, struct connection, link);
        idle_leave(k);
        if (!k->h2 || h2_is_fit(k))
            return k;
        connection_close(k);
    }
    return NULL;
}

void idle_put(struct connection *k)
{
    struct client *c = k->client;
    k->call = NULL;
    k->answered = true;
    k->idle_ms = loop_now_ms(c->loop);
    list_push(&k->way->idle, &k->link);
    list_push(&c->idle, &k->aged);
    c->n_idle++;
    k->way->route->idle++;
    if (k->idle_ms - k->opened_ms > MAX_LIFE_MS)
        drop(k);
    else if (!loop_timer_is_set(&c->old))
        loop_timer_set(c->loop, &c->old, k->idle_ms + c->options.max_idle_ms, drop_old);
}

static void drop_one_of(struct client *c, const struct route *r)
{
    for (struct list_link *l = c->idle.next; l != &c->idle; l = l->next) {
        struct connection *k = LIST_OWNER(l, struct connection, aged);
        if (k->way->route == r) {
            drop(k);
            return;
        }
    }
}

/* The call it is for has its slot already. */
void idle_make_room(struct client *c, struct way *w)
{
    if (w->route->active + w->route->idle > c->options.max_route_connections)
        drop_one_of(c, w->route);
    if (c->active + c->n_idle > c->options.max_total_connections)
        drop(idle_longest(c));
}

/* --- the end --- */

void ways_free(struct client *c)
{
    while (!list_empty(&c->idle))
        drop(idle_longest(c));
    struct str key;
    void *route;
    for (size_t i = 0; map_next(c->routes, &i, &key, &route);) {
        map_take(c->routes, key);
        route_free(route);
    }
    map_free(c->routes);
    loop_timer_cancel(&c->old);
}
