package weights

import (
	"archive/zip"
	"bytes"
	"hash/crc32"
	"maps"
	"slices"
	"testing"
)

// stored makes an archive of entries as they are.
func stored(t *testing.T, entries map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = e.Write(entries[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The standard library's archives read back, whatever lies behind them as a comment.
func TestReadArchive(t *testing.T) {
	want := map[string][]byte{"a/data.pkl": []byte("one"), "a/data/0": nil, "b": bytes.Repeat([]byte("x"), 70_000)}
	got, err := readArchive(stored(t, want))
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d entries, %v", len(got), err)
	}
	for name, data := range want {
		if !bytes.Equal(got[name].data, data) || got[name].crc != crc32.ChecksumIEEE(data) {
			t.Errorf("%s: %d bytes, checksum %x", name, len(got[name].data), got[name].crc)
		}
	}
}

// What an archive claims of itself is never believed: every byte of its
// directory, changed to the extremes, gives an error or the same entries.
func TestReadArchiveDamaged(t *testing.T) {
	archive := stored(t, map[string][]byte{"a": []byte("one"), "b": []byte("two")})
	for i := range archive {
		for _, b := range []byte{0, 0xff, archive[i] + 1} {
			damaged := slices.Clone(archive)
			damaged[i] = b
			if n := allocations(func() { _, _ = readArchive(damaged) }); n > 64<<10 {
				t.Errorf("byte %d as %#x: took %d bytes", i, b, n)
			}
		}
	}
}
