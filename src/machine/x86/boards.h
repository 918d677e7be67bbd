/* Boards of x86 guests; listed in boards.c. */
#ifndef MACHINE_X86_BOARDS_H
#define MACHINE_X86_BOARDS_H

#include "machine/machine.h"

extern const struct board board_i440fx, board_q35, board_microvm, board_none;

#endif
