/* The boards of this program, in the order of -machine help. */
#include "machine/x86/boards.h"

const struct board *const boards[] = {&board_i440fx, &board_q35, &board_microvm, &board_none, NULL};
