"""Reads the text that a PC shows: a picture from screendump, and the font that its video BIOS brings."""
import os

VGABIOS = "/usr/share/seabios/vgabios-stdvga.bin"
LETTER_A = bytes.fromhex("000010386cc6c6fec6c6c6c600000000")


def read_ppm(path):
    """Width, height, and the pixels' bytes."""
    with open(path, "rb") as file:
        data = file.read()
    kind, width, height, depth = data.split(maxsplit=4)[:4]
    if kind != b"P6" or depth != b"255":
        raise ValueError(f"{path}: not a PPM of 8 bits")
    width, height = int(width), int(height)
    pixels = data[-3 * width * height:]
    if len(data) < 3 * width * height:
        raise ValueError(f"{path}: truncated")
    return width, height, pixels


def font():
    """Characters by their 16 rows; those that look alike are the first of them."""
    with open(VGABIOS, "rb") as file:
        rom = file.read()
    start = rom.index(LETTER_A) - ord("A") * 16
    glyphs = {}
    for code in list(range(32, 127)) + list(range(127, 256)) + list(range(32)):
        glyphs.setdefault(rom[start + 16 * code:start + 16 * code + 16],
                          bytes([code]).decode("cp437"))
    return glyphs


def read_text(path):
    """The lines of a text screen of 8 or 9 dots by 16 a character; unknown ones are '?'."""
    width, height, pixels = read_ppm(path)
    dots = 9 if width % 9 == 0 and width // 9 in (40, 80) else 8
    glyphs = font()
    lines = []
    for top in range(0, height - 15, 16):
        line = ""
        for left in range(0, width - dots + 1, dots):
            rows = []
            for y in range(16):
                at = 3 * ((top + y) * width + left)
                rows.append([pixels[at + 3 * x:at + 3 * x + 3] for x in range(8)])
            back = rows[0][0]
            for flip in (False, True):
                code = bytes(sum((1 << (7 - x)) for x in range(8) if (row[x] != back) != flip)
                             for row in rows)
                if code in glyphs:
                    break
            line += glyphs.get(code, "?")
        lines.append(line.rstrip())
    return lines


def available():
    return os.path.exists(VGABIOS)
