/*
 * Host code of system instructions that are worth more than a call of their handler.
 *
 * RDTSC and RDTSCP: the guest's TSC is the virtual clock's nanoseconds (only then; xlat_init),
 * which is read off the clock's line (base/clock-line.h) as vclock_now() does it.
 *
 * CPUID: answers that depend on nothing but leaf and subleaf, as the handler left them in
 * c->cpuid_plain. It serializes, so what other processors asked for is looked at behind it.
 */
#include "base/clock-line.h"
#include "cpu/x86/soft/xlat-gen-priv.h"

#define LINE(field) ((int32_t)offsetof(struct clock_line, field))

static void shift_imm(struct emitter *e, int w, unsigned n, unsigned reg, uint8_t count)
{
    e_rex(e, w, 0, 0, reg);
    e8(e, 0xc1);
    e8(e, 0xc0 | n << 3 | (reg & 7));
    e8(e, count);
}

enum { SHIFT_LEFT = 4, SHIFT_RIGHT = 5 };

void gen_rdtsc(struct gen *k)
{
    struct emitter *e = &k->e;
    const struct xinsn *x = k->x;
    flags_begin(k);
    if ((k->g->key & KEY_CPL) == 3) {   /* RAX and RDX may change only if it is allowed */
        e_env(e, 0, 0xf7, 0, ENV(cr4)); /* test dword env:[cr4], TSD */
        e32(e, CR4_TSD);
        to_handler(k, e_jcc(e, CC_NE));
    }
    e_load_env(e, T0, ENV(tsc_line));
    e_rm(e, 0, 0x8b, T1, T0, LINE(seq));
    e8(e, 0x0f); /* rdtsc */
    e8(e, 0x31);
    shift_imm(e, 1, SHIFT_LEFT, HOST_RDX, 32);
    e_rr(e, 1, 0x09, HOST_RDX, HOST_RAX);
    e_rm(e, 1, 0x2b, HOST_RAX, T0, LINE(base_ticks));
    e_rm(e, 1, 0x3b, HOST_RAX, T0, LINE(limit));
    to_handler(k, e_jcc(e, CC_AE));
    e_rex(e, 1, HOST_RAX, 0, T0); /* imul rax, [T0 + mult]: the product fits (clock-line.h) */
    e8(e, 0x0f);
    e8(e, 0xaf);
    e_modrm_mem(e, HOST_RAX, T0, LINE(mult));
    shift_imm(e, 1, SHIFT_RIGHT, HOST_RAX, 32);
    e_rm(e, 1, 0x03, HOST_RAX, T0, LINE(base_ns));
    e_rm(e, 0, 0x3b, T1, T0, LINE(seq));
    to_handler(k, e_jcc(e, CC_NE));
    e8(e, 0xf6); /* test cl, 1 */
    e8(e, 0xc1);
    e8(e, 1);
    to_handler(k, e_jcc(e, CC_NE));
    e_env(e, 1, 0x03, HOST_RAX, ENV(tsc_offset));
    e_mov(e, HOST_RDX, HOST_RAX);
    shift_imm(e, 1, SHIFT_RIGHT, HOST_RDX, 32);
    e_rr(e, 0, 0x89, HOST_RAX, HOST_RAX);
    if (x->opcode != 0x31) { /* RDTSCP */
        e_env(e, 0, 0x8b, GUEST_RCX, ENV(tsc_aux));
    }
    flags_end(k);
}

#define PLAIN(field) (ENV(cpuid_plain) + (int32_t)offsetof(struct cpuid_plain, field))
_Static_assert(sizeof(struct cpuid_plain) == 32 && CPUID_PLAIN == 16, "as the code scales it");

void gen_cpuid(struct gen *k)
{
    struct emitter *e = &k->e;
    const struct xinsn *x = k->x;
    flags_begin(k);
    e_rr(e, 0, 0x89, HOST_RAX, T0);
    e_rr(e, 0, 0x89, GUEST_RCX, T1);
    shift_imm(e, 1, SHIFT_LEFT, T1, 32);
    e_rr(e, 1, 0x09, T1, T0);
    e_rr(e, 0, 0x89, HOST_RAX, T1); /* cpuid_plain_index() */
    e_rr(e, 0, 0x31, GUEST_RCX, T1);
    e_alu_imm(e, 0, 4, T1, CPUID_PLAIN - 1);
    shift_imm(e, 0, SHIFT_LEFT, T1, 5);
    e_env_base(e, 1, 0x39, T0, T1, PLAIN(key));
    to_handler(k, e_jcc(e, CC_NE));
    e_env_base(e, 0, 0x8b, HOST_RAX, T1, PLAIN(eax));
    e_env_base(e, 0, 0x8b, HOST_RBX, T1, PLAIN(ebx));
    e_env_base(e, 0, 0x8b, HOST_RDX, T1, PLAIN(edx));
    e_env_base(e, 0, 0x8b, GUEST_RCX, T1, PLAIN(ecx));
    flags_end(k);
    gen_poll(k, rip_behind(k, x), x->live_out);
}
