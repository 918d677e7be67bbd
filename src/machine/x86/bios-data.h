/*
 * What low memory holds on a PC although no firmware ran: the BIOS data that systems look at
 * whatever started them, and an interrupt table of real mode whose BIOS services all answer that
 * they are not there (carry set, AH 86H), as do those that a BIOS lacks. Without it a kernel that
 * asks the BIOS on its way up, as Xen does, would execute memory from address 0 on.
 */
#ifndef MACHINE_X86_BIOS_DATA_H
#define MACHINE_X86_BIOS_DATA_H

#include "memory/address-space.h"

/* Writes the table to 0, the data to 0x400 and on, and the EBDA with the handlers' code. */
void bios_data_write(struct address_space *mem);

#endif
