package models

import (
	"cmp"
	"slices"
	"strings"
)

const (
	suggestions = 5   // names in an error, at most
	shownBytes  = 200 // of a name in an error
)

// nearest orders names by how many letters must change to make them out of name.
func nearest(name string, entries []Entry) []string {
	name = strings.ToLower(clip(name))
	type candidate struct {
		name     string
		distance int
	}
	var all []candidate
	for _, e := range entries {
		other := strings.ToLower(e.Name)
		distance := editDistance(name, other)
		if strings.Contains(other, name) && name != "" {
			distance = 1 // the beginning of a name, or its middle, is meant to find it
		}
		all = append(all, candidate{e.Name, distance})
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	var out []string
	for _, c := range all[:min(len(all), suggestions)] {
		out = append(out, c.name)
	}
	return out
}

// editDistance is the Levenshtein distance of two short strings, in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// clip keeps a name of any length fit for an error.
func clip(name string) string {
	if len(name) <= shownBytes {
		return name
	}
	return strings.ToValidUTF8(name[:shownBytes], "") + "…"
}
