/* What the files of packages share.
 *
 * package.c        the thread, who asks and who waits
 * package_fetch.c  a built-in model: metadata, vocabulary, definition, check
 * hub.c            a snapshot: list, files, check, folder
 *
 * All of a job is touched by the packages' thread alone, but for the numbers of its progress. */
#ifndef INFERD_PACKAGE_PRIVATE_H
#define INFERD_PACKAGE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "fetch.h"
#include "json.h"
#include "package.h"
#include "trained_model.h"

struct packages {
    struct registry *registry;
    char *repository, *hub, *path_models; /* addresses without a slash at the end */
    struct loop *loop;
    struct fetcher *fetcher;
    pthread_t thread;
    pthread_mutex_t lock; /* guards the list and ids of jobs; only the thread changes them */
    struct job *jobs;
    bool closing; /* the thread's */
};

struct job {
    struct packages *packages;
    struct job *next;
    char *id;
    struct arena *arena;
    struct fetch *fetch;  /* NULL: between two */
    struct loop_msg step; /* work of its own, a piece at a time */
    bool stepping, ended;
    void (*work)(struct job *);
    struct order *waiting;
    _Atomic int64_t have, total;
    int shown_tenths; /* of the progress that was logged */

    /* a package */
    const struct json *body, *package;
    const char *base; /* where its files are: the repository or path.models */
    struct trained_model *model;
    const char *folder;

    /* a file being checked */
    int check_fd;
    int64_t check_at;
    void *check_state; /* of the hash, in the arena */
    void (*checked)(struct job *, struct err *, const char *sha256);

    /* a snapshot of the hub */
    struct hub_file *files;
    size_t n_files, file;
    int64_t before; /* bytes of those that are done */
};

/* --- package.c --- */

/* The job is over, everybody who waits hears. Takes the err. */
void job_end(struct job *, struct err *);
/* The model is registered: those who do not wait for its files hear. */
void job_registered(struct job *);
/* work(job) soon, unless it ends before. */
void job_later(struct job *, void (*work)(struct job *));
void job_fetch(struct job *, const struct fetch_order *, fetch_done *);
/* To the log, every tenth. */
void job_progress(struct job *);
/* The SHA-256 of a whole file, in hex, a piece at a time. */
void job_check(struct job *, const char *path,
               void (*checked)(struct job *, struct err *, const char *sha256));

/* --- package_fetch.c, hub.c: what a new job does first --- */

void package_begin(struct job *); /* from the metadata on */
void package_go_on(struct job *); /* job->model is registered */
void hub_begin(struct job *);
bool is_hub_id(struct str);

#endif
