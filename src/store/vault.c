#include "vault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"
#include "folder.h"
#include "log.h"
#include "secret.h"
#include "store_driver.h"

#define VERSION    1
#define KEY_BYTES  crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define NONCE      crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG        crypto_aead_xchacha20poly1305_ietf_ABYTES
#define ID_BYTES   8
#define HEADER     (1 + ID_BYTES)
#define FILE_BYTES (2 * KEY_BYTES + 1) /* hex and a line feed */

_Static_assert(VAULT_OVERHEAD == HEADER + NONCE + TAG,
               "the header comment says how it is laid out");

#define KEY_FILE  "secrets.key"
#define NEXT_FILE "secrets.key.next"

struct vault {
    unsigned char key[KEY_BYTES];
    unsigned char id[ID_BYTES];
    char path[PATH_MAX]; /* of the key file, for errors */
};

/* --- the key file --- */

static struct err *write_all(int fd, const char *p, size_t n, const char *path)
{
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return err_new(ERR_IO, "cannot write [%s]: %s", path, strerror(errno));
        p += k;
        n -= (size_t)k;
    }
    if (fsync(fd) != 0)
        return err_new(ERR_IO, "cannot sync [%s]: %s", path, strerror(errno));
    return NULL;
}

/* Written aside and renamed, so that a crash leaves either no key file or a whole one. The folder's
 * lock keeps others away in between. */
static struct err *make_key(struct vault *v, const char *path_data)
{
    char tmp[PATH_MAX + 8];
    snprintf(tmp, sizeof tmp, "%s.new", v->path);
    if (unlink(tmp) != 0 && errno != ENOENT)
        return err_new(ERR_IO, "cannot remove [%s]: %s", tmp, strerror(errno));
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_new(ERR_IO, "cannot make [%s]: %s", tmp, strerror(errno));
    randombytes_buf(v->key, sizeof v->key);
    char text[FILE_BYTES + 1];
    sodium_bin2hex(text, sizeof text, v->key, sizeof v->key);
    text[FILE_BYTES - 1] = '\n';
    struct err *e = write_all(fd, text, FILE_BYTES, tmp);
    secret_wipe(text, sizeof text);
    close(fd);
    if (!e && rename(tmp, v->path) != 0)
        e = err_new(ERR_IO, "cannot rename [%s]: %s", tmp, strerror(errno));
    return e ? e : folder_sync(path_data);
}

static void warn_if_open_to_others(int fd, const char *path)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && (st.st_mode & 077) != 0)
        log_warn("the key of the stored secrets can be read by other users; set its mode to 0600",
                 LOG_C("path", path));
}

static struct err *read_key(struct vault *v, int fd)
{
    warn_if_open_to_others(fd, v->path);
    char text[FILE_BYTES + 1];
    size_t n = 0;
    ssize_t k;
    while (n < sizeof text && (k = read(fd, text + n, sizeof text - n)) != 0) {
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_new(ERR_IO, "cannot read [%s]: %s", v->path, strerror(errno));
        n += (size_t)k;
    }
    if (n == FILE_BYTES && text[n - 1] == '\n')
        n--;
    size_t got = 0;
    int rc =
        n == 2 * KEY_BYTES ? sodium_hex2bin(v->key, sizeof v->key, text, n, NULL, &got, NULL) : -1;
    secret_wipe(text, sizeof text);
    if (rc != 0 || got != KEY_BYTES)
        return err_new(ERR_CORRUPT, "the key file [%s] does not hold [64] hex digits", v->path);
    return NULL;
}

static struct err *key_path(const char *path_data, const char *name, char out[PATH_MAX])
{
    if (snprintf(out, PATH_MAX, "%s/%s", path_data, name) >= PATH_MAX)
        return err_new(ERR_ARGUMENT, "the data folder's path is too long [%s]", path_data);
    return NULL;
}

static struct err *load_or_make(struct vault *v, const char *path_data, bool may_make)
{
    TRY(key_path(path_data, KEY_FILE, v->path));
    int fd = open(v->path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        struct err *e = read_key(v, fd);
        close(fd);
        return e;
    }
    if (errno != ENOENT)
        return err_new(ERR_IO, "cannot open [%s]: %s", v->path, strerror(errno));
    if (!may_make)
        return err_new(ERR_CORRUPT,
                       "the key file [%s] is missing, and the store holds secrets that only it "
                       "opens: put it back",
                       v->path);
    return make_key(v, path_data);
}

static void name_key(struct vault *v)
{
    static const char use[] = "inferd secrets key id";
    crypto_generichash(v->id, sizeof v->id, (const unsigned char *)use, sizeof use - 1, v->key,
                       sizeof v->key);
}

struct err *vault_open(const char *path_data, bool may_make, struct vault **out)
{
    BUG_ON(sodium_init() < 0);
    struct vault *v = mem_new(sizeof *v);
    struct err *e = NULL;
    if (path_data)
        e = load_or_make(v, path_data, may_make);
    else
        randombytes_buf(v->key, sizeof v->key);
    if (e) {
        vault_close(v);
        return e;
    }
    name_key(v);
    *out = v;
    return NULL;
}

/* --- another key --- */

static struct err *make_next(struct vault *v, const char *path_data)
{
    TRY(key_path(path_data, NEXT_FILE, v->path));
    TRY(make_key(v, path_data));
    name_key(v);
    return NULL;
}

struct err *vault_make_next(const char *path_data, struct vault **out)
{
    struct vault *v = mem_new(sizeof *v);
    struct err *e = make_next(v, path_data);
    if (e)
        vault_close(v);
    else
        *out = v;
    return e;
}

struct err *vault_open_next(const char *path_data, struct vault **out)
{
    struct vault *v = mem_new(sizeof *v);
    struct err *e = key_path(path_data, NEXT_FILE, v->path);
    int fd = e ? -1 : open(v->path, O_RDONLY | O_CLOEXEC);
    *out = NULL;
    if (fd >= 0) {
        e = read_key(v, fd);
        close(fd);
    } else if (!e && errno != ENOENT) {
        e = err_new(ERR_IO, "cannot open [%s]: %s", v->path, strerror(errno));
    }
    if (e || fd < 0) {
        vault_close(v);
        return e;
    }
    name_key(v);
    *out = v;
    return NULL;
}

/* The old key's bytes, where the file system writes in place. Nothing depends on it any more. */
static void overwrite_key(int fd, const char *path)
{
    static const char zeros[FILE_BYTES];
    if (fd >= 0 && (pwrite(fd, zeros, sizeof zeros, 0) != sizeof zeros || fsync(fd) != 0))
        log_warn("the old key of the stored secrets was not overwritten", LOG_C("path", path));
}

static struct err *take_place(struct vault *next, const char *path, const char *path_data)
{
    if (rename(next->path, path) != 0)
        return err_new(ERR_IO, "cannot rename [%s]: %s", next->path, strerror(errno));
    snprintf(next->path, sizeof next->path, "%s", path);
    return folder_sync(path_data);
}

struct err *vault_adopt(struct vault *next, const char *path_data)
{
    char path[PATH_MAX];
    struct stat st;
    TRY(key_path(path_data, KEY_FILE, path));
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    struct err *e = take_place(next, path, path_data);
    /* A copy made as a second name of the same file is somebody's backup. */
    if (!e && fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0)
        overwrite_key(fd, path);
    if (fd >= 0)
        close(fd);
    return e;
}

struct err *vault_drop_next(const char *path_data)
{
    char path[PATH_MAX];
    TRY(key_path(path_data, NEXT_FILE, path));
    if (unlink(path) == 0)
        return folder_sync(path_data);
    return errno == ENOENT ? NULL
                           : err_new(ERR_IO, "cannot remove [%s]: %s", path, strerror(errno));
}

void vault_close(struct vault *v)
{
    if (!v)
        return;
    secret_wipe(v, sizeof *v);
    free(v);
}

/* --- records --- */

static struct str associated(const unsigned char *header, enum store_kind kind, struct str id,
                             struct arena *a)
{
    struct str name = store_kind_name(kind);
    size_t n = HEADER + name.n + 1 + id.n;
    char *p = arena_alloc(a, n); /* zeroed: the byte between kind and id stays 0 */
    memcpy(p, header, HEADER);
    memcpy(p + HEADER, name.p, name.n);
    memcpy(p + HEADER + name.n + 1, id.p, id.n);
    return str_n(p, n);
}

struct str vault_seal(const struct vault *v, enum store_kind kind, struct str id, struct str plain,
                      struct arena *a)
{
    unsigned char *out = arena_alloc(a, VAULT_OVERHEAD + plain.n);
    out[0] = VERSION;
    memcpy(out + 1, v->id, ID_BYTES);
    unsigned char *nonce = out + HEADER;
    randombytes_buf(nonce, NONCE);
    struct str ad = associated(out, kind, id, a);
    crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + NONCE, NULL, (const unsigned char *)plain.p,
                                               plain.n, (const unsigned char *)ad.p, ad.n, NULL,
                                               nonce, v->key);
    return str_n((char *)out, VAULT_OVERHEAD + plain.n);
}

struct err *vault_unseal(const struct vault *v, enum store_kind kind, struct str id,
                         struct str sealed, struct arena *a, struct str *plain_out)
{
    const unsigned char *in = (const unsigned char *)sealed.p;
    if (sealed.n < VAULT_OVERHEAD || in[0] != VERSION)
        return err_new(ERR_CORRUPT, "the secret of [%.*s] is damaged or of a newer version",
                       STR_ARG(id));
    if (!vault_sealed_it(v, sealed))
        return err_wrap(vault_wrong_key(v), ERR_CORRUPT, "the secret of [%.*s] cannot be opened",
                        STR_ARG(id));
    struct str ad = associated(in, kind, id, a);
    size_t n = sealed.n - VAULT_OVERHEAD;
    char *plain = arena_alloc(a, n + 1);
    const unsigned char *nonce = in + HEADER;
    int rc = crypto_aead_xchacha20poly1305_ietf_decrypt(
        (unsigned char *)plain, NULL, NULL, nonce + NONCE, n + TAG, (const unsigned char *)ad.p,
        ad.n, nonce, v->key);
    if (rc != 0)
        return err_new(ERR_CORRUPT,
                       "the secret of [%.*s] was changed outside of the server: it does not open",
                       STR_ARG(id));
    *plain_out = str_n(plain, n);
    return NULL;
}

bool vault_sealed_it(const struct vault *v, struct str sealed)
{
    return sealed.n >= VAULT_OVERHEAD && memcmp(sealed.p + 1, v->id, ID_BYTES) == 0;
}

struct err *vault_wrong_key(const struct vault *v)
{
    return err_new(ERR_CORRUPT,
                   "the key file [%s] is not the one that the stored secrets were encrypted with",
                   *v->path ? v->path : "none");
}
