package picture

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // decoders of the formats we take
	_ "image/png"
	"strings"

	_ "golang.org/x/image/webp"
)

// Errors that say why a stranger's picture was refused; test for them with errors.Is.
var (
	ErrBase64   = errors.New("not base64 (standard alphabet with padding, no data: prefix, no line breaks)")
	ErrFormat   = errors.New("not a PNG, JPEG or WebP picture")
	ErrTooLarge = errors.New("picture is too large")
	ErrDamaged  = errors.New("picture is damaged")
)

// Limits are what a stranger's picture may measure at most. They hold before any pixel is decoded.
type Limits struct {
	Bytes  int // of the file
	Side   int // pixels of width and of height
	Pixels int // width × height
}

// DefaultLimits take what cameras make and hold a decoded picture to 134 MB.
var DefaultLimits = Limits{Bytes: 48 << 20, Side: 16384, Pixels: 1 << 25}

// mostScans is how many passes a progressive JPEG may have. Encoders write about ten; each can cost the time of a whole
// picture with hardly any bytes.
const mostScans = 100

// Decode decodes a PNG, JPEG or WebP file, turned upright as its EXIF data says, 8 bits a channel. Errors are ErrFormat,
// ErrTooLarge or ErrDamaged with the particulars.
func Decode(file []byte, limits Limits) (*image.NRGBA, error) {
	if len(file) > limits.Bytes {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(file), limits.Bytes)
	}
	config, format, err := image.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		return nil, classify(err)
	}
	if err := limits.check(config.Width, config.Height); err != nil {
		return nil, err
	}
	if scans := bytes.Count(file, []byte{0xFF, 0xDA}); format == "jpeg" && scans > mostScans {
		return nil, fmt.Errorf("%w: JPEG of %d scans, limit %d", ErrDamaged, scans, mostScans)
	}
	img, _, err := image.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, classify(err)
	}
	upright := toNRGBA(img)
	if format == "jpeg" {
		upright = orient(upright, exifOrientation(file))
	}
	return upright, nil
}

// classify tells an unknown format from a known one that does not decode.
func classify(err error) error {
	if errors.Is(err, image.ErrFormat) {
		return ErrFormat
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

func (l Limits) check(width, height int) error {
	if width <= 0 || height <= 0 {
		return fmt.Errorf("%w: %d×%d pixels", ErrDamaged, width, height)
	}
	if width > l.Side || height > l.Side {
		return fmt.Errorf("%w: %d×%d pixels, limit %d a side", ErrTooLarge, width, height, l.Side)
	}
	if width > l.Pixels/height {
		return fmt.Errorf("%w: %d×%d pixels, limit %d in all", ErrTooLarge, width, height, l.Pixels)
	}
	return nil
}

// InputError says which picture of a request could not be decoded, and why.
type InputError struct {
	What string // "input image", "mask image"
	Err  error
}

func (e *InputError) Error() string { return "Failed to decode " + e.What + ": " + e.Err.Error() }

func (e *InputError) Unwrap() error { return e.Err }

// DecodeBase64 decodes a picture of a request. What names it in the error, an *InputError that wraps one of the errors
// of this package.
func DecodeBase64(what, text string, limits Limits) (*image.NRGBA, error) {
	file, err := fromBase64(text, limits)
	if err != nil {
		return nil, &InputError{what, err}
	}
	img, err := Decode(file, limits)
	if err != nil {
		return nil, &InputError{what, err}
	}
	return img, nil
}

// fromBase64 is strict: what it takes has one spelling only. It refuses long texts before it decodes them.
func fromBase64(text string, limits Limits) ([]byte, error) {
	if text == "" {
		return nil, fmt.Errorf("%w: it is empty", ErrBase64)
	}
	if base64.StdEncoding.DecodedLen(len(text))-2 > limits.Bytes {
		return nil, fmt.Errorf("%w: over %d bytes", ErrTooLarge, limits.Bytes)
	}
	if i := strings.IndexAny(text, "\r\n"); i >= 0 { // Go's decoder would pass over them
		return nil, fmt.Errorf("%w: line break at %d", ErrBase64, i)
	}
	file, err := base64.StdEncoding.Strict().DecodeString(text)
	var at base64.CorruptInputError
	if errors.As(err, &at) {
		return nil, fmt.Errorf("%w: wrong at character %d", ErrBase64, int64(at))
	}
	return file, err
}

// Base64 writes a file as requests and events carry it: standard alphabet, padding, one line.
func Base64(file []byte) string { return base64.StdEncoding.EncodeToString(file) }
