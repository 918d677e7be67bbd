"""Reads dumps of guest memory, ELF and kdump (flattened): an independent reader for tests. Of kdump's
compressions it knows zlib, and what is not compressed."""
import struct
import zlib

PT_LOAD, PT_NOTE = 1, 4
PN_XNUM = 0xffff
PAGE = 4096


def notes_parse(data):
    """[(owner, type, description, its offset)]"""
    result, at = [], 0
    while at < len(data):
        name_size, size, kind = struct.unpack_from("<III", data, at)
        at += 12
        name = data[at:at + name_size].rstrip(b"\0").decode()
        at += name_size + 3 & ~3
        result.append((name, kind, data[at:at + size], at))
        at += size + 3 & ~3
    assert at == len(data), (at, len(data))
    return result


class Elf:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        head = struct.unpack_from("<16sHHIQQQIHHHHHH", self.data)
        assert head[0][:7] == b"\x7fELF\x02\x01\x01", head
        self.type, self.machine = head[1:3]
        offset, count = head[5], head[10]
        assert head[9] == 56 and head[11:] == (64, 2, 1), head
        sections = [struct.unpack_from("<IIQQQQIIQQ", self.data, head[6] + i * 64) for i in (0, 1)]
        if count == PN_XNUM:
            count = sections[0][7]
        name_at, name_size = sections[1][4:6]
        assert self.data[name_at:name_at + name_size] == b"\0.shstrtab\0"
        headers = [struct.unpack_from("<IIQQQQQQ", self.data, offset + i * 56) for i in range(count)]
        self.loads = [dict(zip(("offset", "linear", "physical", "size"), h[2:6])) for h in headers
                      if h[0] == PT_LOAD]
        note = next(h for h in headers if h[0] == PT_NOTE)
        self.notes = notes_parse(self.data[note[2]:note[2] + note[5]])
        for load in self.loads:
            assert load["offset"] + load["size"] <= len(self.data)

    def read(self, physical, size):
        for load in self.loads:
            skip = physical - load["physical"]
            if 0 <= skip and skip + size <= load["size"]:
                return self.data[load["offset"] + skip:load["offset"] + skip + size]
        raise KeyError(hex(physical))

    def read_linear(self, linear, size):
        for load in self.loads:
            skip = linear - load["linear"]
            if 0 <= skip and skip + size <= load["size"]:
                return self.data[load["offset"] + skip:load["offset"] + skip + size]
        raise KeyError(hex(linear))


def flat_unpack(data):
    """The file that a flattened one stands for."""
    assert data[:12] == b"makedumpfile" and struct.unpack_from(">qq", data, 16) == (1, 1)
    out, at = bytearray(), PAGE
    while True:
        offset, size = struct.unpack_from(">qq", data, at)
        at += 16
        if offset < 0:
            assert (offset, size) == (-1, -1) and at == len(data)
            return bytes(out)
        assert at + size <= len(data)
        if len(out) < offset + size:
            out.extend(bytes(offset + size - len(out)))
        out[offset:offset + size] = data[at:at + size]
        at += size


class Kdump:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = flat_unpack(file.read())
        signature, version = struct.unpack_from("<8sI", self.data)
        assert (signature, version) == (b"KDUMP   ", 6)
        (self.status, block, sub, bitmap, _, _, _, _, _, self.cpus) = struct.unpack_from(
            "<10I", self.data, 424)
        assert block == PAGE
        fields = struct.unpack_from("<QIIQQQQQQQQQQQ", self.data, PAGE)
        self.phys_base, self.vmcoreinfo = fields[0], self.data[fields[5]:fields[5] + fields[6]]
        self.notes = notes_parse(self.data[fields[7]:fields[7] + fields[8]])
        self.max_pfn = fields[13]
        at = (1 + sub) * PAGE
        size = bitmap * PAGE // 2
        self.bitmap = self.data[at:at + size]
        assert self.bitmap == self.data[at + size:at + 2 * size]
        self.frames = [i * 8 + bit for i, byte in enumerate(self.bitmap) if byte for bit in range(8)
                       if byte >> bit & 1]
        self.descriptors = at + 2 * size
        self.index = {frame: i for i, frame in enumerate(self.frames)}

    def page(self, frame):
        offset, size, flags, _ = struct.unpack_from(
            "<QIIQ", self.data, self.descriptors + 24 * self.index[frame])
        data = self.data[offset:offset + size]
        assert len(data) == size
        if flags == 1:
            data = zlib.decompress(data)
        else:
            assert flags == 0, flags
        assert len(data) == PAGE
        return data

    def read(self, physical, size):
        first, last = physical // PAGE, (physical + size - 1) // PAGE
        data = b"".join(self.page(frame) for frame in range(first, last + 1))
        return data[physical % PAGE:physical % PAGE + size]
