package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// report is what a run of the tests has told.
type report struct {
	tests  []*test  // in the order in which they began
	rest   []string // what was said outside of tests
	broken bool     // the run as a whole failed
}

// test is one that ran: what it checks, how it ended, what it said.
type test struct {
	name, from, title string
	runs              int
	state, reason     string // state is empty if it never ended
	said              []string
}

// event is a line of go test -json.
type event struct{ Action, Test, Key, Value, Output string }

// read takes in what go test -json writes. What could be read is told even if there is an error.
func read(from io.Reader) (*report, error) {
	r := new(report)
	for d := json.NewDecoder(bufio.NewReader(from)); ; {
		var e event
		switch err := d.Decode(&e); {
		case errors.Is(err, io.EOF):
			return r, nil
		case err != nil:
			return r, fmt.Errorf("the output of go test: %w", err)
		}
		r.add(e)
	}
}

func (r *report) add(e event) {
	name, _, isPart := strings.Cut(e.Test, "/")
	if name == "" {
		if e.Output != "" {
			r.rest = append(r.rest, e.Output)
		}
		return
	}
	t := r.test(name)
	if e.Output != "" {
		t.said = append(t.said, e.Output)
	}
	if !isPart {
		t.add(e)
	}
}

func (r *report) test(name string) *test {
	for _, t := range r.tests {
		if t.name == name {
			return t
		}
	}
	t := &test{name: name}
	r.tests = append(r.tests, t)
	return t
}

func (t *test) add(e event) {
	switch e.Action {
	case "run":
		t.runs++
	case "attr":
		t.attribute(e.Key, e.Value)
	case "pass":
		t.state = "passed"
	case "fail":
		t.state = "failed"
	case "skip":
		t.state = "skipped"
	}
}

func (t *test) attribute(key, value string) {
	switch key {
	case "from":
		t.from = value
	case "title":
		t.title = value
	case "skipped":
		t.reason = value
	}
}

// row is a line of the table.
type row struct {
	number             int
	from, title, state string
	reason             string
	tests              []*test
}

func (r row) ending() string {
	if r.reason == "" {
		return r.state
	}
	return fmt.Sprintf("%s (%s)", r.state, r.reason)
}

var checkName = regexp.MustCompile(`^TestCheck(\d\d)`)

// rows are all checks in their order; those that were not made once, and to their end, have failed.
func (r *report) rows() (rows []row) {
	byNumber := map[int][]*test{}
	for _, t := range r.tests {
		byNumber[t.number()] = append(byNumber[t.number()], t)
	}
	for n := 1; n <= checks; n++ {
		rows = append(rows, rowOf(n, byNumber[n]))
	}
	for _, t := range r.tests {
		if n := t.number(); n < 1 || n > checks {
			rows = append(rows, row{n, t.from, t.name, "failed", "there is no such check", []*test{t}})
		}
	}
	return rows
}

// number is in the test's name; 0 if it is not.
func (t *test) number() int {
	found := checkName.FindStringSubmatch(t.name)
	if found == nil {
		return 0
	}
	n, _ := strconv.Atoi(found[1]) // two digits
	return n
}

func rowOf(number int, tests []*test) row {
	if len(tests) == 0 {
		return row{number: number, state: "failed", reason: "there is no such test"}
	}
	t := tests[0]
	made := row{number, t.from, t.title, t.state, t.reason, tests}
	switch {
	case len(tests) > 1 || t.runs > 1:
		made.state, made.reason = "failed", "made more than once"
	case t.state == "":
		made.state, made.reason = "failed", "did not end"
	case t.from == "" || t.title == "":
		made.state, made.reason = "failed", t.name+" does not say what it checks"
	case t.state == "skipped" && t.reason == "":
		made.state, made.reason = "failed", "skipped without a reason"
	}
	return made
}

// write prints the table, what failed checks have said, and the count. It returns how many failed; a run that failed
// although no check did is one more.
func (r *report) write(w io.Writer) (failed int) {
	rows, count := r.rows(), map[string]int{}
	for _, row := range rows {
		count[row.state]++
	}
	if r.broken && count["failed"] == 0 {
		count["failed"]++
	}
	table(w, rows)
	for _, row := range rows {
		if row.state == "failed" {
			row.explain(w)
		}
	}
	if count["failed"] > 0 {
		fmt.Fprintf(w, "\n%s", strings.Join(r.rest, ""))
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped\n", count["passed"], count["failed"], count["skipped"])
	return count["failed"]
}

func table(w io.Writer, rows []row) {
	width := 0
	for _, row := range rows {
		width = max(width, utf8.RuneCountInString(row.title))
	}
	for _, row := range rows {
		fmt.Fprintf(w, "%2d  %-3s  %-*s  %s\n", row.number, row.from, width, row.title, row.ending())
	}
}

// explain prints what a check's tests have said.
func (r row) explain(w io.Writer) {
	for _, t := range r.tests {
		fmt.Fprintf(w, "\n%s\n%s", t.name, strings.Join(t.said, ""))
	}
}
