/*
 * The A20 gate, closed and opened by each of its ways: while it is closed, data at 3 MiB are those
 * at 2 MiB, and code that jumps there stays where it was. Without and with paging. "stay" closes
 * the gate and spins.
 */
#include "lib/guest.h"

#define LOW       0x200000u /* bit 20 clear */
#define HIGH      0x300000u /* the same with bit 20 set */
#define CODE      0x10000u  /* from there */
#define PAGE_DIR  0x20000u
#define LOW_WORD  0x11111111u
#define HIGH_WORD 0x22222222u

extern uint8_t gate_code[], gate_jump[], gate_mark[], gate_end[], stay_code[];

/* AL closes and BL opens it at port DX, after BH at port 0x64 unless that is 0. */
__asm__("gate_code:\n"
        "    out %al, %dx\n"
        "    mov (%esi), %ecx\n"
        "    jmp *%edi\n"
        "gate_jump:\n"
        "    mov $1, %edi\n"
        "gate_mark:\n"
        "    mov %bh, %al\n"
        "    test %al, %al\n"
        "    jz 1f\n"
        "    out %al, $0x64\n"
        "1:  mov %bl, %al\n"
        "    out %al, %dx\n"
        "    mov (%esi), %eax\n"
        "    ret\n"
        "stay_code:\n"
        "    out %al, %dx\n"
        "    mov (%esi), %ecx\n"
        "2:  pause\n"
        "    jmp 2b\n"
        "gate_end:\n");

static void code_copy(uint32_t to, uint8_t mark)
{
    uint8_t *p = (uint8_t *)to;

    for (unsigned i = 0; i < (unsigned)(gate_end - gate_code); i++) {
        p[i] = gate_code[i];
    }
    p[gate_mark - gate_code - 4] = mark;
}

static void gate_check(const char *name, uint16_t port, uint8_t off, uint8_t on, uint8_t command)
{
    uint32_t high = off, low, mark = HIGH + CODE + (uint32_t)(gate_jump - gate_code);
    bool good;

    if (command) {
        outb(0x64, command);
    }
    __asm__ volatile("call *%[code]"
                     : "+a"(high), "=c"(low), "+D"(mark)
                     : [code] "r"(LOW + CODE), "d"(port), "b"((uint32_t)command << 8 | on),
                       "S"(HIGH)
                     : "memory", "cc");
    good = low == LOW_WORD && high == HIGH_WORD && mark == 1;
    print(good ? "ok " : "FAIL ");
    print(name);
    print("\n");
}

static void gates_check(void)
{
    gate_check("port92", 0x92, 0x00, 0x02, 0);
    gate_check("command", 0x64, 0xdd, 0xdf, 0);
    gate_check("output-port", 0x60, 0xdd, 0xdf, 0xd1);
}

static void paging_on(void)
{
    uint32_t *dir = (uint32_t *)PAGE_DIR, cr;

    for (uint32_t i = 0; i < 1024; i++) {
        dir[i] = i << 22 | 0x83; /* 4 MiB each, where they are */
    }
    __asm__ volatile("mov %%cr4, %0; or $0x10, %0; mov %0, %%cr4" : "=r"(cr));
    __asm__ volatile("mov %0, %%cr3" : : "r"(dir) : "memory");
    __asm__ volatile("mov %%cr0, %0; or $0x80000000, %0; mov %0, %%cr0" : "=r"(cr) : : "memory");
}

void guest_main(const char *args)
{
    *(volatile uint32_t *)LOW = LOW_WORD;
    *(volatile uint32_t *)HIGH = HIGH_WORD;
    code_copy(LOW + CODE, 1);
    code_copy(HIGH + CODE, 2);
    if (text_equal(args, "stay")) {
        print("closing\n");
        __asm__ volatile("jmp *%0"
                         :
                         : "r"(LOW + CODE + (uint32_t)(stay_code - gate_code)), "a"(0), "d"(0x92),
                           "S"(HIGH)
                         : "memory");
    }
    gates_check();
    paging_on();
    gates_check();
    print("done\n");
    halt();
}
