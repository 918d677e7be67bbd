/*
 * Hot plug of processors: the registers of acpi-cpuhp.c, and what is the same for all processors.
 * Another table has those: CHPB, where the registers are, CHPN, how many there can be, and CHPT
 * (number, event), which notifies one.
 */
DefinitionBlock ("", "SSDT", 2, "GODWIT", "GWCPUHP ", 1)
{
    External (\_SB.CHPB, IntObj)
    External (\_SB.CHPN, IntObj)
    External (\_SB.CHPT, MethodObj)

    Scope (\_SB)
    {
        OperationRegion (CHPR, SystemIO, CHPB, 0x0c)
        Field (CHPR, ByteAcc, NoLock, WriteAsZeros)
        {
            Offset (0x04),
            CHEN, 1, // it is there
            CHIN, 1, // it has come; 1 acknowledges
            CHRM, 1, // it is to go; 1 acknowledges
            CHEJ, 1, // 1: out with it
            Offset (0x05),
            CHCM, 8  // command
        }
        Field (CHPR, DWordAcc, NoLock, Preserve)
        {
            CHSL, 32, // which processor all this is about
            Offset (0x08),
            CHDT, 32  // the command's data
        }
        Mutex (CHLK, 0)

        Method (CHST, 1)
        {
            Acquire (CHLK, 0xffff)
            CHSL = Arg0
            Local0 = 0
            If (CHEN) { Local0 = 0x0f }
            Release (CHLK)
            Return (Local0)
        }

        Method (CHOT, 3)
        {
            Acquire (CHLK, 0xffff)
            CHSL = Arg0
            CHCM = 1
            CHDT = Arg1
            CHCM = 2
            CHDT = Arg2
            Release (CHLK)
        }

        Method (CHEO, 1)
        {
            Acquire (CHLK, 0xffff)
            CHSL = Arg0
            CHEJ = 1
            Release (CHLK)
        }

        Method (CHSN, 0)
        {
            Local0 = 0
            While (Local0 < CHPN)
            {
                Acquire (CHLK, 0xffff)
                CHSL = Local0
                Local1 = 0
                If (CHIN)
                {
                    CHIN = 1
                    Local1 = 1
                }
                ElseIf (CHRM)
                {
                    CHRM = 1
                    Local1 = 3
                }
                Release (CHLK)
                If (Local1) { CHPT (Local0, Local1) }
                Local0 ++
            }
        }
    }

    Scope (\_GPE)
    {
        Method (_E02, 0) { \_SB.CHSN () }
    }
}
