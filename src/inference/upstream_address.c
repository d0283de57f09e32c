/* upstream_address: where a request made in a service's name goes, and by which way. */
#include "private.h"
#include "verdict.h"

/* The most that a scheme of authentication adds (auth/). */
#define SIGN_HEADERS 4

/* The service's base_url, or {NULL, 0}. */
static struct str base_url(const struct inference *inf, struct str service)
{
    for (size_t i = 0; i < inf->options.n_bases; i++) {
        if (str_eq(inf->options.bases[i].service, service))
            return inf->options.bases[i].base_url;
    }
    return (struct str){0};
}

/* Theirs win over ours. Whoever signs the request needs room for his own. */
static struct err *add_headers(const struct http_headers *more, struct http_out *out)
{
    struct http_headers *hs = &out->headers;
    for (size_t i = 0; more && i < more->n; i++) {
        size_t at = 0;
        while (at < hs->n && !str_eq_nocase(hs->h[at].name, more->h[i].name))
            at++;
        if (at == HTTP_MAX_HEADERS)
            break;
        hs->h[at] = more->h[i];
        hs->n += at == hs->n;
    }
    if (hs->n + SIGN_HEADERS > HTTP_MAX_HEADERS)
        return err_new(ERR_ARGUMENT, "The request would have more than [%d] headers",
                       HTTP_MAX_HEADERS - SIGN_HEADERS);
    return NULL;
}

struct err *upstream_address(const struct inference *inf, const struct endpoint *ep,
                             struct http_out *out, struct client_limits *limits)
{
    const struct egress *egress = extras_of(ep)->egress;
    struct str base = base_url(inf, str_c(ep->provider->name));
    if (base.n)
        out->url = url_rebase(out->arena, out->url, base);
    limits->allow_private = base.n || inf->options.allow_private;
    if (egress) {
        limits->egress = &egress->client;
        /* The operator vouches for the base_url, not for an endpoint's proxy. */
        if (egress->client.proxy)
            limits->allow_private = inf->options.allow_private;
    }
    return add_headers(egress ? &egress->headers : NULL, out);
}
