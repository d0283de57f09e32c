/* privilege: what a role gives, as a set of bits; private to security/.
 *
 * privileges.def is the one source: a row's last column lists who grants it, and read the other
 * way round that same column says what a privilege implies. */
#ifndef INFERD_SECURITY_PRIVILEGE_H
#define INFERD_SECURITY_PRIVILEGE_H

#include "security.h"

/* One bit per enum privilege: the given one and all it implies. */
uint64_t privilege_closure(enum privilege);
/* What a built-in role gives; nothing for a role that does not exist. */
uint64_t privilege_of_role(struct str role);

#endif
