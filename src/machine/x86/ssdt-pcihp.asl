/*
 * Hot plug of PCI devices by ACPI: the registers of acpi-pcihp.c, and what is the same for all slots.
 * Another table has the slots: PCNB, how many buses there are with such slots, and DVNT (bus, slot,
 * event), which notifies a slot.
 */
DefinitionBlock ("", "SSDT", 2, "GODWIT", "GWPCIHP ", 1)
{
    External (\_SB.PCI0, DeviceObj)
    External (\_SB.PHPB, IntObj)
    External (\_SB.PCNB, IntObj)
    External (\_SB.DVNT, MethodObj)

    Scope (\_SB)
    {
        OperationRegion (PHPR, SystemIO, PHPB, 0x14)
        Field (PHPR, DWordAcc, NoLock, WriteAsZeros)
        {
            PCIU, 32, // plugged in; reading forgets them
            PCID, 32, // to be given up
            PCEJ, 32, // out with them
            , 32,
            PCSL, 32  // which bus all this is about
        }
        Mutex (PCLK, 0)

        // The guest lets a slot go.
        Method (PCEO, 2)
        {
            Acquire (PCLK, 0xffff)
            PCSL = Arg0
            PCEJ = 1 << Arg1
            Release (PCLK)
        }

        // What has happened since the last time.
        Method (PCSN, 0)
        {
            Local0 = 0
            While (Local0 < PCNB)
            {
                Acquire (PCLK, 0xffff)
                PCSL = Local0
                Local1 = PCIU
                Local2 = PCID
                Release (PCLK)
                Local3 = 0
                While (Local3 < 32)
                {
                    If (Local1 & (1 << Local3)) { DVNT (Local0, Local3, 1) }
                    If (Local2 & (1 << Local3)) { DVNT (Local0, Local3, 3) }
                    Local3 ++
                }
                Local0 ++
            }
        }
    }

    Scope (\_GPE)
    {
        Method (_E01, 0) { \_SB.PCSN () }
    }
}
