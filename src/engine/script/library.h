/* library: all classes and functions of an archive, by their qualified names, and the check of
 * every op they mention: whether it is ever called does not matter (trained_models.md 16). */
#ifndef INFERD_ENGINE_LIBRARY_H
#define INFERD_ENGINE_LIBRARY_H

#include "archive.h"
#include "ast.h"
#include "script.h"

struct library {
    struct arena *arena;
    struct map *classes;   /* "__torch__.a.B" */
    struct map *functions; /* "__torch__.a.f" */
    struct map *methods;   /* "__torch__.a.B.forward" */
    struct map *ops;       /* "aten::add": its number in ops.def, plus 1 */
};

/* Parses every source text. Whether it succeeds or not, call library_deinit. */
struct err *library_read(const struct archive *, struct arena *, struct library *out);
void library_deinit(struct library *);

const struct class *library_class(const struct library *, struct str name); /* NULL: none */
const struct function *library_function(const struct library *, struct str name);
const struct function *library_method(const struct library *, struct str class, struct str name);

/* "__torch__.a.B" of the expression that says so; false: it is something else, or too long. */
#define QUALIFIED_MOST 1024
bool library_qualified(const struct expr *, char out[QUALIFIED_MOST], struct str *name_out);

/* The op a call stands for: torch.add "aten::add", ops.prim.device "prim::device", int "aten::Int";
 * false: a call of something else. */
struct op_name {
    char text[200];
};
bool library_op_name(const struct expr *callee, struct op_name *out);
/* The op that annotate(int, x) stands for when x is no literal; NULL: none. */
const char *library_implicit(const struct expr *call);
bool library_is_device(const struct expr *call); /* torch.device("cpu") */

bool library_op(const struct library *, const char *name, enum script_op *out);

/* "Model contains forbidden operations: a, b" or "Model graph does not match any supported
 * architecture. Unrecognised operations: a, b", sorted; NULL: neither. */
struct err *library_check(const struct library *);

/* The same errors for a single op. */
struct err *library_refuse(const char *op);

#endif
