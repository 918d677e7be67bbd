/* The HPET, in a table of its own: it is there only when the device is. */
DefinitionBlock ("", "SSDT", 2, "GODWIT", "GWHPET  ", 1)
{
    External (\_SB.PCI0.LPC, DeviceObj)

    Device (\_SB.PCI0.LPC.HPET)
    {
        Name (_HID, EisaId ("PNP0103"))
        Name (_CRS, ResourceTemplate ()
        {
            Memory32Fixed (ReadOnly, 0xfed00000, 0x400)
        })
    }
}
