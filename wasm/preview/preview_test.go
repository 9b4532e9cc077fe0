package preview

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"
)

// message builds a frame by hand, independent of Parse.
func message(kind Kind, step, total, channels, height, width int, job string, payload []byte) []byte {
	b := []byte{1, byte(kind)}
	b = binary.LittleEndian.AppendUint16(b, uint16(step))
	b = binary.LittleEndian.AppendUint16(b, uint16(total))
	b = append(b, byte(channels), byte(len(job)))
	b = binary.LittleEndian.AppendUint16(b, uint16(height))
	b = binary.LittleEndian.AppendUint16(b, uint16(width))
	b = append(b, job...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return append(b, payload...)
}

func TestParse(t *testing.T) {
	frame, err := Parse(message(Latent, 3, 20, 4, 2, 3, "job-1", make([]byte, 4*2*3*2)))
	if err != nil {
		t.Fatal(err)
	}
	if frame.Step != 3 || frame.Total != 20 || frame.Channels != 4 || frame.Height != 2 || frame.Width != 3 || frame.Job != "job-1" || len(frame.Payload) != 48 {
		t.Errorf("got %+v", frame)
	}
	frame, err = Parse(message(PNG, 1, 2, 0, 0, 0, "job-four", []byte("png")))
	if err != nil || string(frame.Payload) != "png" || frame.Job != "job-four" {
		t.Errorf("png frame: %+v, %v", frame, err)
	}
}

func TestParseRefuses(t *testing.T) {
	good := message(Latent, 1, 2, 4, 2, 2, "j", make([]byte, 32))
	with := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] = v
		return b
	}
	for name, row := range map[string]struct {
		message []byte
		want    error
	}{
		"empty":               {nil, ErrShort},
		"half a header":       {good[:7], ErrShort},
		"id cut off":          {good[:headerBytes], ErrShort},
		"id longer than all":  {with(7, 255), ErrShort},
		"version 2":           {with(0, 2), ErrVersion},
		"kind 9":              {with(1, 9), ErrKind},
		"no channels":         {with(6, 0), ErrShape},
		"too many channels":   {with(6, 200), ErrShape},
		"no height":           {with(8, 0), ErrShape},
		"huge height":         {with(9, 255), ErrShape},
		"many pixels":         {message(Latent, 1, 2, 1, 2048, 1024, "j", nil), ErrShape},
		"payload too short":   {good[:len(good)-1], ErrLength},
		"payload too long":    {append(bytes.Clone(good), 0), ErrLength},
		"one channel claimed": {with(6, 1), ErrLength},
	} {
		if _, err := Parse(row.message); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", name, err, row.want)
		}
	}
}

func TestHalfToFloat(t *testing.T) {
	for bits, want := range map[uint16]float32{
		0x0000: 0, 0x3c00: 1, 0xbc00: -1, 0x4000: 2, 0x3555: 0.33325195, 0x7bff: 65504, 0x0001: 5.9604645e-8, 0x0400: 6.1035156e-5, 0x8001: -5.9604645e-8,
	} {
		if got := halfToFloat(bits); got != want {
			t.Errorf("halfToFloat(%#04x) = %v, want %v", bits, got, want)
		}
	}
	if got := halfToFloat(0xfc00); !math.IsInf(float64(got), -1) {
		t.Errorf("0xfc00 = %v, want -Inf", got)
	}
	if got := halfToFloat(0x7e00); got == got {
		t.Errorf("0x7e00 = %v, want NaN", got)
	}
	if got := halfToFloat(0x8000); math.Float32bits(got) != 1<<31 {
		t.Errorf("0x8000 = %v, want -0", got)
	}
}

// A 1×2 latent of two channels, values and colours worked out by hand.
func TestRGBA(t *testing.T) {
	payload := []byte{0x00, 0x3c, 0x00, 0xbc, 0x00, 0x40, 0x00, 0x7e} // 1, -1 | 2, NaN
	frame, err := Parse(message(Latent, 1, 1, 2, 1, 2, "j", payload))
	if err != nil {
		t.Fatal(err)
	}
	colours := Colours{Factors: [][3]float32{{0.5, 0, -1}, {0, 1, 0}}, Bias: [3]float32{0.25, -1.5, 0}}
	got, err := NewDecoder().RGBA(nil, frame, colours)
	if err != nil {
		t.Fatal(err)
	}
	// pixel 0: r .25+.5=.75, g -1.5+2=.5, b -1; pixel 1: a NaN in channel 1 makes all of it NaN, drawn black.
	want := []byte{191, 128, 0, 255, 0, 0, 0, 255}
	if !bytes.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRGBAReusesAndRefuses(t *testing.T) {
	frame, _ := Parse(message(Latent, 1, 1, 1, 2, 2, "j", make([]byte, 8)))
	decoder, dst := NewDecoder(), make([]byte, 64)
	got, err := decoder.RGBA(dst, frame, Colours{Factors: make([][3]float32, 1)})
	if err != nil || len(got) != 16 || &got[0] != &dst[0] || got[0] != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := decoder.RGBA(dst, frame, Colours{Factors: make([][3]float32, 4)}); !errors.Is(err, ErrFactors) {
		t.Errorf("four factors for one channel: %v", err)
	}
	frame.Kind = PNG
	if _, err := decoder.RGBA(dst, frame, Colours{Factors: make([][3]float32, 1)}); !errors.Is(err, ErrFactors) {
		t.Errorf("a PNG drawn as a latent: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(message(Latent, 1, 2, 4, 2, 2, "job-1", make([]byte, 32)))
	f.Add(message(PNG, 1, 2, 0, 0, 0, "", nil))
	f.Add([]byte{1})
	decoder := NewDecoder()
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := Parse(b)
		if err != nil || frame.Kind != Latent {
			return
		}
		pixels, err := decoder.RGBA(nil, frame, Colours{Factors: make([][3]float32, frame.Channels)})
		if err != nil || len(pixels) != 4*frame.Width*frame.Height {
			t.Fatalf("%d pixels bytes, %v, for %+v", len(pixels), err, frame)
		}
	})
}

func BenchmarkRGBA(b *testing.B) {
	frame, _ := Parse(message(Latent, 1, 1, 4, 64, 64, "j", make([]byte, 32<<10)))
	decoder, colours := NewDecoder(), Colours{Factors: make([][3]float32, 4)}
	var dst []byte
	b.SetBytes(32 << 10)
	for b.Loop() {
		dst, _ = decoder.RGBA(dst, frame, colours)
	}
}
