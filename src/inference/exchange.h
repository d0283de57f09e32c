/* exchange: tokens for credentials: asked for once however many calls wait, kept until a minute
 * before they expire, shared by all loops.
 *
 *     struct token token;
 *     struct token_wait *w = exchange_get(inf, ep, auth, loop, got, ctx, &token);
 *     if (!w) use(&token);              // it was there; drop it with secret_unref(token.value)
 *     ...                               // else got(ctx, err, token) later on `loop`, once,
 *     exchange_leave(w);                // or never, after this
 *
 * Thread: a loop's. */
#ifndef INFERD_EXCHANGE_H
#define INFERD_EXCHANGE_H

#include "auth.h"
#include "loop.h"

struct inference;
struct exchanges;
struct token_wait;

struct exchanges *exchanges_new(void);
void exchanges_free(struct exchanges *); /* after the loops have stopped and the clients are gone */

/* `got` takes the err; the token is borrowed for the time of the call. */
typedef void exchange_got(void *ctx, struct err *, const struct token *);

struct token_wait *exchange_get(struct inference *, struct endpoint *, const struct auth *,
                                struct loop *, exchange_got *got, void *ctx, struct token *out);
void exchange_leave(struct token_wait *);

/* A service has refused this token, which exchange_get gave. True: another may do, so ask again;
 * the one that is kept is not this one any more. False: this one is new, and was made because the
 * one before it was refused as well. */
bool exchange_forget(struct inference *, struct endpoint *, const struct auth *,
                     const struct secret *refused);

#endif
