package sd

import (
	"slices"
	"testing"

	"waggle/internal/models"
	"waggle/internal/tokenizer"
)

// Names are spelled once, the longest is found first, and a list that has changed is spelled anew.
func TestSpellings(t *testing.T) {
	var s spellings
	cut := tokenizer.Standard()
	list := []models.Entry{{Name: "golden"}, {Name: "sub/golden style"}, {Name: "red"}}
	look := func(list []models.Entry, text, want string) {
		t.Helper()
		if found, _ := s.of(cut, list).find(cut.Encode(text)); found.entry.Name != want {
			t.Errorf("%q: %q, want %q", text, found.entry.Name, want)
		}
	}
	look(list, "golden style, red", "sub/golden style")
	look(list, "golden red", "golden")
	look(list, "gold", "")
	look(list, "", "")
	s.known[cut][cut.Encode("red")[0]][0].entry.Name = "kept" // seen only if it is not spelled anew
	look(slices.Clone(list), "red", "kept")
	look(append(list, models.Entry{Name: "blue"}), "blue", "blue")
}
