/* list: circular doubly linked, the links inside their owners. A link that is all zero is in no
 * list. Thread: the owner's. */
#ifndef INFERD_LIST_H
#define INFERD_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_link {
    struct list_link *prev, *next;
};

#define LIST_OWNER(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list_link *list)
{
    list->prev = list->next = list;
}

static inline bool list_empty(const struct list_link *list)
{
    return list->next == list;
}

static inline bool list_linked(const struct list_link *link)
{
    return link->next != NULL;
}

static inline void list_push(struct list_link *list, struct list_link *link) /* at the end */
{
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

static inline void list_remove(struct list_link *link)
{
    if (!link->next)
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->prev = link->next = NULL;
}

#endif
