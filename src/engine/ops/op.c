#include "op.h"

static const struct op *const ops[] = {
#define X(name) &op_##name,
#include "table.def"
#undef X
};

const struct op *op_find(struct str name)
{
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        if (str_eq_c(name, ops[i]->name))
            return ops[i];
    return NULL;
}
