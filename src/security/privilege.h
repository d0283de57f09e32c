/* privilege: what a role gives, as a set of bits; private to security/.
 *
 * privileges.def is the one source: a row's third column lists who grants it, and read the other
 * way round that same column says what a privilege implies. The fourth names the actions, for
 * roles that are given action patterns (a prefix and a star) instead of names. */
#ifndef INFERD_PRIVILEGE_H
#define INFERD_PRIVILEGE_H

#include "security.h"

/* One bit per enum privilege: the given one and all it implies. */
uint64_t privilege_closure(enum privilege);
/* A name of Elasticsearch's; N_PRIVILEGES in *out for one that means nothing here. */
bool privilege_parse(struct str name, enum privilege *out);
/* "cluster:..." or "indices:...": taken as an action pattern. */
bool privilege_is_pattern(struct str name);
/* All privileges whose every action the pattern covers. */
uint64_t privilege_of_pattern(struct str pattern);
/* Does one of the privileges cover this action pattern? */
bool privilege_covers(uint64_t bits, struct str pattern);
const char *privilege_granted_by(enum privilege);
void privilege_names(
    struct json_out *); /* all cluster privileges, sorted, as an array's elements */

/* Any number of '*', each standing for any bytes. */
bool pattern_match(struct str pattern, struct str text);

#endif
