/*
 * The instruction table as data: all lines of the four .def files.
 */
#include "cpu/x86/soft/insn.h"

#define U(map, opcode, pfx, reg, rm, name, attrs, feature)                                         \
    {op_##name, NULL, map, opcode, pfx, reg, rm, feature, attrs, #name},
#define F(map, opcode, pfx, reg, rm, name, attrs, feature)                                         \
    {NULL, forms_##name, map, opcode, pfx, reg, rm, feature, attrs, #name},

const struct insn insn_table[] = {
#include "cpu/x86/soft/insn-sse.def"
#include "cpu/x86/soft/insn-sys.def"
#include "cpu/x86/soft/insn-x87.def"
#include "cpu/x86/soft/insn.def"
};
const unsigned insn_table_size = G_N_ELEMENTS(insn_table);
