/* What goes to stdout: the agent's answer verbatim, or one object of our own.  Source: CNI 1.1.0, "Error", "VERSION". */
#include "tulle_cni.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_LIMIT = 4096 };

/* Oldest first; the last is what answers a runtime that asks for none of them. */
const char *const supported_versions[] = {"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", NULL};

struct text {
    char at[TEXT_LIMIT];
    size_t size;
};

int write_all(int fd, const char *at, size_t size) {
    while (size) {
        ssize_t done = write(fd, at, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        at += done;
        size -= (size_t)done;
    }
    return 0;
}

_Noreturn void succeed(const char *at, size_t size) {
    _exit(write_all(STDOUT_FILENO, at, size) ? 1 : 0);
}

static void add(struct text *to, const char *what) {
    size_t size = strlen(what), room = sizeof to->at - to->size;
    if (size > room)
        size = room;
    memcpy(to->at + to->size, what, size);
    to->size += size;
}

/* A JSON string; what is not plain ASCII becomes "?", and a long one is cut. */
static void add_quoted(struct text *to, const char *what) {
    add(to, "\"");
    for (size_t left = TEXT_LIMIT / 4; *what && left; what++, left--) {
        char one[3] = {*what, 0, 0};
        if (*what == '"' || *what == '\\') {
            one[0] = '\\';
            one[1] = *what;
        } else if (*what < ' ' || *what > '~') {
            one[0] = '?';
        }
        add(to, one);
    }
    add(to, "\"");
}

_Noreturn void fail(const struct call *call, int code, const char *msg, const char *details) {
    struct text answer = {.size = 0};
    char number[16];
    snprintf(number, sizeof number, "%d", code);
    add(&answer, "{\"cniVersion\":");
    add_quoted(&answer, call->version);
    add(&answer, ",\"code\":");
    add(&answer, number);
    add(&answer, ",\"msg\":");
    add_quoted(&answer, msg);
    add(&answer, ",\"details\":");
    add_quoted(&answer, details);
    add(&answer, "}\n");
    write_all(STDOUT_FILENO, answer.at, answer.size);
    _exit(1);
}

_Noreturn void answer_version(const struct call *call) {
    struct text answer = {.size = 0};
    add(&answer, "{\"cniVersion\":");
    add_quoted(&answer, call->version);
    add(&answer, ",\"supportedVersions\":[");
    for (const char *const *each = supported_versions; *each; each++) {
        if (each != supported_versions)
            add(&answer, ",");
        add_quoted(&answer, *each);
    }
    add(&answer, "]}\n");
    succeed(answer.at, answer.size);
}

/* The runtime's version, where it can be told and is supported; else our newest. */
const char *requested_version(struct bytes stdin_) {
    struct member wanted = {.name = "cniVersion"};
    const char *newest = NULL;
    int readable = json_members(stdin_, &wanted, 1);
    for (const char *const *each = supported_versions; *each; each++) {
        size_t size = strlen(*each);
        if (readable && wanted.value.size == size + 2 && !memcmp(wanted.value.at + 1, *each, size))
            return *each;
        newest = *each;
    }
    return newest;
}
