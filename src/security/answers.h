/* answers: what _has_privileges says, as a tree of names in the order in which they were first
 * asked about; a name asked about twice is there once. Private to security/.
 *
 *     struct answers a;
 *     answers_init(&a, arena);
 *     struct answer *index = answers_at(&a, a.root, name);       // NULL: too many
 *     answers_at(&a, index, privilege)->has = true;
 *     answers_render(a.root, &w);                                // {"name": {"privilege": true}}
 *     answers_deinit(&a);
 *
 * Thread: one owner. */
#ifndef INFERD_SECURITY_ANSWERS_H
#define INFERD_SECURITY_ANSWERS_H

#include "json.h"
#include "map.h"

/* A small question can have a very long answer: names times privileges. */
#define ANSWERS_MAX 100000

struct answer {
    struct str name;
    bool has;                    /* of a leaf */
    struct answer *first, *last; /* its children */
    struct answer *next;         /* beside it */
};

struct answers {
    struct arena *arena;
    struct map *known; /* parent's address and name -> answer */
    struct answer *root;
    size_t n;
};

void answers_init(struct answers *, struct arena *);
void answers_deinit(struct answers *);
/* The child of that name, made if need be; the name is borrowed. NULL: there are too many. */
struct answer *answers_at(struct answers *, struct answer *parent, struct str name);
/* Its children as an object. Leaves are those of depth `depth` (1: the children themselves). */
void answers_render(const struct answer *, int depth, struct json_out *);

#endif
