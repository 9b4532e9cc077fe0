package picture

import "image"

// exifOrientation is the value, 1 to 8, of the EXIF tag by which cameras say how they were held; 1, upright, where a
// JPEG file does not say. CIPA DC-008, tag 0x0112.
func exifOrientation(file []byte) int {
	const orientationTag = 0x0112
	tiff := jpegExif(file)
	if len(tiff) < 8 {
		return 1
	}
	order := tiffOrder(tiff)
	if entry, ok := tiffEntries(tiff, order, order.Uint32(tiff[4:]))[orientationTag]; ok {
		if value := int(order.Uint16(entry[8:])); value >= 1 && value <= 8 {
			return value
		}
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
