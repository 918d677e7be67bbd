/*
 * SMBus host controller of the ICH9 (Intel I/O Controller Hub 9 data sheet, section 19.2) and of
 * the PIIX4 (82371AB data sheet, section 11.5), on a bus with up to eight EEPROMs of 256 bytes
 * (24C02) that hold the memory modules' serial presence detect data (JEDEC standard 21-C, DDR2).
 *
 * A transfer is over as soon as it is started. Blocks go through the 32-byte buffer, or on the ICH9
 * byte by byte. The EEPROMs tell of RAM as modules whose sizes are powers of two from 128 MiB to 16
 * GiB, the greatest first; a rest that is no such size is told by none. They can be written, as
 * QEMU's can.
 *
 * Left out, as a guest would notice: packet error codes, the slave's half of the controller, SMI.
 */
#include "devices/pci/smbus-host.h"

#include <string.h>

#define HST_STS        0x00
#define HST_CNT        0x02
#define HST_CMD        0x03
#define XMIT_SLVA      0x04
#define HST_D0         0x05
#define HST_D1         0x06
#define HOST_BLOCK_DB  0x07
#define AUX_STS        0x0c
#define AUX_CTL        0x0d
#define SMBUS_PIN_CTL  0x0f

#define STS_BUSY       0x01
#define STS_INTR       0x02
#define STS_DEV_ERR    0x04
#define STS_BUS_ERR    0x08
#define STS_FAILED     0x10
#define STS_IN_USE     0x40
#define STS_BYTE_DONE  0x80
#define STS_CLEARABLE  (STS_INTR | STS_DEV_ERR | STS_BUS_ERR | STS_FAILED | STS_BYTE_DONE)

#define CNT_INTREN     0x01
#define CNT_KILL       0x02
#define CNT_COMMAND(x) ((x) >> 2 & 7)
#define CNT_LAST_BYTE  0x20
#define CNT_START      0x40

#define AUX_BUFFER     0x02 /* the 32-byte buffer */
#define AUX_WRITABLE   0x03
#define PIN_CTL_IDLE   0x07 /* both lines high */

#define EEPROM_BASE    0x50
#define BLOCK_BYTES    32

enum {
    CMD_QUICK,
    CMD_BYTE,
    CMD_BYTE_DATA,
    CMD_WORD_DATA,
    CMD_PROCESS_CALL,
    CMD_BLOCK,
    CMD_I2C_READ,
    CMD_BLOCK_PROCESS
};

static const struct state_field eeprom_fields[] = {
    STATE_ARRAY(struct smbus_eeprom_state, bytes),
    STATE(struct smbus_eeprom_state, at),
    {0},
};

const struct state_field smbus_state_fields[] = {
    STATE_STRUCT_ARRAY(struct smbus_state, eeprom, eeprom_fields),
    STATE_ARRAY(struct smbus_state, block),
    STATE_MAX(struct smbus_state, block_at, BLOCK_BYTES - 1),
    STATE_MAX(struct smbus_state, left, BLOCK_BYTES),
    STATE(struct smbus_state, status),
    STATE(struct smbus_state, control),
    STATE(struct smbus_state, command),
    STATE(struct smbus_state, address),
    STATE_ARRAY(struct smbus_state, data),
    STATE(struct smbus_state, aux_control),
    STATE(struct smbus_state, in_use),
    STATE(struct smbus_state, bytewise),
    STATE_PAD(struct smbus_state, pad),
    {0},
};

/* ---- serial presence detect */

static void spd_fill(uint8_t *spd, unsigned log2_bytes)
{
    static const uint8_t ddr2[] = {
        [0] = 128,   [1] = 8,     [2] = 8,     /* of 256 bytes; DDR2 */
        [3] = 14,    [4] = 10,                 /* rows, columns */
        [6] = 64,    [8] = 5,                  /* bits; SSTL 1.8 V */
        [9] = 0x25,  [10] = 0x40,              /* 2.5 ns, 0.4 ns */
        [12] = 0x82, [13] = 8,                 /* refresh; a chip's width */
        [16] = 0x0c, [17] = 8,    [18] = 0x70, /* bursts of 4 and 8; banks; CAS 4 to 6 */
        [20] = 2,    [62] = 0x12,              /* unbuffered; revision 1.2 */
    };
    static const char part[] = "Godwit DIMM";

    memcpy(spd, ddr2, sizeof(ddr2));
    /* One rank: bits 0 to 4 are 1 to 16 GiB, 5 to 7 128 to 512 MiB. */
    spd[31] = (uint8_t)(1u << (log2_bytes >= 30 ? log2_bytes - 30 : log2_bytes - 22));
    for (unsigned i = 0; i < 63; i++) {
        spd[63] = (uint8_t)(spd[63] + spd[i]);
    }
    memset(spd + 73, ' ', 18);
    memcpy(spd + 73, part, sizeof(part) - 1);
}

static void modules_fill(struct smbus_state *s, uint64_t ram_bytes)
{
    for (unsigned i = 0; i < SMBUS_EEPROMS && ram_bytes >> 27; i++) {
        unsigned log2_bytes = MIN(63u - (unsigned)__builtin_clzll(ram_bytes), 34u);

        spd_fill(s->eeprom[i].bytes, log2_bytes);
        ram_bytes -= 1ull << log2_bytes;
    }
}

/* ---- the bus */

static struct smbus_eeprom_state *addressed(struct smbus_host *h)
{
    unsigned n = (h->s->address >> 1) - EEPROM_BASE;

    return n < SMBUS_EEPROMS ? &h->s->eeprom[n] : NULL;
}

static uint8_t eeprom_read(struct smbus_eeprom_state *e)
{
    return e->bytes[e->at++];
}

static void eeprom_write(struct smbus_eeprom_state *e, uint8_t value)
{
    e->bytes[e->at++] = value;
}

/* ---- transfers */

void smbus_host_update(struct smbus_host *h)
{
    if (h->set_irq) {
        h->set_irq(h->opaque, (h->s->status & STS_CLEARABLE) && (h->s->control & CNT_INTREN));
    }
}

static void finish(struct smbus_host *h, uint8_t status)
{
    h->s->status = (uint8_t)((h->s->status & ~STS_BUSY) | status);
    h->s->bytewise = false;
}

static void block_buffered(struct smbus_host *h, struct smbus_eeprom_state *e, bool read)
{
    struct smbus_state *s = h->s;
    unsigned n = s->data[0];

    e->at = s->command;
    if (read) {
        n = s->data[0] = eeprom_read(e);
    }
    if (n == 0 || n > BLOCK_BYTES) {
        finish(h, STS_DEV_ERR);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        if (read) {
            s->block[i] = eeprom_read(e);
        } else {
            eeprom_write(e, s->block[i]);
        }
    }
    s->block_at = 0;
    finish(h, STS_INTR);
}

/* One byte of a block; the guest takes it, or gives the next, and clears BYTE_DONE. A reader that
 * wants no more than the next byte has said so by then (LAST_BYTE). */
static void byte_step(struct smbus_host *h, struct smbus_eeprom_state *e, bool i2c)
{
    struct smbus_state *s = h->s;
    bool read = s->address & 1, last = read && (s->control & CNT_LAST_BYTE);

    if (read) {
        s->block[0] = eeprom_read(e);
    } else {
        eeprom_write(e, s->block[0]);
    }
    if (!i2c) {
        s->left--;
        last |= s->left == 0;
    }
    s->status |= STS_BYTE_DONE;
    if (last) {
        finish(h, STS_INTR);
    }
}

static void bytewise_start(struct smbus_host *h, struct smbus_eeprom_state *e, bool i2c)
{
    struct smbus_state *s = h->s;

    e->at = i2c ? s->data[1] : s->command;
    if (i2c) {
        s->address |= 1;
    } else {
        s->left = s->address & 1 ? (s->data[0] = eeprom_read(e)) : s->data[0];
    }
    if (!i2c && (s->left == 0 || s->left > BLOCK_BYTES)) {
        s->left = 0;
        finish(h, STS_DEV_ERR);
        return;
    }
    s->block_at = 0;
    s->bytewise = true;
    s->status |= STS_BUSY;
    byte_step(h, e, i2c);
}

static void byte_done_cleared(struct smbus_host *h)
{
    struct smbus_state *s = h->s;
    struct smbus_eeprom_state *e = addressed(h);
    bool i2c = CNT_COMMAND(s->control) == CMD_I2C_READ;

    if (!e || (!i2c && s->left == 0)) { /* the guest has changed the registers meanwhile */
        finish(h, STS_DEV_ERR);
    } else {
        byte_step(h, e, i2c);
    }
}

static void words(struct smbus_host *h, struct smbus_eeprom_state *e, unsigned n, bool read)
{
    e->at = h->s->command;
    for (unsigned i = 0; i < n; i++) {
        if (read) {
            h->s->data[i] = eeprom_read(e);
        } else {
            eeprom_write(e, h->s->data[i]);
        }
    }
}

static void transfer(struct smbus_host *h)
{
    struct smbus_state *s = h->s;
    struct smbus_eeprom_state *e = addressed(h);
    bool read = s->address & 1;
    unsigned command = CNT_COMMAND(s->control);

    s->bytewise = false;
    if (!e) {
        finish(h, STS_DEV_ERR); /* nobody acknowledges */
        return;
    }
    switch (command) {
    case CMD_QUICK:
        break;
    case CMD_BYTE:
        if (read) {
            s->data[0] = eeprom_read(e);
        } else {
            e->at = s->command;
        }
        break;
    case CMD_BYTE_DATA:
    case CMD_WORD_DATA:
        words(h, e, command == CMD_BYTE_DATA ? 1 : 2, read);
        break;
    case CMD_BLOCK:
        if (h->ich && !(s->aux_control & AUX_BUFFER)) {
            bytewise_start(h, e, false);
        } else {
            block_buffered(h, e, read);
        }
        return;
    case CMD_I2C_READ:
        if (h->ich) {
            bytewise_start(h, e, true);
            return;
        }
        finish(h, STS_DEV_ERR);
        return;
    default: /* a process call: an EEPROM does not answer it */
        finish(h, STS_DEV_ERR);
        return;
    }
    finish(h, STS_INTR);
}

/* ---- registers */

static uint64_t smbus_read(void *opaque, gpa_t offset, unsigned size)
{
    struct smbus_host *h = opaque;
    struct smbus_state *s = h->s;
    uint8_t value;

    switch (offset) {
    case HST_STS:
        value = (uint8_t)(s->status | (h->ich && s->in_use ? STS_IN_USE : 0));
        s->in_use = true;
        return value;
    case HST_CNT:
        s->block_at = 0; /* back to the buffer's start */
        return s->control;
    case HST_CMD:
        return s->command;
    case XMIT_SLVA:
        return s->address;
    case HST_D0:
    case HST_D1:
        return s->data[offset - HST_D0];
    case HOST_BLOCK_DB:
        value = s->block[s->block_at];
        if (!s->bytewise) {
            s->block_at = (s->block_at + 1) % BLOCK_BYTES;
        }
        return value;
    case AUX_CTL:
        return h->ich ? s->aux_control : 0;
    case SMBUS_PIN_CTL:
        return h->ich ? PIN_CTL_IDLE : 0;
    default:
        return 0;
    }
}

static void write_status(struct smbus_host *h, uint8_t value)
{
    struct smbus_state *s = h->s;
    bool next = s->bytewise && (s->status & value & STS_BYTE_DONE);

    s->status &= (uint8_t) ~(value & STS_CLEARABLE);
    if (value & STS_IN_USE) {
        s->in_use = false;
    }
    if (next) {
        byte_done_cleared(h);
    }
}

static void write_control(struct smbus_host *h, uint8_t value)
{
    h->s->control = value & (uint8_t)~CNT_START;
    if (value & CNT_KILL) {
        finish(h, STS_FAILED);
    } else if ((value & CNT_START) && !(h->s->status & STS_BUSY)) {
        transfer(h);
    }
}

static void smbus_write(void *opaque, gpa_t offset, uint64_t value, unsigned size)
{
    struct smbus_host *h = opaque;
    struct smbus_state *s = h->s;
    uint8_t byte = (uint8_t)value;

    switch (offset) {
    case HST_STS:
        write_status(h, byte);
        break;
    case HST_CNT:
        write_control(h, byte);
        break;
    case HST_CMD:
        s->command = byte;
        break;
    case XMIT_SLVA:
        s->address = byte;
        break;
    case HST_D0:
    case HST_D1:
        s->data[offset - HST_D0] = byte;
        break;
    case HOST_BLOCK_DB:
        s->block[s->block_at] = byte;
        if (h->ich && !(s->aux_control & AUX_BUFFER)) {
            s->block_at = 0;
        } else {
            s->block_at = (s->block_at + 1) % BLOCK_BYTES;
        }
        break;
    case AUX_CTL:
        s->aux_control = byte & AUX_WRITABLE;
        break;
    default:
        break;
    }
    smbus_host_update(h);
}

static const struct region_ops smbus_ops = {
    .read = smbus_read, .write = smbus_write, .min_size = 1, .max_size = 1};

void smbus_host_init(struct smbus_host *h, struct smbus_state *state, bool ich, uint64_t ram_bytes)
{
    h->s = state;
    h->ich = ich;
    h->region = (struct region){.name = "smbus",
                                .kind = REGION_IO,
                                .size = ich ? SMBUS_PORTS_ICH : SMBUS_PORTS_PIIX4,
                                .ops = &smbus_ops,
                                .opaque = h};
    modules_fill(state, ram_bytes);
}

void smbus_host_reset(struct smbus_host *h)
{
    struct smbus_state *s = h->s;

    memset((uint8_t *)s + offsetof(struct smbus_state, block), 0,
           sizeof(*s) - offsetof(struct smbus_state, block));
    for (unsigned i = 0; i < SMBUS_EEPROMS; i++) {
        s->eeprom[i].at = 0;
    }
    smbus_host_update(h);
}
