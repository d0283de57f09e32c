/* One queue under one lock. Jobs here cost from tens of microseconds up, so the lock is not what
 * limits; and first come, first served keeps the longest wait short. */
#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "bug.h"

struct task {
    struct loop_msg msg; /* carries it home */
    struct task *next;
    struct loop *home;
    void (*work)(void *);
    void (*done)(void *);
    void *job;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct task *first, **last;
    bool ending;
    int n_threads;
    pthread_t threads[];
};

static void finish(struct task *t)
{
    void (*done)(void *) = t->done;
    void *job = t->job;
    free(t);
    if (done)
        done(job);
}

static void come_home(struct loop_msg *m)
{
    finish((struct task *)((char *)m - offsetof(struct task, msg)));
}

/* NULL: the pool ends and nothing is queued. */
static struct task *take(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    while (!p->first && !p->ending)
        pthread_cond_wait(&p->more, &p->lock);
    struct task *t = p->first;
    if (t && !(p->first = t->next))
        p->last = &p->first;
    pthread_mutex_unlock(&p->lock);
    return t;
}

static void *thread_main(void *arg)
{
    struct task *t;
    while ((t = take(arg))) {
        t->work(t->job);
        if (t->home)
            loop_post(t->home, &t->msg);
        else
            finish(t);
    }
    return NULL;
}

struct pool *pool_new(int n_threads)
{
    BUG_ON(n_threads < 1);
    struct pool *p = mem_new(sizeof *p + (size_t)n_threads * sizeof p->threads[0]);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->more, NULL);
    p->last = &p->first;
    p->n_threads = n_threads;
    /* Signals are for the main thread: these inherit a mask that blocks them all. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int i = 0; i < n_threads; i++) {
        BUG_ON(pthread_create(&p->threads[i], NULL, thread_main, p) != 0);
        pthread_setname_np(p->threads[i], "pool");
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    /* What a `done` on a pool thread queued after the last thread looked. */
    BUG_ON(p->first);
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void pool_run(struct pool *p, struct loop *home, void (*work)(void *), void (*done)(void *),
              void *job)
{
    struct task *t = mem_new(sizeof *t);
    *t = (struct task){.msg.run = come_home, .home = home, .work = work, .done = done, .job = job};
    pthread_mutex_lock(&p->lock);
    *p->last = t;
    p->last = &t->next;
    pthread_cond_signal(&p->more);
    pthread_mutex_unlock(&p->lock);
}
