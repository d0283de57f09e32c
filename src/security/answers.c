#include "answers.h"

#include "buf.h"

void answers_init(struct answers *a, struct arena *arena)
{
    *a = (struct answers){.arena = arena, .known = map_new()};
    a->root = arena_alloc(arena, sizeof *a->root);
}

void answers_deinit(struct answers *a)
{
    map_free(a->known);
}

static struct answer *add(struct answers *a, struct answer *parent, struct str name)
{
    struct answer *child = arena_alloc(a->arena, sizeof *child);
    child->name = name;
    if (parent->last)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    a->n++;
    return child;
}

struct answer *answers_at(struct answers *a, struct answer *parent, struct str name)
{
    struct buf key;
    buf_init(&key, SIZE_MAX);
    buf_put(&key, str_n((const char *)&parent, sizeof parent));
    buf_put(&key, name);
    struct answer *child = map_get(a->known, buf_str(&key));
    if (!child && a->n < ANSWERS_MAX) {
        child = add(a, parent, name);
        map_put(a->known, buf_str(&key), child);
    }
    buf_deinit(&key);
    return child;
}

void answers_render(const struct answer *a, int depth, struct json_out *w)
{
    json_obj(w);
    for (const struct answer *child = a->first; child; child = child->next) {
        json_key_s(w, child->name);
        if (depth > 1)
            answers_render(child, depth - 1, w);
        else
            json_put_bool(w, child->has);
    }
    json_end(w);
}
