package main

import "testing"

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{
		"6000": 6000 << 20, "6GiB": 6 << 30, "1.5g": 3 << 29, " 900 MB ": 900e6, "512m": 512 << 20, "4096B": 4096, "10kb": 10000, "0": 0,
		"7KiB": 7 << 10, "1tb": 1e12,
	} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d, error %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "NaN", "Inf", "1e30", "6 GiBs", "six", "1,5g"} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}
