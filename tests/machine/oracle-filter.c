/*
 * What may run on the host, and which results the manuals leave undefined.
 */
#include "cpu/x86/soft/insn.h"
#include "oracle.h"
#include <cpuid.h>

/* ---------------------------------------------------------------- parsing */

static bool is_prefix(struct parsed *p, uint8_t b)
{
    switch (b) {
    case 0x66:
        p->prefix66 = true;
        return true;
    case 0x67:
        p->prefix67 = true;
        return true;
    case 0xf0:
        p->lock = true;
        return true;
    case 0xf2:
    case 0xf3:
        p->rep = b;
        return true;
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e: /* without effect in 64-bit mode: an FS or GS before it stays */
        p->segment = p->mode == CODE_64 ? p->segment : b;
        return true;
    case 0x64:
    case 0x65:
        p->segment = b;
        return true;
    default:
        return false;
    }
}

/* VEX, EVEX and XOP take over opcodes whose old meaning needs a memory operand (or is POP). */
static bool starts_vector(uint8_t opcode, uint8_t next, bool mode32)
{
    switch (opcode) {
    case 0xc4:
    case 0xc5:
    case 0x62:
        return !mode32 || next >= 0xc0;
    case 0x8f:
        return (next & 0x1f) >= 8;
    default:
        return false;
    }
}

/* Index of the first byte after ModRM, SIB and displacement: where an immediate would be. */
static unsigned modrm_end(const struct parsed *p, const uint8_t *code)
{
    unsigned mod = p->modrm >> 6, rm = p->modrm & 7, at = p->modrm_at + 1;
    if (mod == 3) {
        return at;
    }
    if (p->addr16) {
        return at + (mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0);
    }
    if (rm == 4) {
        rm = code[at++] & 7;
    }
    return at + (mod == 1 ? 1 : mod == 2 || rm == 5 ? 4 : 0);
}

/* The rest of a VEX-encoded instruction, from C4 or C5 on. Prefixes that make it undefined are left
 * in `lock` and, instead of the map, noted by PARSED_VECTOR. */
static void parse_vex(struct parsed *p, const uint8_t *code, unsigned i)
{
    bool three = code[i] == 0xc4, undefined = p->prefix66 || p->rep || p->lock || p->rex;
    bool mode64 = p->mode == CODE_64;
    uint8_t fields = three ? code[i + 1] : (code[i + 1] & 0x80) | 0x61;
    uint8_t last = code[i + (three ? 2 : 1)];
    unsigned map = fields & 31, pp = last & 3;

    if (map < 1 || map > VEX_MAPS || undefined) {
        return;
    }
    p->map = V0F + map - 1;
    p->vvvv = ~last >> 3 & 15;
    p->l = last >> 2 & 1;
    p->w = three && last >> 7;
    p->prefix66 = pp == 1;
    p->rep = pp == 2 ? 0xf3 : pp == 3 ? 0xf2 : 0;
    p->rex = (mode64 ? ~fields >> 5 & 7 : 0) | (p->w ? 8 : 0);
    p->osz = mode64 && p->w ? 8 : 4;
    p->opcode_at = i + (three ? 3 : 2);
    p->opcode = code[p->opcode_at];
    p->modrm_at = p->opcode_at + 1;
    p->modrm = code[p->modrm_at];
    p->modrm_end = modrm_end(p, code);
}

void insn_parse(struct parsed *p, const uint8_t *code, unsigned bytes, enum code_mode mode)
{
    unsigned i = 0;
    bool mode32 = mode != CODE_64;
    *p = (struct parsed){.map = M1, .mode = mode};
    while (i < bytes) {
        if (is_prefix(p, code[i])) {
            p->rex = 0; /* REX counts only right before the opcode */
            i++;
        } else if (!mode32 && (code[i] & 0xf0) == 0x40) {
            p->rex = code[i++];
        } else {
            break;
        }
    }
    if (i + 8 > bytes) {
        return;
    }
    if (code[i] == 0x0f) {
        i++;
        p->map = code[i] == 0x38 ? M38 : code[i] == 0x3a ? M3A : M0F;
        i += p->map != M0F;
    }
    p->opcode_at = i;
    p->opcode = code[i++];
    p->modrm_at = i;
    p->modrm = code[i];
    p->addr16 = mode32 && p->prefix67 == (mode == CODE_32);
    p->osz = p->rex & 8 ? 8 : p->prefix66 == (mode != CODE_16) ? 2 : 4;
    p->modrm_end = modrm_end(p, code);
    if (p->map == M1 && starts_vector(p->opcode, p->modrm, mode32)) {
        p->map = PARSED_VECTOR;
        if ((p->opcode == 0xc4 || p->opcode == 0xc5) && i + 8 <= bytes) {
            parse_vex(p, code, i - 1);
        }
    }
    p->ok = true;
}

/* ---------------------------------------------------------------- what may run */

static bool table_has(unsigned map, unsigned opcode, unsigned pfx)
{
    for (unsigned i = 0; i < insn_table_size; i++) {
        const struct insn *n = &insn_table[i];
        if (n->map == map && n->opcode == opcode && n->pfx == pfx && feature_modelled(n->feature)) {
            return true;
        }
    }
    return false;
}

/* 66 on a near branch in 64-bit mode: Intel ignores it, AMD truncates RIP (APM vol. 3, 1.2.2). */
static bool is_near_branch(const struct parsed *p)
{
    unsigned reg = p->modrm >> 3 & 7;
    if (p->map == M0F) {
        return (p->opcode & 0xf0) == 0x80;
    }
    return p->map == M1 &&
           ((p->opcode & 0xf0) == 0x70 || (p->opcode >= 0xe0 && p->opcode <= 0xe3) ||
            p->opcode == 0xe8 || p->opcode == 0xe9 || p->opcode == 0xeb || p->opcode == 0xc2 ||
            p->opcode == 0xc3 || (p->opcode == 0xff && (reg == 2 || reg == 4)));
}

static bool allowed_one_byte(const struct parsed *p)
{
    bool mode32 = p->mode != CODE_64;
    unsigned reg = p->modrm >> 3 & 7;
    switch (p->opcode) {
    case 0xe0: /* LOOPcc with F2 or F3: reserved (SDM vol. 2, 2.1.1), inverts the condition on some
                */
    case 0xe1:
        return !p->rep;
    case 0x06: /* PUSH segment register: 16 or 32 bits written, by vendor */
    case 0x0e:
    case 0x16:
    case 0x1e:
    case 0x07: /* segment loads and far transfers: the host's GDT is not ours */
    case 0x17:
    case 0x1f:
    case 0x8e:
    case 0x9a:
    case 0xea:
    case 0xca:
    case 0xcb:
    case 0xcf:
    case 0xc4:
    case 0xc5:
        return false;
    case 0x63: /* ARPL in memory: whether it asks for write access at once differs;
                * MOVSXD of 16 bits: whether it reads 16 (SDM) or 32 (APM vol. 3) */
        return p->modrm >= 0xc0 || !(mode32 || (p->prefix66 && !(p->rex & 8)));
    case 0xff:
        return reg != 3 && reg != 5;
    case 0xcd: /* INT 0x80 is a system call */
        return p->modrm != 0x80;
    case 0xf1: /* INT1 */
    case 0xd6: /* SALC: in no manual */
    case 0x6c: /* INS, OUTS */
    case 0x6d:
    case 0x6e:
    case 0x6f:
        return false;
    default:
        return true;
    }
}

static bool allowed_0f(const struct parsed *p)
{
    bool mode32 = p->mode != CODE_64;
    unsigned reg = p->modrm >> 3 & 7;
    bool memory = p->modrm < 0xc0, plain = !p->rep && !p->prefix66;
    switch (p->opcode) {
    case 0x00: /* SLDT STR LLDT LTR VERR VERW, and group 7: emulated by the kernel (UMIP), or host's
                */
    case 0x01:
    case 0x02: /* LAR, LSL: the host's GDT */
    case 0x03:
    case 0x05: /* SYSCALL and its kind */
    case 0x07:
    case 0x34:
    case 0x35:
    case 0x31: /* RDTSC, RDPMC, CPUID: not the same twice */
    case 0x33:
    case 0xa2:
    case 0x78: /* SSE4A */
    case 0x79:
    case 0xa1: /* POP FS, POP GS, LSS, LFS, LGS */
    case 0xa9:
    case 0xb2:
    case 0xb4:
    case 0xb5:
        return false;
    case 0xa0: /* PUSH FS, PUSH GS */
    case 0xa8:
        return !mode32;
    case 0x20: /* LOCK MOV CR0 is AMD's way to CR8 */
    case 0x22:
        return !p->lock;
    case 0x0d: /* PREFETCHW of a register: #UD (AMD), or no operation */
        return memory;
    case 0x2a: /* CVTPI2PS from memory enters MMX mode (SDM), or not (APM vol. 5) */
        return p->rep || p->prefix66 || !memory;
    case 0x2b: /* MOVNTSS, MOVNTSD of SSE4A */
        return !p->rep;
    case 0xae:
        if (!plain) {
            return false; /* FSGSBASE, CLWB, CLFLUSHOPT, UMONITOR, PTWRITE, CET */
        }
        return memory ? reg < 4 || reg == 7 : true; /* not XSAVE and its kind */
    case 0xc7:
        return plain && memory && reg < 3; /* not RDRAND, RDSEED, RDPID, XSAVES, VMX */
    case 0xb8:
    case 0xbc:
    case 0xbd: /* TZCNT and LZCNT run as BSF and BSR where they are not offered */
        return p->rep != 0xf3 || table_has(M0F, p->opcode, PF3);
    default:
        return true;
    }
}

/* The prefix column of the table. */
static unsigned pfx_of(const struct parsed *p)
{
    return p->rep == 0xf3 ? PF3 : p->rep == 0xf2 ? PF2 : p->prefix66 ? P66 : PN;
}

/* A VEX-encoded instruction that some line is for. L may be wrong, which is undefined, except that
 * the host may have wider forms of AES and PCLMULQDQ; a wrong W is ignored by some processors. */
static bool allowed_vex(const struct parsed *p)
{
    bool move = (p->map == V0F && (p->opcode == 0x6e || p->opcode == 0x7e)) ||
                (p->map == V3A && (p->opcode == 0x16 || p->opcode == 0x22));
    if (p->mode != CODE_64 && p->w && move) {
        return false; /* VPEXTRQ and its kind: W ignored (SDM), or #UD */
    }
    for (unsigned i = 0; i < insn_table_size; i++) {
        const struct insn *n = &insn_table[i];
        if (n->map == p->map && n->opcode == p->opcode && n->pfx == pfx_of(p) &&
            feature_modelled(n->feature) && !(n->vex & (p->w ? V_W0 : V_W1))) {
            return !(p->l && (n->feature == F_AES || n->feature == F_PCLMUL));
        }
    }
    return false;
}

static bool in_list(uint8_t opcode, const uint8_t (*ranges)[2], unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (opcode >= ranges[i][0] && opcode <= ranges[i][1]) {
            return true;
        }
    }
    return false;
}

/* SHA with a misaligned operand in memory: #GP (Intel) or not (AMD), and we do as AMD. */
static bool sha_operand_allowed(const struct parsed *p)
{
    unsigned highest, ebx, ecx, edx;

    return p->modrm >= 0xc0 ||
           (__get_cpuid(0, &highest, &ebx, &ecx, &edx) && ebx == signature_AMD_ebx);
}

bool insn_allowed(const struct parsed *p)
{
    /* SSSE3, SSE4, AES, CRC32; MOVBE below. The rest: SHA, GFNI, ADX, MOVDIRI, CET, key locker. */
    static const uint8_t in_38[][2] = {{0x00, 0x0b}, {0x10, 0x10}, {0x14, 0x15}, {0x17, 0x17},
                                       {0x1c, 0x1e}, {0x20, 0x25}, {0x28, 0x2b}, {0x30, 0x35},
                                       {0x37, 0x41}, {0xdb, 0xdf}};
    static const uint8_t in_3a[][2] = {{0x08, 0x0f}, {0x14, 0x17}, {0x20, 0x22}, {0x40, 0x42},
                                       {0x44, 0x44}, {0x60, 0x63}, {0xdf, 0xdf}};
    if (!p->ok || (p->mode == CODE_64 && p->prefix66 && is_near_branch(p))) {
        return false;
    }
    switch (p->map) {
    case M1:
        return allowed_one_byte(p);
    case M0F:
        return allowed_0f(p);
    case M38:
        if (p->opcode >= 0xc8 && p->opcode <= 0xcd) { /* SHA; EVEX-like prefixes have other uses */
            return feature_modelled(F_SHA) && !p->rep && !p->prefix66 && sha_operand_allowed(p);
        }
        if (p->opcode == 0xf6) { /* ADX; others have WRSS in this place */
            return feature_modelled(F_ADX) && (p->rep == 0xf3 || (p->prefix66 && !p->rep));
        }
        if (p->opcode == 0xf0 || p->opcode == 0xf1) {
            return p->rep == 0xf2 || (p->rep == 0 && feature_modelled(F_MOVBE));
        }
        return in_list(p->opcode, in_38, G_N_ELEMENTS(in_38));
    case M3A:
        if (p->opcode == 0xcc) {
            return feature_modelled(F_SHA) && !p->rep && !p->prefix66 && sha_operand_allowed(p);
        }
        return in_list(p->opcode, in_3a, G_N_ELEMENTS(in_3a));
    case V0F:
    case V38:
    case V3A:
        return allowed_vex(p);
    default:
        return false;
    }
}

/* ---------------------------------------------------------------- undefined results */

enum condition {
    ALWAYS,
    COUNT_SHIFT, /* shift by immediate, one or CL: see undefined_by_count() */
    COUNT_ROTATE,
    COUNT_DOUBLE, /* SHLD, SHRD */
};

#define CF RFLAGS_CF
#define PF RFLAGS_PF
#define AF RFLAGS_AF
#define ZF RFLAGS_ZF
#define SF RFLAGS_SF
#define OF RFLAGS_OF

/* The one table of undefined flags. reg: ModRM.reg values, as bits. Sections: SDM vol. 2, "Flags
 * Affected" of the instruction. */
static const struct undefined {
    uint8_t map, first, last, reg;
    enum condition when;
    uint32_t flags;
} undefined[] = {
    {M1, 0x08, 0x0d, 0xff, ALWAYS, AF},                      /* OR */
    {M1, 0x20, 0x25, 0xff, ALWAYS, AF},                      /* AND */
    {M1, 0x30, 0x35, 0xff, ALWAYS, AF},                      /* XOR */
    {M1, 0x80, 0x83, 0x52, ALWAYS, AF},                      /* OR, AND, XOR imm */
    {M1, 0x84, 0x85, 0xff, ALWAYS, AF},                      /* TEST */
    {M1, 0xa8, 0xa9, 0xff, ALWAYS, AF},                      /* TEST */
    {M1, 0xf6, 0xf7, 0x03, ALWAYS, AF},                      /* TEST */
    {M1, 0xf6, 0xf7, 0x30, ALWAYS, SF | ZF | AF | PF},       /* MUL, IMUL */
    {M1, 0x69, 0x69, 0xff, ALWAYS, SF | ZF | AF | PF},       /* IMUL */
    {M1, 0x6b, 0x6b, 0xff, ALWAYS, SF | ZF | AF | PF},       /* IMUL */
    {M0F, 0xaf, 0xaf, 0xff, ALWAYS, SF | ZF | AF | PF},      /* IMUL */
    {M1, 0xf6, 0xf7, 0xc0, ALWAYS, RFLAGS_ARITH},            /* DIV, IDIV */
    {M1, 0xc0, 0xc1, 0xf0, COUNT_SHIFT, 0},                  /* SHL, SHR, SAR */
    {M1, 0xd0, 0xd3, 0xf0, COUNT_SHIFT, 0},                  /* SHL, SHR, SAR */
    {M1, 0xc0, 0xc1, 0x0f, COUNT_ROTATE, 0},                 /* ROL, ROR, RCL, RCR */
    {M1, 0xd0, 0xd3, 0x0f, COUNT_ROTATE, 0},                 /* ROL, ROR, RCL, RCR */
    {M0F, 0xa4, 0xa5, 0xff, COUNT_DOUBLE, 0},                /* SHLD */
    {M0F, 0xac, 0xad, 0xff, COUNT_DOUBLE, 0},                /* SHRD */
    {M0F, 0xa3, 0xa3, 0xff, ALWAYS, OF | SF | AF | PF},      /* BT */
    {M0F, 0xab, 0xab, 0xff, ALWAYS, OF | SF | AF | PF},      /* BTS */
    {M0F, 0xb3, 0xb3, 0xff, ALWAYS, OF | SF | AF | PF},      /* BTR */
    {M0F, 0xba, 0xbb, 0xff, ALWAYS, OF | SF | AF | PF},      /* BT.. imm, BTC */
    {M0F, 0xbc, 0xbd, 0xff, ALWAYS, CF | OF | SF | AF | PF}, /* BSF, BSR, TZCNT, LZCNT */
    {M1, 0x27, 0x27, 0xff, ALWAYS, OF},                      /* DAA */
    {M1, 0x2f, 0x2f, 0xff, ALWAYS, OF},                      /* DAS */
    {M1, 0x37, 0x37, 0xff, ALWAYS, OF | SF | ZF | PF},       /* AAA */
    {M1, 0x3f, 0x3f, 0xff, ALWAYS, OF | SF | ZF | PF},       /* AAS */
    {M1, 0xd4, 0xd5, 0xff, ALWAYS, OF | AF | CF},            /* AAM, AAD */
    {V38, 0xf2, 0xf3, 0xff, ALWAYS, AF | PF},                /* ANDN, BLSR, BLSMSK, BLSI */
    {V38, 0xf5, 0xf5, 0xff, ALWAYS, AF | PF},                /* BZHI; PDEP, PEXT leave them alone */
    {V38, 0xf7, 0xf7, 0xff, ALWAYS, AF | SF | PF},           /* BEXTR; SHLX and its kind do, too */
};

/* r NULL: the count is not known, assume the worst. */
static uint32_t undefined_by_count(const struct parsed *p, const uint8_t *code, const uint64_t *r,
                                   enum condition when, bool *skip)
{
    bool byte = p->map == M1 && !(p->opcode & 1);
    unsigned width = byte ? 8 : 8 * p->osz;
    bool by_cl = p->map == M1 ? p->opcode >= 0xd2 && p->opcode <= 0xd3 : p->opcode & 1;
    bool by_one = p->map == M1 && (p->opcode == 0xd0 || p->opcode == 0xd1);
    unsigned count = by_one ? 1 : by_cl ? (r ? (uint8_t)r[RCX] : 255) : code[p->modrm_end];
    count &= width == 64 ? 63 : 31;
    if (count == 0) {
        return 0;
    }
    switch (when) {
    case COUNT_ROTATE:
        return count == 1 ? 0 : OF;
    case COUNT_DOUBLE:
        *skip |= count > width; /* the destination is undefined, too */
        return count > width ? RFLAGS_ARITH : AF | (count == 1 ? 0 : OF);
    default: /* CF: of SHL and SHR when everything is shifted out */
        return AF | (count == 1 ? 0 : OF) | (count >= width ? CF : 0);
    }
}

uint32_t insn_undefined_flags(const struct parsed *p, const uint8_t *code, const uint64_t r[16],
                              bool *skip)
{
    uint32_t flags = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(undefined); i++) {
        const struct undefined *u = &undefined[i];
        if (p->map != u->map || p->opcode < u->first || p->opcode > u->last ||
            !(u->reg >> (p->modrm >> 3 & 7) & 1)) {
            /* opcodes without ModRM have reg 0xff */
            continue;
        }
        flags |= u->when == ALWAYS ? u->flags : undefined_by_count(p, code, r, u->when, skip);
    }
    /* TZCNT: OF SF AF PF; LZCNT the same: CF and ZF are defined. */
    if (p->map == M0F && (p->opcode == 0xbc || p->opcode == 0xbd) && p->rep == 0xf3 &&
        table_has(M0F, p->opcode, PF3)) {
        flags = OF | SF | AF | PF;
    } else if (p->map == M0F && (p->opcode & 0xf8) == 0xc8 && p->osz == 2) {
        *skip = true; /* BSWAP of 16 bits: undefined result */
    }
    return flags;
}

/* ---------------------------------------------------------------- vendors */

/* x87 condition bits in which processors differ. Sections: SDM vol. 2 and APM vol. 5, "flags
 * affected" of the instruction. modrm: first and last value. */
static const struct {
    uint8_t opcode, first, last;
    bool if_stopped; /* only when an unmasked invalid operation stops the instruction */
    uint16_t bits;
} x87_differences[] = {
    {0xdb, 0xe8, 0xf7, false, 0x0200}, /* FUCOMI, FCOMI: C1 cleared (SDM), kept (APM) */
    {0xdf, 0xe8, 0xf7, false, 0x0200}, /* FUCOMIP, FCOMIP */
    /* Comparisons: C0, C2, C3 kept (SDM), "unordered" (APM) */
    {0xd8, 0x10, 0x1f, true, 0x4500}, /* FCOM, FCOMP m32 */
    {0xd8, 0x50, 0x5f, true, 0x4500},
    {0xd8, 0x90, 0x9f, true, 0x4500},
    {0xd8, 0xd0, 0xdf, true, 0x4500}, /* FCOM, FCOMP ST(i) */
    {0xda, 0x10, 0x1f, true, 0x4500}, /* FICOM, FICOMP m32 */
    {0xda, 0x50, 0x5f, true, 0x4500},
    {0xda, 0x90, 0x9f, true, 0x4500},
    {0xda, 0xe9, 0xe9, true, 0x4500}, /* FUCOMPP */
    {0xdc, 0x10, 0x1f, true, 0x4500}, /* FCOM, FCOMP m64 */
    {0xdc, 0x50, 0x5f, true, 0x4500},
    {0xdc, 0x90, 0x9f, true, 0x4500},
    {0xdc, 0xd0, 0xdf, true, 0x4500}, /* FCOM, FCOMP ST(i), aliases */
    {0xdd, 0xe0, 0xef, true, 0x4500}, /* FUCOM, FUCOMP */
    {0xde, 0x10, 0x1f, true, 0x4500}, /* FICOM, FICOMP m16 */
    {0xde, 0x50, 0x5f, true, 0x4500},
    {0xde, 0x90, 0x9f, true, 0x4500},
    {0xde, 0xd0, 0xd9, true, 0x4500}, /* FCOMP, FCOMPP */
    {0xd9, 0xe4, 0xe4, true, 0x4500}, /* FTST */
};

uint16_t insn_ignored_fsw(const struct parsed *p, uint16_t *if_stopped)
{
    uint16_t bits = 0;
    for (unsigned i = 0; p->map == M1 && i < G_N_ELEMENTS(x87_differences); i++) {
        if (p->opcode == x87_differences[i].opcode && p->modrm >= x87_differences[i].first &&
            p->modrm <= x87_differences[i].last) {
            *(x87_differences[i].if_stopped ? if_stopped : &bits) |= x87_differences[i].bits;
        }
    }
    return bits;
}

bool insn_touches_mmx_late(const struct parsed *p)
{
    return p->map == M0F && !p->rep &&
           (p->opcode == 0x2a || p->opcode == 0x2c || p->opcode == 0x2d || p->opcode == 0xf7);
}

bool insn_has_wide_operand(const struct parsed *p)
{
    unsigned reg = p->modrm >> 3 & 7;
    if (p->map == M1 && (p->opcode == 0x60 || p->opcode == 0x61)) {
        return true; /* PUSHA, POPA */
    }
    if ((p->map == M0F || p->map == V0F) && p->opcode == 0xf7) {
        return true; /* MASKMOV: byte by byte */
    }
    if (p->map == V38 && ((p->opcode >= 0x2c && p->opcode <= 0x2f) || p->opcode == 0x8c ||
                          p->opcode == 0x8e || (p->opcode >= 0x90 && p->opcode <= 0x93))) {
        return true; /* VMASKMOV, VPMASKMOV, gathers */
    }
    if (p->modrm >= 0xc0) {
        return false;
    }
    switch (p->map) {
    case M1:
        return ((p->opcode == 0xd9 || p->opcode == 0xdd || p->opcode == 0xdf) &&
                (reg == 4 || reg == 6)) ||
               (p->opcode == 0xdb && (reg == 5 || reg == 7));
    case M0F:
        return p->opcode == 0xae && reg < 2;
    default:
        return false;
    }
}

bool insn_alignment_varies(const struct parsed *p)
{
    switch (p->map) {
    case M1:
        return p->opcode == 0xc8 || p->opcode == 0x62 || /* ENTER, BOUND */
               insn_has_wide_operand(p);
    case M0F:
        return p->opcode == 0x10 || p->opcode == 0x11 || p->opcode == 0x6f || p->opcode == 0x7f ||
               p->opcode == 0xf0 || p->opcode == 0xf7 || p->opcode == 0xae;
    case M38:
        return p->opcode >= 0xc8 && p->opcode <= 0xcd; /* SHA */
    case M3A:
        return (p->opcode >= 0x60 && p->opcode <= 0x63) || p->opcode == 0xcc;
    default:
        return p->map == V0F || p->map == V38 || p->map == V3A;
    }
}

void insn_ignored_memory(const struct parsed *p, struct ignored ignored[2])
{
    unsigned reg = p->modrm >> 3 & 7;
    bool narrow = p->osz == 2;
    ignored[0].bytes = ignored[1].bytes = 0;
    if (p->modrm >= 0xc0) {
        return;
    }
    if (p->map == M0F && p->opcode == 0xae && reg == 0) {
        ignored[0] = (struct ignored){.at = 6, .bytes = 18}; /* FOP FIP FDP */
        ignored[1] = (struct ignored){.at = 28, .bytes = 4}; /* MXCSR_MASK */
    } else if (p->map == M1 && (p->opcode == 0xd9 || p->opcode == 0xdd) && reg == 6) {
        ignored[0] = (struct ignored){.at = narrow ? 6 : 12, .bytes = narrow ? 8 : 16};
    }
}
