/* partial: embeddings where one bad input fails alone.
 *
 * The inputs go out in pieces, first as large as the provider takes them. A piece that is refused
 * for what may be the fault of one of its inputs (the service's 400, 413 or 422; a text that cannot
 * be tokenized) is cut in two halves that are tried again, until the bad input stands alone and has
 * the refusal to itself. Any other failure of a piece is that of each of its inputs. Each piece is
 * a call of its own: its own place in the rate limit, its own attempts.
 *
 * k bad inputs among n take about 2 k log2(n / k) more requests. There are at most MAX_MORE of
 * them; what is refused after that stays refused as it is. A service that refuses everything costs
 * no more.
 *
 * Elasticsearch's POST answers all inputs or none. */
#include <stdlib.h>

#include "bug.h"
#include "private.h"

/* Requests beyond those that the inputs need anyway. */
#define MAX_MORE 32

struct partial;

struct piece {
    struct sink sink;
    struct partial *whole;
    struct piece *next; /* of all that there were */
    struct call call;
    size_t first; /* row of its first input */
    bool under_way;
};

struct partial {
    struct inference *inf;
    struct call *call;
    struct result result; /* rows in the call's arena */
    struct err **errors;  /* one per row, ours; NULL: it has an embedding, or none yet */
    size_t n, n_failed;   /* rows */
    struct err *over;     /* ends the whole: cancelled, or answers that do not fit together */
    struct piece *pieces;
    size_t n_left, n_more;
    int busy; /* the pieces are being gone over: do not end yet */
};

/* --- ending --- */

static void errors_free(struct err **errors, size_t n)
{
    for (size_t i = 0; i < n; i++)
        err_free(errors[i]);
    free(errors);
}

/* All but the errors. */
static void partial_free(struct partial *p)
{
    for (struct piece *next, *i = p->pieces; i; i = next) {
        next = i->next;
        arena_free(i->call.arena);
        free(i);
    }
    free(p);
}

/* What the whole has failed with; NULL: some input was answered. */
static struct err *take_failure(struct partial *p)
{
    if (p->over || p->n_failed < p->n)
        return p->over;
    struct err *e = p->errors[0];
    p->errors[0] = NULL;
    return e;
}

static void partial_end(struct partial *p)
{
    if (p->n_left || p->busy)
        return;
    struct call *call = p->call;
    struct sink *sink = call->sink;
    struct err *e = take_failure(p), **errors = p->errors;
    struct result result = p->result;
    size_t n = p->n;
    result.errors = p->n_failed ? errors : NULL;
    call->usage = result.usage;
    call->on_cancel = NULL;
    call->stage = NULL;
    partial_free(p);
    if (e)
        sink->fail(sink, e);
    else
        sink->done(sink, &result);
    errors_free(errors, n);
}

static void partial_stop(struct partial *p, struct err *e)
{
    p->over = e;
    p->busy++;
    for (struct piece *i = p->pieces; i; i = i->next) {
        if (i->under_way)
            inference_cancel(&i->call);
    }
    p->busy--;
}

/* --- pieces --- */

static void piece_submit(struct partial *, size_t first, size_t n);

static void piece_over(struct piece *piece)
{
    piece->under_way = false;
    piece->whole->n_left--;
}

static void take_rows(struct partial *p, const struct piece *piece, const struct result *r)
{
    struct arena *arena = p->call->arena;
    if (!p->result.embeddings)
        result_rows(arena, r->kind, p->n, &p->result);
    if (r->kind != p->result.kind || r->n != piece->call.input.n_texts) {
        partial_stop(p, err_status(500, "the service answered the parts of one request "
                                        "differently"));
        return;
    }
    result_copy_rows(arena, r, &p->result, piece->first);
    usage_add(&p->result.usage, &r->usage);
}

static void piece_done(struct sink *sink, const struct result *result)
{
    struct piece *piece = (struct piece *)sink;
    struct partial *p = piece->whole;
    piece_over(piece);
    if (!p->over)
        take_rows(p, piece, result);
    partial_end(p);
}

/* Each of its inputs has failed, by this. Takes the err. */
static void rows_fail(struct partial *p, const struct piece *piece, struct err *e)
{
    size_t n = piece->call.input.n_texts;
    for (size_t i = 0; i < n; i++)
        p->errors[piece->first + i] = i + 1 < n ? err_copy(e) : e;
    p->n_failed += n;
}

static bool may_halve(const struct partial *p, const struct piece *piece, const struct err *e)
{
    return e->by_input && piece->call.input.n_texts > 1 && p->n_more + 2 <= MAX_MORE;
}

static void halve(struct partial *p, const struct piece *piece)
{
    size_t n = piece->call.input.n_texts, first = piece->first;
    p->n_more += 2;
    p->busy++;
    piece_submit(p, first, n / 2);
    piece_submit(p, first + n / 2, n - n / 2);
    p->busy--;
}

static void piece_fail(struct sink *sink, struct err *e)
{
    struct piece *piece = (struct piece *)sink;
    struct partial *p = piece->whole;
    piece_over(piece);
    if (!p->over && may_halve(p, piece, e)) {
        err_free(e);
        halve(p, piece);
    } else if (!p->over) {
        rows_fail(p, piece, e);
    } else {
        err_free(e);
    }
    partial_end(p);
}

/* Its texts are its own: upstream may shorten them, and halves begin anew with what was asked. */
static void piece_submit(struct partial *p, size_t first, size_t n)
{
    struct piece *piece = mem_new(sizeof *piece);
    piece->sink = (struct sink){.done = piece_done, .fail = piece_fail};
    piece->whole = p;
    piece->first = first;
    piece->next = p->pieces;
    p->pieces = piece;
    piece->call = call_beside(p->call, &piece->sink);
    piece->call.partial = true;
    piece->call.part = n < p->n;
    struct input *in = &piece->call.input;
    in->texts = arena_array(piece->call.arena, n, sizeof *in->texts);
    memcpy(in->texts, p->call->input.texts + first, n * sizeof *in->texts);
    in->n_texts = n;
    piece->under_way = true;
    p->n_left++;
    dispatch_submit(p->inf, &piece->call);
}

static void partial_cancelled(struct call *call)
{
    struct partial *p = call->stage;
    if (!p->over)
        partial_stop(p, err_new(ERR_CANCELLED, "task cancelled"));
    partial_end(p);
}

/* --- beginning --- */

bool partial_submit(struct inference *inf, struct call *call)
{
    const struct input *in = &call->input;
    if (!call->partial || in->n_texts < 2)
        return false;
    struct partial *p = mem_new(sizeof *p);
    p->inf = inf;
    p->call = call;
    p->n = in->n_texts;
    p->errors = mem_array(p->n, sizeof *p->errors);
    p->busy++;
    call->stage = p;
    call->on_cancel = partial_cancelled;
    for (size_t first = 0, n; first < p->n && !p->over; first += n) {
        n = endpoint_is_local(call->endpoint) ? p->n : split_pack(call->endpoint, in, first);
        piece_submit(p, first, n);
    }
    p->busy--;
    partial_end(p);
    return true;
}
