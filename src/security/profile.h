/* profile: one user profile as it is stored (STORE_PROFILE, JSON) and shown; private to security/.
 *
 * Its id follows from the user's name: "u_", the name's SHA-256 in URL-safe base64, "_0". What is
 * known of the user is a copy of the time when the profile was last activated. Thread: its owner.
 */
#ifndef INFERD_SECURITY_PROFILE_H
#define INFERD_SECURITY_PROFILE_H

#include "account.h"
#include "map.h"

#define PROFILE_UID_CHARS 49
#define PROFILE_MAX_BYTES ((size_t)1 << 20) /* of one profile, labels and data included */

struct profile {
    struct str uid, username, realm;
    struct str full_name, email;       /* p NULL: none */
    struct str roles;                  /* a JSON array */
    const struct json *labels, *data;  /* objects */
    struct str labels_text, data_text; /* the same as text, for writing */
    bool enabled;
    int64_t synchronized_ms;
    uint64_t rev;
};

void profile_uid(struct str username, char out[PROFILE_UID_CHARS + 1]);
/* Borrows from the document's body; the rest lands in the arena. */
struct err *profile_read(struct arena *, const struct doc *, struct profile *out);
/* What is stored; from labels_text and data_text. */
void profile_render_doc(const struct profile *, struct buf *out);

/* As the API shows it. `data`: which of its data, as the parameter of that name says; p NULL: none.
 * `whole` false: without what suggestions leave out. */
struct err *profile_render(const struct profile *, struct str data, bool whole, struct json_out *);

/* `added` over `old`: members of objects are added and exchanged one by one, at any depth. */
void profile_merge(const struct json *old, const struct json *added, struct json_out *);

/* The ids of all profiles as a map's keys. The caller frees it. */
struct err *profile_uids(struct store *, struct arena *, struct map **out);
/* "profile_uid", if the user has a profile; uids NULL: nothing. */
void profile_render_uid(const struct map *uids, struct str username, struct json_out *);

/* How well a profile fits what somebody types: how many of the words begin or are (all but the
 * last: are) a word of the user's names or address. Words: letters and digits, without regard to
 * case. */
struct profile_words {
    struct arena *arena;
    struct str text; /* " the words " */
};
void profile_words_init(struct profile_words *, struct arena *, struct str typed);
int profile_words_score(const struct profile_words *, const struct profile *);

#endif
