/*
 * The DSDT of the microvm board. Addresses repeat q35-map.h and microvm.c. Compiled by iasl at
 * build time. The serial port and the clock, which may be absent, have tables of their own.
 */
DefinitionBlock ("", "DSDT", 2, "GODWIT", "GWTMICRO", 1)
{
    // Soft off: SLP_TYP 0.
    Name (\_S5, Package () { 0x00, 0x00, 0x00, 0x00 })

    // Interrupt model: 0 8259 pair, 1 I/O APIC.
    Name (\PICF, 0)
    Method (\_PIC, 1) { \PICF = Arg0 }

    Scope (\_SB)
    {
        // No PCI: a container, whose name is that by which other tables find the ISA devices.
        Device (PCI0)
        {
            Name (_HID, "ACPI0004")
            Name (_UID, 0)

            Device (LPC)
            {
                Name (_HID, "ACPI0004")
                Name (_UID, 1)
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

        Device (VR00)
        {
            Name (_HID, "LNRO0005")
            Name (_UID, 0)
            Name (_CCA, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xfeb00000, 0x200)
                Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 16 }
            })
        }

        Device (VR01)
        {
            Name (_HID, "LNRO0005")
            Name (_UID, 1)
            Name (_CCA, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xfeb00200, 0x200)
                Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 17 }
            })
        }

        Device (VR02)
        {
            Name (_HID, "LNRO0005")
            Name (_UID, 2)
            Name (_CCA, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xfeb00400, 0x200)
                Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 18 }
            })
        }

        Device (VR03)
        {
            Name (_HID, "LNRO0005")
            Name (_UID, 3)
            Name (_CCA, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xfeb00600, 0x200)
                Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 19 }
            })
        }

        Device (VR04)
        {
            Name (_HID, "LNRO0005")
            Name (_UID, 4)
            Name (_CCA, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xfeb00800, 0x200)
                Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 20 }
            })
        }

        Device (VR05)
        {
            Name (_HID, "LNRO0005")
            Name (_UID, 5)
            Name (_CCA, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xfeb00a00, 0x200)
                Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 21 }
            })
        }

        Device (VR06)
        {
            Name (_HID, "LNRO0005")
            Name (_UID, 6)
            Name (_CCA, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xfeb00c00, 0x200)
                Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 22 }
            })
        }

        Device (VR07)
        {
            Name (_HID, "LNRO0005")
            Name (_UID, 7)
            Name (_CCA, 1)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xfeb00e00, 0x200)
                Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 23 }
            })
        }
    }
}
