package prompt

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestScheduleBrackets: what begins no schedule is text, and what is inside it may be one.
func TestScheduleBrackets(t *testing.T) {
	for text, want := range map[string][]Phase{
		"a [b:3]":               {{3, "a "}, {10, "a b"}},
		"a [[[b]]:2]":           {{2, "a "}, {10, "a [[b]]"}},
		"[(a:2):3]":             {{3, ""}, {10, "(a:2)"}},
		"a[b:[c:d:2]:1]e":       {{1, "abe"}, {2, "ace"}, {10, "ade"}},
		"((a][:b:c [d:3]":       {{3, "((a][:b:c "}, {10, "((a][:b:c d"}},
		"[[a:b:2":               {{10, "[[a:b:2"}},
		"[a:b:2] c|d":           {{10, "[a:b:2] c|d"}}, // a bar outside brackets: all of it is text
		`[a:b:2] \`:             {{10, `[a:b:2] \`}},
		"[a:b:1e0]":             {{1, "a"}, {10, "b"}},
		"[a:b:99999999999e999]": {{10, "a"}},
		"[é|日:本]":               {{10, "[é|日:本]"}},
	} {
		got, err := Schedule(text, Steps{Count: 10})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v (%v), want %v", text, got, err, want)
		}
	}
}

func TestComfyEmphasis(t *testing.T) {
	for text, want := range map[string][]Span{
		"":                   nil,
		"a cat":              {{"a cat", 1}},
		"a (cat)":            {{"a ", 1}, {"cat", 1.1}},
		"((cat))":            {{"cat", 1.2100000000000002}},
		"(a (cat:1.5) b:2)":  {{"a ", 2}, {"cat", 1.5}, {" b", 2}},
		`(a \(cat\):1.2)`:    {{"a (cat)", 1.2}},
		"[cat] BREAK AND":    {{"[cat] BREAK AND", 1}},
		"(cat:abc)":          {{"cat:abc", 1.1}},
		"(:1.2)":             {{":1.2", 1.1}},
		"a (cat":             {{"a ", 1}, {"(cat", 1}},
		"a) (cat) dog":       {{"a) (cat) dog", 1}}, // as ComfyUI counts: the first bracket closes what was never open
		"(cat: -1 ) (dog:0)": {{"cat", -1}, {" ", 1}, {"dog", 0}},
	} {
		got, err := ComfyEmphasis(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v (%v), want %v", text, got, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	errs := map[string]error{}
	_, errs["bytes"] = Emphasis(strings.Repeat("a", MaxBytes+1))
	_, errs["open at once"] = Emphasis(strings.Repeat("(", MaxDepth+1))
	_, errs["brackets"] = Schedule(strings.Repeat("[", MaxDepth+1), Steps{Count: 9})
	_, errs["more than 64 brackets"] = ComfyEmphasis(strings.Repeat("(", MaxDepth+2) + strings.Repeat(")", MaxDepth+2))
	_, errs["weight of +Inf"] = Emphasis("(a:" + strings.Repeat("9", 400) + ")")
	_, errs["weight of 1001"] = ComfyEmphasis("(a:1001)")
	_, errs[`"1.2.3" is no number`] = Emphasis("(a:1.2.3)")
	_, errs["joins 17 parts"] = Split(strings.Repeat("a AND ", MaxParts))
	_, errs["weight of -5e+06"] = Split("a:-5000000 AND b")
	_, errs["different texts"] = Schedule("[a|b|c|d|e] [f|g|h] [i|j|k|l|m|n|o]", Steps{Count: 1000})
	_, _, errs["networks"] = Networks(strings.Repeat("<lora:a>", MaxNetwork+1))
	for want, err := range errs {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

// TestChunksEmbedding: rows stand in place of the name, together as long as they fit, and a weight is each row's.
func TestChunksEmbedding(t *testing.T) {
	reader := Reader{Length: 4, Comma: ',', Encode: bytesOf, Embedding: func(ids []int32) (int, int, int) {
		if len(ids) > 1 && ids[0] == 'x' && ids[1] == 'y' {
			return 7, 3, 2
		}
		return 0, 0, 0
	}}
	got := reader.Chunks([]Span{{"ab", 1}, {"xyc", 1.5}, {Break, -1}, {"x", 1}})
	row := func(i int) Token { return Token{Weight: 1.5, Embedding: 7, Row: i} }
	want := []Chunk{
		{{ID: 'a', Weight: 1}, {ID: 'b', Weight: 1}},
		{row(0), row(1), row(2), {ID: 'c', Weight: 1.5}},
		{{ID: 'x', Weight: 1}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func bytesOf(text string) (ids []int32) {
	for _, b := range []byte(text) {
		ids = append(ids, int32(b))
	}
	return ids
}

// TestTime: prompts made to be slow are not.
func TestTime(t *testing.T) {
	start := time.Now()
	for _, piece := range []string{"[", "(", "[a|", "[a:", "[a:b:2]", "[a|b]", "(a:1.1", ":", "\\", " ", "<a:", "<", " BREAK ", "a BREAK", "AND", "[[a|b]:"} {
		text := strings.Repeat(piece, MaxBytes/len(piece))
		readAll(t, text)
		readAll(t, "["+text)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

// readAll reads a prompt in every way, and checks what holds for any.
func readAll(t *testing.T, text string) {
	reader := Reader{Length: 75, Comma: ',', Encode: bytesOf}
	for _, read := range []func(string) ([]Span, error){Emphasis, ComfyEmphasis} {
		if spans, err := read(text); err == nil {
			for _, chunk := range reader.Chunks(spans) {
				if len(chunk) > reader.Length {
					t.Errorf("%q: a chunk of %d", text, len(chunk))
				}
			}
		}
	}
	rest, _, err := Networks(text)
	if err != nil {
		return
	}
	parts, _ := Split(rest)
	for _, part := range parts {
		for _, steps := range []Steps{{Count: 30}, {Count: 10, First: 20}} {
			if phases, err := Schedule(part.Text, steps); err == nil {
				checkPhases(t, part.Text, phases, steps)
			}
		}
	}
}

func checkPhases(t *testing.T, text string, phases []Phase, steps Steps) {
	ordered := slices.IsSortedFunc(phases, func(a, b Phase) int { return a.Until - b.Until })
	if n := len(phases); n == 0 || n > steps.Count || phases[0].Until < 1 || phases[n-1].Until != steps.Count || !ordered {
		t.Errorf("%q: phases %v of %d steps", text, phases, steps.Count)
	}
}

func FuzzPrompt(f *testing.F) {
	for _, seed := range []string{"a [b:c:0.3] (d:1.2) [e|f]", "<lora:a:te=0.5> x AND y :2", `\( BREAK (((`, "[a:b:1e999]", "(a:\x00\x01)", "[a:\u00a0.5]"} {
		f.Add(seed)
	}
	f.Fuzz(readAll)
}
