/* Just enough JSON: is a text well formed, and what does its outermost object say?  Nothing is allocated or copied. */
#include "tulle_cni.h"

#include <string.h>

enum { DEPTH_LIMIT = 32 };

struct reader {
    const char *at, *end;
    int depth;
};

static int value(struct reader *in);

static int next(const struct reader *in) {
    return in->at < in->end ? (unsigned char)*in->at : -1;
}

static void skip_space(struct reader *in) {
    while (in->at < in->end && strchr(" \t\n\r", *in->at) && *in->at)
        in->at++;
}

static int take(struct reader *in, char wanted) {
    skip_space(in);
    if (next(in) != wanted)
        return 0;
    in->at++;
    return 1;
}

static int is_digit(int c) {
    return c >= '0' && c <= '9';
}

static int is_hex(int c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static int escape(struct reader *in) {
    int c = next(in);
    if (c < 0)
        return 0;
    in->at++;
    if (c != 'u')
        return c && strchr("\"\\/bfnrt", c) != NULL;
    for (int digits = 0; digits < 4; digits++, in->at++)
        if (!is_hex(next(in)))
            return 0;
    return 1;
}

static int string(struct reader *in) {
    if (!take(in, '"'))
        return 0;
    for (;;) {
        int c = next(in);
        if (c < 0x20)
            return 0; /* the end, or a control character */
        in->at++;
        if (c == '"')
            return 1;
        if (c == '\\' && !escape(in))
            return 0;
    }
}

static int digits(struct reader *in) {
    const char *begin = in->at;
    while (is_digit(next(in)))
        in->at++;
    return in->at > begin;
}

static int number(struct reader *in) {
    if (next(in) == '-')
        in->at++;
    if (next(in) == '0')
        in->at++;
    else if (!digits(in))
        return 0;
    if (next(in) == '.') {
        in->at++;
        if (!digits(in))
            return 0;
    }
    if (next(in) == 'e' || next(in) == 'E') {
        in->at++;
        if (next(in) == '+' || next(in) == '-')
            in->at++;
        return digits(in);
    }
    return 1;
}

static int word(struct reader *in, const char *text) {
    size_t size = strlen(text);
    if ((size_t)(in->end - in->at) < size || memcmp(in->at, text, size))
        return 0;
    in->at += size;
    return 1;
}

static int array(struct reader *in) {
    if (take(in, ']'))
        return 1;
    do
        if (!value(in))
            return 0;
    while (take(in, ','));
    return take(in, ']');
}

static void keep(struct member *wanted, size_t count, struct bytes name, struct bytes found) {
    for (size_t i = 0; i < count; i++)
        if (strlen(wanted[i].name) == name.size && !memcmp(wanted[i].name, name.at, name.size))
            wanted[i].value = found;
}

/* The members of an object whose brace has been taken; of a repeated name the last counts. */
static int object(struct reader *in, struct member *wanted, size_t count) {
    if (take(in, '}'))
        return 1;
    do {
        skip_space(in);
        const char *name = in->at + 1;
        if (!string(in))
            return 0;
        struct bytes named = {name, (size_t)(in->at - 1 - name)};
        if (!take(in, ':'))
            return 0;
        skip_space(in);
        const char *begin = in->at;
        if (!value(in))
            return 0;
        keep(wanted, count, named, (struct bytes){begin, (size_t)(in->at - begin)});
    } while (take(in, ','));
    return take(in, '}');
}

static int nested(struct reader *in) {
    if (++in->depth > DEPTH_LIMIT)
        return 0;
    int well = *in->at++ == '{' ? object(in, NULL, 0) : array(in);
    in->depth--;
    return well;
}

static int value(struct reader *in) {
    skip_space(in);
    switch (next(in)) {
    case '{':
    case '[':
        return nested(in);
    case '"':
        return string(in);
    case 't':
        return word(in, "true");
    case 'f':
        return word(in, "false");
    case 'n':
        return word(in, "null");
    default:
        return number(in);
    }
}

/* Fill `wanted` from the object that `text` is.  0: it is none, or broken, or nested too deep. */
int json_members(struct bytes text, struct member *wanted, size_t count) {
    struct reader in = {text.at, text.at + text.size, 1};
    for (size_t i = 0; i < count; i++)
        wanted[i].value = (struct bytes){NULL, 0};
    if (!take(&in, '{') || !object(&in, wanted, count))
        return 0;
    skip_space(&in);
    return in.at == in.end;
}
