/*
 * Control flow and stack instructions.
 */
#include "cpu/x86/soft/insn.h"

OP(op_nop)
{
    NEXT;
}

OP(op_ud)
{
    raise_fault(c, o, EXC_UD);
}

OP(op_missing)
{
    raise_internal(c, o, "instruction is offered by the CPU model but not implemented");
}
