/* Says hello, tells how it was started and with which arguments, and powers off. */
#include "lib/guest.h"

void guest_main(const char *args)
{
    print("hello by ");
    print(guest_is_pvh ? "pvh" : "multiboot");
    print(" [");
    print(args);
    print("]\n");
}
