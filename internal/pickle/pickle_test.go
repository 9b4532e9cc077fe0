package pickle

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rules for tests: one function that joins text, one inert class.
func rules() Rules {
	return Rules{
		Globals: map[string]Func{
			"text.join": func(args Tuple) (any, error) {
				var all string
				for _, a := range args {
					s, ok := a.(string)
					if !ok {
						return nil, errors.New("needs text")
					}
					all += s
				}
				return all, nil
			},
			"mod.Class": nil,
		},
		Load: func(id any) (any, error) { return Tuple{"loaded", id}, nil },
	}
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, stream string
		want         any
	}{
		{"none", "N.", nil},
		{"bools", "\x80\x02\x88\x89\x86.", Tuple{true, false}},
		{"integers", "(K\xffM\x01\x02J\xfe\xff\xff\xff\x8a\x00\x8a\x01\xfft.", Tuple{int64(255), int64(513), int64(-2), int64(0), int64(-1)}},
		{"long", "\x8a\x09123456789.", Long("123456789")},
		{"float", "G\x3f\xf8\x00\x00\x00\x00\x00\x00.", 1.5},
		{"text", "(X\x02\x00\x00\x00abU\x01c\x8c\x01dt.", Tuple{"ab", "c", "d"}},
		{"bytes", "C\x02ab.", []byte("ab")},
		{"frame", "\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00N.", nil},
		{"list", "](K\x01K\x02eK\x03a.", &List{[]any{int64(1), int64(2), int64(3)}}},
		{"set", "\x8f(K\x01\x90.", &List{[]any{int64(1)}}},
		{"frozen set", "(K\x01\x91.", &List{[]any{int64(1)}}},
		{"dict", "}(U\x01aK\x01U\x01bK\x02uU\x01cNs.", &Dict{[]Entry{{"a", int64(1)}, {"b", int64(2)}, {"c", nil}}}},
		{"memo", "U\x01aq\x00h\x00\x86.", Tuple{"a", "a"}},
		{"long memo", "U\x01ar\x00\x01\x00\x00j\x00\x01\x00\x00\x86.", Tuple{"a", "a"}},
		{"memoize", "U\x01a\x94h\x00\x86.", Tuple{"a", "a"}},
		{"dup and pop", "K\x012K\x020\x86.", Tuple{int64(1), int64(1)}},
		{"pop mark", "K\x01(K\x02K\x031.", int64(1)},
		{"reduce", "ctext\njoin\n(U\x01aU\x01btR.", "ab"},
		{"stack global", "\x8c\x04text\x8c\x04join\x93)R.", ""},
		{"new object with names", "cmod\nClass\nK\x01\x85}\x92.", &Object{Class: "mod.Class", Args: Tuple{int64(1)}}},
		{"inert", "cmod\nClass\n)\x81}U\x01aK\x01sb.", &Object{Class: "mod.Class", Args: Tuple{}, State: &Dict{[]Entry{{"a", int64(1)}}}}},
		{"inert forgets", "cmod\nClass\n)RK\x01aU\x01kNs.", &Object{Class: "mod.Class", Args: Tuple{}}},
		{"attributes are dropped", "}U\x01ab.", &Dict{}},
		{"persistent", "U\x011Q.", Tuple{"loaded", "1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, rest, err := Read([]byte(c.stream+"rest"), rules())
			if err != nil || string(rest) != "rest" {
				t.Fatalf("rest %q, %v", rest, err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for _, c := range []struct{ name, stream, want string }{
		{"empty", "", "needs 1 bytes, 0 are left"},
		{"a global", "cposix\nsystem\n(U\x04true\x85R.", "names posix.system"},
		{"a global by the stack", "\x8c\x05posix\x8c\x06system\x93.", "names posix.system"},
		{"a global with odd letters", "co\x1b[2Js\nsystem\n.", `names o\x1b[2Js.system`},
		{"a part of a name", "ctext\njoi\n.", "names text.joi"},
		{"name without end", "ctext", "without an end"},
		{"name of no text", "NN\x93.", "not text"},
		{"calls what is not named", "U\x01a)R.", "calls string"},
		{"arguments of no tuple", "cmod\nClass\nNR.", "in place of arguments"},
		{"a function's error", "ctext\njoin\nN\x85R.", "text.join: needs text"},
		{"text opcode", "I1\n.", "opcode 0x49"},
		{"instance", "(imod\nClass\n.", "opcode 0x69"},
		{"extension", "\x82\x01.", "opcode 0x82"},
		{"huge text", "\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", "needs 9223372036854775807 bytes"},
		{"text cut", "X\x05\x00\x00\x00ab", "needs 5 bytes, 2 are left"},
		{"memo never set", "h\x07.", "memo index 7 was never set"},
		{"memo too far", "Nr\xff\xff\xff\x7f.", "memo index 2147483647"},
		{"pop of nothing", "0.", "more values than there are"},
		{"pop below a mark", "K\x01(0.", "more values than there are"},
		{"no mark", "K\x01t.", "no mark"},
		{"key without value", "}(K\x01u.", "without a value"},
		{"append to a number", "K\x01K\x02a.", "appends to int64"},
		{"items of a number", "K\x01K\x02K\x03s.", "sets items of int64"},
		{"stop with nothing", ".", "more values than there are"},
		{"no storages", "NQ.", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rules()
			if c.name == "no storages" {
				r, c.want = Rules{}, "where there are none"
			}
			_, _, err := Read([]byte(c.stream), r)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("got error %q, want one line about %q", err, c.want)
			}
		})
	}
	var refused *RefusedError
	if _, _, err := Read([]byte("cposix\nsystem\n."), rules()); !errors.As(err, &refused) || refused.Name != "posix.system" {
		t.Errorf("got %v", err)
	}
}

// Streams that make much of little end at the limit, and take no more memory
// than a few times that.
func TestReadBoundsMemory(t *testing.T) {
	const many, limit = 1 << 17, memoryLimit / 16
	text := strings.Repeat("x", 1<<16)
	for name, stream := range map[string]string{
		"dictionaries": strings.Repeat("}", many),
		"marks":        strings.Repeat("(", many),
		"copies":       "N" + strings.Repeat("2", many),
		"memo":         "N" + strings.Repeat("\x94", many),
		"texts":        strings.Repeat("X\x00\x00\x01\x00"+text, 100),
		"globals":      strings.Repeat("cmod\nClass\n", many),
		"calls":        "](" + strings.Repeat("N", 10_000) + "eq\x00" + strings.Repeat("cmod\nClass\nh\x00\x85R", 10_000),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := read([]byte(stream), rules(), limit)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, errMemory) {
				t.Errorf("got error %v, want the limit", err)
			}
			if took := after.TotalAlloc - before.TotalAlloc - uint64(len(stream)); took > 6*limit {
				t.Errorf("took %d bytes, the limit is %d", took, limit)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, pattern := range []string{"../weights/testdata/torch/*legacy*", "../../testdata/goldens/bad/malicious-*"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
			if at := slices.Index(data, 0x80); at > 0 {
				f.Add(data[at:])
			}
		}
	}
	f.Add([]byte("](K\x01K\x02eq\x00ctext\njoin\n(U\x01aU\x01btR\x86."))
	f.Fuzz(func(t *testing.T, data []byte) {
		value, rest, err := Read(data, rules())
		if err == nil && len(rest) >= len(data) {
			t.Fatalf("%v of no bytes", value)
		}
	})
}
