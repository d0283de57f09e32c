#include <sodium.h>
#include <stdlib.h>

#include "credentials.h"
#include "service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void read_service(struct str token)
{
    struct service_bearer b;
    if (!service_bearer_read(token, &b))
        return;
    if (b.service.n + 1 + b.name.n != b.id.n || !service_name_ok(b.name) ||
        b.id.n + 1 + b.secret.n + 4 > sizeof b.bytes)
        abort();
    service_bearer_wipe(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct credentials c;
    credentials_parse(str_n((const char *)data, n), &c);
    bool filled = c.kind == CREDENTIALS_BASIC || c.kind == CREDENTIALS_API_KEY;
    if (filled && (str_find_char(c.name, ':') != SIZE_MAX || c.name.n + c.secret.n >= n ||
                   str_find_char(c.secret, '\0') != SIZE_MAX))
        abort();
    if (c.kind == CREDENTIALS_BEARER)
        read_service(c.secret);
    credentials_wipe(&c);
    return 0;
}
