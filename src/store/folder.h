/* folder: the data folder and the lock that makes one server its only user; private to store/.
 *
 * The lock is flock(2) on <path>/node.lock: the kernel drops it however the process ends, so there
 * is never a stale one. The holder's process id is written into it for the next one's error. */
#ifndef INFERD_STORE_FOLDER_H
#define INFERD_STORE_FOLDER_H

#include "err.h"

struct folder {
    int lock_fd;
};

/* Makes the folder (0700, parents too) if it is missing, then locks it. */
struct err *folder_open(const char *path, struct folder *out);
void folder_close(struct folder *);

/* Makes names just created in the folder durable. */
struct err *folder_sync(const char *path);

#endif
