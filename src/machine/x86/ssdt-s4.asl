/*
 * Suspend to disk: SLP_TYP 2. In a table of its own, so that it can be left out.
 */
DefinitionBlock ("", "SSDT", 2, "GODWIT", "GWS4    ", 1)
{
    Name (\_S4, Package () { 0x02, 0x02, 0x00, 0x00 })
}
