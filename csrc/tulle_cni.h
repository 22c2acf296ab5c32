/* The plugin that the runtime executes: its parts.  src/tulle/cni/shim.py is the same in Python, and the specification. */
#ifndef TULLE_CNI_H
#define TULLE_CNI_H

#define _GNU_SOURCE /* O_PATH and friends, setns, memfd_create */

#include <stddef.h>

#ifndef TULLE_VERSION
#define TULLE_VERSION "unknown"
#endif

enum {
    CODE_ENVIRONMENT = 4,
    CODE_IO = 5,
    CODE_UNDECODABLE = 6,
    CODE_NETNS = 8,
    CODE_TRY_AGAIN = 11,
    CODE_NOT_AVAILABLE = 50,
    CODE_NOT_AS_ATTACHED = 103,
};

struct bytes {
    const char *at;
    size_t size;
};

/* One execution.  `version` is what to answer in; `stdin_` is the configuration as it came. */
struct call {
    const char *command;
    const char *version;
    struct bytes stdin_;
};

/* json.c: one member of the outermost object; `value` is its raw text, empty when there is none. */
struct member {
    const char *name;
    struct bytes value;
};
int json_members(struct bytes text, struct member *wanted, size_t count);

/* answer.c: what goes to stdout.  `fail` ends the process with one error object. */
extern const char *const supported_versions[];
int write_all(int fd, const char *at, size_t size);
_Noreturn void succeed(const char *at, size_t size);
_Noreturn void fail(const struct call *call, int code, const char *msg, const char *details);
_Noreturn void answer_version(const struct call *call);
const char *requested_version(struct bytes stdin_);

/* places.c: folders below TULLE_ROOT, without following a link.  A descriptor, or -1 with errno. */
int open_root(void);
int walk(int root, const char *const parts[], int make);
int is_trusted(unsigned uid);

/* No call takes longer, and no answer is larger. */
enum { TOTAL_S = 60, REPLY_LIMIT = 4 << 20 };

/* agent.c: the agent's answer to `body` in `reply` (exit code, then stdout). */
enum heard { ANSWERED, ABSENT, SILENT };
enum heard ask_agent(int root, struct bytes body, struct bytes *reply, const char **reason);

/* offline.c: without an agent.  `run_alone` runs its code in a process of its own, with the same `reply`. */
enum heard run_alone(int root, struct bytes stdin_, struct bytes *reply);
int leave_tombstone(int root, struct bytes body);

/* loopback.c: the plugin of type "loopback". */
_Noreturn void loopback(const struct call *call);

/* send.c: no plugin at all, but the agent's helper. */
_Noreturn void send_for_agent(void);

#endif
