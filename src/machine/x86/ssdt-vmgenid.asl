/*
 * The machine's generation, in a table of its own: it is there only when the device is. VGIA is put in
 * place when the table is: the address of the identifier.
 */
DefinitionBlock ("", "SSDT", 2, "GODWIT", "GWVMGEN ", 1)
{
    Name (\VGIA, 0x11223344)

    Scope (\_SB)
    {
        Device (VGEN)
        {
            Name (_HID, "GWIT0001")
            Name (_CID, "VM_Gen_Counter")
            Name (_DDN, "VM_Gen_Counter")
            Name (_STA, 0x0f)
            Method (ADDR, 0, NotSerialized)
            {
                Local0 = Package (2) { 0, 0 }
                Local0 [0] = \VGIA
                Return (Local0)
            }
        }
    }

    Scope (\_GPE)
    {
        Method (_E05, 0, NotSerialized)
        {
            Notify (\_SB.VGEN, 0x80)
        }
    }
}
