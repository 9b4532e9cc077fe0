package tokenizer

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestStandardVocabulary(t *testing.T) {
	clip := Standard()
	if got, want := clip.Size(), 49408; got != want {
		t.Errorf("size %d, want %d", got, want)
	}
	if got, want := clip.Special(), (Special{49406, 49407, 49407}); got != want {
		t.Errorf("special ids %v, want %v", got, want)
	}
}

func TestDecode(t *testing.T) {
	for _, text := range []string{"", "a photo of a cat", "caf\u00e9 \U0001F600 \u65e5\u672c\u8a9e", "a <|endoftext|> b"} {
		got, err := Standard().Decode(Standard().Encode(text))
		if err != nil || got != text {
			t.Errorf("decode(encode(%q)) = %q, %v", text, got, err)
		}
	}
	for _, id := range []int32{-1, 49408} {
		if _, err := Standard().Decode([]int32{id}); err == nil {
			t.Errorf("id %d: no error", id)
		}
	}
}

func TestPieces(t *testing.T) {
	got := Standard().Pieces("Supercat, \u6771")
	want := []Piece{{1642, "super", false}, {2368, "cat", true}, {267, ",", true}}
	if len(got) != 5 || !slices.Equal(got[:3], want) {
		t.Errorf("got %v, want it to begin with %v", got, want)
	}
	if got[3].Text != "\uFFFD" || got[3].WordEnd || !got[4].WordEnd {
		t.Errorf("two parts of a character: got %v", got[3:])
	}
}

func TestChunksFrame(t *testing.T) {
	open := Standard().WithPad(0)
	tests := []struct {
		name   string
		text   string
		chunks int
		last   int // tokens of text in the last chunk
	}{
		{"empty", "", 1, 0},
		{"full", strings.Repeat("cat ", 75), 1, 75},
		{"one more", strings.Repeat("cat ", 76), 2, 1},
		{"comma at the end stays", strings.Repeat("cat ", 74) + ", dog", 2, 1},
		{"comma after the end moves", strings.Repeat("cat ", 75) + ", dog", 2, 2},
		{"comma 20 back", strings.Repeat("cat ", 55) + "," + strings.Repeat("cat ", 20), 2, 20},
		{"comma 21 back", strings.Repeat("cat ", 54) + "," + strings.Repeat("cat ", 21), 2, 1},
		{"limit", strings.Repeat("cat ", 75*16), 16, 75},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			chunks, err := open.Chunks(test.text, 0)
			if err != nil || len(chunks) != test.chunks {
				t.Fatalf("got %d chunks, %v; want %d", len(chunks), err, test.chunks)
			}
			last := chunks[len(chunks)-1]
			if len(last) != ChunkLength || last[0] != 49406 || slices.Index(last, 49407) != test.last+1 {
				t.Errorf("last chunk %v, want EOS at %d", last, test.last+1)
			}
			if test.last < 75 && last[ChunkLength-1] != 0 {
				t.Errorf("padding is %d, want 0", last[ChunkLength-1])
			}
		})
	}
}

func TestChunksTooLong(t *testing.T) {
	_, err := Standard().Chunks(strings.Repeat("cat ", 75*16+1), 0)
	var tooLong *TooLongError
	if !errors.As(err, &tooLong) || *tooLong != (TooLongError{1201, 17, 16}) {
		t.Fatalf("got %v", err)
	}
	if !strings.HasPrefix(err.Error(), "Prompt too long") || !strings.Contains(err.Error(), "1201") {
		t.Errorf("message %q", err)
	}
}

// TestEncodeHugeWord: a prompt of 1 MB without a space must not take quadratic time. It takes about as long as its eighth
// eight times; quadratic would be eight times as long. Machines are slow for reasons of their own, so the limit is no time.
func TestEncodeHugeWord(t *testing.T) {
	encode := func(length, times int) time.Duration {
		text := strings.Repeat("abracadabra", length/11)
		start := time.Now()
		for range times {
			if len(Standard().Encode(text)) == 0 {
				t.Error("no ids")
			}
		}
		return time.Since(start)
	}
	encode(1<<17, 1)
	eighths, whole := encode(1<<17, 8), encode(1<<20, 1)
	if whole > 5*eighths {
		t.Errorf("1 MB took %v, eight times an eighth of it %v", whole, eighths)
	}
	t.Logf("1 MB: %v, eight times an eighth of it: %v", whole, eighths)
}

// small is a vocabulary of the letters a and b, the comma and three merges.
func small(t *testing.T, change func(map[string]any), merges string) (*Tokenizer, error) {
	t.Helper()
	vocab := map[string]any{"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab": 4, "ab</w>": 5, "abab</w>": 6, ",</w>": 7,
		startOfText: 8, endOfText: 9}
	change(vocab)
	data, err := json.Marshal(vocab)
	if err != nil {
		t.Fatal(err)
	}
	return New(data, []byte(merges))
}

func keep(map[string]any) {}

func TestNew(t *testing.T) {
	tokenizer, err := small(t, keep, "#version: 0.2\na b\na b</w>\nab ab</w>\n")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int32{
		"ABAB": {6}, "aab": {0, 5}, "ba": {1, 2}, "abx": {4, 9}, "ab, b": {5, 7, 3}, "<|startoftext|>a": {8, 2},
	} {
		if got := tokenizer.Encode(text); !slices.Equal(got, want) {
			t.Errorf("Encode(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(map[string]any)
		merges string
		want   string
	}{
		{"no end of text", func(v map[string]any) { delete(v, endOfText) }, "", "lacks"},
		{"same id twice", func(v map[string]any) { v["x"] = 1 }, "", "share id 1"},
		{"negative id", func(v map[string]any) { v["x"] = -1 }, "", "outside"},
		{"huge id", func(v map[string]any) { v["x"] = 1 << 30 }, "", "outside"},
		{"fractional id", func(v map[string]any) { v["x"] = 1.5 }, "", "vocab.json"},
		{"text as id", func(v map[string]any) { v["x"] = "y" }, "", "vocab.json"},
		{"long token", func(v map[string]any) { v[strings.Repeat("x", 2000)] = 20 }, "", "2000 bytes"},
		{"one part", keep, "a b\nab\n", "line 2"},
		{"three parts", keep, "a b c\n", "line 1"},
		{"unknown part", keep, "a b\na z\n", "merge 2"},
		{"unknown union", keep, "b a\n", "merge 1"},
		{"endless line", keep, strings.Repeat("x", 1<<17), "merges.txt"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := small(t, test.change, test.merges)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
	for name, vocab := range map[string]string{"empty": "", "list": "[]", "null": "null", "cut": `{"a":`} {
		if _, err := New([]byte(vocab), nil); err == nil {
			t.Errorf("vocab.json %s: no error", name)
		}
	}
}

func FuzzEncode(f *testing.F) {
	for _, seed := range []string{"a cat", "it's 3\u00bd \u0130", "<|<|endoftext|>", "\xff\xfe", "a\u0301\u0327"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids := Standard().Encode(text)
		decoded, err := Standard().Decode(ids)
		if err != nil || !utf8.ValidString(decoded) {
			t.Fatalf("Encode(%q) = %v: decoded %q, %v", text, ids, decoded, err)
		}
		if chunks, err := Standard().Chunks(text, 0); err == nil && len(chunks[0]) != ChunkLength {
			t.Fatalf("a chunk of %d", len(chunks[0]))
		}
	})
}

func FuzzNew(f *testing.F) {
	f.Add(`{"a":0,"a</w>":1,"aa</w>":2,"<|startoftext|>":3,"<|endoftext|>":4}`, "#version: 0.2\na a</w>\n", "aaa")
	f.Fuzz(func(t *testing.T, vocab, merges, text string) {
		tokenizer, err := New([]byte(vocab), []byte(merges))
		if err != nil {
			return
		}
		if _, err := tokenizer.Decode(tokenizer.Encode(text)); err != nil {
			t.Fatalf("an id outside its own vocabulary: %v", err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	text := "a highly detailed photograph of an astronaut riding a horse, sharp focus, studio lighting, 35mm, f/1.8"
	Standard()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Standard().Encode(text)
	}
}

// The files of the standard tokenizer make it again.
func TestStandardFiles(t *testing.T) {
	vocab, merges, err := StandardFiles()
	if err != nil {
		t.Fatal(err)
	}
	got, err := New(vocab, merges)
	if err != nil {
		t.Fatal(err)
	}
	const text = "a photo of an astronaut riding a horse, 42 naïve cats!"
	want := Standard()
	if got.Size() != want.Size() || got.Special() != want.Special() || !slices.Equal(got.Encode(text), want.Encode(text)) {
		t.Errorf("got %d tokens %v %v, want %d %v %v", got.Size(), got.Special(), got.Encode(text), want.Size(), want.Special(), want.Encode(text))
	}
	if want.Token(0) != "!" || want.Token(49407) != "<|endoftext|>" || want.Token(49408) != "" || want.Token(-1) != "" {
		t.Errorf("tokens %q %q %q", want.Token(0), want.Token(49407), want.Token(49408))
	}
}
