/* What the store's tests share: a fresh folder and the shortest ways to say put and get. */
#ifndef INFERD_STORE_TESTING_H
#define INFERD_STORE_TESTING_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "log.h"
#include "store.h"

static inline void quiet_log(void)
{
    log_set(LOG_ERROR, LOG_JSON);
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

struct test_folder {
    char root[64];
    char data[96]; /* does not exist yet */
};

static inline void test_folder_make(struct test_folder *f)
{
    snprintf(f->root, sizeof f->root, "/tmp/inferd-store-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    snprintf(f->data, sizeof f->data, "%s/some/data", f->root);
}

static inline void test_folder_remove(struct test_folder *f)
{
    nftw(f->root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void assert_ok(struct err *e)
{
    if (e)
        fail_msg("unexpected error: %s: %s", err_type(e), e->reason);
}

static inline void assert_err(struct err *e, enum err_kind kind, const char *part)
{
    assert_non_null(e);
    if (e->kind != kind || !strstr(e->reason, part))
        fail_msg("expected [%s], got %s: %s", part, err_type(e), e->reason);
    err_free(e);
}

#endif
