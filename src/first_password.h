/* first_password: what the built-in user's password is to be on the first start, as containers say
 * it: in ELASTIC_PASSWORD, or in a file that ELASTIC_PASSWORD_FILE names and that only its owner
 * may read. Thread: main, before there are others. */
#ifndef INFERD_FIRST_PASSWORD_H
#define INFERD_FIRST_PASSWORD_H

#include "err.h"

/* *out: secret, the caller wipes and frees it; NULL: nothing was said. Both variables are gone
 * afterwards, and the first one's bytes with it. */
struct err *first_password_take(char **out);

#endif
