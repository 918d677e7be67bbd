/*
 * telnet=on: the server's side of the Telnet protocol (RFC 854; options: RFC 856 BINARY, 857 ECHO,
 * 858 SUPPRESS-GO-AHEAD). It says what it wants once, and negotiates no further: what the other end
 * asks for is read and forgotten.
 */
#include "chardev/chardev-priv.h"

enum {
    SE = 240,
    BREAK = 243,
    SB = 250,
    WILL = 251,
    WONT = 252,
    DO = 253,
    DONT = 254,
    IAC = 255,
};
enum { OPTION_BINARY = 0, OPTION_ECHO = 1, OPTION_SUPPRESS_GO_AHEAD = 3 };

struct telnet {
    enum { DATA, COMMAND, OPTION, SUBNEGOTIATION, SUBNEGOTIATION_COMMAND } state;
};

/* The client is to send each character as it is typed, and show none by itself. */
static void telnet_opened(struct stream *s)
{
    static const uint8_t wishes[] = {
        IAC, WILL, OPTION_ECHO,   IAC, WILL, OPTION_SUPPRESS_GO_AHEAD,
        IAC, WILL, OPTION_BINARY, IAC, DO,   OPTION_BINARY,
    };

    stream_put_wire(s, wishes, sizeof(wishes));
}

static void telnet_encode(struct stream *s, const uint8_t *plain, size_t n, GByteArray *wire)
{
    static const uint8_t iac = IAC;

    for (size_t i = 0; i < n; i++) {
        g_byte_array_append(wire, &plain[i], 1);
        if (plain[i] == IAC) {
            g_byte_array_append(wire, &iac, 1);
        }
    }
}

static void telnet_command(struct stream *s, struct telnet *t, uint8_t byte, GByteArray *plain)
{
    t->state = DATA;
    switch (byte) {
    case IAC:
        g_byte_array_append(plain, &byte, 1);
        break;
    case BREAK:
        chardev_event(&s->chr, CHARDEV_BREAK);
        break;
    case WILL:
    case WONT:
    case DO:
    case DONT:
        t->state = OPTION;
        break;
    case SB:
        t->state = SUBNEGOTIATION;
        break;
    default:
        break;
    }
}

static bool telnet_decode(struct stream *s, const uint8_t *wire, size_t n, GByteArray *plain)
{
    struct telnet *t = s->codec_state;

    for (size_t i = 0; i < n; i++) {
        switch (t->state) {
        case DATA:
            if (wire[i] == IAC) {
                t->state = COMMAND;
            } else {
                g_byte_array_append(plain, &wire[i], 1);
            }
            break;
        case COMMAND:
            telnet_command(s, t, wire[i], plain);
            break;
        case OPTION:
            t->state = DATA;
            break;
        case SUBNEGOTIATION:
            t->state = wire[i] == IAC ? SUBNEGOTIATION_COMMAND : SUBNEGOTIATION;
            break;
        case SUBNEGOTIATION_COMMAND:
            t->state = wire[i] == SE ? DATA : SUBNEGOTIATION;
            break;
        }
    }
    return true;
}

const struct stream_codec stream_telnet = {
    .state_bytes = sizeof(struct telnet),
    .opened = telnet_opened,
    .encode = telnet_encode,
    .decode = telnet_decode,
};
