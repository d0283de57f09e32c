/* Each thread adds to cells of its own, which only it writes: a plain load and store, no locked
 * instruction and no shared cache line. Readers sum over all threads under the lock that guards
 * their list; what a finished thread had counted is moved into `retired`. */
#include "metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bug.h"

#define NS_PER_SECOND INT64_C(1000000000)

struct cells {
    _Alignas(64) atomic_int_least64_t count[N_METRICS];
    struct cells *next;
};

static const struct {
    const char *name, *kind, *help;
} rows[N_METRICS] = {
#define X(symbol, metric_name, metric_kind, metric_help)                                           \
    [symbol] = {metric_name, metric_kind, metric_help},
#include "metrics.def"
#undef X
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cells *threads;
static int64_t retired[N_METRICS];

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local struct cells *own;

static int64_t cell_read(struct cells *c, int m)
{
    return atomic_load_explicit(&c->count[m], memory_order_relaxed);
}

static void thread_ends(void *arg)
{
    struct cells *c = arg;
    own = NULL; /* a destructor that runs later may count again */
    pthread_mutex_lock(&lock);
    struct cells **link = &threads;
    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    for (int m = 0; m < N_METRICS; m++)
        retired[m] += cell_read(c, m);
    pthread_mutex_unlock(&lock);
    free(c);
}

static void key_new(void)
{
    BUG_ON(pthread_key_create(&key, thread_ends) != 0);
}

static __attribute__((noinline)) struct cells *register_thread(void)
{
    pthread_once(&once, key_new);
    struct cells *c = aligned_alloc(_Alignof(struct cells), sizeof *c);
    BUG_ON(!c);
    for (int m = 0; m < N_METRICS; m++)
        atomic_init(&c->count[m], 0);
    pthread_mutex_lock(&lock);
    c->next = threads;
    threads = c;
    pthread_mutex_unlock(&lock);
    pthread_setspecific(key, c);
    own = c;
    return c;
}

void metric_add(enum metric m, int64_t n)
{
    BUG_ON((unsigned)m >= N_METRICS);
    struct cells *c = own ? own : register_thread();
    atomic_store_explicit(&c->count[m], cell_read(c, (int)m) + n, memory_order_relaxed);
}

int64_t metric_read(enum metric m)
{
    BUG_ON((unsigned)m >= N_METRICS);
    pthread_mutex_lock(&lock);
    int64_t sum = retired[m];
    for (struct cells *c = threads; c; c = c->next)
        sum += cell_read(c, (int)m);
    pthread_mutex_unlock(&lock);
    return sum;
}

/* Exposition format 0.0.4 escapes these three and nothing else. */
void metrics_label(struct buf *out, const char *name, struct str value)
{
    buf_printf(out, "%s=\"", name);
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c == '\n')
            buf_cstr(out, "\\n");
        else if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else
            buf_char(out, c);
    }
    buf_char(out, '"');
}

static void render_seconds(struct buf *out, const char *name, int64_t ns)
{
    buf_printf(out, "# TYPE %s counter\n%s %lld.%09lld\n", name, name,
               (long long)(ns / NS_PER_SECOND), (long long)(ns % NS_PER_SECOND));
}

void metrics_render(struct buf *out)
{
    for (int m = 0; m < N_METRICS; m++) {
        const char *name = rows[m].name;
        int64_t n = metric_read((enum metric)m);
        buf_printf(out, "# HELP %s %s\n", name, rows[m].help);
        if (strcmp(rows[m].kind, "seconds") == 0)
            render_seconds(out, name, n);
        else
            buf_printf(out, "# TYPE %s %s\n%s %lld\n", name, rows[m].kind, name, (long long)n);
    }
}
