/* The microvm board's serial port, in a table of its own: it is there only when the device is. */
DefinitionBlock ("", "SSDT", 2, "GODWIT", "GWCOM1  ", 1)
{
    External (\_SB.PCI0.LPC, DeviceObj)

    Device (\_SB.PCI0.LPC.COM1)
    {
        Name (_HID, EisaId ("PNP0501"))
        Name (_UID, 1)
        Name (_CRS, ResourceTemplate ()
        {
            IO (Decode16, 0x3f8, 0x3f8, 0, 8)
            IRQNoFlags () { 4 }
        })
    }
}
