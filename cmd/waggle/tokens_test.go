package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waggle/internal/door"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		texts []string
		want  []door.Key
		err   string
	}{
		{"none", nil, nil, ""},
		{"a variable that is not set", []string{""}, nil, ""},
		{"plain", []string{"s3cret, with a comma"}, []door.Key{{Secret: "s3cret, with a comma"}}, ""},
		{"named", []string{"anna=one=1", "bert=two"}, []door.Key{{Name: "anna", Secret: "one=1"}, {Name: "bert", Secret: "two"}}, ""},
		{"two of one person", []string{"anna=one", "anna=two"}, []door.Key{{Name: "anna", Secret: "one"}, {Name: "anna", Secret: "two"}}, ""},
		{"base64 of 16 bytes", []string{"AAECAwQFBgcICQoLDA0ODw=="}, []door.Key{{Secret: "AAECAwQFBgcICQoLDA0ODw=="}}, ""},
		{"base64 of 32 bytes", []string{"a+ECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}, []door.Key{{Secret: "a+ECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}, ""},
		{"no name", []string{"=x", "a b=x"}, []door.Key{{Secret: "=x"}, {Secret: "a b=x"}}, ""},
		{"no secret", []string{"x", "anna="}, nil, "--token 2: there is no secret behind anna="},
		{"blank secret", []string{"anna= "}, nil, "no secret"},
		{"one secret twice", []string{"anna=hidden", "bert=hidden"}, nil, "--token 2"},
	} {
		got, err := (&tokenFlags{Tokens: row.texts}).keys()
		if row.err != "" {
			if err == nil || !strings.Contains(err.Error(), row.err) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("%s: %v, want %q", row.name, err, row.err)
			}
			continue
		}
		if diff := cmp.Diff(row.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", row.name, err, diff)
		}
	}
}
