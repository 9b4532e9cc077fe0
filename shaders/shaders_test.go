package shaders

import (
	"strings"
	"testing"
)

func TestEvaluate(t *testing.T) {
	values := map[string]uint64{"R": 32, "LANES": 8}
	for expression, want := range map[string]uint64{"7u": 7, "(R + LANES - 1u) / LANES": 4, "R%5u*2u": 4, "0x10": 16} {
		if got, err := evaluate(expression, values); err != nil || got != want {
			t.Errorf("evaluate(%q) = %d, %v, want %d", expression, got, err, want)
		}
	}
	for _, bad := range []string{"", "x", "1u +", "(1u", "4u/0u", "1u 2u"} {
		if v, err := evaluate(bad, values); err == nil {
			t.Errorf("evaluate(%q) = %d, want an error", bad, v)
		}
	}
}

func TestUnroll(t *testing.T) {
	text := "const N: u32 = 2u;\nfor (var i = 0u; i < N; i++) { // unroll\n  a[i * 2u + 1u] = subgroupShuffle(x, i % N);\n}\nend"
	want := "const N: u32 = 2u;\n{\n  a[1u] = subgroupBroadcast(x, 0u);\n}\n{\n  a[3u] = subgroupBroadcast(x, 1u);\n}\nend"
	got, err := unroll(text)
	if err != nil || got != want {
		t.Fatalf("unroll: %v\n%s\nwant\n%s", err, got, want)
	}
	if _, err := unroll("for (var i = 0u; i < rows; i++) { // unroll\n}"); err == nil {
		t.Error("unroll of a loop with a bound that is not constant: want an error")
	}
}

func TestSource(t *testing.T) {
	for _, name := range Names() {
		text, err := Source(name, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(text, "{ // unroll") {
			t.Errorf("%s: a marked loop was left", name)
		}
	}
	if _, err := Source("conv_subgroup", Constants{"NOPE": "1u"}); err == nil {
		t.Error("an unknown constant: want an error")
	}
	if _, err := Source("nope", nil); err == nil {
		t.Error("an unknown kernel: want an error")
	}
}
