/* commands: what inferd does on a stopped server's data folder instead of serving. Thread: main. */
#ifndef INFERD_COMMANDS_H
#define INFERD_COMMANDS_H

#include <stdbool.h>

#include "config.h"

/* --rotate-secrets-key, --reset-password USER. What goes wrong is logged; the exit status. */
int command_rotate_key(const struct config *);
/* The password comes from standard input (asked for twice, unseen, if that is a terminal), or else
 * is a random one that is printed on standard output. */
int command_reset_password(const struct config *, const char *user, bool from_stdin);

#endif
