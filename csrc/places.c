/* Folders below TULLE_ROOT.  The root is taken as it is given; below it no link is followed and every owner is looked at. */
#include "tulle_cni.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int is_trusted(unsigned uid) {
    return uid == 0 || uid == geteuid();
}

int open_root(void) {
    const char *root = getenv("TULLE_ROOT");
    return open(root && *root ? root : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int step(int folder, const char *name, int make) {
    if (make && mkdirat(folder, name, 0700) && errno != EEXIST)
        return -1;
    int found = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;
    if (found < 0 || (!fstat(found, &status) && is_trusted(status.st_uid)))
        return found;
    close(found);
    errno = EPERM;
    return -1;
}

/* The folder at `parts` (ended by NULL); with `make`, folders that are missing are made, private. */
int walk(int root, const char *const parts[], int make) {
    int folder = dup(root);
    for (; folder >= 0 && *parts; parts++) {
        int inner = step(folder, *parts, make);
        int error = errno;
        close(folder);
        errno = error;
        folder = inner;
    }
    return folder;
}
