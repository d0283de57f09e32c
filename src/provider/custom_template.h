/* custom_template: texts with ${names} in them, for the custom service.
 *
 * The template is scanned, never what was put into it: an input that holds "${api_key}" goes out as
 * those ten letters. A name nobody knows is an error in Elasticsearch's words. Private to custom.c.
 */
#ifndef INFERD_PROVIDER_CUSTOM_TEMPLATE_H
#define INFERD_PROVIDER_CUSTOM_TEMPLATE_H

#include "buf.h"
#include "err.h"
#include "json.h"

/* A name of the call's own (input, query ...): its value as JSON text. */
struct template_builtin {
    const char *name;
    struct str json;
};

/* Where names are looked up: the built-ins, then the maps in order. A null counts as absent. */
struct template_names {
    const struct template_builtin *builtins;
    size_t n_builtins;
    const struct json *maps[3]; /* parameters of the call, of the endpoint; secrets; NULL: none */
};

/* Each name becomes the JSON text of its value: strings bring their quotes. */
struct err *template_fill_json(struct buf *out, struct str text, const char *field,
                               const struct template_names *);
/* Each name becomes the bare text of its value, which must be a string of the maps. */
struct err *template_fill_text(struct buf *out, struct str text, const char *field,
                               const struct template_names *);
/* The same for a URL: what stands for the host, or a part of it, cannot end it. */
struct err *template_fill_url(struct buf *out, struct str text, const struct template_names *);

#endif
