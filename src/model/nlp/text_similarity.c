/* How well a document answers a text: one number for each window, the best or the mean of them. */
#include "engine.h"
#include "nlp_private.h"

static struct err *text_similarity_encode(const struct nlp_config *c,
                                          const struct tokenizer *tokenizer, struct arena *arena,
                                          struct str text, struct nlp_request *out)
{
    if (!c->text.p)
        return err_status(400, "please provide configuration update for text_similarity task "
                               "including the desired [text]");
    return nlp_rows(c, tokenizer, arena, c->text, text.p ? text : STR(""), out);
}

static struct err *text_similarity_decode(const struct nlp_config *c,
                                          const struct tokenizer *tokenizer,
                                          const struct nlp_request *request,
                                          const struct output *outputs, struct arena *arena,
                                          struct nlp_result *out)
{
    double sum = 0, max = 0;
    size_t n = 0;
    for (size_t i = 0; i < request->n_rows; i++) {
        if (outputs[i].dim[2] != 1)
            return err_status(409,
                              "Expected exactly [1] value in text_similarity result; got [%lld]",
                              (long long)outputs[i].dim[2]);
        for (int64_t j = 0; j < outputs[i].dim[1]; j++, n++) {
            double score = (double)outputs[i].data[j];
            sum += score;
            max = n == 0 || score > max ? score : max;
        }
    }
    out->score = c->mean_of_spans ? sum / (double)n : max;
    return NULL;
}

static void text_similarity_render(struct json_out *w, const struct nlp_config *c, struct str field,
                                   const struct nlp_result *r)
{
    json_key_s(w, field);
    json_put_f64(w, r->score);
}

const struct nlp_head nlp_text_similarity = {
    .task = NLP_TEXT_SIMILARITY,
    .name = "text_similarity",
    .members = NLP_COMMON | NLP_SPAN_SCORE,
    .updates = NLP_ALWAYS | NLP_SPAN_SCORE | NLP_TEXT,
    .encode = text_similarity_encode,
    .decode = text_similarity_decode,
    .render = text_similarity_render,
};
