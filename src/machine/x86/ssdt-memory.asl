/*
 * Hot plug of memory: the registers of acpi-memhp.c, and what is the same for all slots. Another table
 * has the slots: MHPB, where the registers are, MHPN, how many slots, and MHPT (slot, event), which
 * notifies one.
 */
DefinitionBlock ("", "SSDT", 2, "GODWIT", "GWMEMHP ", 1)
{
    External (\_SB.MHPB, IntObj)
    External (\_SB.MHPN, IntObj)
    External (\_SB.MHPT, MethodObj)

    Scope (\_SB)
    {
        OperationRegion (MHPR, SystemIO, MHPB, 0x18)
        Field (MHPR, DWordAcc, NoLock, Preserve)
        {
            MHAL, 32, // address
            MHAH, 32,
            MHLL, 32, // length
            MHLH, 32,
            MHPX, 32  // proximity domain
        }
        Field (MHPR, ByteAcc, NoLock, WriteAsZeros)
        {
            Offset (0x14),
            MHEN, 1, // there is something in the slot
            MHIN, 1, // it has come; 1 acknowledges
            MHRM, 1, // it is to go; 1 acknowledges
            MHEJ, 1  // 1: out with it
        }
        Field (MHPR, DWordAcc, NoLock, WriteAsZeros)
        {
            MHSL, 32, // which slot all this is about
            MHOE, 32, // _OST: event
            MHOS, 32  // _OST: status
        }
        Mutex (MHLK, 0)

        Method (MHST, 1)
        {
            Acquire (MHLK, 0xffff)
            MHSL = Arg0
            Local0 = 0
            If (MHEN) { Local0 = 0x0f }
            Release (MHLK)
            Return (Local0)
        }

        Method (MHCR, 1, Serialized)
        {
            Name (CRS, ResourceTemplate ()
            {
                QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0, 0, 0xfffffffffffffffe, 0, 0xffffffffffffffff, , , QW00)
            })
            CreateQWordField (CRS, QW00._MIN, MINQ)
            CreateQWordField (CRS, QW00._MAX, MAXQ)
            CreateQWordField (CRS, QW00._LEN, LENQ)
            Acquire (MHLK, 0xffff)
            MHSL = Arg0
            MINQ = (MHAH << 32) | MHAL
            LENQ = (MHLH << 32) | MHLL
            Release (MHLK)
            MAXQ = MINQ + LENQ - 1
            Return (CRS)
        }

        Method (MHPM, 1)
        {
            Acquire (MHLK, 0xffff)
            MHSL = Arg0
            Local0 = MHPX
            Release (MHLK)
            Return (Local0)
        }

        Method (MHOT, 3)
        {
            Acquire (MHLK, 0xffff)
            MHSL = Arg0
            MHOE = Arg1
            MHOS = Arg2
            Release (MHLK)
        }

        Method (MHEO, 1)
        {
            Acquire (MHLK, 0xffff)
            MHSL = Arg0
            MHEJ = 1
            Release (MHLK)
        }

        Method (MHSN, 0)
        {
            Local0 = 0
            While (Local0 < MHPN)
            {
                Acquire (MHLK, 0xffff)
                MHSL = Local0
                Local1 = 0
                If (MHIN)
                {
                    MHIN = 1
                    Local1 = 1
                }
                ElseIf (MHRM)
                {
                    MHRM = 1
                    Local1 = 3
                }
                Release (MHLK)
                If (Local1) { MHPT (Local0, Local1) }
                Local0 ++
            }
        }
    }

    Scope (\_GPE)
    {
        Method (_E03, 0) { \_SB.MHSN () }
    }
}
