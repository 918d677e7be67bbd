/* Key names as numbers. */
#ifndef MONITOR_KEYCODES_H
#define MONITOR_KEYCODES_H

#include "qapi-types.h"

/* The number of a key as keyboards of the board take it (i8042.h); 0: the keyboard lacks it. */
uint8_t keycode_number(enum q_key_code code);

#endif
