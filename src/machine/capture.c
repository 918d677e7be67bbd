/*
 * Capturing a failed guest: registers, the code and the stack that they point to, and what the
 * guest's kernel tells through the device vmcoreinfo.
 *
 * A stack is not unwound, which would take the guest's own tables: it is searched for words that
 * are addresses in known functions right behind a call instruction. That finds every caller, and
 * now and then one of a call that is over.
 */
#include "machine/capture.h"

#include "base/bytes.h"
#include "cpu/x86/state.h"
#include "devices/vmcoreinfo.h"
#include "machine/guest-kernel.h"
#include "machine/machine-priv.h"
#include <inttypes.h>

#define CODE_BEFORE_BYTES 32u
#define CODE_BYTES        64u
#define STACK_BYTES       256u
#define TRACE_BYTES       (16u << 10) /* how much of a stack is searched: Linux's are as large */
#define TRACE_MAX         48u
#define CHUNK_BYTES       256u /* what of memory is read at a time: divides a page */
#define CALL_MAX_BYTES    7u
#define LOG_MAX_BYTES     (64u << 10)

/* ---- registers */

static void add_register(struct godwit_register_list *list, const char *name, uint64_t value)
{
    struct godwit_register *reg = g_new0(struct godwit_register, 1);

    reg->name = g_strdup(name);
    reg->value = g_strdup_printf("0x%" PRIx64, value);
    godwit_register_list_append(list, reg);
}

static void add_segment(struct godwit_register_list *list, const char *name,
                        const struct x_seg *seg)
{
    g_autofree char *base = g_strdup_printf("%s-base", name);
    g_autofree char *limit = g_strdup_printf("%s-limit", name);

    add_register(list, name, seg->selector);
    add_register(list, base, seg->base);
    add_register(list, limit, seg->limit);
}

static struct godwit_register_list *registers_of(const struct cpu_state *state)
{
    struct godwit_register_list *list = godwit_register_list_new();
    const struct x_regs *r = &state->regs;
    const struct x_sregs *s = &state->sregs;
    const struct {
        const char *name;
        uint64_t value;
    } plain[] = {
        {"rax", r->rax},      {"rbx", r->rbx},
        {"rcx", r->rcx},      {"rdx", r->rdx},
        {"rsi", r->rsi},      {"rdi", r->rdi},
        {"rbp", r->rbp},      {"rsp", r->rsp},
        {"r8", r->r8},        {"r9", r->r9},
        {"r10", r->r10},      {"r11", r->r11},
        {"r12", r->r12},      {"r13", r->r13},
        {"r14", r->r14},      {"r15", r->r15},
        {"rip", r->rip},      {"rflags", r->rflags},
        {"cr0", s->cr0},      {"cr2", s->cr2},
        {"cr3", s->cr3},      {"cr4", s->cr4},
        {"cr8", s->cr8},      {"efer", s->efer},
        {"gdt", s->gdt.base}, {"gdt-limit", s->gdt.limit},
        {"idt", s->idt.base}, {"idt-limit", s->idt.limit},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(plain); i++) {
        add_register(list, plain[i].name, plain[i].value);
    }
    add_segment(list, "cs", &s->cs);
    add_segment(list, "ss", &s->ss);
    add_segment(list, "ds", &s->ds);
    add_segment(list, "es", &s->es);
    add_segment(list, "fs", &s->fs);
    add_segment(list, "gs", &s->gs);
    add_segment(list, "tr", &s->tr);
    add_segment(list, "ldt", &s->ldt);
    return list;
}

/* ---- memory */

/* What can be read from addr on without a gap, at most length bytes. */
static size_t read_linear(struct vcpu *vcpu, uint64_t addr, uint8_t *buf, size_t length)
{
    size_t done = 0;

    while (done < length) {
        uint64_t at = addr + done;
        size_t n = MIN(length - done, CHUNK_BYTES - at % CHUNK_BYTES);

        if (!vcpu->ops->read_linear(vcpu, at, buf + done, n)) {
            break;
        }
        done += n;
    }
    return done;
}

/* NULL when nothing can be read there. */
static struct godwit_bytes *bytes_at(struct vcpu *vcpu, uint64_t addr, size_t length)
{
    g_autofree uint8_t *buf = g_malloc(length);
    size_t n = read_linear(vcpu, addr, buf, length);
    struct godwit_bytes *bytes;
    GString *text;

    if (n == 0) {
        return NULL;
    }
    text = g_string_sized_new(2 * n);
    for (size_t i = 0; i < n; i++) {
        g_string_append_printf(text, "%02x", buf[i]);
    }
    bytes = g_new0(struct godwit_bytes, 1);
    bytes->address = g_strdup_printf("0x%" PRIx64, addr);
    bytes->data = g_string_free(text, FALSE);
    return bytes;
}

/* Around the next instruction; from it on when what is before it cannot be read. */
static void code_of(struct vcpu *vcpu, uint64_t pc, struct godwit_vcpu_record *record)
{
    uint64_t before = MIN(pc, CODE_BEFORE_BYTES);
    uint8_t first;

    if (read_linear(vcpu, pc, &first, 1) == 0) {
        return;
    }
    record->code = bytes_at(vcpu, pc - before, CODE_BYTES);
    if (!record->code || strlen(record->code->data) / 2 <= before) {
        godwit_bytes_free(record->code);
        before = 0;
        record->code = bytes_at(vcpu, pc, CODE_BYTES - CODE_BEFORE_BYTES);
    }
    record->has_code_offset = record->code != NULL;
    record->code_offset = (int64_t)before;
}

/* ---- the stack */

struct trace {
    struct vcpu *vcpu;
    const struct symbols *symbols;
    uint64_t offset; /* of addresses here from those of the symbols */
    unsigned word_bytes;
    bool is64;
};

/* The length of FF /2 with its operand at p, as far as it is decided by ModRM and SIB; 0: is none.
 * (Intel SDM volume 2, CALL and tables 2-2, 2-3.) */
static unsigned indirect_call_length(const uint8_t *p)
{
    uint8_t mod = p[1] >> 6, rm = p[1] & 7;
    unsigned length = 2;

    if (p[0] != 0xff || (p[1] >> 3 & 7) != 2) {
        return 0;
    }
    if (mod == 3) {
        return length;
    }
    if (rm == 4) {
        length++;
        rm = p[2] & 7;
    }
    return length + (mod == 1 ? 1 : mod == 2 || rm == 5 ? 4 : 0);
}

static bool follows_call(const struct trace *t, uint64_t addr)
{
    uint8_t code[CALL_MAX_BYTES + 2] = {0};

    if (addr < CALL_MAX_BYTES ||
        read_linear(t->vcpu, addr - CALL_MAX_BYTES, code, CALL_MAX_BYTES) != CALL_MAX_BYTES) {
        return false;
    }
    if (code[CALL_MAX_BYTES - 5] == 0xe8) {
        return true;
    }
    for (unsigned length = 2; length <= CALL_MAX_BYTES; length++) {
        if (indirect_call_length(code + CALL_MAX_BYTES - length) == length) {
            return true;
        }
    }
    return false;
}

static struct godwit_return_list *trace_new(const struct trace *t, uint64_t sp)
{
    struct godwit_return_list *list = godwit_return_list_new();
    g_autofree uint8_t *stack = g_malloc(TRACE_BYTES);
    size_t n = t->symbols ? read_linear(t->vcpu, sp, stack, TRACE_BYTES) : 0;

    for (size_t at = 0; at + t->word_bytes <= n && list->n < TRACE_MAX; at += t->word_bytes) {
        uint64_t addr = bytes_get_le(stack + at, t->word_bytes);
        g_autofree char *symbol = symbols_describe_return(t->symbols, addr - t->offset);
        struct godwit_return *entry;

        if (!symbol || !follows_call(t, addr)) {
            continue;
        }
        entry = g_new0(struct godwit_return, 1);
        entry->address = g_strdup_printf("0x%" PRIx64, addr);
        entry->symbol = g_steal_pointer(&symbol);
        godwit_return_list_append(list, entry);
    }
    return list;
}

/* ---- vCPUs */

static struct godwit_vcpu_record *vcpu_record_new(struct vcpu *vcpu, const struct symbols *symbols,
                                                  uint64_t offset)
{
    struct godwit_vcpu_record *record = g_new0(struct godwit_vcpu_record, 1);
    g_autofree struct cpu_state *state = g_new0(struct cpu_state, 1);
    struct trace trace = {.vcpu = vcpu, .symbols = symbols, .offset = offset};
    uint64_t pc, sp, mask;

    vcpu->ops->get(vcpu, state, ST_REGS | ST_SREGS | ST_MP);
    trace.is64 = (state->sregs.efer & EFER_LMA) && state->sregs.cs.l;
    trace.word_bytes = trace.is64 ? 8 : state->sregs.cs.db ? 4 : 2;
    mask = trace.is64 ? UINT64_MAX : UINT32_MAX;
    pc = (state->sregs.cs.base + state->regs.rip) & mask;
    sp = (state->sregs.ss.base + state->regs.rsp) & mask;

    record->index = vcpu->index;
    record->halted = state->mp_state != MP_RUNNABLE;
    record->cpl = state->sregs.cr0 & CR0_PE ? state->sregs.ss.dpl : 0;
    record->registers = registers_of(state);
    code_of(vcpu, pc, record);
    record->symbol = symbols ? symbols_describe(symbols, pc - offset) : NULL;
    record->stack = bytes_at(vcpu, sp, STACK_BYTES);
    record->trace = trace_new(&trace, sp);
    return record;
}

/* ---- the kernel */

static bool read_physical(void *machine, uint64_t addr, void *buf, size_t length)
{
    return address_space_read(((struct machine *)machine)->mem, addr, buf, length);
}

/* NULL and *error when the guest has told nothing that can be used. */
static struct guest_kernel *kernel_open(struct machine *m, const struct device *dev, GError **error)
{
    const struct phys_reader reader = {read_physical, m};
    uint32_t size;
    gpa_t addr;

    if (!vmcoreinfo_get(dev, &addr, &size)) {
        g_set_error(error, MACHINE_ERROR, 0,
                    "the guest has not told where its vmcoreinfo is (Linux does when its driver "
                    "qemu_fw_cfg is loaded)");
        return NULL;
    }
    return guest_kernel_open(&reader, addr, size, error);
}

static struct godwit_kernel_record *kernel_record_new(const struct guest_kernel *k, GError *error)
{
    struct godwit_kernel_record *record = g_new0(struct godwit_kernel_record, 1);
    g_autoptr(GError) no_log = NULL;

    if (k) {
        record->release = g_strdup(guest_kernel_release(k));
        record->offset = g_strdup_printf("0x%" PRIx64, guest_kernel_offset(k));
        record->log = guest_kernel_log_tail(k, LOG_MAX_BYTES, &no_log);
        error = no_log;
    }
    record->error = g_strdup(error ? error->message : NULL);
    return record;
}

struct godwit_black_box *capture_new(struct machine *m, const struct symbols *symbols)
{
    struct godwit_black_box *record = g_new0(struct godwit_black_box, 1);
    const struct device *dev = devices_find_class(&m->env, &vmcoreinfo_class);
    g_autoptr(GError) error = NULL;
    struct guest_kernel *k = dev ? kernel_open(m, dev, &error) : NULL;

    record->vcpus = godwit_vcpu_record_list_new();
    for (unsigned i = 0; m->cpus && i < m->cpus->n; i++) {
        godwit_vcpu_record_list_append(
            record->vcpus,
            vcpu_record_new(m->cpus->vcpu[i], symbols, k ? guest_kernel_offset(k) : 0));
    }
    record->kernel = dev ? kernel_record_new(k, error) : NULL;
    guest_kernel_free(k);
    return record;
}
