package prompt

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waggle/internal/goldens"
	"waggle/internal/tokenizer"
)

// row is a line of prompts.jsonl.
type row struct {
	Prompt    string
	Attention []pair
	Networks  map[string][]struct {
		Positional []string
		Named      map[string]string
	} `json:"extra_networks"`
	Without   string `json:"without_networks"`
	And       []pair
	Schedules map[string][][]pair
	Hires     [][]pair `json:"schedules_hires_20_10"`
	Chunks    map[string]struct {
		Chunks []struct {
			Tokens      []int32
			Multipliers []float64
		}
	}
}

// pair is [text, number] or [number, text].
type pair struct {
	text   string
	number float64
}

func (p *pair) UnmarshalJSON(data []byte) error {
	var two [2]any
	if err := json.Unmarshal(data, &two); err != nil {
		return err
	}
	for _, v := range two {
		switch v := v.(type) {
		case string:
			p.text = v
		case float64:
			p.number = v
		}
	}
	return nil
}

func goldenRows(t *testing.T) (rows []row) {
	var index struct{ Count int }
	goldens.JSON(t, "prompts/index.json", &index)
	decoder := json.NewDecoder(bytes.NewReader(goldens.Bytes(t, "prompts/prompts.jsonl")))
	for decoder.More() {
		var r row
		if err := decoder.Decode(&r); err != nil {
			t.Fatalf("row %d: %v", len(rows), err)
		}
		rows = append(rows, r)
	}
	if len(rows) != index.Count {
		t.Errorf("%d prompts, the index says %d", len(rows), index.Count)
	}
	return rows
}

func same(t *testing.T, what, prompt string, got, want any) {
	t.Helper()
	near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Abs(b) })
	if diff := cmp.Diff(want, got, near, cmp.AllowUnexported(pair{})); diff != "" {
		t.Errorf("%s of %q (-want +got):\n%s", what, prompt, diff)
	}
}

func spanPairs(t *testing.T, spans []Span, err error) (pairs []pair) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	for _, s := range spans {
		pairs = append(pairs, pair{s.Text, s.Weight})
	}
	return pairs
}

func TestGoldenPrompts(t *testing.T) {
	for _, r := range goldenRows(t) {
		spans, err := Emphasis(r.Prompt)
		same(t, "emphasis", r.Prompt, spanPairs(t, spans, err), r.Attention)
		rest, networks, err := Networks(r.Prompt)
		if err != nil {
			t.Error(err)
		}
		same(t, "rest", r.Prompt, rest, r.Without)
		checkNetworks(t, r, networks)
		parts, err := Split(rest)
		same(t, "parts", r.Prompt, spanPairs(t, parts, err), r.And)
		checkSchedules(t, r, parts)
		checkChunks(t, r)
	}
}

func checkNetworks(t *testing.T, r row, networks []Network) {
	var want []Network
	for _, kind := range []string{"lora", "hypernet", "lyco"} {
		for _, n := range r.Networks[kind] {
			want = append(want, Network{Kind: kind, Args: n.Positional, Named: n.Named})
		}
	}
	same(t, "networks", r.Prompt, networks, want)
}

func checkSchedules(t *testing.T, r row, parts []Span) {
	all := map[Steps][][]pair{{Count: 20}: r.Schedules["20"], {Count: 7}: r.Schedules["7"], {Count: 10, First: 20}: r.Hires}
	for steps, want := range all {
		for i, part := range parts {
			phases, err := Schedule(part.Text, steps)
			if err != nil {
				t.Error(err)
			}
			var got []pair
			for _, p := range phases {
				got = append(got, pair{p.Text, float64(p.Until)})
			}
			same(t, "schedule", r.Prompt, got, want[i])
		}
	}
}

func checkChunks(t *testing.T, r row) {
	clip := tokenizer.Standard()
	reader := Reader{Length: tokenizer.ChunkTokens, Comma: clip.Encode(",")[0], Encode: clip.Encode}
	for text, want := range r.Chunks {
		spans, err := Emphasis(text)
		if err != nil {
			t.Error(err)
		}
		var ids [][]int32
		var weights [][]float64
		for _, chunk := range reader.Chunks(spans) {
			var body []int32
			w := []float64{1}
			for _, token := range chunk {
				body, w = append(body, token.ID), append(w, token.Weight)
			}
			for len(w) < tokenizer.ChunkLength {
				w = append(w, 1)
			}
			ids, weights = append(ids, clip.Frame(body)), append(weights, w)
		}
		var wantIDs [][]int32
		var wantWeights [][]float64
		for _, c := range want.Chunks {
			wantIDs, wantWeights = append(wantIDs, c.Tokens), append(wantWeights, c.Multipliers)
		}
		same(t, "tokens", text, ids, wantIDs)
		same(t, "weights", text, weights, wantWeights)
	}
}
