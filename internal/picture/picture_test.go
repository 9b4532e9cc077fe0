package picture

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	file, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return file
}

// gradient is the picture that the files in testdata show.
func gradient() *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, 40, 24))
	for y := range 24 {
		for x := range 40 {
			img.SetNRGBA(x, y, color.NRGBA{uint8(6 * x), uint8(10 * y), uint8(3 * (x + y)), 255})
		}
	}
	return img
}

// worst is the greatest difference of any channel, in 1/255; 256 for pictures of different sizes.
func worst(a, b *image.NRGBA) int {
	if a.Rect != b.Rect || len(a.Pix) != len(b.Pix) {
		return 256
	}
	most := 0
	for i := range a.Pix {
		most = max(most, int(a.Pix[i])-int(b.Pix[i]), int(b.Pix[i])-int(a.Pix[i]))
	}
	return most
}

func TestEncodePNGIsLossless(t *testing.T) {
	clear := gradient()
	for i := 3; i < len(clear.Pix); i += 4 {
		clear.Pix[i] = uint8(i)
	}
	premultiplied := image.NewRGBA(gradient().Rect)
	copy(premultiplied.Pix, gradient().Pix)
	for _, row := range []struct {
		name string
		img  image.Image
		want *image.NRGBA
		rgb  bool // 3 channels in the file
	}{
		{"opaque", gradient(), gradient(), true},
		{"transparent", clear, clear, false},
		{"RGBA", premultiplied, gradient(), true},
		{"part of another", gradient().SubImage(image.Rect(3, 2, 9, 8)), toNRGBA(gradient().SubImage(image.Rect(3, 2, 9, 8))), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			file, err := EncodePNG(row.img, Text{"parameters", "a"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(file, DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			if d := worst(got, row.want); d != 0 {
				t.Errorf("differs by %d", d)
			}
			const colourType = 25 // offset in the file; 2 is RGB, 6 RGBA
			if rgb := file[colourType] == 2; rgb != row.rgb {
				t.Errorf("colour type %d", file[colourType])
			}
			preview, err := EncodePreview(row.img)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Decode(preview, DefaultLimits); err != nil || worst(got, row.want) != 0 {
				t.Errorf("preview differs (%v)", err)
			}
		})
	}
	if _, err := EncodePNG(image.NewNRGBA(image.Rectangle{})); err == nil {
		t.Error("a picture without pixels was encoded")
	}
}

func TestThumbnail(t *testing.T) {
	for _, row := range []struct{ width, height, side, wantWidth, wantHeight int }{
		{40, 24, 20, 20, 12}, {24, 40, 20, 12, 20}, {40, 24, 40, 40, 24}, {40, 24, 256, 40, 24},
		{1000, 1, 10, 10, 1}, {1, 1000, 10, 1, 10}, {101, 51, 10, 10, 5},
	} {
		img := image.NewNRGBA(image.Rect(-5, 3, row.width-5, row.height+3))
		for i := range img.Pix {
			img.Pix[i] = 200
		}
		got := Thumbnail(img, row.side)
		if got.Rect != image.Rect(0, 0, row.wantWidth, row.wantHeight) {
			t.Errorf("%+v: got %v", row, got.Rect)
		}
		if c := got.NRGBAAt(got.Rect.Dx()/2, 0); c != (color.NRGBA{200, 200, 200, 200}) {
			t.Errorf("%+v: colour %v", row, c)
		}
	}
}

func TestDecode(t *testing.T) {
	grey := image.NewNRGBA(gradient().Rect)
	for i := range grey.Pix {
		grey.Pix[i] = 255
		if i%4 != 3 {
			grey.Pix[i] = uint8(i / 4 % 40 * 6)
		}
	}
	clear := gradient()
	for i := 3; i < len(clear.Pix); i += 4 {
		clear.Pix[i] = uint8(i / 4 % 40 * 6)
	}
	for name, row := range map[string]struct {
		want   *image.NRGBA
		within int
	}{
		"rgb.png": {gradient(), 0}, "rgba.png": {clear, 0}, "grey16.png": {grey, 0}, "palette.png": {gradient(), 60},
		"baseline.jpg": {gradient(), 8}, "progressive.jpg": {gradient(), 8}, "cmyk.jpg": {gradient(), 20},
		"lossy.webp": {gradient(), 30}, "lossless.webp": {gradient(), 0}, "alpha.webp": {clear, 255},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Decode(read(t, name), DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			if d := worst(got, row.want); d > row.within {
				t.Errorf("differs by %d, want at most %d", d, row.within)
			}
		})
	}
}

func TestDecodeTurnsUpright(t *testing.T) {
	for orientation := 1; orientation <= 8; orientation++ {
		got, err := Decode(read(t, fmt.Sprintf("orientation%d.jpg", orientation)), DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		if d := worst(got, gradient()); d > 8 {
			t.Errorf("orientation %d: differs by %d", orientation, d)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	rgb, jpg := read(t, "rgb.png"), read(t, "baseline.jpg")
	broken := bytes.Clone(rgb)
	broken[len(broken)-20] ^= 0xFF
	var scans bytes.Buffer
	scans.Write(jpg[:len(jpg)-2])
	scans.Write(bytes.Repeat([]byte{0xFF, 0xDA, 0, 0}, mostScans))
	small := Limits{Bytes: 1 << 20, Side: 39, Pixels: 1 << 20}
	few := Limits{Bytes: 1 << 20, Side: 100, Pixels: 40*24 - 1}
	for _, row := range []struct {
		name   string
		file   []byte
		limits Limits
		want   error
		text   string
	}{
		{"nothing", nil, DefaultLimits, ErrFormat, "not a PNG"},
		{"text", []byte("hello"), DefaultLimits, ErrFormat, "not a PNG"},
		{"GIF", read(t, "picture.gif"), DefaultLimits, ErrFormat, "not a PNG"},
		{"bytes", rgb, Limits{Bytes: len(rgb) - 1, Side: 100, Pixels: 10000}, ErrTooLarge, fmt.Sprint(len(rgb), " bytes")},
		{"side", rgb, small, ErrTooLarge, "40×24 pixels, limit 39 a side"},
		{"pixels", jpg, few, ErrTooLarge, "40×24 pixels, limit 959 in all"},
		{"PNG that says it is huge", hugePNG(), DefaultLimits, ErrTooLarge, "65536×65536"},
		{"JPEG that says it is huge", bytes.Replace(jpg, []byte{0, 24, 0, 40}, []byte{255, 255, 255, 255}, 1),
			DefaultLimits, ErrTooLarge, "65535×65535"},
		{"cut PNG", rgb[:len(rgb)-20], DefaultLimits, ErrDamaged, ""},
		{"cut within the header", rgb[:20], DefaultLimits, ErrDamaged, ""},
		{"changed PNG", broken, DefaultLimits, ErrDamaged, ""},
		{"cut JPEG", jpg[:len(jpg)/2], DefaultLimits, ErrDamaged, ""},
		{"cut WebP", read(t, "lossless.webp")[:30], DefaultLimits, ErrDamaged, ""},
		{"JPEG of many scans", scans.Bytes(), DefaultLimits, ErrDamaged, "101 scans"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := Decode(row.file, row.limits)
			if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.text) {
				t.Errorf("got %v, want %v with %q", err, row.want, row.text)
			}
		})
	}
}

// hugePNG is a valid header that promises 4·10⁹ pixels.
func hugePNG() []byte {
	var out bytes.Buffer
	out.WriteString(signature)
	writeChunk(&out, "IHDR", []byte{0, 1, 0, 0, 0, 1, 0, 0, 8, 2, 0, 0, 0})
	return out.Bytes()
}

func TestLimitsCheckDoesNotOverflow(t *testing.T) {
	limits := Limits{Side: math.MaxInt, Pixels: 1 << 25}
	if err := limits.check(math.MaxInt/2, 4); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if err := limits.check(0, 4); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

func TestDecodeBase64(t *testing.T) {
	file := read(t, "rgb.png")
	good := Base64(file)
	if got, err := DecodeBase64("input image", good, DefaultLimits); err != nil || worst(got, gradient()) != 0 {
		t.Fatalf("got %v", err)
	}
	for _, row := range []struct {
		name, text, want string
		is               error
	}{
		{"empty", "", "it is empty", ErrBase64},
		{"data URL", "data:image/png;base64," + good, "not base64", ErrBase64},
		{"line break", good[:8] + "\n" + good[8:], "line break at 8", ErrBase64},
		{"no padding", strings.TrimRight(Base64(file[:len(file)-len(file)%3-1]), "="), "not base64", ErrBase64},
		{"URL alphabet", "-_-_", "wrong at character 0", ErrBase64},
		{"loose bits", "QQ==QQ==", "not base64", ErrBase64},
		{"no picture", Base64([]byte("hello")), "not a PNG", ErrFormat},
		{"too large", strings.Repeat("A", DefaultLimits.Bytes/3*4+8), "over 50331648 bytes", ErrTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := DecodeBase64("mask image", row.text, DefaultLimits)
			var input *InputError
			if !errors.As(err, &input) || !errors.Is(err, row.is) {
				t.Fatalf("got %v, want %v", err, row.is)
			}
			if got := err.Error(); !strings.HasPrefix(got, "Failed to decode mask image: ") || !strings.Contains(got, row.want) {
				t.Errorf("got %q, want it to contain %q", got, row.want)
			}
		})
	}
}

func TestTextsAreReadBackByOthers(t *testing.T) {
	// The chunks must be where decoders allow them and have right check sums: Go's decoder looks at both.
	file, err := EncodePNG(gradient(), Text{"parameters", "äöü"}, Text{"Title", "星\x00!"}, Text{"empty", ""})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	got, err := Texts(file)
	if err != nil {
		t.Fatal(err)
	}
	want := []Text{{"parameters", "äöü"}, {"Title", "星!"}, {"empty", ""}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
	for kind, want := range map[string]int{"tEXt": 2, "iTXt": 1} {
		if got := bytes.Count(file, []byte(kind)); got != want {
			t.Errorf("%d chunks %s, want %d", got, kind, want)
		}
	}
	if !bytes.Contains(file, []byte("parameters\x00\xe4\xf6\xfc")) {
		t.Error("text that fits Latin-1 is not written as such")
	}
}

func TestInsertTextsRefuses(t *testing.T) {
	if _, err := InsertTexts([]byte("GIF89a")); !errors.Is(err, ErrNotPNG) {
		t.Errorf("got %v, want ErrNotPNG", err)
	}
	for _, keyword := range []string{"", "星", "a\x00b", strings.Repeat("k", 80)} {
		if _, err := EncodePNG(gradient(), Text{keyword, "v"}); err == nil {
			t.Errorf("keyword %q was taken", keyword)
		}
	}
}

func TestTextsOfAnotherProgram(t *testing.T) {
	for name, want := range map[string]Parameters{
		"latin1.png": {
			Prompt: "a café, \"big\" \\ sign\nsecond line", Negative: "blurry, bad\nalso: this",
			Steps: 20, Sampler: "DPM++ 2M", Schedule: "Karras", Guidance: 7.5, Seed: 4294967295,
			Width: 512, Height: 768, Model: "v1-5-pruned-emaonly", Version: "v1.10.1",
			Extra: []Field{{"Model hash", "6ce0161689"}, {"Lora hashes", "a: 0123, b: 4567"}, {"Clip skip", "2"}},
		},
		"utf8.png":  {Prompt: "星 on 黒", Steps: 4, Sampler: "Euler a", Guidance: 1, Seed: 7, Width: 8, Height: 8},
		"ztxt.png":  {Prompt: strings.Repeat("x", 2000), Steps: 1, Sampler: "Euler", Guidance: 1, Seed: 7},
		"utf8z.png": {Prompt: strings.Repeat("星", 500), Steps: 1, Sampler: "Euler", Guidance: 1, Seed: 7},
	} {
		got, ok, err := ParametersOf(read(t, name))
		if err != nil || !ok {
			t.Fatalf("%s: %v, %v", name, ok, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: want -, got +\n%s", name, diff)
		}
	}
	if _, ok, err := ParametersOf(read(t, "rgb.png")); ok || err != nil {
		t.Errorf("a picture without parameters: %v, %v", ok, err)
	}
}

func TestTextsOfDamagedFiles(t *testing.T) {
	file, err := EncodePNG(gradient(), Text{"a", "one"}, Text{"b", "two"})
	if err != nil {
		t.Fatal(err)
	}
	second := bytes.LastIndex(file, []byte("tEXt"))
	wrong := bytes.Clone(file)
	wrong[second+6] ^= 1
	long := bytes.Clone(file)
	copy(long[second-4:], []byte{0xFF, 0xFF, 0xFF, 0xFF})
	for name, file := range map[string][]byte{"check sum": wrong, "length": long, "cut": file[:second+2]} {
		got, err := Texts(file)
		if diff := cmp.Diff([]Text{{"a", "one"}}, got); diff != "" || err == nil {
			t.Errorf("%s: error %v; want -, got +\n%s", name, err, diff)
		}
	}
	if _, err := Texts([]byte("JFIF")); !errors.Is(err, ErrNotPNG) {
		t.Errorf("got %v, want ErrNotPNG", err)
	}
}

func TestTextsBoundsWhatItUnpacks(t *testing.T) {
	var bomb bytes.Buffer
	bomb.WriteString(signature)
	packed, err := deflated(longestText + 1)
	if err != nil {
		t.Fatal(err)
	}
	writeChunk(&bomb, "zTXt", []byte("bomb\x00\x00"), packed)
	writeChunk(&bomb, "iTXt", []byte("bomb\x00\x01\x00\x00\x00"), packed)
	writeChunk(&bomb, "tEXt", []byte("long\x00"), make([]byte, longestText))
	for range mostTexts + 9 {
		writeChunk(&bomb, "tEXt", []byte("k\x00v"))
	}
	got, err := Texts(bomb.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != mostTexts || got[0] != (Text{"k", "v"}) {
		t.Errorf("%d texts, first %.40v", len(got), got[0])
	}
}

// deflated is a zlib stream of n zeros.
func deflated(n int) ([]byte, error) {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	_, err := w.Write(make([]byte, n))
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

func FuzzTexts(f *testing.F) {
	for _, name := range []string{"latin1.png", "utf8.png", "ztxt.png", "utf8z.png", "rgb.png"} {
		f.Add(read(f, name))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		texts, _ := Texts(file)
		if len(texts) > mostTexts {
			t.Errorf("%d texts", len(texts))
		}
		for _, text := range texts {
			if len(text.Value) > 2*longestText { // Latin-1 may double as UTF-8
				t.Errorf("text of %d bytes", len(text.Value))
			}
		}
		_, _, _ = ParametersOf(file)
	})
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"rgb.png", "rgba.png", "palette.png", "grey16.png", "baseline.jpg", "progressive.jpg",
		"cmyk.jpg", "orientation6.jpg", "lossy.webp", "lossless.webp", "alpha.webp"} {
		f.Add(read(f, name))
	}
	limits := Limits{Bytes: 1 << 16, Side: 256, Pixels: 1 << 14}
	f.Fuzz(func(t *testing.T, file []byte) {
		img, err := Decode(file, limits)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrDamaged) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		if b := img.Bounds(); b.Min != (image.Point{}) || b.Dx()*b.Dy() > limits.Pixels || b.Dx() > limits.Side || b.Dy() > limits.Side {
			t.Errorf("bounds %v", b)
		}
	})
}

func BenchmarkEncodePNG512(b *testing.B) {
	img := image.NewNRGBA(image.Rect(0, 0, 512, 512))
	for i := range img.Pix {
		img.Pix[i] = uint8(i*7 ^ i>>9)
	}
	for b.Loop() {
		if _, err := EncodePNG(img); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeJPEG512(b *testing.B) {
	var file bytes.Buffer
	if err := jpeg.Encode(&file, image.NewNRGBA(image.Rect(0, 0, 512, 512)), nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Decode(file.Bytes(), DefaultLimits); err != nil {
			b.Fatal(err)
		}
	}
}
