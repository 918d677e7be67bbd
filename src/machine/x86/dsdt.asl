/*
 * The DSDT of the q35 board. Addresses repeat q35-map.h. Compiled by iasl at build time.
 */
DefinitionBlock ("", "DSDT", 2, "GODWIT", "GWTQ35  ", 1)
{
    // Soft off: SLP_TYP 0.
    Name (\_S5, Package () { 0x00, 0x00, 0x00, 0x00 })

    // Interrupt model: 0 8259 pair, 1 I/O APIC.
    Name (\PICF, 0)
    Method (\_PIC, 1) { \PICF = Arg0 }

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_SEG, 0)
            Name (_BBN, 0)

            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0, 0, 0xff, 0, 0x100)
                IO (Decode16, 0xcf8, 0xcf8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0x0000, 0x0cf7, 0, 0x0cf8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0, 0x0d00, 0xffff, 0, 0xf300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0, 0x000a0000, 0x000bffff, 0, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0xc0000000, 0xfebfffff, 0, 0x3ec00000)
            })

            // The OS may have all of PCI Express that there is: nothing for it to take over from us
            // but native power management events, AER and the capability structure.
            Method (_OSC, 4)
            {
                CreateDWordField (Arg3, 0, CDW1)
                If (Arg0 == ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766"))
                {
                    CreateDWordField (Arg3, 8, CDW3)
                    CDW3 &= 0x1d
                    If (Arg1 != 1) { CDW1 |= 0x08 }
                    Return (Arg3)
                }
                CDW1 |= 4
                Return (Arg3)
            }

            Name (PICR, Package () { 10, 10, 11, 11, 10, 10, 11, 11 })

            // INTx of slots 0..24 go to PIRQE..H, those of 25..31 to PIRQA..D: GSI 16 + PIRQ, or with
            // the 8259s the ISA interrupts that the LPC bridge routes them to after reset.
            Method (_PRT, 0, Serialized)
            {
                Local0 = Package (128) {}
                Local1 = 0
                While (Local1 < 128)
                {
                    Local2 = Local1 >> 2
                    Local3 = Package (4) { 0, 0, 0, 0 }
                    Local3 [0] = (Local2 << 16) | 0xffff
                    Local3 [1] = Local1 & 3
                    If (Local2 < 25) { Local4 = 4 + ((Local2 + Local1) & 3) }
                    Else { Local4 = Local1 & 3 }
                    If (\PICF) { Local3 [3] = 16 + Local4 }
                    Else { Local3 [3] = DerefOf (PICR [Local4]) }
                    Local0 [Local1] = Local3
                    Local1 ++
                }
                Return (Local0)
            }

            Device (LPC)
            {
                Name (_ADR, 0x001f0000)

                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 1)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x3f8, 0x3f8, 0, 8)
                        IRQNoFlags () { 4 }
                    })
                }

                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x60, 0x60, 1, 1)
                        IO (Decode16, 0x64, 0x64, 1, 1)
                        IRQNoFlags () { 1 }
                    })
                }

                Device (MOU)
                {
                    Name (_HID, EisaId ("PNP0F13"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IRQNoFlags () { 12 }
                    })
                }

                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x70, 0x70, 0, 2)
                        IRQNoFlags () { 8 }
                    })
                }
            }
        }

        Device (FWCF)
        {
            Name (_HID, "QEMU0002")
            Name (_STA, 0x0b)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x510, 0x510, 1, 12)
            })
        }

        // Claimed by the board itself: ECAM, the chipset's configuration block and power management ports.
        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xb0000000, 0x10000000)
                Memory32Fixed (ReadWrite, 0xfed1c000, 0x4000)
                IO (Decode16, 0x600, 0x600, 1, 0x80)
                IO (Decode16, 0x92, 0x92, 1, 1)
                IO (Decode16, 0x4d0, 0x4d0, 1, 2)
            })
        }
    }
}
