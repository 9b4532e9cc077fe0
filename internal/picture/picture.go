// Package picture turns pixels into files and back: PNG with the settings that made the picture in its metadata, PNG,
// JPEG and WebP from strangers decoded within limits, base64, thumbnails, and files that are written whole or not at all.
package picture

import (
	"bytes"
	"fmt"
	"image"
	"image/draw"
	"image/png"

	xdraw "golang.org/x/image/draw"
)

// EncodePNG makes a PNG file of the picture, without loss, 8 bits a channel, with the texts as metadata. A picture that
// is opaque everywhere is stored as RGB, any other as RGBA.
func EncodePNG(img image.Image, texts ...Text) ([]byte, error) {
	return encode(img, png.DefaultCompression, texts)
}

// EncodePreview makes a PNG file quickly, with weaker compression: for pictures that are shown for a moment.
func EncodePreview(img image.Image) ([]byte, error) {
	return encode(img, png.BestSpeed, nil)
}

func encode(img image.Image, level png.CompressionLevel, texts []Text) ([]byte, error) {
	var plain bytes.Buffer
	encoder := png.Encoder{CompressionLevel: level}
	if err := encoder.Encode(&plain, img); err != nil {
		return nil, fmt.Errorf("encode PNG: %w", err)
	}
	return InsertTexts(plain.Bytes(), texts...)
}

// Thumbnail is the picture scaled down, in proportion, so that neither side is longer than the given one in pixels. A
// picture that is small enough keeps its size.
func Thumbnail(img image.Image, side int) *image.NRGBA {
	size := img.Bounds().Size()
	longest := max(size.X, size.Y)
	if longest <= side {
		return toNRGBA(img)
	}
	scaled := func(v int) int { return max(1, (v*side+longest/2)/longest) }
	thumb := image.NewNRGBA(image.Rect(0, 0, scaled(size.X), scaled(size.Y)))
	xdraw.CatmullRom.Scale(thumb, thumb.Bounds(), img, img.Bounds(), draw.Src, nil)
	return thumb
}

// toNRGBA gives the picture 8 bits a channel, alpha apart from colour, and its upper left corner at the origin. It
// returns the picture itself if it is so already.
func toNRGBA(img image.Image) *image.NRGBA {
	if same, ok := img.(*image.NRGBA); ok && same.Rect.Min == (image.Point{}) {
		return same
	}
	bounds := image.Rectangle{Max: img.Bounds().Size()}
	if o, ok := img.(interface{ Opaque() bool }); ok && o.Opaque() {
		flat := image.NewRGBA(bounds) // same bytes without transparency, and much faster to draw on
		draw.Draw(flat, bounds, img, img.Bounds().Min, draw.Src)
		return &image.NRGBA{Pix: flat.Pix, Stride: flat.Stride, Rect: bounds}
	}
	flat := image.NewNRGBA(bounds)
	draw.Draw(flat, bounds, img, img.Bounds().Min, draw.Src)
	return flat
}
