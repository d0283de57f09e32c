/* main: reads the options, wires the parts, waits; then drains calls and closes the store. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "audit.h"
#include "bug.h"
#include "clock.h"
#include "commands.h"
#include "config.h"
#include "first_password.h"
#include "identity.h"
#include "log.h"
#include "package.h"
#include "process.h"
#include "processors.h"
#include "tls.h"
#include "trained_model.h"

/* --- command line --- */

const char *argp_program_version = "inferd " INFERD_VERSION;

/* As many as config.def lets node.processors say. */
#define MAX_PROCESSORS 4096
#define EXIT_CONFIG    78 /* sysexits.h: configuration error */

struct arguments {
    const char *config;
    const char *overrides[256];
    size_t n_overrides;
    bool help_settings, check_config, rotate_key, password_stdin;
    const char *reset_password; /* of this user; NULL: of nobody */
};

static error_t parse_argument(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case 'E':
        if (a->n_overrides == sizeof a->overrides / sizeof a->overrides[0])
            argp_error(state, "too many -E options");
        a->overrides[a->n_overrides++] = arg;
        return 0;
    case 'c':
        a->config = arg;
        return 0;
    case 'H':
        a->help_settings = true;
        return 0;
    case 'C':
        a->check_config = true;
        return 0;
    case 'R':
        a->rotate_key = true;
        return 0;
    case 'P':
        a->reset_password = arg;
        return 0;
    case 'S':
        a->password_stdin = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option argp_options[] = {
    {NULL, 'E', "NAME=VALUE", 0, "Set an option, over the environment and the file", 0},
    {"config", 'c', "FILE", 0, "Options file (default: inferd.yml, if there is one)", 0},
    {"help-settings", 'H', NULL, 0, "List every option with its default", 0},
    {"check-config", 'C', NULL, 0, "Read every option, say each mistake, and exit", 0},
    {"rotate-secrets-key", 'R', NULL, 0,
     "Seal the stored secrets anew under a new secrets.key, and exit; no server may run", 0},
    {"reset-password", 'P', "USER", 0,
     "Give a user a new random password, print it, and exit; no server may run", 0},
    {"password-stdin", 'S', NULL, 0, "Let --reset-password read the new password instead", 0},
    {0}};

static const struct argp argp = {
    .options = argp_options,
    .parser = parse_argument,
    .doc =
        "An inference server with Elasticsearch's API.\v"
        "ELASTIC_PASSWORD in the environment, or the file that ELASTIC_PASSWORD_FILE names, sets "
        "the password of the user elastic on the first start. SIGTERM drains, SIGHUP reads the "
        "reloadable options again."};

/* --- the parts --- */

struct worker {
    pthread_t thread;
    struct loop *loop;
    struct http_server *server;
    struct loop_msg drain;
    struct server *owner;
};

struct server {
    struct arguments arguments;
    struct config config;
    struct store *store;
    struct pool *pool;
    struct registry *registry;
    struct packages *packages;
    struct models *models;
    struct security *security;
    struct audit *audit;
    struct inference *inference;
    struct api *api;
    struct api_setting *settings; /* that it shows */
    size_t n_settings;
    struct tls *tls; /* of the HTTP port; NULL: plain */
    struct loop **loops;
    struct worker *workers; /* [0] runs on the main thread */
    int n_loops, processors;
    atomic_int draining; /* loops that have not drained yet */
    bool stopping, cut;  /* cut: stopped with calls still in flight */
    struct loop_fd signals;
    struct loop_timer grace, idle_memory;
};

static void apply_logging(const struct config *c)
{
    enum log_level level = LOG_INFO;
    log_level_parse(str_c(c->logger_level), &level);
    log_set(level, strcmp(c->logger_format, "plain") == 0 ? LOG_PLAIN : LOG_JSON);
}

/* --- memory --- */

#define IDLE_MEMORY_MS 10000

static void give_memory_back(void *job)
{
    process_give_memory_back();
}

static void look_at_memory(struct loop_timer *timer)
{
    struct server *s = (struct server *)((char *)timer - offsetof(struct server, idle_memory));
    pool_run(s->pool, NULL, give_memory_back, NULL, s);
    loop_timer_set(s->loops[0], timer, clock_mono_ms() + IDLE_MEMORY_MS, look_at_memory);
}

/* --- signals --- */

static void stop_all(struct server *s)
{
    for (int i = 0; i < s->n_loops; i++)
        loop_stop(s->loops[i]);
}

static void drained(void *ctx)
{
    struct server *s = ctx;
    if (atomic_fetch_sub(&s->draining, 1) == 1)
        stop_all(s);
}

static void drain_one(struct loop_msg *msg)
{
    struct worker *w = (struct worker *)((char *)msg - offsetof(struct worker, drain));
    http_server_drain(w->server, drained, w->owner);
}

static void grace_over(struct loop_timer *timer)
{
    struct server *s = (struct server *)((char *)timer - offsetof(struct server, grace));
    log_warn("calls were still in flight at the end of the grace period");
    s->cut = true;
    stop_all(s);
}

static void begin_drain(struct server *s, int signal)
{
    if (s->stopping) { /* asked twice: at once */
        s->cut = true;
        stop_all(s);
        return;
    }
    s->stopping = true;
    api_drain(s->api);
    log_info("draining", LOG_I("signal", signal), LOG_I("grace_ms", s->config.node_shutdown_grace));
    atomic_store(&s->draining, s->n_loops);
    loop_timer_set(s->loops[0], &s->grace, clock_mono_ms() + s->config.node_shutdown_grace,
                   grace_over);
    for (int i = 0; i < s->n_loops; i++) {
        s->workers[i].drain.run = drain_one;
        loop_post(s->loops[i], &s->workers[i].drain);
    }
}

/* Those who are connected keep what they began with. */
static void reload_certificate(struct server *s)
{
    struct err *e = s->tls ? tls_reload(s->tls) : NULL;
    if (e)
        log_error("certificate not reloaded", LOG_C("reason", e->reason));
    else if (s->tls)
        log_info("certificate reloaded");
    err_free(e);
}

static void reload(struct server *s)
{
    struct config fresh;
    char *mistakes = NULL;
    size_t n = 0;
    FILE *text = open_memstream(&mistakes, &n);
    BUG_ON(!text); /* no memory */
    bool good = config_read(&fresh, s->arguments.config, s->arguments.overrides,
                            s->arguments.n_overrides, text);
    fclose(text);
    if (good) {
        apply_logging(&fresh);
        s->config.node_shutdown_grace = fresh.node_shutdown_grace;
        log_info("reloaded", LOG_C("logger.level", fresh.logger_level));
    } else {
        log_error("options not reloaded: they hold mistakes", LOG_C("mistakes", mistakes));
    }
    free(mistakes);
    config_deinit(&fresh);
}

static void reopen_audit(struct server *s)
{
    struct err *e = s->audit ? audit_reopen(s->audit) : NULL;
    if (e)
        log_error("audit log not opened anew", LOG_E(e));
    err_free(e);
}

static void on_signal(struct loop_fd *watch, uint32_t events)
{
    struct server *s = (struct server *)((char *)watch - offsetof(struct server, signals));
    (void)events;
    struct signalfd_siginfo info;
    while (read(watch->fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGHUP)
            reload(s), reload_certificate(s), reopen_audit(s);
        else
            begin_drain(s, (int)info.ssi_signo);
    }
}

static void watch_signals(struct server *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    BUG_ON(fd < 0);
    loop_fd_add(s->loops[0], &s->signals, fd, EPOLLIN, on_signal);
}

/* --- opening --- */

static bool host_is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0 || strcmp(host, "_local_") == 0;
}

/* What API keys use is kept where the keys are. */
static struct err *keep_usage(struct server *s)
{
    char path[4096];
    if (strcmp(s->config.store, "memory") == 0)
        return NULL;
    snprintf(path, sizeof path, "%s/usage", s->config.path_data);
    return security_keep_usage(s->security, path);
}

static struct err *open_audit(struct server *s)
{
    const struct config *c = &s->config;
    char path[4096];
    if (!c->audit_enabled)
        return NULL;
    snprintf(path, sizeof path, "%s/audit.json", c->path_data);
    if (!c->audit_path[0])
        mkdir(c->path_data, 0700); /* a store in memory has not made it */
    return audit_open(c->audit_path[0] ? c->audit_path : path, c->audit_exclude, &s->audit);
}

static struct err *open_security(struct server *s)
{
    const struct config *c = &s->config;
    if (!c->security_enabled && !host_is_loopback(c->http_host) && !c->security_allow_insecure)
        return err_new(ERR_ARGUMENT,
                       "[xpack.security.enabled] is false but [http.host] is [%s], which others "
                       "can reach; set [security.allow_insecure] to true if that is meant",
                       c->http_host);
    char *printed = NULL, *first;
    TRY(first_password_take(&first));
    struct err *e =
        security_open(s->store, s->pool, c->security_enabled, first, &printed, &s->security);
    if (first)
        secret_wipe(first, strlen(first));
    free(first);
    TRY(e);
    security_set_token_ms(s->security, c->token_timeout);
    TRY(keep_usage(s));
    if (printed) {
        fprintf(stderr, "Password of the user elastic (printed once): %s\n", printed);
        secret_wipe(printed, strlen(printed));
        free(printed);
    }
    return NULL;
}

/* With a store that forgets, the files of models are forgotten too: they lie apart from those that
 * a store on disk knows. */
static struct err *open_registry(struct server *s)
{
    const struct config *c = &s->config;
    char forgotten[4096];
    struct registry_options o = {
        .store = s->store, .path_data = c->path_data, .path_models = c->path_models};
    if (strcmp(c->store, "memory") == 0) {
        snprintf(forgotten, sizeof forgotten, "%s/memory", c->path_data);
        mkdir(c->path_data, 0700);
        o.path_data = forgotten;
    }
    return registry_open(&o, &s->registry);
}

static void choose_path_models(struct config *c)
{
    if (!c->path_models[0]) {
        free(c->path_models);
        size_t n = strlen(c->path_data) + sizeof "/models";
        c->path_models = mem_new(n);
        snprintf(c->path_models, n, "%s/models", c->path_data);
    }
}

static struct err *open_packages(struct server *s)
{
    const struct config *c = &s->config;
    struct packages_options o = {.registry = s->registry,
                                 .repository = c->model_repository,
                                 .hub = c->hub_url,
                                 .path_models = c->path_models,
                                 .ca_file = c->upstream_ca[0] ? c->upstream_ca : NULL,
                                 .connect_timeout_ms = c->connect_timeout};
    return packages_open(&o, &s->packages);
}

/* What deployments may need together. */
static uint64_t ml_memory(const struct config *c)
{
    return machine_memory() / 100 * (uint64_t)c->model_memory;
}

static struct err *open_models(struct server *s)
{
    const struct config *c = &s->config;
    struct identity id;
    TRY(identity_read(s->store, &id));
    int cpus[MAX_PROCESSORS];
    bool pinned = c->pin_threads && processors_cpus(s->processors, cpus);
    struct models_options o = {.path = c->path_models,
                               .registry = s->registry,
                               .store = s->store,
                               .processors = s->processors,
                               .cpus = pinned ? cpus : NULL,
                               .memory_bytes = ml_memory(c),
                               .scale_interval_ms = c->scale_interval,
                               .scale_to_zero_ms = c->scale_to_zero,
                               .scale_cooldown_ms = c->scale_cooldown,
                               .node_id = id.node_id,
                               .node_name = c->node_name,
                               .queue_capacity = (size_t)c->model_queue};
    s->models = models_new(&o, s->pool);
    return models_load(s->models, s->loops[0]);
}

static void open_loops(struct server *s)
{
    s->n_loops = s->config.http_loops ? s->config.http_loops : s->processors;
    s->loops = mem_array((size_t)s->n_loops, sizeof *s->loops);
    s->workers = mem_array((size_t)s->n_loops, sizeof *s->workers);
    for (int i = 0; i < s->n_loops; i++) {
        s->loops[i] = loop_new(i);
        s->workers[i].loop = s->loops[i];
        s->workers[i].owner = s;
    }
}

static struct err *open_inference(struct server *s)
{
    const struct config *c = &s->config;
    struct inference_options o = {
        .retry_initial_delay_ms = c->retry_initial_delay,
        .retry_max_delay_ms = c->retry_max_delay,
        .retry_timeout_ms = c->retry_timeout,
        .max_response_bytes = (size_t)c->max_response_size,
        .stream_stall_ms = c->stream_stall,
        .queue_capacity = (size_t)c->queue_capacity,
        .reduction = c->reduction,
        .slow_ms = c->slow_call,
        .allow_private = c->allow_private,
        .skip_probe = c->skip_probe,
        .bases = c->bases,
        .n_bases = c->n_bases,
        .client = {.connect_timeout_ms = c->connect_timeout,
                   .max_total_connections = c->max_total_connections,
                   .max_route_connections = c->max_route_connections,
                   .max_idle_ms = c->max_idle,
                   .http2 = c->upstream_http2 ? CLIENT_HTTP2_OFFERED : CLIENT_HTTP2_NEVER,
                   .ca_file = c->upstream_ca[0] ? c->upstream_ca : NULL},
    };
    struct inference_parts parts = {.store = s->store,
                                    .pool = s->pool,
                                    .models = s->models,
                                    .packages = s->packages,
                                    .loops = s->loops,
                                    .n_loops = (size_t)s->n_loops};
    s->inference = inference_new(&o, &parts);
    return inference_load(s->inference);
}

static struct err *open_api(struct server *s)
{
    const struct config *c = &s->config;
    struct identity id;
    TRY(identity_read(s->store, &id));
    s->settings = config_list(c, &s->n_settings);
    struct api_options o = {.settings = s->settings,
                            .n_settings = s->n_settings,
                            .node_name = c->node_name,
                            .cluster_name = c->cluster_name,
                            .cluster_uuid = id.cluster_uuid,
                            .node_id = id.node_id,
                            .publish_host = c->http_host,
                            .publish_port = c->http_port,
                            .max_content_length = (size_t)c->http_max_content_length,
                            .processors = s->processors,
                            .memory_bytes = machine_memory(),
                            .ml_memory_bytes = ml_memory(c),
                            .tls = c->ssl_enabled,
                            .slow_ms = c->slow_call};
    struct api_parts parts = {.inference = s->inference,
                              .models = s->models,
                              .registry = s->registry,
                              .packages = s->packages,
                              .security = s->security,
                              .audit = s->audit,
                              .pool = s->pool,
                              .store = s->store};
    s->api = api_new(&o, &parts);
    return NULL;
}

static struct err *write_port(const struct server *s, int port)
{
    char path[4096], text[16];
    snprintf(path, sizeof path, "%s/http.port", s->config.path_data);
    mkdir(s->config.path_data, 0700); /* a store in memory has not made it */
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int n = snprintf(text, sizeof text, "%d\n", port);
    bool ok = fd >= 0 && write(fd, text, (size_t)n) == n;
    if (fd >= 0)
        close(fd);
    return ok ? NULL : err_new(ERR_IO, "cannot write [%s]: %s", path, strerror(errno));
}

static struct err *open_tls(struct server *s)
{
    static const char *const words[] = {"none", "optional", "required"};
    const struct config *c = &s->config;
    struct tls_options o = {.certificate = c->ssl_certificate,
                            .key = c->ssl_key,
                            .passphrase = c->ssl_key_passphrase,
                            .certificate_authorities = c->ssl_authorities,
                            .protocols = c->ssl_protocols,
                            .ciphers = c->ssl_ciphers};
    if (!c->ssl_enabled)
        return NULL;
    while (strcmp(words[o.client_auth], c->ssl_client_authentication) != 0)
        o.client_auth++;
    if (!c->ssl_certificate[0] || !c->ssl_key[0])
        return err_new(ERR_ARGUMENT, "[xpack.security.http.ssl.enabled] needs "
                                     "[xpack.security.http.ssl.certificate] and "
                                     "[xpack.security.http.ssl.key]");
    return tls_open(&o, &s->tls);
}

static struct err *listen_all(struct server *s)
{
    const struct config *c = &s->config;
    TRY(open_tls(s));
    struct http_server_options o = {
        .max_head_bytes = (size_t)c->http_max_header_size,
        .max_body_bytes = (size_t)c->http_max_content_length,
        .head_timeout_ms = c->http_head_timeout,
        .body_timeout_ms = c->http_body_timeout,
        .write_timeout_ms = c->http_write_timeout,
        .idle_timeout_ms = c->http_idle_timeout,
        .max_connections = (size_t)c->http_max_connections,
        .stream_high_water_bytes = 256 << 10,
        .compress = c->http_compression,
        .compress_min_bytes = 1024,
        .fixed_headers = api_fixed_headers,
        .tls = s->tls,
    };
    int port = c->http_port;
    for (int i = 0; i < s->n_loops; i++) {
        s->workers[i].server = http_server_new(s->loops[i], &o, api_hooks(), s->api);
        TRY(http_server_listen(s->workers[i].server, c->http_host, port, &port));
    }
    api_set_port(s->api, port);
    TRY(write_port(s, port));
    log_info("listening", LOG_C("http.host", c->http_host), LOG_I("http.port", port),
             LOG_C("scheme", s->tls ? "https" : "http"), LOG_I("loops", s->n_loops),
             LOG_C("version", INFERD_VERSION));
    return NULL;
}

static struct err *open_all(struct server *s)
{
    const struct config *c = &s->config;
    s->processors = c->node_processors ? c->node_processors : processors_count();
    TRY(store_open(c->store, c->path_data, &s->store));
    s->pool = pool_new(s->processors < 2 ? 4 : 2 * s->processors);
    open_loops(s);
    watch_signals(s);
    TRY(open_security(s));
    TRY(open_audit(s));
    choose_path_models(&s->config);
    TRY(open_registry(s));
    TRY(open_packages(s));
    TRY(open_models(s));
    TRY(open_inference(s));
    TRY(open_api(s));
    return listen_all(s);
}

/* --- running and closing --- */

static void *run_loop(void *arg)
{
    struct worker *w = arg;
    loop_run(w->loop);
    return NULL;
}

static void run_all(struct server *s)
{
    for (int i = 1; i < s->n_loops; i++)
        BUG_ON(pthread_create(&s->workers[i].thread, NULL, run_loop, &s->workers[i]) != 0);
    loop_timer_set(s->loops[0], &s->idle_memory, clock_mono_ms() + IDLE_MEMORY_MS, look_at_memory);
    loop_run(s->loops[0]);
    for (int i = 1; i < s->n_loops; i++)
        pthread_join(s->workers[i].thread, NULL);
}

/* The order is that of who may still call whom. */
static void close_all(struct server *s)
{
    models_quiesce(s->models);
    pool_free(s->pool);
    models_free(s->models);
    packages_close(s->packages);
    registry_close(s->registry);
    if (s->cut) { /* the calls hold on to the parts below, and no loop runs that could end them */
        store_close(s->store);
        return;
    }
    for (int i = 0; i < s->n_loops; i++)
        http_server_free(s->workers[i].server);
    tls_close(s->tls);
    inference_free(s->inference);
    api_free(s->api);
    config_list_free(s->settings, s->n_settings);
    security_close(s->security);
    audit_close(s->audit);
    if (s->signals.loop) {
        int fd = s->signals.fd;
        loop_timer_cancel(&s->grace);
        loop_timer_cancel(&s->idle_memory);
        loop_fd_del(&s->signals);
        close(fd);
    }
    for (int i = 0; i < s->n_loops; i++)
        loop_free(s->loops[i]);
    store_close(s->store);
    free(s->loops);
    free(s->workers);
}

static int run_command(const struct server *s)
{
    const struct arguments *a = &s->arguments;
    if (a->rotate_key)
        return command_rotate_key(&s->config);
    return command_reset_password(&s->config, a->reset_password, a->password_stdin);
}

int main(int argc, char **argv)
{
    static struct server server;
    struct server *s = &server;
    argp_parse(&argp, argc, argv, 0, NULL, &s->arguments);
    if (s->arguments.help_settings) {
        config_help(stdout);
        return 0;
    }
    bool good = config_read(&s->config, s->arguments.config, s->arguments.overrides,
                            s->arguments.n_overrides, stderr);
    if (!good || s->arguments.check_config) {
        config_deinit(&s->config);
        return good ? 0 : EXIT_CONFIG;
    }
    process_harden();
    apply_logging(&s->config);
    if (s->arguments.rotate_key || s->arguments.reset_password) {
        int status = run_command(s);
        config_deinit(&s->config);
        return status;
    }
    struct err *e = open_all(s);
    if (e) {
        log_error("cannot start", LOG_E(e));
        err_free(e);
    } else {
        run_all(s);
        log_info("stopped");
    }
    close_all(s);
    config_deinit(&s->config);
    return e ? 1 : 0;
}
