/* The microvm board's clock, in a table of its own: it is there only when the device is. */
DefinitionBlock ("", "SSDT", 2, "GODWIT", "GWRTC   ", 1)
{
    External (\_SB.PCI0.LPC, DeviceObj)

    Device (\_SB.PCI0.LPC.RTC)
    {
        Name (_HID, EisaId ("PNP0B00"))
        Name (_CRS, ResourceTemplate ()
        {
            IO (Decode16, 0x70, 0x70, 0, 2)
            IRQNoFlags () { 8 }
        })
    }
}
