/*
 * See bios-data.h. Addresses of the BIOS data area: IBM PC AT Technical Reference, "BIOS data
 * area"; functions that are not there: Interrupt 15H, ibid.
 */
#include "machine/x86/bios-data.h"

#include "machine/x86/boot-priv.h"
#include "machine/x86/q35-map.h"

#define VECTORS     256u
#define IRQ_FIRST   0x08u /* vectors of the two 8259 */
#define IRQ_SECOND  0x70u
#define HANDLERS_AT 0x10u /* in the EBDA, whose first byte is its size in KiB */

enum handler { EXCEPTION, SERVICE, FIRST_8259, SECOND_8259, HANDLERS };
#define HANDLER_BYTES 16u

static const uint8_t handlers[HANDLERS][HANDLER_BYTES] = {
    [EXCEPTION] = {0xcf}, /* iret */
    /* push bp; mov bp, sp; or byte [bp+6], CF; pop bp; mov ah, 86h; iret */
    [SERVICE] = {0x55, 0x89, 0xe5, 0x80, 0x4e, 0x06, 0x01, 0x5d, 0xb4, 0x86, 0xcf},
    /* push ax; mov al, end of interrupt; out 20h, al; pop ax; iret */
    [FIRST_8259] = {0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf},
    /* the same with out a0h, al before */
    [SECOND_8259] = {0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf},
};

static enum handler handler_of(unsigned vector)
{
    return vector < IRQ_FIRST                                ? EXCEPTION
           : vector < IRQ_FIRST + 8                          ? FIRST_8259
           : vector >= IRQ_SECOND && vector < IRQ_SECOND + 8 ? SECOND_8259
                                                             : SERVICE;
}

void bios_data_write(struct address_space *mem)
{
    uint8_t table[VECTORS * 4], word[2], kib = (uint8_t)((Q35_LOW_RAM_END - Q35_EBDA) >> 10);

    for (unsigned i = 0; i < VECTORS; i++) {
        put_le16(table + 4 * i, (uint16_t)(HANDLERS_AT + HANDLER_BYTES * handler_of(i)));
        put_le16(table + 4 * i + 2, Q35_EBDA >> 4);
    }
    address_space_write(mem, 0, table, sizeof(table));
    put_le16(word, 0x3f8); /* COM1 */
    address_space_write(mem, 0x400, word, 2);
    put_le16(word, Q35_EBDA >> 4);
    address_space_write(mem, 0x40e, word, 2);
    put_le16(word, Q35_EBDA >> 10); /* base memory in KiB */
    address_space_write(mem, 0x413, word, 2);
    address_space_write(mem, Q35_EBDA, &kib, 1);
    address_space_write(mem, Q35_EBDA + HANDLERS_AT, handlers, sizeof(handlers));
}
