/*
 * isa-serial: a 16550A UART (National Semiconductor PC16550D data sheet, section 8).
 *
 * A byte that the guest writes goes to the back end at once, whatever the baud rate says, so the
 * guest sees an empty transmitter nearly always. When the back end's bounded queue is full the
 * bytes stay in the transmitter (1, or 16 with the FIFO) and LSR.THRE stays clear until the back
 * end has room: a driver waits as it would for a slow line, and nothing is lost. Received bytes are
 * asked for only as far as the receive FIFO has room.
 *
 * Left out, as a guest would notice: parity and framing errors never happen; the modem inputs are
 * constant (CTS, DSR and DCD on); OUT2 does not gate the interrupt line.
 */
#include "devices/isa/serial.h"
#include <string.h>

#define FIFO_SIZE       16

/* registers, with DLAB (LCR bit 7) clear unless said */
#define UART_DATA       0 /* receive buffer, transmit holding; divisor low with DLAB */
#define UART_IER        1 /* divisor high with DLAB */
#define UART_IIR        2 /* read; FCR on write */
#define UART_LCR        3
#define UART_MCR        4
#define UART_LSR        5
#define UART_MSR        6
#define UART_SCR        7

#define IER_RDI         0x01 /* received data, and time-out */
#define IER_THRI        0x02 /* transmitter empty */
#define IER_RLSI        0x04 /* line status */
#define IER_MSI         0x08 /* modem status */

#define IIR_NONE        0x01
#define IIR_MSI         0x00
#define IIR_THRI        0x02
#define IIR_RDI         0x04
#define IIR_RLSI        0x06
#define IIR_CTI         0x0c
#define IIR_FIFO        0xc0

#define FCR_ENABLE      0x01
#define FCR_CLEAR_RX    0x02
#define FCR_CLEAR_TX    0x04
#define FCR_TRIGGER     0xc0
#define FCR_STICKY_BITS (FCR_ENABLE | 0x08 | FCR_TRIGGER)

#define LCR_DLAB        0x80

#define MCR_LOOP        0x10

#define LSR_DR          0x01
#define LSR_OE          0x02
#define LSR_BI          0x10
#define LSR_THRE        0x20
#define LSR_TEMT        0x40
#define LSR_INTS        0x1e /* those that raise the line status interrupt */

#define MSR_CTS         0x10
#define MSR_DSR         0x20
#define MSR_RI          0x40
#define MSR_DCD         0x80
#define MSR_IDLE        (MSR_CTS | MSR_DSR | MSR_DCD)
#define MSR_DELTA       0x0f
#define MSR_TERI        0x04

#define DIVISOR_RESET   12 /* 9600 baud */

struct serial_state {
    int64_t timeout_ns; /* when the character time-out interrupt is due; -1 idle */
    uint16_t divisor;
    uint8_t ier, lcr, mcr, lsr, msr, scr, fcr;
    uint8_t rx[FIFO_SIZE], rx_head, rx_count;
    uint8_t tx[FIFO_SIZE], tx_head, tx_count;
    uint8_t rx_break; /* the byte at rx_count - 1 counted from 1 came with a break; 0: none */
    bool thri_pending, cti_pending;
    uint8_t pad[8];
};

static const struct state_field serial_fields[] = {
    STATE(struct serial_state, timeout_ns),
    STATE(struct serial_state, divisor),
    STATE(struct serial_state, ier),
    STATE(struct serial_state, lcr),
    STATE(struct serial_state, mcr),
    STATE(struct serial_state, lsr),
    STATE(struct serial_state, msr),
    STATE(struct serial_state, scr),
    STATE(struct serial_state, fcr),
    STATE_ARRAY(struct serial_state, rx),
    STATE_MAX(struct serial_state, rx_head, FIFO_SIZE - 1),
    STATE_MAX(struct serial_state, rx_count, FIFO_SIZE),
    STATE_ARRAY(struct serial_state, tx),
    STATE_MAX(struct serial_state, tx_head, FIFO_SIZE - 1),
    STATE_MAX(struct serial_state, tx_count, FIFO_SIZE),
    STATE_MAX(struct serial_state, rx_break, FIFO_SIZE),
    STATE(struct serial_state, thri_pending),
    STATE(struct serial_state, cti_pending),
    STATE_PAD(struct serial_state, pad),
    {0},
};

static const struct state_desc serial_desc = {
    .name = "isa-serial",
    .version = 1,
    .min_version = 1,
    .size = sizeof(struct serial_state),
    .fields = serial_fields,
};

struct serial {
    struct device dev;
    struct {
        struct chardev *chr;
        uint32_t index, iobase, irq;
        bool wakeup;
    } cfg;
    struct serial_state s;
    struct region region;
    struct vtimer timer;
    struct chardev_frontend frontend;
    bool attached;
};

static struct serial *to_serial(struct device *dev)
{
    return (struct serial *)dev;
}

static bool fifo_enabled(const struct serial *u)
{
    return u->s.fcr & FCR_ENABLE;
}

static unsigned fifo_depth(const struct serial *u)
{
    return fifo_enabled(u) ? FIFO_SIZE : 1;
}

static unsigned rx_trigger(const struct serial *u)
{
    static const uint8_t levels[] = {1, 4, 8, 14};

    return fifo_enabled(u) ? levels[u->s.fcr >> 6] : 1;
}

/* ---- interrupts */

static uint8_t serial_iir(const struct serial *u)
{
    const struct serial_state *s = &u->s;

    if ((s->ier & IER_RLSI) && (s->lsr & LSR_INTS)) {
        return IIR_RLSI;
    }
    if ((s->ier & IER_RDI) && s->rx_count >= rx_trigger(u)) {
        return IIR_RDI;
    }
    if ((s->ier & IER_RDI) && s->cti_pending) {
        return IIR_CTI;
    }
    if ((s->ier & IER_THRI) && s->thri_pending) {
        return IIR_THRI;
    }
    if ((s->ier & IER_MSI) && (s->msr & MSR_DELTA)) {
        return IIR_MSI;
    }
    return IIR_NONE;
}

static void serial_update_irq(struct serial *u)
{
    irq_set(&u->dev.env->isa_irq[u->cfg.irq], serial_iir(u) != IIR_NONE);
}

/* ---- receiver */

/* Four character times without traffic, from the line settings (section 8.4). */
static int64_t timeout_length_ns(const struct serial *u)
{
    unsigned bits = 1 + 5 + (u->s.lcr & 3) + ((u->s.lcr >> 3) & 1) + 1 + ((u->s.lcr >> 2) & 1);
    int64_t bit_ns = NS_PER_SEC * 16 * (u->s.divisor ? u->s.divisor : 1) / 1843200;

    return 4 * bits * bit_ns;
}

static void serial_arm_timeout(struct serial *u)
{
    u->s.timeout_ns = -1;
    if (fifo_enabled(u) && u->s.rx_count) {
        u->s.timeout_ns = vclock_now(u->dev.env->clock) + timeout_length_ns(u);
        vtimer_set(&u->timer, u->s.timeout_ns);
    } else {
        vtimer_cancel(&u->timer);
    }
}

static void serial_timeout(void *opaque)
{
    struct serial *u = opaque;

    if (u->s.timeout_ns < 0 || vclock_now(u->dev.env->clock) < u->s.timeout_ns) {
        return;
    }
    u->s.timeout_ns = -1;
    u->s.cti_pending = u->s.rx_count > 0;
    serial_update_irq(u);
}

static void rx_push(struct serial *u, uint8_t byte)
{
    struct serial_state *s = &u->s;

    if (s->rx_count >= fifo_depth(u)) {
        s->lsr |= LSR_OE;
        if (!fifo_enabled(u)) {
            s->rx[s->rx_head] = byte; /* without a FIFO the new byte wins */
        }
    } else {
        s->rx[(s->rx_head + s->rx_count) % FIFO_SIZE] = byte;
        s->rx_count++;
    }
    s->lsr |= LSR_DR;
    s->cti_pending = false;
    serial_arm_timeout(u);
}

static uint8_t rx_pop(struct serial *u)
{
    struct serial_state *s = &u->s;
    uint8_t byte = s->rx[s->rx_head];

    if (!s->rx_count) {
        return 0;
    }
    s->rx_head = (s->rx_head + 1) % FIFO_SIZE;
    s->rx_count--;
    if (s->rx_break) {
        s->rx_break--;
        s->lsr |= s->rx_break == 1 ? LSR_BI : 0; /* the break is now at the top */
    }
    if (!s->rx_count) {
        s->lsr &= (uint8_t)~LSR_DR;
    }
    s->cti_pending = false;
    serial_arm_timeout(u);
    return byte;
}

static void rx_clear(struct serial *u)
{
    u->s.rx_head = 0;
    u->s.rx_count = 0;
    u->s.rx_break = 0;
    u->s.cti_pending = false;
    u->s.lsr &= (uint8_t) ~(LSR_DR | LSR_BI);
    serial_arm_timeout(u);
}

static bool rx_open(const struct serial *u)
{
    return !(u->s.mcr & MCR_LOOP); /* in loop-back the line is disconnected; input waits outside */
}

static int serial_can_receive(void *opaque)
{
    struct serial *u = opaque;

    return rx_open(u) ? (int)(fifo_depth(u) - MIN(fifo_depth(u), u->s.rx_count)) : 0;
}

static void serial_receive(void *opaque, const uint8_t *buf, size_t length)
{
    struct serial *u = opaque;

    for (size_t i = 0; i < length; i++) {
        rx_push(u, buf[i]);
    }
    serial_update_irq(u);
    if (u->cfg.wakeup) {
        system_request_wakeup(u->dev.env, "isa-serial");
    }
}

static void serial_event(void *opaque, enum chardev_event event)
{
    struct serial *u = opaque;

    if (event == CHARDEV_BREAK && rx_open(u)) {
        rx_push(u, 0);
        u->s.rx_break = u->s.rx_count;
        u->s.lsr |= u->s.rx_break == 1 ? LSR_BI : 0;
        serial_update_irq(u);
    }
}

/* ---- transmitter */

/* Hands what is in the transmitter to the back end, as far as it takes it. */
static void serial_transmit(struct serial *u)
{
    struct serial_state *s = &u->s;

    while (s->tx_count) {
        size_t n = MIN((unsigned)s->tx_count, FIFO_SIZE - (unsigned)s->tx_head);
        size_t taken = u->cfg.chr ? chardev_write(u->cfg.chr, s->tx + s->tx_head, n) : n;

        if (taken == 0) {
            return; /* serial_writable() will be called */
        }
        s->tx_head = (uint8_t)((s->tx_head + taken) % FIFO_SIZE);
        s->tx_count = (uint8_t)(s->tx_count - taken);
    }
    if (!(s->lsr & LSR_THRE)) {
        s->lsr |= LSR_THRE | LSR_TEMT;
        s->thri_pending = true;
    }
}

static void serial_writable(void *opaque)
{
    struct serial *u = opaque;

    if (!u->dev.paused) {
        serial_transmit(u);
        serial_update_irq(u);
    }
}

static void serial_write_data(struct serial *u, uint8_t value)
{
    struct serial_state *s = &u->s;

    if (s->mcr & MCR_LOOP) {
        rx_push(u, value);
        s->thri_pending = true;
        return;
    }
    s->thri_pending = false;
    if (s->tx_count >= fifo_depth(u)) {
        /* The driver did not wait for THRE: the newest byte in the holding register is replaced. */
        s->tx[(s->tx_head + s->tx_count - 1) % FIFO_SIZE] = value;
        return;
    }
    s->tx[(s->tx_head + s->tx_count) % FIFO_SIZE] = value;
    s->tx_count++;
    s->lsr &= (uint8_t) ~(LSR_THRE | LSR_TEMT);
    serial_transmit(u);
}

/* ---- registers */

static void serial_write_fcr(struct serial *u, uint8_t value)
{
    if ((value ^ u->s.fcr) & FCR_ENABLE) {
        value |= FCR_CLEAR_RX | FCR_CLEAR_TX;
    }
    if (value & FCR_CLEAR_RX) {
        rx_clear(u);
    }
    if ((value & FCR_CLEAR_TX) && u->s.tx_count) {
        u->s.tx_count = 0;
        u->s.tx_head = 0;
        serial_transmit(u);
    }
    u->s.fcr = (value & FCR_ENABLE) ? value & FCR_STICKY_BITS : 0;
    if (u->cfg.chr) {
        chardev_accept_input(u->cfg.chr);
    }
}

/* The modem inputs: constant, or the modem outputs in loop-back. */
static void serial_update_msr(struct serial *u)
{
    uint8_t lines = MSR_IDLE, mcr = u->s.mcr, old = u->s.msr;

    if (mcr & MCR_LOOP) {
        lines = (uint8_t)((mcr & 0x0c) << 4 | (mcr & 0x02) << 3 | (mcr & 0x01) << 5);
    }
    u->s.msr = (uint8_t)((old & MSR_DELTA) | lines);
    u->s.msr |= (uint8_t)(((old ^ lines) >> 4) & (MSR_DELTA & ~MSR_TERI));
    if ((old & MSR_RI) && !(lines & MSR_RI)) {
        u->s.msr |= MSR_TERI;
    }
}

static void serial_write_mcr(struct serial *u, uint8_t value)
{
    bool was_open = rx_open(u);

    u->s.mcr = value & 0x1f;
    serial_update_msr(u);
    if (!was_open && rx_open(u) && u->cfg.chr) {
        chardev_accept_input(u->cfg.chr);
    }
}

static void serial_write(void *opaque, gpa_t offset, uint64_t value64, unsigned size)
{
    struct serial *u = opaque;
    struct serial_state *s = &u->s;
    uint8_t value = (uint8_t)value64;
    bool dlab = s->lcr & LCR_DLAB;

    switch (offset) {
    case UART_DATA:
        if (dlab) {
            s->divisor = (uint16_t)((s->divisor & 0xff00) | value);
        } else {
            serial_write_data(u, value);
        }
        break;
    case UART_IER:
        if (dlab) {
            s->divisor = (uint16_t)((s->divisor & 0x00ff) | value << 8);
        } else {
            if ((value & ~s->ier & IER_THRI) && (s->lsr & LSR_THRE)) {
                s->thri_pending = true;
            }
            s->ier = value & 0x0f;
        }
        break;
    case UART_IIR: /* FCR */
        serial_write_fcr(u, value);
        break;
    case UART_LCR:
        s->lcr = value;
        break;
    case UART_MCR:
        serial_write_mcr(u, value);
        break;
    case UART_SCR:
        s->scr = value;
        break;
    default: /* LSR and MSR are read-only */
        break;
    }
    serial_update_irq(u);
}

static uint8_t serial_read_data(struct serial *u)
{
    uint8_t value = rx_pop(u);

    if (u->cfg.chr) {
        chardev_accept_input(u->cfg.chr);
    }
    return value;
}

static uint8_t serial_read_iir(struct serial *u)
{
    uint8_t iir = serial_iir(u);

    if (iir == IIR_THRI) {
        u->s.thri_pending = false;
    }
    return iir | (fifo_enabled(u) ? IIR_FIFO : 0);
}

static uint64_t serial_read(void *opaque, gpa_t offset, unsigned size)
{
    struct serial *u = opaque;
    struct serial_state *s = &u->s;
    bool dlab = s->lcr & LCR_DLAB;
    uint8_t value = 0xff;

    switch (offset) {
    case UART_DATA:
        value = dlab ? s->divisor & 0xff : serial_read_data(u);
        break;
    case UART_IER:
        value = dlab ? s->divisor >> 8 : s->ier;
        break;
    case UART_IIR:
        value = serial_read_iir(u);
        break;
    case UART_LCR:
        value = s->lcr;
        break;
    case UART_MCR:
        value = s->mcr;
        break;
    case UART_LSR:
        value = s->lsr;
        s->lsr &= (uint8_t)~LSR_INTS;
        break;
    case UART_MSR:
        value = s->msr;
        s->msr &= (uint8_t)~MSR_DELTA;
        break;
    case UART_SCR:
        value = s->scr;
        break;
    default:
        break;
    }
    serial_update_irq(u);
    return value;
}

static const struct region_ops serial_ops = {
    .read = serial_read,
    .write = serial_write,
    .min_size = 1,
    .max_size = 1,
};

/* ---- class */

static const struct {
    uint16_t iobase;
    uint8_t irq;
} com_ports[] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};

static bool serial_choose_port(struct serial *u, GError **error)
{
    if (u->cfg.index == UINT32_MAX) {
        u->cfg.index = devices_count(u->dev.env, &serial_class);
    }
    if (u->cfg.index >= G_N_ELEMENTS(com_ports) &&
        (u->cfg.iobase == UINT32_MAX || u->cfg.irq == UINT32_MAX)) {
        g_set_error(error, DEVICE_ERROR, 0,
                    "isa-serial: index %u has no standard port, give iobase and irq (0 to 3 have)",
                    u->cfg.index);
        return false;
    }
    if (u->cfg.iobase == UINT32_MAX) {
        u->cfg.iobase = com_ports[u->cfg.index].iobase;
    }
    if (u->cfg.irq == UINT32_MAX) {
        u->cfg.irq = com_ports[u->cfg.index].irq;
    }
    if (u->cfg.irq > 15) {
        g_set_error(error, DEVICE_ERROR, 0, "isa-serial: irq %u is out of range, it takes 0 to 15",
                    u->cfg.irq);
        return false;
    }
    return true;
}

static void serial_chardev_changed(void *opaque, struct chardev *chr)
{
    ((struct serial *)opaque)->cfg.chr = chr;
}

static bool serial_realize(struct device *dev, GError **error)
{
    struct serial *u = to_serial(dev);

    if (!serial_choose_port(u, error)) {
        return false;
    }
    vtimer_init(&u->timer, dev->env->clock, serial_timeout, u);
    u->frontend = (struct chardev_frontend){
        .can_receive = serial_can_receive,
        .receive = serial_receive,
        .event = serial_event,
        .writable = serial_writable,
        .changed = serial_chardev_changed,
        .opaque = u,
    };
    u->region = (struct region){
        .name = "serial", .kind = REGION_IO, .size = 8, .ops = &serial_ops, .opaque = u};
    u->s.lsr = LSR_THRE | LSR_TEMT;
    u->s.timeout_ns = -1;
    if (u->cfg.chr && !chardev_attach(u->cfg.chr, &u->frontend)) {
        g_set_error(error, DEVICE_ERROR, 0, "isa-serial: chardev '%s' is already in use",
                    u->cfg.chr->id);
        return false;
    }
    u->attached = u->cfg.chr;
    address_space_map(dev->env->io, u->cfg.iobase, &u->region, 0);
    return true;
}

static void serial_unrealize(struct device *dev)
{
    struct serial *u = to_serial(dev);

    address_space_unmap(dev->env->io, &u->region);
    vtimer_cancel(&u->timer);
    if (u->attached) {
        chardev_detach(u->cfg.chr, &u->frontend);
        u->attached = false;
    }
}

static void serial_reset(struct device *dev, enum reset_kind kind)
{
    struct serial *u = to_serial(dev);

    if (u->s.tx_count) {
        serial_transmit(u); /* what the guest printed last is worth keeping */
    }
    vtimer_cancel(&u->timer);
    memset(&u->s, 0, sizeof(u->s));
    u->s.timeout_ns = -1;
    u->s.divisor = DIVISOR_RESET;
    u->s.lsr = LSR_THRE | LSR_TEMT;
    u->s.msr = MSR_IDLE;
    serial_update_irq(u);
}

static void serial_pause(struct device *dev)
{
    struct serial *u = to_serial(dev);

    if (u->cfg.chr) {
        chardev_push(u->cfg.chr); /* what was printed before a stop is seen before it */
    }
}

static void serial_resume(struct device *dev)
{
    struct serial *u = to_serial(dev);

    if (u->s.tx_count) {
        serial_transmit(u);
        serial_update_irq(u);
    }
    if (u->cfg.chr) {
        chardev_accept_input(u->cfg.chr);
    }
}

static bool serial_post_load(struct device *dev, GError **error)
{
    struct serial *u = to_serial(dev);

    if (u->s.rx_break > u->s.rx_count) {
        g_set_error(error, DEVICE_ERROR, 0, "isa-serial: rx_break %u exceeds rx_count %u",
                    u->s.rx_break, u->s.rx_count);
        return false;
    }
    if (u->s.timeout_ns >= 0) {
        vtimer_set(&u->timer, u->s.timeout_ns);
    } else {
        vtimer_cancel(&u->timer);
    }
    serial_update_irq(u);
    return true;
}

#define PROP(name_, type_, member, def_, max_, help_)                                              \
    {                                                                                              \
        .name = name_, .type = type_, .offset = offsetof(struct serial, cfg.member), .def = def_,  \
        .max = max_, .help = help_                                                                 \
    }

static const struct property serial_props[] = {
    PROP("chardev", PROP_CHARDEV, chr, 0, 0, "back end; none: output is dropped"),
    PROP("index", PROP_U32, index, UINT32_MAX, 3, "COM port, from 0; default: the next"),
    PROP("iobase", PROP_U32, iobase, UINT32_MAX, 0xfff8, "first port; default: by index"),
    PROP("irq", PROP_U32, irq, UINT32_MAX, 15, "ISA interrupt; default: by index"),
    PROP("wakeup", PROP_BOOL, wakeup, false, 1, "input wakes the machine from suspend to RAM"),
    {.type = PROP_END},
};

const struct device_class serial_class = {
    .name = "isa-serial",
    .help = "16550A serial port",
    .bus = BUS_ISA,
    .size = sizeof(struct serial),
    .props = serial_props,
    .state = &serial_desc,
    .state_offset = offsetof(struct serial, s),
    .realize = serial_realize,
    .unrealize = serial_unrealize,
    .reset = serial_reset,
    .pause = serial_pause,
    .resume = serial_resume,
    .post_load = serial_post_load,
};

struct device *serial_create(struct device_env *env, unsigned index, struct chardev *chr,
                             GError **error)
{
    struct device *dev = device_new(&serial_class, env);

    to_serial(dev)->cfg.index = index;
    to_serial(dev)->cfg.chr = chr;
    return device_realize(dev, error) ? dev : NULL;
}
