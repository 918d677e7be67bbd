/*
 * Code that all units share: in and out of translated code, calls of handlers, and ways on that
 * have to be looked up. Also how flags and XMM registers are saved, for these and for units.
 */
#include "cpu/x86/soft/xlat-gen-priv.h"

const uint8_t xlat_host_reg[16] = {
    HOST_RAX, HOST_R10,    HOST_RDX,    HOST_RBX,    HOST_R9, HOST_RBP, HOST_RSI, HOST_RDI,
    HOST_R8,  XLAT_IN_ENV, XLAT_IN_ENV, XLAT_IN_ENV, 12,      13,       14,       15,
};

/* ---------------------------------------------------------------- flags, vectors, registers */

void flags_park(struct emitter *e, unsigned temp)
{
    e_mov(e, temp, HOST_RAX);
    e8(e, 0x9f); /* lahf */
    e8(e, 0x0f); /* seto al */
    e8(e, 0x90);
    e8(e, 0xc0);
    e8(e, 0x66);
    e_env(e, 0, 0x89, HOST_RAX, ENV(xl_flags));
    e_mov(e, HOST_RAX, temp);
}

void flags_unpark(struct emitter *e, unsigned temp)
{
    e_mov(e, temp, HOST_RAX);
    e8(e, 0x0f); /* movzx eax, word env:[xl_flags] */
    e8(e, 0xb7);
    e_modrm_env(e, HOST_RAX, ENV(xl_flags));
    e8(e, 0x04); /* add al, 127: overflows when AL is 1 */
    e8(e, 127);
    e8(e, 0x9e); /* sahf */
    e_mov(e, HOST_RAX, temp);
}

static void gprs(struct emitter *e, uint8_t opcode)
{
    for (unsigned n = 0; n < 16; n++) {
        if (xlat_host_reg[n] != XLAT_IN_ENV) {
            e_env(e, 1, opcode, xlat_host_reg[n], ENV_REG(n));
        }
    }
}

static void gprs_spill(struct emitter *e)
{
    gprs(e, 0x89);
}

static void gprs_load(struct emitter *e)
{
    gprs(e, 0x8b);
}

/* op xmm, env:[disp] of 0F xx instructions without prefix */
static void e_env_0f(struct emitter *e, uint8_t op, unsigned reg, int32_t disp)
{
    e_rex(e, 0, reg, 0, 0);
    e8(e, 0x0f);
    e8(e, op);
    e_modrm_env(e, reg, disp);
}

void e_test_env_byte(struct emitter *e, int32_t disp)
{
    e_env(e, 0, 0x80, 7, disp);
    e8(e, 0);
}

void e_set_env_byte(struct emitter *e, int32_t disp, uint8_t value)
{
    e_env(e, 0, 0xc6, 0, disp);
    e8(e, value);
}

void e_set_env_dword(struct emitter *e, int32_t disp, uint32_t value)
{
    e_env(e, 0, 0xc7, 0, disp);
    e32(e, value);
}

/* Flags are lost. */
static void vec_spill(struct emitter *e)
{
    e_test_env_byte(e, ENV(xl_novec));
    uint8_t *skip = e_jcc(e, CC_NE);
    for (unsigned n = 0; n < 16; n++) {
        e_env_0f(e, 0x29, n, ENV_XMM(n));
    }
    e_set_env_byte(e, ENV(xl_novec), 1);
    e_target(skip, e->p);
}

/* Loads them whatever they are, and the guest's MXCSR. Flags and temp are lost. */
static void vec_load(struct emitter *e, unsigned temp)
{
    for (unsigned n = 0; n < 16; n++) {
        e_env_0f(e, 0x28, n, ENV_XMM(n));
    }
    e_set_env_byte(e, ENV(xl_novec), 0);
    e_test_env_byte(e, ENV(fp_entered));
    uint8_t *skip = e_jcc(e, CC_NE);
    e_env(e, 0, 0x8b, temp, ENV(mxcsr));
    e_alu_imm(e, 0, 1, temp, 0x1f80); /* all exceptions masked */
    e_env(e, 0, 0x89, temp, ENV(xl_scratch));
    e_env_0f(e, 0xae, 2, ENV(xl_scratch)); /* ldmxcsr */
    e_set_env_byte(e, ENV(fp_entered), 1);
    e_target(skip, e->p);
}

/* ---------------------------------------------------------------- shared stubs */

/* mov esp, where it is in translated code, `depth` bytes in use */
static void stack_to_env(struct emitter *e)
{
    e8(e, 0xbc);
    e32(e, e->env - e->depth);
}

/* C has the thread's own stack. */
static void call_c(struct emitter *e, const void *fn)
{
    e_load_env(e, HOST_RDI, ENV(self));
    e_load_env(e, HOST_RSP, ENV(xl_stack));
    e_mov_imm(e, HOST_RAX, (uintptr_t)fn);
    e8(e, 0xff);
    e8(e, 0xd0);
    stack_to_env(e);
}

/* [address], without a base register: where RSP is the thread's */
static void e_absolute(struct emitter *e, uint8_t op, unsigned reg, int32_t address)
{
    e8(e, op);
    e8(e, reg << 3 | 4);
    e8(e, 0x25);
    e32(e, address);
}

/* Goes on at the address in RAX with registers and flags from memory. */
static void resume(struct emitter *e)
{
    e_store_env(e, HOST_RAX, ENV(xl_target));
    gprs_load(e);
    flags_unpark(e, T1);
    e_env(e, 0, 0xff, 4, ENV(xl_target));
}

static void make_enter(struct emitter *e, struct xlat *xl)
{
    static const uint8_t push[] = {0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57};
    static const uint8_t pop[] = {0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b};
    xl->stub_enter = e->p;
    for (unsigned i = 0; i < sizeof(push); i++) {
        e8(e, push[i]);
    }
    e_absolute(e, 0xff, 6, e->env + ENV(xl_stack)); /* push: this may be within another's call */
    e8(e, 0x48);
    e_absolute(e, 0x89, HOST_RSP, e->env + ENV(xl_stack));
    stack_to_env(e);
    e_mov(e, HOST_RAX, HOST_RSI);
    resume(e);

    xl->stub_leave = e->p;
    flags_park(e, T1);
    xl->stub_leave_parked = e->p;
    e_set_env_byte(e, ENV(xl_raw), 1);
    gprs_spill(e);
    vec_spill(e);
    xl->stub_leave_done = e->p;
    e_load_env(e, HOST_RSP, ENV(xl_stack));
    e_absolute(e, 0x8f, 0, e->env + ENV(xl_stack)); /* pop */
    for (unsigned i = 0; i < sizeof(pop); i++) {
        e8(e, pop[i]);
    }
    e8(e, 0xc3);
}

static void make_op(struct emitter *e, struct xlat *xl, unsigned variant)
{
    xl->stub_op[variant] = e->p;
    e->depth = 8; /* the return address */
    if (!(variant & STUB_PARKED)) {
        flags_park(e, T1);
    }
    gprs_spill(e);
    vec_spill(e);
    e_mov(e, HOST_RSI, T0);
    call_c(e, xlat_op);
    e_rr(e, 1, 0x85, HOST_RAX, HOST_RAX);
    uint8_t *away = e_jcc(e, CC_NE);
    if (variant & STUB_VEC) {
        vec_load(e, HOST_RAX);
    }
    gprs_load(e);
    flags_unpark(e, T1);
    e8(e, 0xc3);
    e_target(away, e->p);
    e->depth = 0;
    stack_to_env(e);
    resume(e);
}

static void make_call_out(struct emitter *e, bool parked, const void *fn)
{
    if (!parked) {
        flags_park(e, T1);
    }
    gprs_spill(e);
    vec_spill(e);
    e_mov(e, HOST_RSI, T0);
    call_c(e, fn);
    resume(e);
}

/* Into the middle of a unit, which has parked its flags or needs none. */
static void make_copy(struct emitter *e, struct xlat *xl, bool vec)
{
    xl->stub_copy[vec] = e->p;
    gprs_spill(e);
    vec_spill(e);
    e_mov(e, HOST_RSI, T0);
    call_c(e, xlat_copy);
    e_store_env(e, HOST_RAX, ENV(xl_target));
    if (vec) {
        vec_load(e, HOST_RAX);
    }
    gprs_load(e);
    e_env(e, 0, 0xff, 4, ENV(xl_target));
}

/* mov rdx, [rax + i]; mov [T1 + 8 + i], rdx: the piece of memory at RAX into the note at T1. */
static void copy_note(struct emitter *e)
{
    e_rm(e, 1, 0x89, HOST_RAX, T1, 0);
    for (unsigned i = 0; i < NOTE_BYTES; i += 8) {
        e_rm(e, 1, 0x8b, HOST_RDX, HOST_RAX, i);
        e_rm(e, 1, 0x89, HOST_RDX, T1, 8 + i);
    }
    e_lea(e, T1, T1, 4, 0, 8 + NOTE_BYTES);
}

/* Notes the aligned piece that a store to T0 begins in, and the next one unless that is another
 * page's: such a store would not have come here. Flags and T1 are lost. */
static void make_note(struct emitter *e, struct xlat *xl)
{
    xl->stub_note = e->p;
    e->depth = 8;
    e8(e, 0x50); /* push rax; push rdx */
    e8(e, 0x52);
    e->depth += 16;
    e_load_env(e, T1, ENV(xl_note));
    e_mov(e, HOST_RAX, T0);
    e_alu_imm(e, 1, 4, HOST_RAX, -NOTE_BYTES);
    copy_note(e);
    e_alu_imm(e, 1, 0, HOST_RAX, NOTE_BYTES);
    e8(e, 0xa9); /* test eax, 0xfff */
    e32(e, GUEST_PAGE_SIZE - 1);
    uint8_t *last = e_jcc(e, CC_E);
    copy_note(e);
    e_target(last, e->p);
    e_store_env(e, T1, ENV(xl_note));
    e8(e, 0x5a);
    e8(e, 0x58);
    e8(e, 0xc3);
    e->depth = 0;
}

void xlat_make_stubs(struct cpu *c, struct xlat *xl)
{
    struct emitter e = {.p = xl->rw, .exec = xl->rx - xl->rw, .env = (int32_t)(intptr_t)c};
    make_enter(&e, xl);
    for (unsigned variant = 0; variant < 4; variant++) {
        make_op(&e, xl, variant);
    }
    xl->stub_exit = e.p;
    make_call_out(&e, false, xlat_exit);
    xl->stub_exit_parked = e.p;
    make_call_out(&e, true, xlat_exit);
    xl->stub_miss = e.p;
    make_call_out(&e, true, xlat_miss);
    xl->stub_vec_load = e.p;
    e.depth = 8;
    flags_park(&e, T1);
    vec_load(&e, T1);
    flags_unpark(&e, T1);
    e8(&e, 0xc3);
    e.depth = 0;
    make_copy(&e, xl, false);
    make_copy(&e, xl, true);
    make_note(&e, xl);
    xl->stubs = (e.p - xl->rw + 63) & ~63ull;
}
