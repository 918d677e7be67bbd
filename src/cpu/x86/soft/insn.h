/*
 * The instruction table: what its columns mean, and the prototypes of all handlers that it names.
 *
 * The five .def files are included several times with different meanings of U(), V() and F();
 * insn.c gives them their defaults. docs/insn-table.md describes the columns of U(). A V() line is
 * a VEX-encoded one, with a column for the VEX fields. An F() line has the same columns, but names
 * an array forms_<name> of handlers, one per operand size and operand kind, from which decode.c
 * picks: the handler then finds its operands in the specialised form (see A_EG, A_ACC).
 */
#ifndef CPU_X86_SOFT_INSN_H
#define CPU_X86_SOFT_INSN_H

#include "cpu/x86/soft/soft-priv.h"

enum insn_map { M1, M0F, M38, M3A, INSN_MAPS };
/* VEX-encoded: maps 1 to 3 */
enum { V0F = INSN_MAPS, V38, V3A, VEX_MAPS = 3 };
enum insn_pfx { PX, PN, P66, PF3, PF2 };
enum { RX = 8 };            /* any ModRM.reg */
enum { RMX = 8, RMM, RMR }; /* any ModRM.rm; memory only; registers only */

enum insn_attr {
    A_MODRM = 1u << 0,
    A_I8 = 1u << 1,    /* sign-extended */
    A_I16 = 1u << 2,   /* with A_I8: imm16 then imm8 (ENTER); imm8 goes to op.disp */
    A_IZ = 1u << 3,    /* 16 bits, or 32 sign-extended, by operand size */
    A_IV = 1u << 4,    /* 16, 32 or 64 bits by operand size */
    A_FAR = 1u << 5,   /* imm = offset, disp = selector */
    A_REL8 = 1u << 6,  /* imm = target's offset from the block's RIP */
    A_RELZ = 1u << 7,  /* ... with a 16- or 32-bit displacement */
    A_MOFFS = 1u << 8, /* address-sized offset: fills the address fields, sets OB_MEM */
    A_OPREG = 1u << 9,
    A_CPL0 = 1u << 10,
    A_END = 1u << 11,
    A_64 = 1u << 12,
    A_NO64 = 1u << 13,
    A_D64 = 1u << 14,
    A_F64 = 1u << 15, /* as A_D64, and 66 is ignored (in 64-bit mode) */
    A_PROT = 1u << 16,
    A_LOCK = 1u << 17,
    A_SSE = 1u << 18,
    A_MMX = 1u << 19,
    A_X87 = 1u << 20, /* #NM when EM or TS; imm = 11-bit x87 opcode */
    A_WAIT = 1u << 21,
    A_UNDEF = 1u << 22,
    A_BYTE =
        1u << 23, /* operand size 1 (op.osz too): op.dst and op.src are byte offsets in F() lines */
    A_EG = 1u << 24,     /* rm is the destination: op.dst = rm register, op.src = ModRM.reg */
    A_ACC = 1u << 25,    /* op.dst = RAX */
    A_RMB = 1u << 26,    /* the rm operand alone is a byte: op.src is a byte offset (F() lines) */
    A_MODREG = 1u << 27, /* ModRM.mod is taken as 3 whatever it is (MOV CR, DR) */
    A_ONE = 1u << 29,    /* op.imm = 1 */
    A_STR = 1u << 28,    /* string instruction: op.seg/mflags describe DS:rSI with override */
};

/* The column of V() lines: what VEX fields must be; anything else is #UD (another line's, or none).
 * Without V_L* or V_W* the bit is ignored or the handler's to look at. */
enum insn_vex {
    V_L0 = 1 << 0, /* 128 bits (or scalar: LZ) */
    V_L1 = 1 << 1, /* 256 bits */
    V_W0 = 1 << 2,
    V_W1 = 1 << 3,
    V_NOV = 1 << 4, /* vvvv must be 1111b: no such operand */
    V_GPR = 1 << 5, /* general registers only: does not ask for enabled AVX state */
    V_SIB = 1 << 6, /* the index of the address is a vector register: an SIB byte must be there */
};

/* Indexes into forms_*: kind * 4 + log2(operand size). */
enum { FORM_REG = 0, FORM_MEM = 4, FORM_LOCK = 8, FORM_COUNT = 12 };

#define U(map, opcode, pfx, reg, rm, name, attrs, feature) OP(op_##name);
#define F(map, opcode, pfx, reg, rm, name, attrs, feature)                                         \
    extern const op_fn forms_##name[FORM_COUNT];
#define V(map, opcode, pfx, reg, rm, name, attrs, vex, feature) OP(op_##name);
#include "cpu/x86/soft/insn-avx.def"
#include "cpu/x86/soft/insn-sse.def"
#include "cpu/x86/soft/insn-sys.def"
#include "cpu/x86/soft/insn-x87.def"
#include "cpu/x86/soft/insn.def"
#undef U
#undef F
#undef V

/* Offered by the model but not implemented: stops the machine with internal-error. Usable in U().
 */
OP(op_missing);
/* #UD. */
OP(op_ud);

struct insn {
    op_fn fn;           /* uniform handler, or NULL */
    const op_fn *forms; /* specialised handlers */
    uint8_t map, opcode, pfx, reg, rm;
    uint8_t feature;
    uint32_t attrs;
    uint8_t vex; /* enum insn_vex */
    const char *name;
};

/* All lines of the five files, in order. */
extern const struct insn insn_table[];
extern const unsigned insn_table_size;

#endif
