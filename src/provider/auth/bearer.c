#include "bearer.h"

#include "json.h"

#define MAX_TOKEN_BYTES 16384
/* No service hands out longer ones; a larger number is not believed. */
#define MAX_LIFETIME_S 86400

/* A header value of one word. */
static bool token_ok(struct str s)
{
    if (s.n == 0 || s.n > MAX_TOKEN_BYTES)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    }
    return true;
}

const char *bearer_read(const struct http_in *in, int64_t now_s, struct token *out)
{
    const struct json *root;
    struct str text;
    int64_t lifetime_s = 0;
    struct err *bad = json_parse(in->arena, in->body, &root);
    if (bad) { /* its text may quote the token */
        err_free(bad);
        return "it is not JSON";
    }
    if (!json_str(json_get(root, "access_token"), &text))
        return "it has no [access_token]";
    if (!token_ok(text))
        return "its [access_token] is malformed";
    json_i64(json_get(root, "expires_in"), &lifetime_s);
    if (lifetime_s < 0)
        lifetime_s = 0;
    if (lifetime_s > MAX_LIFETIME_S)
        lifetime_s = MAX_LIFETIME_S;
    *out = (struct token){secret_new(text), now_s + lifetime_s};
    return NULL;
}

struct err *bearer_sign(const struct endpoint *ep, const struct token *token, int64_t now_s,
                        struct http_out *out)
{
    http_header_add(&out->headers, STR("Authorization"),
                    arena_join(out->arena, STR("Bearer "), secret_reveal(token->value)));
    return NULL;
}
