/* config: every server option, from `-E name=value` over the environment over inferd.yml over the
 * default. One table, config.def, holds them all.
 *
 *     struct config c;
 *     if (!config_read(&c, file, overrides, n, stderr)) exit(78);   // every mistake has been said
 *     config_deinit(&c);
 *
 * In the environment an option goes by its own name (xpack.security.enabled=false, as in
 * containers) or as INFERD_HTTP_PORT. In the file, keys may be dotted or nested.
 * `inference.upstream.<service>.base_url` is one option per service. Thread: main. */
#ifndef INFERD_CONFIG_H
#define INFERD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "api.h"
#include "inference.h"

typedef char *config_STR;
typedef bool config_BOOL;
typedef int config_INT;
typedef int64_t config_BYTES;
typedef int64_t config_MS;
typedef double config_DOUBLE;
typedef char *config_WORD;

struct config {
#define X(field, name, type, preset, least, most, reloadable, help) config_##type field;
#include "config.def"
#undef X
    struct upstream_base *bases;
    size_t n_bases;
};

/* file NULL: ./inferd.yml if there is one. Says every mistake on `complaints`; false if any. */
bool config_read(struct config *out, const char *file, const char *const *overrides,
                 size_t n_overrides, FILE *complaints);
void config_deinit(struct config *);
void config_help(FILE *out); /* --help-settings */
/* Every option but passphrases, as the texts it could be given by, by name. The caller frees it. */
struct api_setting *config_list(const struct config *, size_t *n_out);
void config_list_free(struct api_setting *, size_t n);

#endif
