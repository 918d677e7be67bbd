/*
 * Suspend to RAM: SLP_TYP 1. In a table of its own, so that it can be left out.
 */
DefinitionBlock ("", "SSDT", 2, "GODWIT", "GWS3    ", 1)
{
    Name (\_S3, Package () { 0x01, 0x01, 0x00, 0x00 })
}
