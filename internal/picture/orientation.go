package picture

import (
	"bytes"
	"encoding/binary"
	"image"
)

// exifOrientation is the value, 1 to 8, of the EXIF tag by which cameras say how they were held; 1, upright, where a
// JPEG file does not say. CIPA DC-008, tag 0x0112.
func exifOrientation(file []byte) int {
	for rest := file[min(2, len(file)):]; len(rest) >= 4 && rest[0] == 0xFF; {
		const scan, app1 = 0xDA, 0xE1
		kind, length := rest[1], int(binary.BigEndian.Uint16(rest[2:]))
		if kind == scan || length < 2 || length+2 > len(rest) {
			return 1
		}
		if tiff, ok := bytes.CutPrefix(rest[4:length+2], []byte("Exif\x00\x00")); ok && kind == app1 {
			return tiffOrientation(tiff)
		}
		rest = rest[length+2:]
	}
	return 1
}

// tiffOrientation looks through the first directory of a TIFF block.
func tiffOrientation(tiff []byte) int {
	var order binary.ByteOrder = binary.BigEndian
	if bytes.HasPrefix(tiff, []byte("II")) {
		order = binary.LittleEndian
	}
	if len(tiff) < 8 {
		return 1
	}
	at := uint64(order.Uint32(tiff[4:]))
	if at+2 > uint64(len(tiff)) {
		return 1
	}
	const entryBytes, orientationTag = 12, 0x0112 // an entry is tag, type, count, value
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(entries) < entryBytes {
			return 1
		}
		if value := int(order.Uint16(entries[8:])); order.Uint16(entries) == orientationTag && value >= 1 && value <= 8 {
			return value
		}
		entries = entries[entryBytes:]
	}
	return 1
}

// orient turns a picture upright that was stored with the EXIF orientation.
func orient(img *image.NRGBA, orientation int) *image.NRGBA {
	if orientation == 1 {
		return img
	}
	size := img.Rect.Size()
	turned := orientation >= 5 // rows of the file are columns
	out := image.NewNRGBA(image.Rect(0, 0, size.X, size.Y))
	if turned {
		out = image.NewNRGBA(image.Rect(0, 0, size.Y, size.X))
	}
	mirrorX := orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8 // file's x runs backwards
	mirrorY := orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7 // file's y runs backwards
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			from := image.Pt(x, y)
			if turned {
				from = image.Pt(y, x)
			}
			if mirrorX {
				from.X = size.X - 1 - from.X
			}
			if mirrorY {
				from.Y = size.Y - 1 - from.Y
			}
			copy(out.Pix[out.PixOffset(x, y):][:4], img.Pix[img.PixOffset(from.X, from.Y):][:4])
		}
	}
	return out
}
