package main

import (
	"strings"
	"testing"

	"waggle/internal/job"
)

func TestPickModel(t *testing.T) {
	list := func(names ...string) (list []job.ModelInfo) {
		for _, name := range names {
			list = append(list, job.ModelInfo{Name: name})
		}
		return list
	}
	for _, row := range []struct {
		name, models, wanted string
		queen                bool
		want, words          string
	}{
		{"by name", "a b", "b", false, "b", ""},
		{"another name", "a b", "c", false, "", `no model "c": want one of a, b`},
		{"a server's first", "a b", "", false, "a", ""},
		{"this program's model, which it has", "a tiny-shapes", "tiny-shapes", true, "tiny-shapes", ""},
		{"this program's model, which it has not", "a b", "tiny-shapes", false, "a", ""},
		{"a queen's only one", "a", "tiny-shapes", true, "a", ""},
		{"of a queen's several", "a b", "", true, "", "choose one with --model: a, b"},
		{"none", "", "", false, "", "no model ready"},
		{"none of that name", "", "a", true, "", "no model ready"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := pickModel(list(strings.Fields(row.models)...), row.wanted, row.queen)
			if got.Name != row.want || (err == nil) != (row.words == "") || err != nil && !strings.Contains(err.Error(), row.words) {
				t.Errorf("%q, %v; want %q, %q", got.Name, err, row.want, row.words)
			}
		})
	}
}
