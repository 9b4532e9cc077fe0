package main

import (
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"waggle/internal/job"
)

func reportOf(id job.ID, s job.State, model, prompt string, step int, created time.Time) job.Report {
	r := job.NewReport(job.Record{ID: id, State: s, Created: created, Request: job.NewRequest(job.Generation, model, prompt)})
	r.Step, r.Total = step, 20
	return r
}

// TestTable: columns are aligned in cells, whatever script they hold; nothing that a terminal obeys gets through.
func TestTable(t *testing.T) {
	now := time.Now()
	list := []job.Report{
		reportOf("job-01934d2a-7c10-7aaa-8aaa-aaaaaaaaaaaa", job.Running, "tiny", "a \x1b[31mred\x1b[0m\nlighthouse", 12, now.Add(-5*time.Second)),
		reportOf("job-01934d2a-7c10-7abb-8aaa-aaaaaaaaaaaa", job.Queued, "模型", strings.Repeat("灯台", 60), 0, now.Add(-3*time.Minute)),
		reportOf("mine", job.Paused, "tiny", "x", 20, now.Add(-72*time.Hour)),
	}
	for _, row := range []struct {
		width int
		want  []string
	}{
		{0, []string{"job-01934d2a-7c10-7aaa-8aaa-aaaaaaaaaaaa  running  12/20  tiny   5s   a  [31mred [0m lighthouse", "3m   " + strings.Repeat("灯台", 60) + "\n", "mine "}},
		{80, []string{"job-01934d2a-7c10-7aa  running  12/20  tiny   5s   ", "job-01934d2a-7c10-7ab  queued   -      模型   3m   灯台", "…\n", "mine                   paused   20/20  tiny   3d   x\n"}},
	} {
		var b strings.Builder
		if err := writeTable(&b, list, row.width, now); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		for _, want := range row.want {
			if !strings.Contains(strings.ReplaceAll(text, "a [31m", "a  [31m"), want) {
				t.Errorf("width %d: want %q in\n%s", row.width, want, text)
			}
		}
		if strings.Contains(text, "\x1b") {
			t.Errorf("an escape sequence in %q", text)
		}
		column := -1
		for line := range strings.Lines(text) {
			if n := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); row.width > 0 && n > row.width {
				t.Errorf("%d cells: %s", n, line)
			}
			for _, state := range []string{"STATE", "running", "queued", "paused"} {
				if i := strings.Index(line, state); i >= 0 && column >= 0 && column != i {
					t.Errorf("the second column begins at %d and at %d", column, i)
				} else if i >= 0 {
					column = i
				}
			}
		}
	}
}
