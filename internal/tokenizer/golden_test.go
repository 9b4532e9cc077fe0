package tokenizer

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"waggle/internal/goldens"
)

// lines decodes every line of a JSON-lines file.
func lines[T any](t *testing.T, name string) []T {
	t.Helper()
	var rows []T
	decoder := json.NewDecoder(bytes.NewReader(goldens.Bytes(t, name)))
	for decoder.More() {
		var row T
		if err := decoder.Decode(&row); err != nil {
			t.Fatalf("%s, row %d: %v", name, len(rows), err)
		}
		rows = append(rows, row)
	}
	return rows
}

func TestGoldenEncode(t *testing.T) {
	var index struct {
		File  string
		Count int
	}
	goldens.JSON(t, "tokenizer/index.json", &index)
	type row struct {
		Text string
		IDs  []int32
	}
	rows := lines[row](t, "tokenizer/"+index.File)
	if len(rows) != index.Count || len(rows) == 0 {
		t.Errorf("%d rows, index.json says %d", len(rows), index.Count)
	}
	for _, row := range rows {
		if got := Standard().Encode(row.Text); !slices.Equal(got, row.IDs) {
			t.Errorf("Encode(%q)\n got %v\nwant %v", row.Text, got, row.IDs)
		}
	}
}

// TestGoldenChunks takes the prompts of goldens/prompts that have no syntax: one attention part, nothing scheduled.
func TestGoldenChunks(t *testing.T) {
	type row struct {
		Prompt    string
		Attention [][2]any
		Chunks    map[string]struct {
			Chunks []struct{ Tokens []int32 }
		}
	}
	run := 0
	for _, row := range lines[row](t, "prompts/prompts.jsonl") {
		want, found := row.Chunks[strings.TrimSpace(row.Prompt)]
		plain := len(row.Chunks) == 1 && len(row.Attention) == 1 && row.Attention[0] == [2]any{row.Prompt, 1.0}
		if !plain || !found || strings.Contains(row.Prompt, "BREAK") {
			continue
		}
		run++
		got, err := Standard().Chunks(row.Prompt, 0)
		if err != nil || len(got) != len(want.Chunks) {
			t.Errorf("%q: got %d chunks (%v), want %d", row.Prompt, len(got), err, len(want.Chunks))
			continue
		}
		for i := range got {
			if !slices.Equal(got[i], want.Chunks[i].Tokens) {
				t.Errorf("%q, chunk %d:\n got %v\nwant %v", row.Prompt, i, got[i], want.Chunks[i].Tokens)
			}
		}
	}
	if run == 0 {
		t.Error("no plain prompt in the set")
	}
	t.Logf("%d plain prompts", run)
}

// TestGoldenTinyShapes reads a tokenizer folder and the ids that were made with it.
func TestGoldenTinyShapes(t *testing.T) {
	tokenizer := fromFolder(t, goldens.Model(t, "tiny-shapes/tokenizer"))
	if got, want := tokenizer.Special(), (Special{BOS: 704, EOS: 705, Pad: 705}); got != want {
		t.Errorf("special ids: got %v, want %v", got, want)
	}
	var golden struct {
		Prompts        []string
		NegativePrompt string `json:"negative_prompt"`
	}
	goldens.JSON(t, goldens.Model(t, "tiny-shapes-golden/golden.json"), &golden)
	tensors := goldens.Tensors(t, goldens.Model(t, "tiny-shapes-golden/golden.safetensors"))
	for name, prompt := range map[string]string{
		"uncond.ids": golden.NegativePrompt, "p0.ids": golden.Prompts[0], "p1.ids": golden.Prompts[1],
	} {
		chunks, err := tokenizer.Chunks(prompt, 1)
		if err != nil {
			t.Fatal(err)
		}
		want := tensors[name].Int64s
		if !slices.EqualFunc(chunks[0], want, func(a int32, b int64) bool { return int64(a) == b }) {
			t.Errorf("%s %q:\n got %v\nwant %v", name, prompt, chunks[0], want)
		}
	}
}

func fromFolder(t *testing.T, folder string) *Tokenizer {
	t.Helper()
	vocab, err := os.ReadFile(filepath.Join(folder, "vocab.json"))
	if err != nil {
		t.Fatal(err)
	}
	merges, err := os.ReadFile(filepath.Join(folder, "merges.txt"))
	if err != nil {
		t.Fatal(err)
	}
	tokenizer, err := New(vocab, merges)
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}
