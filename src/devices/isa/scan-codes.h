/*
 * What keyboards say of their keys: the scan code sets of the IBM PS/2 keyboards (technical
 * reference, "Keyboard (101- and 102-key)"). A key is known here by its scan code of set 1, with
 * 0x80 added when 0xe0 comes first; Pause is a number of its own.
 */
#ifndef DEVICES_ISA_SCAN_CODES_H
#define DEVICES_ISA_SCAN_CODES_H

#include <stdbool.h>
#include <stdint.h>

#define SCAN_PAUSE     0xc6
#define SCAN_BYTES_MAX 8

/* The bytes of a key that goes down or up, in set 1, 2 or 3; how many there are, 0 for a key that
 * the set lacks. */
unsigned scan_code_bytes(unsigned set, uint8_t key, bool down, uint8_t bytes[SCAN_BYTES_MAX]);

/* The key's code in set 3; 0: none. */
uint8_t scan_code_set3(uint8_t key);

/* What the controller makes of a code of set 2 when it translates: the code of set 1. */
uint8_t scan_code_translate(uint8_t code);

#endif
