/*
 * The instruction table as data: all lines of the five .def files.
 */
#include "cpu/x86/soft/insn.h"

#define U(map, opcode, pfx, reg, rm, name, attrs, feature)                                         \
    {op_##name, NULL, map, opcode, pfx, reg, rm, feature, attrs, 0, #name},
#define V(map, opcode, pfx, reg, rm, name, attrs, vex, feature)                                    \
    {op_##name, NULL, map, opcode, pfx, reg, rm, feature, attrs, vex, #name},
#define F(map, opcode, pfx, reg, rm, name, attrs, feature)                                         \
    {NULL, forms_##name, map, opcode, pfx, reg, rm, feature, attrs, 0, #name},

const struct insn insn_table[] = {
#include "cpu/x86/soft/insn-avx.def"
#include "cpu/x86/soft/insn-sse.def"
#include "cpu/x86/soft/insn-sys.def"
#include "cpu/x86/soft/insn-x87.def"
#include "cpu/x86/soft/insn.def"
};
const unsigned insn_table_size = G_N_ELEMENTS(insn_table);
