#include "turns.h"

#include <stdlib.h>

#include "bug.h"

struct turn_owner {
    struct list_link link;    /* in the ring */
    struct turn_owner *chain; /* the next of its bucket */
    uint32_t id;
    size_t n;
    struct list_link calls, parts;
    bool parts_next; /* where both wait */
};

static struct turn *turn_of(struct list_link *l)
{
    return LIST_OWNER(l, struct turn, link);
}

static struct turn_owner *owner_of(struct list_link *l)
{
    return LIST_OWNER(l, struct turn_owner, link);
}

void turns_init(struct turns *t, int64_t interval_ns)
{
    *t = (struct turns){.interval_ns = interval_ns};
    list_init(&t->ring);
}

/* --- owners --- */

/* Where the owner is, or would be linked. */
static struct turn_owner **find(struct turns *t, uint32_t id)
{
    struct turn_owner **at = &t->buckets[id % TURNS_BUCKETS];
    while (*at && (*at)->id != id)
        at = &(*at)->chain;
    return at;
}

static struct turn_owner *owner_get(struct turns *t, uint32_t id)
{
    struct turn_owner **at = find(t, id);
    if (!*at) {
        struct turn_owner *o = mem_new(sizeof *o);
        o->id = id;
        list_init(&o->calls);
        list_init(&o->parts);
        list_push(&t->ring, &o->link);
        *at = o;
    }
    return *at;
}

static void owner_free(struct turns *t, struct turn_owner *o)
{
    *find(t, o->id) = o->chain;
    list_remove(&o->link);
    free(o);
}

/* --- joining and leaving --- */

static void insert(struct turns *t, struct turn *turn, int64_t now_ns)
{
    struct turn_owner *o = owner_get(t, turn->owner);
    turn->of = o;
    turn->since_ns = now_ns;
    list_push(turn->part ? &o->parts : &o->calls, &turn->link);
    o->n++;
    t->n++;
}

void turns_leave(struct turns *t, struct turn *turn)
{
    struct turn_owner *o = turn->of;
    if (!o)
        return;
    list_remove(&turn->link);
    turn->of = NULL;
    t->n--;
    if (--o->n == 0)
        owner_free(t, o);
}

static struct turn *latest(struct turn_owner *o)
{
    if (list_empty(&o->calls))
        return turn_of(o->parts.prev);
    if (list_empty(&o->parts))
        return turn_of(o->calls.prev);
    struct turn *call = turn_of(o->calls.prev), *part = turn_of(o->parts.prev);
    return call->since_ns > part->since_ns ? call : part;
}

/* The one that gives way to one of this owner; NULL: none need to. */
static struct turn *too_many_of(struct turns *t, uint32_t id)
{
    const struct turn_owner *mine = *find(t, id);
    struct turn_owner *most = owner_of(t->ring.next);
    for (struct list_link *l = t->ring.next; l != &t->ring; l = l->next) {
        if (owner_of(l)->n > most->n)
            most = owner_of(l);
    }
    return most->n > (mine ? mine->n : 0) + 1 ? latest(most) : NULL;
}

enum limit_answer turns_join(struct turns *t, struct turn *turn, size_t capacity, int64_t now_ns,
                             struct turn **gives_way)
{
    *gives_way = NULL;
    if (t->n == 0 && t->next_ns <= now_ns) {
        turn->slot_ns = now_ns;
        t->next_ns = now_ns + t->interval_ns;
        return LIMIT_NOW;
    }
    int64_t slot = t->next_ns > now_ns ? t->next_ns : now_ns;
    if (turn->deadline_ns && slot > turn->deadline_ns)
        return LIMIT_TOO_LATE;
    if (capacity && t->n >= capacity) {
        *gives_way = too_many_of(t, turn->owner);
        if (!*gives_way)
            return LIMIT_FULL;
        turns_leave(t, *gives_way);
    }
    insert(t, turn, now_ns);
    return LIMIT_WAIT;
}

/* --- going --- */

static struct turn *first_of(struct turn_owner *o)
{
    bool part = list_empty(&o->calls) || (o->parts_next && !list_empty(&o->parts));
    return turn_of(part ? o->parts.next : o->calls.next);
}

/* It has had its turn: the other kind is next, and the other owners. */
static void pass_on(struct turns *t, struct turn_owner *o, bool part)
{
    o->parts_next = !part;
    list_remove(&o->link);
    list_push(&t->ring, &o->link);
}

struct turn *turns_next(struct turns *t, int64_t now_ns)
{
    while (t->n) {
        struct turn_owner *o = owner_of(t->ring.next);
        struct turn *turn = first_of(o);
        /* No earlier than it came: what the clock of slots is behind is not for latecomers. */
        int64_t slot = t->next_ns > turn->since_ns ? t->next_ns : turn->since_ns;
        if (slot > now_ns)
            return NULL;
        bool late = turn->deadline_ns && slot > turn->deadline_ns;
        if (!late)
            pass_on(t, o, turn->part);
        turns_leave(t, turn);
        if (late)
            continue;
        turn->slot_ns = slot;
        t->next_ns = slot + t->interval_ns;
        return turn;
    }
    return NULL;
}

void turns_give_back(struct turns *t, const struct turn *turn)
{
    if (t->next_ns == turn->slot_ns + t->interval_ns)
        t->next_ns = turn->slot_ns;
}
