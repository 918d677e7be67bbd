/*
 * The ISA panic device (port 0x505), in a table of its own: it is there only when the device is.
 */
DefinitionBlock ("", "SSDT", 2, "GODWIT", "GWPANIC ", 1)
{
    External (\_SB.PCI0.LPC, DeviceObj)

    Device (\_SB.PCI0.LPC.PEVT)
    {
        Name (_HID, "QEMU0001")
        Name (_STA, 0x0f)
        Name (_CRS, ResourceTemplate ()
        {
            IO (Decode16, 0x505, 0x505, 1, 1)
        })
    }
}
