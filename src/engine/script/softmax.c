/* softmax over a row of floats: y = e^(x - max) / sum. */
#include <math.h>

#include "families.h"

/* As vf_exp of kernels_body.h, in a form that compilers turn into vectors of any machine; what is
 * below the smallest normal number is 0. */
static inline float exp_of(float x)
{
    float bounded = x < -87.33654f ? -87.33654f : x > 88.0f ? 88.0f : x;
    float n = bounded * 1.44269504088896341f + 12582912.0f; /* rounds: 1.5 * 2^23 */
    n -= 12582912.0f;
    float r = bounded - n * 0.693359375f;
    r += n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    uint32_t bits = (uint32_t)((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return x < -87.33654f ? 0 : p * power;
}

#define LANES 16

static float row_max(const float *x, size_t n)
{
    float lane[LANES], most = -INFINITY;
    size_t i = 0;
    for (int k = 0; k < LANES; k++)
        lane[k] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];
    for (; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (int k = 0; k < LANES; k++)
        most = lane[k] > most ? lane[k] : most;
    return most;
}

static float row_sum(const float *x, size_t n)
{
    float lane[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] += x[i + k];
    for (int k = 0; k < LANES; k++)
        sum += lane[k];
    for (; i < n; i++)
        sum += x[i];
    return sum;
}

void softmax_row(const float *x, size_t n, bool safe, float *y)
{
    float most = row_max(x, n);
    bool nothing = most == -INFINITY; /* or nothing but NaN */
    bool nan = false;
    for (size_t i = 0; i < n; i++)
        nan |= x[i] != x[i];
    if (nan || nothing || most == INFINITY) {
        float fill = safe && nothing && !nan ? 0 : NAN;
        for (size_t i = 0; i < n; i++)
            y[i] = fill;
        return;
    }
    for (size_t i = 0; i < n; i++)
        y[i] = exp_of(x[i] - most);
    float factor = 1 / row_sum(y, n);
    for (size_t i = 0; i < n; i++)
        y[i] *= factor;
}
