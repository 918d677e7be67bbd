/*
 * The instruction table: what its columns mean, and the prototypes of all handlers that it names.
 *
 * The four .def files are included several times with different meanings of U() and F(); insn.c
 * gives both their defaults. docs/insn-table.md describes the columns of U(). An F() line has the
 * same columns, but names an array forms_<name> of handlers, one per operand size and operand kind,
 * from which decode.c picks: the handler then finds its operands in the specialised form (see A_EG,
 * A_ACC).
 */
#ifndef CPU_X86_SOFT_INSN_H
#define CPU_X86_SOFT_INSN_H

#include "cpu/x86/soft/soft-priv.h"

enum insn_map { M1, M0F, M38, M3A, INSN_MAPS };
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

/* Indexes into forms_*: kind * 4 + log2(operand size). */
enum { FORM_REG = 0, FORM_MEM = 4, FORM_LOCK = 8, FORM_COUNT = 12 };

#define U(map, opcode, pfx, reg, rm, name, attrs, feature) OP(op_##name);
#define F(map, opcode, pfx, reg, rm, name, attrs, feature)                                         \
    extern const op_fn forms_##name[FORM_COUNT];
#include "cpu/x86/soft/insn-sse.def"
#include "cpu/x86/soft/insn-sys.def"
#include "cpu/x86/soft/insn-x87.def"
#include "cpu/x86/soft/insn.def"
#undef U
#undef F

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
    const char *name;
};

/* All lines of the four files, in order. */
extern const struct insn insn_table[];
extern const unsigned insn_table_size;

#endif
