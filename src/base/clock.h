/* clock: time, always passed on as an argument to anything that computes with it. */
#ifndef INFERD_CLOCK_H
#define INFERD_CLOCK_H

#include <stdint.h>

int64_t clock_mono_ns(void); /* for durations and deadlines */
int64_t clock_mono_ms(void);
int64_t clock_wall_ms(void); /* milliseconds since 1970 */

/* "2026-11-24T09:13:37.123Z" into a buffer of at least 25 bytes. */
void clock_iso8601(int64_t wall_ms, char out[25]);

/* "10s", or "1500ms" when it is not of whole seconds. */
#define CLOCK_SPAN_SIZE 24
void clock_span(int64_t ms, char out[CLOCK_SPAN_SIZE]);

#endif
