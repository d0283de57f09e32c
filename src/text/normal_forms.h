/* normal_forms: NFC, NFD, NFKC and NFKD of normalised text, origins kept as the reference keeps
 * them (the crate unicode-normalization-alignments). Private to text/. */
#ifndef INFERD_NORMAL_FORMS_H
#define INFERD_NORMAL_FORMS_H

#include "transform.h"

enum normal_form { FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD };

/* Appends to `out`; `at`: the origin of the text's first byte. */
void normal_form_apply(enum normal_form, const struct norm_text *in, uint32_t at,
                       struct norm_text *out);

#endif
