/* pickle_tensor: what the pickles of a model say about tensors, checked: every element of a view
 * lies in its storage, and the storage is as long as its entry. Private to pickle. */
#ifndef INFERD_ENGINE_PICKLE_TENSOR_H
#define INFERD_ENGINE_PICKLE_TENSOR_H

#include "pickle.h"

/* ('storage', type, key, 'cpu', elements) into v. NULL, or what is wrong with it. */
const char *pickle_storage(const struct pickle_value *id, const char *folder,
                           const struct archive *, struct pickle_value *v);
/* (storage, offset, sizes, strides, ...) or, when quantized, with the quantizer as the fifth. */
const char *pickle_tensor(const struct pickle_value *args, bool quantized, struct arena *,
                          struct pickle_value *v);

#endif
