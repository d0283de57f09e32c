#include "aws.h"

#include "sigv4.h"

static struct str setting_of(const struct endpoint *ep, const char *name)
{
    const struct value *v = settings_get(&ep->values, name);
    return v && v->set ? v->s : (struct str){0};
}

static struct str secret_of(const struct endpoint *ep, const char *name)
{
    const struct value *v = settings_get(&ep->values, name);
    return v && v->set ? secret_reveal(v->secret) : (struct str){0};
}

/* --- requests --- */

struct err *aws_region_check(const struct endpoint *ep)
{
    struct str region = setting_of(ep, "region");
    for (size_t i = 0; i < region.n; i++) {
        char c = region.p[i];
        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-')
            return err_new(ERR_VALIDATION,
                           "Validation Failed: 1: [service_settings] Invalid value [%.*s]. "
                           "[region] must be the name of a region;",
                           STR_ARG(str_sub(region, 0, 200)));
    }
    return NULL;
}

struct str aws_origin(const struct endpoint *ep, const char *prefix, struct arena *arena)
{
    struct str region = setting_of(ep, "region");
    bool china = str_starts(region, STR("cn-"));
    return arena_printf(arena, "https://%s.%.*s.amazonaws.com%s", prefix, STR_ARG(region),
                        china ? ".cn" : "");
}

struct err *aws_sign(const struct endpoint *ep, const char *service, int64_t now_s,
                     struct http_out *out)
{
    struct sigv4 who = {.access_key = secret_of(ep, "access_key"),
                        .secret_key = secret_of(ep, "secret_key"),
                        .region = setting_of(ep, "region"),
                        .service = str_c(service)};
    return sigv4_sign(&who, now_s, out);
}

/* --- errors --- */

/* What is left of "com.amazon.coral#ThrottlingException:http://internal.amazon.com/". */
static struct str bare_type(struct str type)
{
    size_t colon = str_find_char(type, ':');
    type = str_sub(type, 0, colon == SIZE_MAX ? type.n : colon);
    size_t hash = str_find_char(type, '#');
    return str_trim(hash == SIZE_MAX ? type : str_sub(type, hash + 1, type.n));
}

static struct str text_member(struct arena *arena, struct str body, const char *const *names)
{
    const struct json *root;
    struct str text = {0};
    struct err *bad = json_parse(arena, body, &root);
    if (bad) {
        err_free(bad);
        return text;
    }
    while (*names && !json_str(json_get(root, *names), &text))
        names++;
    return text;
}

struct str aws_error_type(const struct http_in *in)
{
    static const char *const names[] = {"__type", "code", NULL};
    struct str type;
    if (!http_header_get(&in->headers, STR("x-amzn-errortype"), &type))
        type = text_member(in->arena, in->body, names);
    return bare_type(type);
}

struct str aws_message(struct arena *arena, struct str body)
{
    static const char *const names[] = {"message", "Message", NULL};
    return text_member(arena, body, names);
}
