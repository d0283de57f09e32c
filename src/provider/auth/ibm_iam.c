#include "ibm_iam.h"

#include "bearer.h"

#define TOKEN_URL "https://iam.cloud.ibm.com/identity/token"

static struct str api_key(const struct endpoint *ep)
{
    const struct value *v = settings_get(&ep->values, "api_key");
    return v && v->set ? secret_reveal(v->secret) : (struct str){0};
}

static void ibm_key(const struct endpoint *ep, struct buf *out)
{
    buf_put(out, api_key(ep));
}

static struct err *ibm_ask(const struct endpoint *ep, int64_t now_s, struct http_out *out)
{
    out->method = HTTP_POST;
    out->url = STR(TOKEN_URL);
    http_header_add(&out->headers, STR("Content-Type"), STR("application/x-www-form-urlencoded"));
    http_header_add(&out->headers, STR("Accept"), STR("application/json"));
    out->body =
        arena_printf(out->arena, "grant_type=urn:ibm:params:oauth:grant-type:apikey&apikey=%.*s",
                     STR_ARG(http_escape(out->arena, api_key(ep), false)));
    return NULL;
}

static const char *prefix_of(int status)
{
    if (status == 500)
        return "Received a server error status code";
    if (status == 400)
        return "Received a bad request status code";
    if (status == 401)
        return "Received an authentication error status code";
    if (status == 403)
        return "Received a permission denied error status code";
    if (status == 404)
        return "Resource not found at [" TOKEN_URL "]";
    if (status >= 300 && status < 400)
        return "Unhandled redirection";
    return "Received an unsuccessful status code";
}

/* IBM's own words are left out, as in Elasticsearch: only a 500 is worth another try. */
static struct err *refusal(const struct endpoint *ep, int status)
{
    const char *reason = http_reason(status);
    struct err *e = err_new(status == 500 ? ERR_IO : ERR_STATUS,
                            "%s for request to generate Bearer Token from inference entity id "
                            "[%.*s] status [%d]%s%s%s",
                            prefix_of(status), STR_ARG(ep->id), status,
                            *reason ? ". Error message: [" : "", reason, *reason ? "]" : "");
    e->status = *reason && status < 500 ? status : 400;
    return e;
}

static struct err *ibm_take(const struct endpoint *ep, const struct http_in *in, int64_t now_s,
                            struct token *out)
{
    if (in->status < 200 || in->status > 299)
        return refusal(ep, in->status);
    const char *wrong = bearer_read(in, now_s, out);
    if (!wrong)
        return NULL;
    return err_status(500,
                      "Failed to read the response to the request to generate Bearer Token from "
                      "inference entity id [%.*s]: %s",
                      STR_ARG(ep->id), wrong);
}

const struct auth ibm_iam_auth = {
    .key = ibm_key, .ask = ibm_ask, .take = ibm_take, .sign = bearer_sign};
