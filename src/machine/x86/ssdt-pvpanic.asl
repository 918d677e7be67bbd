/*
 * The ISA panic device, in a table of its own: it is there only when the device is, and then
 * with that device's port in place of 0x505.
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
