/*
 * The software side: a guest whose kernel is a table of HLT instructions, one for each exception. A
 * case runs in ring 3 until an exception delivers itself through the IDT; the handler's HLT ends
 * it, and the state at the exception is read off the registers and the frame on the kernel's stack.
 */
#include "cpu/x86/soft/xlat.h"
#include "memory/ram.h"
#include "oracle.h"
#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KERNEL_BASE 0xffff800000000000u

/* Guest-physical pages. */
enum {
    PAGE_PML4,
    PAGE_PDPT_USER,
    PAGE_PD_USER,
    PAGE_PT_USER,
    PAGE_PDPT_KERNEL,
    PAGE_PD_KERNEL,
    PAGE_PT_KERNEL,
    PAGE_GDT, /* from here on mapped at KERNEL_BASE + page * 4096 */
    PAGE_IDT,
    PAGE_TSS,
    PAGE_STACK,
    PAGE_HANDLERS,
    PAGE_CODE,
    PAGE_DATA = PAGE_CODE + CODE_BYTES / 4096,
    PAGES = PAGE_DATA + DATA_BYTES / 4096,
};

#define PTE_P        1u
#define PTE_W        2u
#define PTE_U        4u
#define PTE_AD       0x60u
#define PTE_NX       ((uint64_t)1 << 63)

#define KERNEL_CS    0x10
#define KERNEL_SS    0x18
#define USER_CS_32   0x23
#define USER_DS      0x2b
#define USER_CS      0x33
#define TSS_SELECTOR 0x40

static struct {
    struct ram_block *ram;
    struct cpu *c;
    _Atomic uint32_t req;
    struct cpu_model model;
    uint8_t host_vec;
    struct seg user[SEG_COUNT], user_cs32;
} vm;

const struct ldt_entry ldt_entries[LDT_COUNT] = {
    [LDT_CODE_32] = {.base = CODE_BASE, .limit = CODE_BYTES - 1, .code = true, .db = true},
    [LDT_CODE_16] = {.base = CODE_BASE, .limit = CODE_BYTES - 1, .code = true},
    [LDT_STACK_32] = {.base = RW_BASE, .limit = RW_BYTES - 1, .db = true},
    [LDT_STACK_16] = {.base = RW_BASE, .limit = RW_BYTES - 1},
    [LDT_DATA] = {.base = DATA_BASE, .limit = DATA_BYTES - 1, .db = true},
    [LDT_SHORT] = {.base = RW_BASE + 0x100, .limit = 0xfff, .db = true},
    [LDT_READ_ONLY] = {.base = RW_BASE, .limit = RW_BYTES - 1, .db = true, .read_only = true},
    [LDT_EXPAND_DOWN] = {.base = RW_BASE, .limit = 0xfff, .db = true, .expand_down = true},
};

static uint64_t linear_of(unsigned page)
{
    return KERNEL_BASE + (uint64_t)page * 4096;
}

static uint8_t *page_at(unsigned page)
{
    return vm.ram->host + (size_t)page * 4096;
}

/* ---------------------------------------------------------------- features */

static bool host_cpuid(uint32_t leaf, unsigned word, unsigned bit)
{
    unsigned r[4];
    if (!__get_cpuid_count(leaf, 0, &r[0], &r[1], &r[2], &r[3])) {
        return false;
    }
    return r[word] >> bit & 1;
}

enum { EAX, EBX, ECX, EDX };

/* What the software CPU models and where the host says that it has it, too. */
static const struct {
    enum cpu_feature feature;
    uint32_t leaf;
    uint8_t word, bit;
} features[] = {
    {F_FPU, 1, EDX, 0},
    {F_TSC, 1, EDX, 4},
    {F_MSR, 1, EDX, 5},
    {F_CX8, 1, EDX, 8},
    {F_SEP, 1, EDX, 11},
    {F_CMOV, 1, EDX, 15},
    {F_CLFLUSH, 1, EDX, 19},
    {F_MMX, 1, EDX, 23},
    {F_FXSR, 1, EDX, 24},
    {F_SSE, 1, EDX, 25},
    {F_SSE2, 1, EDX, 26},
    {F_SSE3, 1, ECX, 0},
    {F_PCLMUL, 1, ECX, 1},
    {F_SSSE3, 1, ECX, 9},
    {F_CX16, 1, ECX, 13},
    {F_SSE41, 1, ECX, 19},
    {F_SSE42, 1, ECX, 20},
    {F_MOVBE, 1, ECX, 22},
    {F_POPCNT, 1, ECX, 23},
    {F_AES, 1, ECX, 25},
    {F_SYSCALL, 0x80000001, EDX, 11},
    {F_NX, 0x80000001, EDX, 20},
    {F_LM, 0x80000001, EDX, 29},
    {F_LAHF, 0x80000001, ECX, 0},
    {F_LZCNT, 0x80000001, ECX, 5},
    {F_PREFETCHW, 0x80000001, ECX, 8},
    {F_BMI1, 7, EBX, 3},
    {F_BMI2, 7, EBX, 8},
    {F_ADX, 7, EBX, 19},
    {F_SHA, 7, EBX, 29},
    {F_AVX2, 7, EBX, 5},
    {F_AVX, 1, ECX, 28},
    {F_FMA, 1, ECX, 12},
    {F_F16C, 1, ECX, 29},
    {F_XSAVE, 1, ECX, 26},
    {F_PGE, 1, EDX, 13},
    {F_PSE, 1, EDX, 3},
    {F_PAE, 1, EDX, 6},
};

static void model_init(void)
{
    vm.model.name = (char *)"oracle";
    vm.model.phys_bits = 40;
    vm.model.features[0] |= 1u << F_ALWAYS;
    for (unsigned i = 0; i < G_N_ELEMENTS(features); i++) {
        if (host_cpuid(features[i].leaf, features[i].word, features[i].bit)) {
            vm.model.features[features[i].feature / 64] |= (uint64_t)1 << features[i].feature % 64;
        }
    }
}

bool feature_modelled(unsigned feature)
{
    return cpu_model_has(&vm.model, feature);
}

/* ---------------------------------------------------------------- host callbacks */

static uint64_t no_mmio_read(struct cpu *c, gpa_t gpa, unsigned size)
{
    return UINT64_MAX;
}

static void no_mmio_write(struct cpu *c, gpa_t gpa, uint64_t value, unsigned size)
{
}

static uint32_t no_io_read(struct cpu *c, uint16_t port, unsigned size)
{
    return UINT32_MAX;
}

static void no_io_write(struct cpu *c, uint16_t port, uint32_t value, unsigned size)
{
}

static uint64_t no_tsc(struct cpu *c)
{
    return 0;
}

static uint8_t *ram_page(struct cpu *c, gpa_t gpa, bool *writable, struct ram_block **ram,
                         uint64_t *offset)
{
    if (gpa >= vm.ram->size) {
        return NULL;
    }
    *writable = true;
    *ram = vm.ram;
    *offset = gpa;
    return vm.ram->host + gpa;
}

static const struct soft_host host = {
    .mmio_read = no_mmio_read,
    .mmio_write = no_mmio_write,
    .io_read = no_io_read,
    .io_write = no_io_write,
    .tsc = no_tsc,
    .ram_page = ram_page,
};

/* ---------------------------------------------------------------- the guest's tables */

static void set_entry(unsigned table, unsigned index, uint64_t value)
{
    memcpy(page_at(table) + 8 * index, &value, 8);
}

static void map_user(uint64_t linear, unsigned first, unsigned bytes, uint64_t flags)
{
    for (unsigned i = 0; i < bytes / 4096; i++) {
        set_entry(PAGE_PT_USER, (linear >> 12 & 511) + i,
                  (uint64_t)(first + i) << 12 | PTE_P | PTE_U | PTE_AD | flags);
    }
}

static void build_page_tables(void)
{
    uint64_t branch = PTE_P | PTE_W | PTE_U | PTE_AD;
    set_entry(PAGE_PML4, 0, PAGE_PDPT_USER << 12 | branch);
    set_entry(PAGE_PDPT_USER, 0, PAGE_PD_USER << 12 | branch);
    set_entry(PAGE_PD_USER, CODE_BASE >> 21, PAGE_PT_USER << 12 | branch);
    map_user(CODE_BASE, PAGE_CODE, CODE_BYTES, 0);
    map_user(RO_BASE, PAGE_DATA, RO_BYTES, PTE_NX);
    map_user(RW_BASE, PAGE_DATA + RO_BYTES / 4096, RW_BYTES, PTE_W | PTE_NX);
    set_entry(PAGE_PML4, 256, PAGE_PDPT_KERNEL << 12 | PTE_P | PTE_W | PTE_AD);
    set_entry(PAGE_PDPT_KERNEL, 0, PAGE_PD_KERNEL << 12 | PTE_P | PTE_W | PTE_AD);
    set_entry(PAGE_PD_KERNEL, 0, PAGE_PT_KERNEL << 12 | PTE_P | PTE_W | PTE_AD);
    for (unsigned i = PAGE_GDT; i <= PAGE_HANDLERS; i++) {
        set_entry(PAGE_PT_KERNEL, i, (uint64_t)i << 12 | PTE_P | PTE_W | PTE_AD);
    }
}

static void build_descriptors(void)
{
    uint64_t tss = linear_of(PAGE_TSS), stack = linear_of(PAGE_STACK) + 4096;
    set_entry(PAGE_GDT, KERNEL_CS / 8, 0x00af9b000000ffff);
    set_entry(PAGE_GDT, KERNEL_SS / 8, 0x00cf93000000ffff);
    set_entry(PAGE_GDT, USER_CS_32 / 8, 0x00cffb000000ffff);
    set_entry(PAGE_GDT, USER_DS / 8, 0x00cff3000000ffff);
    set_entry(PAGE_GDT, USER_CS / 8, 0x00affb000000ffff);
    set_entry(PAGE_GDT, TSS_SELECTOR / 8,
              0x0000890000000067 | (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56);
    set_entry(PAGE_GDT, TSS_SELECTOR / 8 + 1, tss >> 32);
    memcpy(page_at(PAGE_TSS) + 4, &stack, 8);
    page_at(PAGE_TSS)[0x66] = 0x68; /* no I/O permission map */
    for (unsigned v = 0; v < 32; v++) {
        uint64_t handler = linear_of(PAGE_HANDLERS) + 16 * v;
        bool user = v == 3 || v == 4; /* INT3 and INTO, as Linux has it */
        set_entry(PAGE_IDT, 2 * v,
                  (handler & 0xffff) | KERNEL_CS << 16 | (user ? 0xeeull : 0x8eull) << 40 |
                      (handler >> 16 & 0xffff) << 48);
        set_entry(PAGE_IDT, 2 * v + 1, handler >> 32);
    }
    memset(page_at(PAGE_HANDLERS), 0xf4, 4096); /* HLT */
}

static struct seg flat_segment(uint16_t sel, uint8_t type, bool l)
{
    return (struct seg){.limit = 0xffffffff,
                        .sel = sel,
                        .type = type,
                        .s = 1,
                        .dpl = 3,
                        .present = 1,
                        .l = l,
                        .db = !l,
                        .g = 1};
}

static void user_segments(void)
{
    struct seg data = flat_segment(USER_DS, 3, false), null = {.unusable = true};
    vm.user[SEG_CS] = flat_segment(USER_CS, 11, true);
    vm.user_cs32 = flat_segment(USER_CS_32, 11, false);
    vm.user[SEG_SS] = vm.user[SEG_DS] = vm.user[SEG_ES] = data;
    vm.user[SEG_FS] = vm.user[SEG_GS] = null;
    vm.user[SEG_FS].base = FS_BASE;
    vm.user[SEG_GS].base = GS_BASE;
}

void soft_init(void)
{
    struct cpu *c;
    model_init();
    vm.ram = ram_block_new("oracle", PAGES * 4096, NULL);
    c = vm.ram ? soft_cpu_new(&vm.model, &host, NULL) : NULL;
    if (!c) {
        fprintf(stderr, "oracle: no memory\n");
        exit(1);
    }
    vm.c = c;
    vm.host_vec = c->host_vec;
    build_page_tables();
    build_descriptors();
    user_segments();
    memset(page_at(PAGE_CODE), 0xcc, CODE_BYTES);
    c->req = &vm.req;
    c->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    c->cr3 = 0;
    c->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    if (feature_modelled(F_AVX)) {
        c->cr4 |= CR4_OSXSAVE;
        c->xcr0 = 7;
    }
    c->efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
    c->gdt.base = linear_of(PAGE_GDT);
    c->gdt.limit = TSS_SELECTOR + 15;
    c->idt.base = linear_of(PAGE_IDT);
    c->idt.limit = 32 * 16 - 1;
    c->tr = (struct seg){
        .base = linear_of(PAGE_TSS), .limit = 0x67, .sel = TSS_SELECTOR, .type = 11, .present = 1};
}

void soft_translate(void)
{
    const struct xlat_config config = {.cache_bytes = XLAT_MIN_BYTES, .max_insns = XLAT_MAX_INSNS};
    GError *error = NULL;
    if (!xlat_init(vm.c, &config, &error)) {
        printf("1..0 # SKIP %s\n", error->message);
        exit(0);
    }
}

struct cpu *soft_cpu(void)
{
    return vm.c;
}

void soft_finish(void)
{
    soft_cpu_free(vm.c);
    ram_block_free(vm.ram);
}

/* ---------------------------------------------------------------- one case */

static struct seg ldt_segment(unsigned entry)
{
    const struct ldt_entry *e = &ldt_entries[entry];
    return (struct seg){.base = e->base,
                        .limit = e->limit,
                        .sel = LDT_SELECTOR(entry),
                        .type = e->code          ? 11
                                : e->expand_down ? 7
                                : e->read_only   ? 1
                                                 : 3,
                        .s = 1,
                        .dpl = 3,
                        .present = 1,
                        .db = e->db};
}

static void load_state(struct cpu *c, const struct oracle_case *k, uint64_t rflags)
{
    memcpy(c->r, k->r, sizeof(k->r));
    memcpy(c->seg, vm.user, sizeof(c->seg));
    if (k->segmented) {
        c->seg[SEG_CS] = ldt_segment(k->segment[CASE_CS]);
        c->seg[SEG_SS] = ldt_segment(k->segment[CASE_SS]);
        c->seg[SEG_DS] = ldt_segment(k->segment[CASE_DS]);
        c->seg[SEG_ES] = ldt_segment(k->segment[CASE_ES]);
    } else if (k->mode != CODE_64) {
        c->seg[SEG_CS] = vm.user_cs32;
    }
    c->cpl = 3;
    c->rip = (k->segmented ? 0 : CODE_BASE) + k->code_at;
    c->cr2 = 0;
    c->dr[6] = 0xffff0ff0;
    c->halted = c->shadow = c->shadow_ss = c->trap_armed = false;
    c->pending_db = 0;
    c->leave = false;
    c->fault.vector = -1;
    rflags_set(c, rflags);
    fxsave_load(c, k->fx, true);
    memcpy(c->ymm_hi, k->ymm, sizeof(c->ymm_hi));
    mode_update(c);
}

static bool vector_has_error(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

/* The frame of a 64-bit interrupt gate from ring 3: [error] RIP CS RFLAGS RSP SS. */
static void take_state(struct cpu *c, struct outcome *out)
{
    uint64_t frame[6], handler = c->rip - linear_of(PAGE_HANDLERS);
    unsigned at = out->has_error ? 1 : 0;
    out->vector = (uint8_t)(handler / 16);
    out->has_error = vector_has_error(out->vector);
    at = out->has_error ? 1 : 0;
    memcpy(frame, page_at(PAGE_STACK) + 4096 - 8 * (5 + at), 8 * (5 + at));
    out->error = at ? (uint32_t)frame[0] : 0;
    out->cr2 = out->vector == 14 ? c->cr2 : 0;
    memcpy(out->r, c->r, sizeof(out->r));
    out->rip = frame[at];
    out->rflags = frame[at + 2];
    out->r[RSP] = frame[at + 3];
    fxsave_store(c, out->fx, true);
    memcpy(out->ymm, c->ymm_hi, sizeof(out->ymm));
}

void soft_case(const struct oracle_case *k, uint64_t rflags_at_start, const struct template *t,
               struct outcome *out)
{
    struct cpu *c = vm.c;
    uint8_t *code = page_at(PAGE_CODE) + k->code_at;
    memcpy(page_at(PAGE_DATA), t->data, DATA_BYTES);
    memcpy(page_at(PAGE_DATA) + k->patch_at, k->patch, k->patch_bytes);
    memcpy(code, k->code, k->code_bytes);
    blocks_invalidate(c, PAGE_CODE * 4096 + k->code_at, k->code_bytes);
    load_state(c, k, rflags_at_start);
    c->host_vec = k->number & 1 ? vm.host_vec : 0; /* the portable handlers in every other case */

    enum run_exit exit = soft_execute(c, 0);
    out->done = exit == RUN_HALT && c->cpl == 0 && c->rip > linear_of(PAGE_HANDLERS) &&
                c->rip < linear_of(PAGE_HANDLERS) + 32 * 16;
    if (out->done) {
        take_state(c, out);
    }
    memcpy(out->rw, page_at(PAGE_DATA) + RO_BYTES, RW_BYTES);
    memset(code, 0xcc, k->code_bytes);
    blocks_invalidate(c, PAGE_CODE * 4096 + k->code_at, k->code_bytes);
}
