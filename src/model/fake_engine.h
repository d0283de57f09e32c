/* fake_engine: engine.h without mathematics, for tests of what stands around it. A row is the
 * number of tokens, the first and last id, and their sum. Runs can be held, and made to fail. */
#ifndef INFERD_FAKE_ENGINE_H
#define INFERD_FAKE_ENGINE_H

#include <stdbool.h>

#define FAKE_DIMENSIONS     4
#define FAKE_MAX_SEQ_LENGTH 8
#define FAKE_BAD_TOKEN      7 /* a sequence that has it fails by itself */

void fake_hold(bool held);     /* runs wait inside session_run */
void fake_wait_running(int n); /* until so many are inside */
void fake_fail_runs(bool fail);
int fake_loads(void);    /* programs loaded so far */
int fake_programs(void); /* alive */
int fake_sessions(void); /* alive */
int fake_runs(void);
int fake_most_running(void); /* at once, in one thread each; since the last time this was asked */

#endif
