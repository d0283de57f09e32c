/* Loading from file to script, in the order in which the engine of Elasticsearch finds fault: the
 * bytes of the archive, then what cannot be read, then ops, then what only shows when calls are put
 * in place. */
#include "script.h"

#include "archive.h"
#include "bug.h"
#include "graph.h"
#include "library.h"
#include "lower.h"
#include "pickle.h"
#include "tensor.h"

const char *script_op_name(enum script_op op)
{
    static const char *const names[] = {
#define X(id, name) name,
#include "ops.def"
#undef X
    };
    BUG_ON(op >= N_SCRIPT_OPS);
    return names[op];
}

uint32_t script_arg(const struct script_node *n, uint32_t position, const char *keyword)
{
    if (position < n->n_in && (!n->keywords || !n->keywords[position]))
        return n->in[position];
    for (uint32_t i = 0; keyword && n->keywords && i < n->n_in; i++)
        if (n->keywords[i] && str_eq_c(str_c(n->keywords[i]), keyword))
            return n->in[i];
    return NO_VALUE;
}

/* What loading needs and the script does not keep. */
struct loading {
    struct arena *tmp;
    struct archive archive;
    struct library library;
};

static struct err *load(struct loading *w, const char *file, const struct engine_limits *limits,
                        bool check_only, struct script *s)
{
    struct pickle_value *root, *table = NULL;
    struct archive *a = &w->archive;
    TRY(archive_read(file, limits, check_only, s->arena, w->tmp, a));
    TRY(pickle_read(a->data_pkl, "data.pkl", "data/", a, w->tmp, &root));
    if (a->constants_pkl.p)
        TRY(pickle_read(a->constants_pkl, "constants.pkl", "constants/", a, w->tmp, &table));
    TRY(library_read(a, w->tmp, &w->library));
    TRY(library_check(&w->library));
    s->version = a->version;
    TRY(lower_forward(&w->library, a, root, table, w->tmp, s));
    prune(s, w->tmp);
    s->storages = archive_take_storages(a);
    for (const struct storage *t = s->storages; t; t = t->next)
        s->weight_bytes += (size_t)t->size;
    return NULL;
}

static struct err *load_or_check(const char *file, const struct engine_limits *limits,
                                 bool check_only, struct script **out)
{
    struct arena *keep = arena_new(ARENA_NO_LIMIT);
    struct loading w = {.tmp = arena_new(ARENA_NO_LIMIT)};
    struct script *s = arena_alloc(keep, sizeof(*s));
    s->arena = keep;
    struct err *err = load(&w, file, limits, check_only, s);
    library_deinit(&w.library);
    archive_deinit(&w.archive);
    arena_free(w.tmp);
    if (err) {
        script_free(s);
        return err;
    }
    *out = s;
    return NULL;
}

struct err *script_load(const char *file, const struct engine_limits *limits, struct script **out)
{
    return load_or_check(file, limits, false, out);
}

struct err *program_check_script(const char *file, const struct engine_limits *limits)
{
    struct script *s;
    TRY(load_or_check(file, limits, true, &s));
    script_free(s);
    return NULL;
}

void script_free(struct script *s)
{
    if (!s)
        return;
    storages_free(s->storages);
    arena_free(s->arena);
}
