#include "entra.h"

#include "oauth2.h"

static struct err *ask(const struct endpoint *ep, int64_t now_s, struct http_out *out)
{
    struct str tenant = http_escape(out->arena, oauth2_setting(ep, "tenant_id"), false);
    struct str url = arena_printf(
        out->arena, "https://login.microsoftonline.com/%.*s/oauth2/v2.0/token", STR_ARG(tenant));
    oauth2_ask(ep, url, false, out);
    return NULL;
}

const struct auth entra_auth = {
    .key = oauth2_key, .ask = ask, .take = oauth2_take, .sign = oauth2_sign};
