#include "credentials.h"

#include <sodium.h>
#include <stdlib.h>

#include "bug.h"
#include "secret.h"

/* "Scheme value": true when the scheme is this one; leaves the value. */
static bool has_scheme(struct str header, struct str scheme, struct str *value_out)
{
    if (header.n <= scheme.n || header.p[scheme.n] != ' ' ||
        !str_eq_nocase(str_sub(header, 0, scheme.n), scheme))
        return false;
    *value_out = str_trim(str_sub(header, scheme.n, header.n));
    return true;
}

static bool decode(struct str base64, struct credentials *out)
{
    out->decoded = mem_new(base64.n + 1);
    out->n_decoded = base64.n + 1; /* the whole block is wiped, whatever was written */
    size_t n = 0;
    const char *end = NULL;
    int rc = sodium_base642bin((unsigned char *)out->decoded, base64.n, base64.p, base64.n, NULL,
                               &n, &end, sodium_base64_VARIANT_ORIGINAL);
    out->name = str_n(out->decoded, n);
    return rc == 0 && end == base64.p + base64.n;
}

/* "name:secret" within out->name, which holds the decoded bytes. */
static bool split(struct credentials *out)
{
    struct str all = out->name;
    size_t colon = str_find_char(all, ':');
    if (colon == SIZE_MAX || str_find_char(all, '\0') != SIZE_MAX)
        return false;
    out->name = str_n(all.p, colon);
    out->secret = str_n(all.p + colon + 1, all.n - colon - 1);
    return true;
}

static enum credentials_kind read_basic(struct str value, struct credentials *out)
{
    if (value.n == 0 || value.n > CREDENTIALS_LIMIT)
        return CREDENTIALS_BAD_BASIC_VALUE;
    if (!decode(value, out))
        return CREDENTIALS_BAD_BASIC_ENCODING;
    return split(out) ? CREDENTIALS_BASIC : CREDENTIALS_BAD_BASIC_VALUE;
}

static enum credentials_kind read_api_key(struct str value, struct credentials *out)
{
    if (value.n == 0)
        return CREDENTIALS_NONE;
    if (value.n > CREDENTIALS_LIMIT)
        return CREDENTIALS_BAD_API_KEY_VALUE;
    if (!decode(value, out))
        return CREDENTIALS_BAD_API_KEY_ENCODING;
    return split(out) && out->name.n > 0 ? CREDENTIALS_API_KEY : CREDENTIALS_BAD_API_KEY_VALUE;
}

void credentials_parse(struct str header, struct credentials *out)
{
    struct str value;
    *out = (struct credentials){.kind = CREDENTIALS_NONE};
    header = str_trim(header);
    if (has_scheme(header, STR("Basic"), &value))
        out->kind = read_basic(value, out);
    else if (has_scheme(header, STR("ApiKey"), &value))
        out->kind = read_api_key(value, out);
    else if (has_scheme(header, STR("Bearer"), &value) && value.n > 0) {
        out->kind = CREDENTIALS_BEARER;
        out->secret = value;
    }
}

void credentials_parse_api_key(struct str base64, struct credentials *out)
{
    *out = (struct credentials){.kind = CREDENTIALS_NONE};
    out->kind = read_api_key(str_trim(base64), out);
}

void credentials_wipe(struct credentials *c)
{
    if (c->decoded)
        secret_wipe(c->decoded, c->n_decoded);
    free(c->decoded);
    *c = (struct credentials){.kind = CREDENTIALS_NONE};
}
