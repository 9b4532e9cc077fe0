package picture

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// exifOf finds the TIFF block with the EXIF data of a JPEG or WebP file. It reports false where the file is neither; a file
// without such data gives an empty block.
func exifOf(file []byte) (tiff []byte, ok bool) {
	switch {
	case bytes.HasPrefix(file, []byte{0xFF, 0xD8}):
		return jpegExif(file), true
	case len(file) >= 12 && string(file[:4]) == "RIFF" && string(file[8:12]) == "WEBP":
		return webpExif(file[12:]), true
	}
	return nil, false
}

const exifMark = "Exif\x00\x00"

// jpegExif looks through the segments before the first scan (CIPA DC-008).
func jpegExif(file []byte) []byte {
	for rest := file[min(2, len(file)):]; len(rest) >= 4 && rest[0] == 0xFF; {
		const scan, app1 = 0xDA, 0xE1
		kind, length := rest[1], int(binary.BigEndian.Uint16(rest[2:]))
		if kind == scan || length < 2 || length+2 > len(rest) {
			return nil
		}
		if tiff, ok := bytes.CutPrefix(rest[4:length+2], []byte(exifMark)); ok && kind == app1 {
			return tiff
		}
		rest = rest[length+2:]
	}
	return nil
}

// webpExif looks through the chunks of a RIFF file.
func webpExif(chunks []byte) []byte {
	for len(chunks) >= 8 {
		length := uint64(binary.LittleEndian.Uint32(chunks[4:]))
		if length > uint64(len(chunks)-8) {
			return nil
		}
		if string(chunks[:4]) == "EXIF" {
			return bytes.TrimPrefix(chunks[8:8+length], []byte(exifMark))
		}
		chunks = chunks[min(8+length+length%2, uint64(len(chunks))):]
	}
	return nil
}

// Tags of EXIF (CIPA DC-008).
const (
	exifFolderTag  = 0x8769 // in the first directory: where EXIF's own is
	userCommentTag = 0x9286
)

// userComment is the text of the tag UserComment, where A1111 puts what it writes into a PNG's texts.
func userComment(tiff []byte) string {
	order := tiffOrder(tiff)
	if len(tiff) < 8 {
		return ""
	}
	first := tiffEntries(tiff, order, order.Uint32(tiff[4:]))
	folder, ok := first[exifFolderTag]
	if !ok {
		return ""
	}
	entry, ok := tiffEntries(tiff, order, order.Uint32(folder[8:]))[userCommentTag]
	if !ok {
		return ""
	}
	at, count := uint64(order.Uint32(entry[8:])), uint64(order.Uint32(entry[4:]))
	if count < 8 || count > longestText || at+count > uint64(len(tiff)) {
		return ""
	}
	return decodeComment(tiff[at:at+count], order)
}

func tiffOrder(tiff []byte) binary.ByteOrder {
	if bytes.HasPrefix(tiff, []byte("II")) {
		return binary.LittleEndian
	}
	return binary.BigEndian
}

// tiffEntries are the 12 bytes (tag, type, count, value) of each entry of a directory, by tag.
func tiffEntries(tiff []byte, order binary.ByteOrder, at uint32) map[uint16][]byte {
	const entryBytes = 12
	found := map[uint16][]byte{}
	if uint64(at)+2 > uint64(len(tiff)) {
		return found
	}
	rest := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(rest) < entryBytes {
			break
		}
		found[order.Uint16(rest)], rest = rest[:entryBytes], rest[entryBytes:]
	}
	return found
}

// decodeComment reads a UserComment: eight bytes name the code. A1111 writes UTF-16 in big-endian whatever the order of the
// file is; others keep to the file's. Of the two, the one whose first letter is Latin is right.
func decodeComment(data []byte, order binary.ByteOrder) string {
	code, text := string(data[:8]), data[8:]
	if code != "UNICODE\x00" {
		return strings.ToValidUTF8(strings.TrimRight(string(text), "\x00 "), "\uFFFD")
	}
	if len(text) >= 2 && order.Uint16(text) > 0xFF {
		order = map[bool]binary.ByteOrder{true: binary.LittleEndian, false: binary.BigEndian}[order == binary.BigEndian]
	}
	units := make([]uint16, len(text)/2)
	for i := range units {
		units[i] = order.Uint16(text[2*i:])
	}
	return strings.TrimRight(string(utf16.Decode(units)), "\x00")
}
