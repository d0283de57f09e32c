#include <sodium.h>
#include <stdlib.h>

#include "credentials.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct credentials c;
    credentials_parse(str_n((const char *)data, n), &c);
    bool filled = c.kind == CREDENTIALS_BASIC || c.kind == CREDENTIALS_API_KEY;
    if (filled && (str_find_char(c.name, ':') != SIZE_MAX || c.name.n + c.secret.n >= n ||
                   str_find_char(c.secret, '\0') != SIZE_MAX))
        abort();
    credentials_wipe(&c);
    return 0;
}
