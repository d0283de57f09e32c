#include "tls.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "bug.h"
#include "secret.h"

struct tls {
    pthread_mutex_t lock;
    SSL_CTX *context; /* replaced whole; connections hold the one they began with */
    struct tls_options options;
};

struct tls_conn {
    SSL *ssl;
    bool wants_write;
};

/* --- reading the files --- */

/* OpenSSL's word for what went wrong; its queue is empty afterwards. */
static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return text ? text : "unreadable";
}

static int give_passphrase(char *to, int room, int writing, void *passphrase)
{
    size_t n = strlen(passphrase);
    (void)writing;
    if (n > (size_t)room)
        return -1;
    memcpy(to, passphrase, n);
    return (int)n;
}

static struct err *read_pair(SSL_CTX *c, const struct tls_options *o)
{
    SSL_CTX_set_default_passwd_cb(c, give_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(c, (void *)(uintptr_t)o->passphrase);
    if (SSL_CTX_use_certificate_chain_file(c, o->certificate) != 1)
        return err_new(ERR_ARGUMENT, "[xpack.security.http.ssl.certificate]: cannot use [%s]: %s",
                       o->certificate, reason());
    if (SSL_CTX_use_PrivateKey_file(c, o->key, SSL_FILETYPE_PEM) != 1)
        return err_new(ERR_ARGUMENT, "[xpack.security.http.ssl.key]: cannot use [%s]: %s", o->key,
                       reason());
    if (SSL_CTX_check_private_key(c) != 1)
        return err_new(ERR_ARGUMENT,
                       "[xpack.security.http.ssl.key]: [%s] is not the key of the certificate",
                       o->key);
    SSL_CTX_set_default_passwd_cb_userdata(c, NULL);
    return NULL;
}

static struct err *read_authorities(SSL_CTX *c, const struct tls_options *o)
{
    static const int modes[] = {
        [TLS_CLIENT_NONE] = SSL_VERIFY_NONE,
        [TLS_CLIENT_OPTIONAL] = SSL_VERIFY_PEER,
        [TLS_CLIENT_REQUIRED] = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
    };
    SSL_CTX_set_verify(c, modes[o->client_auth], NULL);
    if (o->client_auth == TLS_CLIENT_NONE)
        return NULL;
    if (!o->certificate_authorities[0])
        return err_new(ERR_ARGUMENT, "[xpack.security.http.ssl.certificate_authorities] is needed "
                                     "to know whose client certificates count");
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(o->certificate_authorities);
    if (!names || SSL_CTX_load_verify_file(c, o->certificate_authorities) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return err_new(ERR_ARGUMENT,
                       "[xpack.security.http.ssl.certificate_authorities]: cannot use [%s]: %s",
                       o->certificate_authorities, reason());
    }
    SSL_CTX_set_client_CA_list(c, names); /* takes them */
    return NULL;
}

static struct err *set_protocols(SSL_CTX *c, const struct tls_options *o)
{
    static const struct {
        const char *name;
        int version;
        uint64_t off;
    } known[] = {{"TLSv1.2", TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
                 {"TLSv1.3", TLS1_3_VERSION, SSL_OP_NO_TLSv1_3}};
    struct str list = str_c(o->protocols), name;
    bool wanted[2] = {false, false};
    while (str_split(&list, ',', &name)) {
        name = str_trim(name);
        size_t i = 0;
        while (i < 2 && !str_eq_c(name, known[i].name))
            i++;
        if (i == 2)
            return err_new(ERR_ARGUMENT,
                           "[xpack.security.http.ssl.supported_protocols]: [%.*s] is not one of "
                           "[TLSv1.3, TLSv1.2]",
                           STR_ARG(name));
        wanted[i] = true;
    }
    SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
    for (size_t i = 0; i < 2; i++)
        if (!wanted[i])
            SSL_CTX_set_options(c, known[i].off);
    if (o->ciphers[0] && SSL_CTX_set_cipher_list(c, o->ciphers) != 1)
        return err_new(ERR_ARGUMENT,
                       "[xpack.security.http.ssl.cipher_suites]: no cipher of [%s] "
                       "is known",
                       o->ciphers);
    return NULL;
}

/* HTTP/1.1 is all that is spoken here; a client that offers only others is told so. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *n_out,
                           const unsigned char *offered, unsigned n, void *ctx)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    (void)ssl;
    (void)ctx;
    int r = SSL_select_next_proto(&chosen, n_out, ours, sizeof ours - 1, offered, n);
    *out = chosen;
    return r == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static struct err *context_new(const struct tls_options *o, SSL_CTX **out)
{
    static const unsigned char id[] = "inferd";
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());
    BUG_ON(!c);
    SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                            SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_id_context(c, id, sizeof id - 1);
    SSL_CTX_set_alpn_select_cb(c, choose_protocol, NULL);
    struct err *e = set_protocols(c, o);
    if (!e)
        e = read_pair(c, o);
    if (!e)
        e = read_authorities(c, o);
    if (e) {
        SSL_CTX_free(c);
        return e;
    }
    *out = c;
    return NULL;
}

static void options_free(struct tls_options *o)
{
    const char *const texts[] = {o->certificate, o->key,
                                 o->passphrase,  o->certificate_authorities,
                                 o->protocols,   o->ciphers};
    secret_wipe((char *)(uintptr_t)o->passphrase, strlen(o->passphrase));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free((char *)(uintptr_t)texts[i]);
}

struct err *tls_open(const struct tls_options *o, struct tls **out)
{
    SSL_CTX *context;
    TRY(context_new(o, &context));
    struct tls *t = mem_new(sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    t->context = context;
    t->options = (struct tls_options){
        .certificate = mem_strdup(o->certificate),
        .key = mem_strdup(o->key),
        .passphrase = mem_strdup(o->passphrase),
        .certificate_authorities = mem_strdup(o->certificate_authorities),
        .protocols = mem_strdup(o->protocols),
        .ciphers = mem_strdup(o->ciphers),
        .client_auth = o->client_auth,
    };
    *out = t;
    return NULL;
}

struct err *tls_reload(struct tls *t)
{
    SSL_CTX *fresh, *old;
    TRY(context_new(&t->options, &fresh));
    pthread_mutex_lock(&t->lock);
    old = t->context;
    t->context = fresh;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old);
    return NULL;
}

void tls_close(struct tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->context);
    pthread_mutex_destroy(&t->lock);
    options_free(&t->options);
    free(t);
}

/* --- connections --- */

struct tls_conn *tls_accept(struct tls *t, int fd)
{
    pthread_mutex_lock(&t->lock);
    SSL *ssl = SSL_new(t->context);
    pthread_mutex_unlock(&t->lock);
    if (!ssl || SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        ERR_clear_error();
        return NULL;
    }
    SSL_set_accept_state(ssl);
    struct tls_conn *c = mem_new(sizeof *c);
    c->ssl = ssl;
    return c;
}

void tls_conn_free(struct tls_conn *c)
{
    if (!c)
        return;
    SSL_free(c->ssl);
    free(c);
}

/* What SSL_read or SSL_write gave, as a system call would have. An end without the peer's word for
 * it counts as an end: requests and answers say themselves where they end. */
static ssize_t outcome(struct tls_conn *c, int n)
{
    int why = SSL_get_error(c->ssl, n);
    ERR_clear_error();
    c->wants_write = why == SSL_ERROR_WANT_WRITE;
    if (n > 0)
        return n;
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return -1;
}

static int limited(size_t n)
{
    return n < (1 << 30) ? (int)n : 1 << 30;
}

ssize_t tls_read(struct tls_conn *c, void *to, size_t n)
{
    ERR_clear_error();
    return outcome(c, SSL_read(c->ssl, to, limited(n)));
}

ssize_t tls_write(struct tls_conn *c, const void *from, size_t n)
{
    ERR_clear_error();
    return outcome(c, SSL_write(c->ssl, from, limited(n)));
}

size_t tls_pending(const struct tls_conn *c)
{
    int n = SSL_pending(c->ssl);
    return n > 0 ? (size_t)n : 0;
}

bool tls_wants_write(const struct tls_conn *c)
{
    return c->wants_write;
}

bool tls_established(const struct tls_conn *c)
{
    return SSL_is_init_finished(c->ssl);
}

void tls_end(struct tls_conn *c)
{
    if (SSL_is_init_finished(c->ssl))
        SSL_shutdown(c->ssl);
    ERR_clear_error();
}
