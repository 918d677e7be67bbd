/*
 * websocket=on: the server's side of the WebSocket protocol (RFC 6455). What goes either way is in
 * binary messages, whose borders mean nothing; text is refused, as are extensions.
 */
#include "chardev/chardev-priv.h"

#include <string.h>

#define GUID          "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* section 1.3 */
#define HEAD_BYTES    4096u
#define KEY_CHARS     24u
#define CONTROL_BYTES 125u
#define FIN           0x80u
#define MASKED        0x80u

enum { OP_CONTINUATION = 0, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };
enum { CLOSE_NORMAL = 1000, CLOSE_PROTOCOL_ERROR = 1002, CLOSE_UNACCEPTABLE = 1003 };

struct websocket {
    bool ready; /* the handshake is over */
    char head[HEAD_BYTES + 1];
    size_t head_bytes;
    /* the frame that comes */
    uint8_t header[14];
    unsigned header_bytes;
    bool in_payload;
    uint64_t left, at; /* bytes of its payload; those that were there */
    uint8_t mask[4];
    uint8_t control[CONTROL_BYTES];
};

static void websocket_opened(struct stream *s)
{
    s->quiet = true;
}

/* ---- the handshake (section 4) */

static const char *find_header(char **lines, const char *name)
{
    size_t n = strlen(name);

    for (unsigned i = 1; lines[i]; i++) {
        if (g_ascii_strncasecmp(lines[i], name, n) == 0 && lines[i][n] == ':') {
            return g_strstrip(lines[i] + n + 1);
        }
    }
    return NULL;
}

/* Of a list with commas. */
static bool has_token(const char *value, const char *token)
{
    g_auto(GStrv) tokens = g_strsplit(value ? value : "", ",", -1);

    for (unsigned i = 0; tokens[i]; i++) {
        if (g_ascii_strcasecmp(g_strstrip(tokens[i]), token) == 0) {
            return true;
        }
    }
    return false;
}

static void answer(struct stream *s, const char *status, const char *more)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *date = g_date_time_format(now, "%a, %d %b %Y %H:%M:%S GMT");
    g_autofree char *text =
        g_strdup_printf("HTTP/1.1 %s\r\nServer: godwit\r\nDate: %s\r\n%s\r\n", status, date, more);

    stream_put_wire(s, (const uint8_t *)text, strlen(text));
}

static char *accept_key(const char *key)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA1);
    uint8_t digest[20];
    gsize n = sizeof(digest);

    g_checksum_update(sum, (const guchar *)key, -1);
    g_checksum_update(sum, (const guchar *)GUID, -1);
    g_checksum_get_digest(sum, digest, &n);
    return g_base64_encode(digest, n);
}

/* The client's request is complete; false: it is none, and was told so. */
static bool shake_hands(struct stream *s, char *head)
{
    g_auto(GStrv) lines = g_strsplit(head, "\r\n", -1);
    g_auto(GStrv) words = g_strsplit(lines[0] ? lines[0] : "", " ", 4);
    const char *key = find_header(lines, "Sec-WebSocket-Key");
    const char *version = find_header(lines, "Sec-WebSocket-Version");
    const char *protocols = find_header(lines, "Sec-WebSocket-Protocol");
    g_autofree char *accept = NULL, *more = NULL;

    if (g_strv_length(words) == 3 && strcmp(words[0], "GET") == 0 && strcmp(words[1], "/") != 0) {
        answer(s, "404 Not Found", "Connection: close\r\n");
        return false;
    }
    if (g_strv_length(words) != 3 || strcmp(words[0], "GET") != 0 ||
        strcmp(words[2], "HTTP/1.1") != 0 || !find_header(lines, "Host") ||
        !has_token(find_header(lines, "Upgrade"), "websocket") ||
        !has_token(find_header(lines, "Connection"), "upgrade") || !version ||
        strcmp(version, "13") != 0 || !key || strlen(key) != KEY_CHARS ||
        (protocols && !has_token(protocols, "binary"))) {
        answer(s, "400 Bad Request", "Connection: close\r\nSec-WebSocket-Version: 13\r\n");
        return false;
    }
    accept = accept_key(key);
    more = g_strdup_printf("Upgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Accept: %s\r\n%s",
                           accept, protocols ? "Sec-WebSocket-Protocol: binary\r\n" : "");
    answer(s, "101 Switching Protocols", more);
    return true;
}

/* Takes of the request what is there; *used: how much. */
static bool take_head(struct stream *s, struct websocket *w, const uint8_t *wire, size_t n,
                      size_t *used)
{
    for (*used = 0; *used < n;) {
        if (w->head_bytes == HEAD_BYTES || !wire[*used]) {
            answer(s, "400 Bad Request", "Connection: close\r\n");
            return false;
        }
        w->head[w->head_bytes++] = (char)wire[(*used)++];
        if (w->head_bytes >= 4 && memcmp(w->head + w->head_bytes - 4, "\r\n\r\n", 4) == 0) {
            w->head[w->head_bytes] = '\0';
            if (!shake_hands(s, w->head)) {
                return false;
            }
            w->ready = true;
            s->quiet = false;
            s->ready(s);
            break;
        }
    }
    return true;
}

/* ---- frames (section 5) */

static void put_frame(GByteArray *wire, unsigned op, const uint8_t *payload, size_t n)
{
    uint8_t header[10] = {(uint8_t)(FIN | op)};
    unsigned length_bytes = n < 126 ? 0 : n <= UINT16_MAX ? 2 : 8;

    header[1] = (uint8_t)(length_bytes == 0 ? n : length_bytes == 2 ? 126 : 127);
    for (unsigned i = 0; i < length_bytes; i++) {
        header[2 + i] = (uint8_t)((uint64_t)n >> 8 * (length_bytes - 1 - i));
    }
    g_byte_array_append(wire, header, 2 + length_bytes);
    g_byte_array_append(wire, payload, (guint)n);
}

static void put_control(struct stream *s, unsigned op, const uint8_t *payload, size_t n)
{
    g_autoptr(GByteArray) frame = g_byte_array_new();

    put_frame(frame, op, payload, n);
    stream_put_wire(s, frame->data, frame->len);
}

static bool end(struct stream *s, unsigned code)
{
    const uint8_t payload[] = {(uint8_t)(code >> 8), (uint8_t)code};

    put_control(s, OP_CLOSE, payload, sizeof(payload));
    return false;
}

static void websocket_encode(struct stream *s, const uint8_t *plain, size_t n, GByteArray *wire)
{
    put_frame(wire, OP_BINARY, plain, n);
}

static unsigned opcode(const struct websocket *w)
{
    return w->header[0] & 0xf;
}

static unsigned header_length(const struct websocket *w)
{
    unsigned length = w->header[1] & 0x7f;

    return w->header_bytes < 2 ? 2 : 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + 4;
}

/* The header is complete. */
static bool begin_payload(struct stream *s, struct websocket *w)
{
    unsigned op = opcode(w), length = w->header[1] & 0x7f, at = 2;
    bool control = op & 8, fin = w->header[0] & FIN;

    w->left = length;
    if (length >= 126) {
        w->left = 0;
        for (; at < w->header_bytes - 4; at++) {
            w->left = w->left << 8 | w->header[at];
        }
    }
    memcpy(w->mask, w->header + w->header_bytes - 4, 4);
    w->at = 0;
    w->in_payload = true;
    if (!(w->header[1] & MASKED) || w->header[0] & 0x70 || w->left > INT64_MAX ||
        (control && (!fin || w->left > CONTROL_BYTES))) {
        return end(s, CLOSE_PROTOCOL_ERROR);
    }
    if (op != OP_CONTINUATION && op != OP_BINARY && op != OP_CLOSE && op != OP_PING &&
        op != OP_PONG) {
        return end(s, CLOSE_UNACCEPTABLE);
    }
    return true;
}

static bool end_payload(struct stream *s, struct websocket *w)
{
    w->in_payload = false;
    w->header_bytes = 0;
    if (opcode(w) == OP_CLOSE) {
        return end(s, CLOSE_NORMAL);
    }
    if (opcode(w) == OP_PING) {
        put_control(s, OP_PONG, w->control, w->at);
    }
    return true;
}

static bool take_header(struct stream *s, struct websocket *w, uint8_t byte)
{
    w->header[w->header_bytes++] = byte;
    if (w->header_bytes >= 2 && !(w->header[1] & MASKED)) {
        return end(s, CLOSE_PROTOCOL_ERROR); /* a client's frames are masked */
    }
    if (w->header_bytes < header_length(w)) {
        return true;
    }
    return begin_payload(s, w) && (w->left || end_payload(s, w));
}

static bool websocket_decode(struct stream *s, const uint8_t *wire, size_t n, GByteArray *plain)
{
    struct websocket *w = s->codec_state;
    size_t i = 0;

    if (!w->ready && !take_head(s, w, wire, n, &i)) {
        return false;
    }
    while (i < n) {
        uint8_t byte = wire[i++];

        if (!w->in_payload) {
            if (!take_header(s, w, byte)) {
                return false;
            }
            continue;
        }
        byte ^= w->mask[w->at & 3];
        if (opcode(w) & 8) {
            w->control[w->at] = byte;
        } else {
            g_byte_array_append(plain, &byte, 1);
        }
        w->at++;
        if (--w->left == 0 && !end_payload(s, w)) {
            return false;
        }
    }
    return true;
}

const struct stream_codec stream_websocket = {
    .state_bytes = sizeof(struct websocket),
    .opened = websocket_opened,
    .encode = websocket_encode,
    .decode = websocket_decode,
};
